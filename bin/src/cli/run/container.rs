//! What `tepui run` asks of containers, as flags.
//!
//! Deliberately not here: what an agent gives, which its operator decides.

use std::path::PathBuf;

use clap::Args;
use tepui_core::protocol::container_info::{
    Access, ContainerInfo, Image, NetworkInfo, Propagation, Terminal, Uri, Volume, VolumeSource,
};

use crate::cli::text::Text;

/// What the task's container has.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Container")]
pub(super) struct AskArgs {
    /// The image that the task has as its root, of a registry or as `file:///PATH[#NAME]` of the
    /// agent's machine; without CMD it runs what the image says
    #[arg(long, value_name = "[HOST/]NAME[:TAG]", value_parser = Text(filled))]
    pub(super) image: Option<String>,
    /// Ask the registry for the image even if it is there already
    #[arg(long, requires = "image")]
    pull: bool,
    /// Let the task change nothing in its root
    #[arg(long, requires = "image")]
    read_only: bool,
    /// A directory or file of the machine that the task sees, `ro` or `rw`; without a source it is
    /// a directory of its sandbox. Can be given several times
    #[arg(long, value_name = "[SOURCE:]PATH[:ro|rw]", value_parser = Text(volume))]
    volume: Vec<Volume>,
    /// A network that the task joins; can be given several times
    #[arg(long, value_name = "NAME", value_parser = Text(filled))]
    network: Vec<String>,
    /// Something that is fetched into the sandbox first, and taken apart if it is an archive:
    /// `http:`, `https:`, `file:` or a path of the machine. Can be given several times
    #[arg(long, value_name = "URI", value_parser = Text(filled))]
    pub(super) uri: Vec<String>,
    /// Have the task wait for what `tepui attach -i` says to its standard input
    #[arg(long)]
    interactive: bool,
    /// Run the task on a terminal, which `tepui attach -it` passes keys on to
    #[arg(long)]
    tty: bool,
}

/// The size of a terminal until somebody attaches who has one.
const SIZE: Terminal = Terminal {
    rows: 24,
    columns: 80,
};

impl AskArgs {
    /// Returns what is asked for; `None` is nothing.
    pub(super) fn container(&self) -> Option<Box<ContainerInfo>> {
        let image = self.image.as_ref().map(|reference| Image {
            reference: reference.clone(),
            cached: !self.pull,
        });
        let networks = self.network.iter().map(|name| NetworkInfo {
            name: name.clone(),
            ..NetworkInfo::default()
        });
        let asked = ContainerInfo {
            image,
            read_only_root: self.read_only,
            volumes: self.volume.clone(),
            networks: networks.collect(),
            interactive: self.interactive,
            terminal: self.tty.then_some(SIZE),
            ..ContainerInfo::default()
        };
        (asked != ContainerInfo::default()).then(|| Box::new(asked))
    }

    /// Returns what is fetched.
    pub(super) fn uris(&self) -> Vec<Uri> {
        self.uri.iter().map(|uri| Uri::new(uri.as_str())).collect()
    }
}

/// Returns the paths of the machine that are asked for.
pub(super) fn host_paths(asked: &ContainerInfo) -> Vec<PathBuf> {
    let sources = asked.volumes.iter().map(|volume| &volume.source);
    let paths = sources.filter_map(|source| match source {
        VolumeSource::Host { path, .. } => Some(PathBuf::from(path)),
        VolumeSource::Sandbox { .. }
        | VolumeSource::Parent { .. }
        | VolumeSource::Image(_)
        | VolumeSource::Secret(_)
        | VolumeSource::Tmpfs { .. } => None,
    });
    paths.collect()
}

pub(super) fn filled(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("expected something".into()),
        false => Ok(text.into()),
    }
}

/// Reads a volume.
pub(super) fn volume(text: &str) -> Result<Volume, String> {
    let expected = || "expected [SOURCE:]PATH[:ro|rw], such as /srv/data:/data:ro".to_owned();
    let (rest, access) = match text.rsplit_once(':') {
        Some((rest, "ro")) => (rest, Access::Read),
        Some((rest, "rw")) => (rest, Access::Write),
        Some(_) | None => (text, Access::Write),
    };
    let (source, path) = match rest.split_once(':') {
        Some((source, path)) if source.starts_with('/') && !path.contains(':') => {
            let propagation = Propagation::Private;
            let path_of_host = source.to_owned();
            let source = VolumeSource::Host {
                path: path_of_host,
                propagation,
            };
            (source, path)
        }
        Some(_) => return Err(expected()),
        None => {
            let path = rest.trim_start_matches('/').to_owned();
            (VolumeSource::Sandbox { path }, rest)
        }
    };
    if path.trim_matches('/').is_empty() || path.split('/').any(|part| part == "..") {
        return Err(expected());
    }
    Ok(Volume {
        path: path.to_owned(),
        access,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_as_others_write_them() {
        let host = |path: &str| VolumeSource::Host {
            path: path.into(),
            propagation: Propagation::Private,
        };
        let sandbox = |path: &str| VolumeSource::Sandbox { path: path.into() };
        for (text, path, access, source) in [
            ("/a:/b", "/b", Access::Write, host("/a")),
            ("/a:/b:ro", "/b", Access::Read, host("/a")),
            ("/a:b/c:rw", "b/c", Access::Write, host("/a")),
            ("/b", "/b", Access::Write, sandbox("b")),
            ("b/c:ro", "b/c", Access::Read, sandbox("b/c")),
        ] {
            let read = volume(text).unwrap();
            let expected = Volume {
                path: path.into(),
                access,
                source,
            };
            assert_eq!(read, expected, "{text}");
        }
        for bad in [
            "", ":", "/", "ro", "a:/b", "/a:", "/a:/b:/c", "/a:../b", "/a:/:ro", ":ro",
        ] {
            let said = volume(bad);
            assert!(bad == "ro" || said.is_err(), "{bad:?}: {said:?}");
        }
    }
}
