//! What is to be fetched, and whether it can be meant.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::config::Config;
use super::error::{Fault, FetchError};
use crate::cancel::Cancel;
use crate::content::{Checksum, NAME_BYTES, PATH_BYTES};

/// One thing to fetch (AG-50).
#[derive(Debug, Clone)]
pub struct Item {
    /// `http:`, `https:`, `file:`, or a path.
    pub uri: String,
    /// What its content must have.
    pub checksum: Option<Checksum>,
    /// Whether it is made executable; then it is never unpacked.
    pub executable: bool,
    /// Whether it is unpacked, if it is an archive.
    pub extract: bool,
    /// Whether the cache may keep it.
    pub cache: bool,
    /// Its name below the sandbox; else the last component of the address.
    pub output: Option<PathBuf>,
}

impl Item {
    /// An item with Mesos' defaults: unpacked if it is an archive, not cached.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            checksum: None,
            executable: false,
            extract: true,
            cache: false,
            output: None,
        }
    }

    /// Returns whether it is of a web server; everything else is of the machine.
    pub fn is_remote(&self) -> bool {
        let scheme = self.uri.split_once("://").map(|(scheme, _)| scheme);
        let is_web = |scheme: &str| {
            ["http", "https"]
                .iter()
                .any(|web| scheme.eq_ignore_ascii_case(web))
        };
        scheme.is_some_and(is_web)
    }
}

/// Where an item comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Local(PathBuf),
    Http(ureq::http::Uri),
}

/// An item whose every part can be meant.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) item: &'a Item,
    pub(super) source: Source,
    /// The address without user and password, for those who read errors.
    pub(super) shown: String,
    /// Below the sandbox; at least one component.
    pub(super) output: Vec<OsString>,
    /// Says when it is not wanted any more.
    pub(super) cancel: &'a Cancel,
}

impl<'a> Checked<'a> {
    pub(super) fn new(
        item: &'a Item,
        config: &Config,
        cancel: &'a Cancel,
    ) -> Result<Self, FetchError> {
        let shown = shown(&item.uri);
        let invalid = |fault| FetchError::Invalid {
            uri: shown.clone(),
            fault,
        };
        let (source, path) = source(&item.uri, config).map_err(invalid)?;
        let output = match &item.output {
            Some(output) => plain(output).map_err(invalid)?,
            None => vec![name(&path).map_err(invalid)?],
        };
        Ok(Self {
            item,
            source,
            shown,
            output,
            cancel,
        })
    }

    pub(super) fn output_path(&self) -> PathBuf {
        self.output.iter().collect()
    }
}

/// The source, and the path whose last component names the item.
fn source(uri: &str, config: &Config) -> Result<(Source, Vec<u8>), Fault> {
    if uri.is_empty() || uri.len() > PATH_BYTES || uri.chars().any(char::is_control) {
        return Err(Fault::Address(
            "empty, too long or with control characters".into(),
        ));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Ok((local(uri, config)?, uri.as_bytes().to_owned()));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let address = uri.split('#').next().unwrap_or(uri);
            let parsed = address.parse::<ureq::http::Uri>();
            let parsed = parsed.map_err(|error| Fault::Address(error.to_string()))?;
            if parsed.host().is_none_or(str::is_empty) {
                return Err(Fault::Address("without a host".into()));
            }
            let path = decoded(parsed.path())?;
            Ok((Source::Http(parsed), path))
        }
        "file" => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(Fault::Address("a file of another host".into()));
            }
            let path = decoded(path)?;
            if path.contains(&0) {
                return Err(Fault::Address("with a zero byte".into()));
            }
            let file = PathBuf::from(OsStr::from_bytes(&path));
            Ok((Source::Local(file), path))
        }
        _ => Err(Fault::Scheme(scheme.chars().take(32).collect())),
    }
}

fn local(path: &str, config: &Config) -> Result<Source, Fault> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(Source::Local(path.to_owned()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Fault::Address("a relative path with \"..\"".into()));
    }
    let root = config.local.as_ref().ok_or(Fault::Relative)?;
    Ok(Source::Local(root.join(path)))
}

/// Replaces `%41` and its kind.
fn decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(Fault::Address("a % without two digits".into()));
        };
        decoded.push(high * 16 + low);
    }
    Ok(decoded)
}

fn name(path: &[u8]) -> Result<OsString, Fault> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let is_name = !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    if !is_name || name.len() > NAME_BYTES {
        return Err(Fault::Name);
    }
    Ok(OsString::from_vec(name.to_owned()))
}

/// The components of a relative path that only goes down.
fn plain(path: &Path) -> Result<Vec<OsString>, Fault> {
    let fault = || Fault::Output(path.to_owned());
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH_BYTES || bytes.contains(&0) || bytes.ends_with(b"/") {
        return Err(fault());
    }
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) if part.len() <= NAME_BYTES => parts.push(part.to_owned()),
            Component::CurDir => {}
            Component::Normal(_)
            | Component::ParentDir
            | Component::RootDir
            | Component::Prefix(_) => return Err(fault()),
        }
    }
    if parts.is_empty() || parts.len() > 64 {
        return Err(fault());
    }
    Ok(parts)
}

/// The address without what may be secret (user, password and query) and what would disturb a log.
fn shown(uri: &str) -> String {
    let clean = |text: &str| {
        text.chars()
            .take(512)
            .collect::<String>()
            .escape_debug()
            .to_string()
    };
    let Some((scheme, rest)) = uri.split_once("://") else {
        return clean(uri);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    clean(&format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str) -> Result<(Source, PathBuf), Fault> {
        let item = Item::new(uri);
        match Checked::new(&item, &Config::new("/cache"), &Cancel::default()) {
            Ok(checked) => Ok((checked.source.clone(), checked.output_path())),
            Err(FetchError::Invalid { fault, .. }) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_of_a_web_server_has_its_scheme_whole() {
        for (uri, is_remote) in [
            ("http://h/a", true),
            ("HTTPS://h/a", true),
            ("http:/a", false),
            ("/http://h", false),
            ("file:///a", false),
            ("a", false),
        ] {
            assert_eq!(Item::new(uri).is_remote(), is_remote, "{uri}");
        }
    }

    #[test]
    fn addresses_name_a_source_and_a_file() {
        // AG-49
        let (source, name) = checked("https://u:p@host:1/a/b%20c.tgz?token=x/y#z").unwrap();
        let Source::Http(uri) = source else {
            panic!("{source:?}")
        };
        assert_eq!(uri.path_and_query().unwrap(), "/a/b%20c.tgz?token=x/y");
        assert_eq!(name, Path::new("b c.tgz"));
        let local = |path: &str| Source::Local(path.into());
        for uri in ["file:///a/b%41", "file://localhost/a/bA", "/a/bA"] {
            let expected = (local("/a/bA"), PathBuf::from("bA"));
            assert_eq!(checked(uri).unwrap(), expected, "{uri}");
        }
        for bad in [
            "",
            "a\nb",
            "ftp://host/x",
            "http:///x",
            "file://host/x",
            "file:///a%0",
            "file:///a%00b",
            "http://host/",
            "http://host/a%2f..",
            "/..",
            "relative",
        ] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn relative_paths_stay_below_their_directory() {
        // AG-49
        let mut config = Config::new("/cache");
        config.local = Some("/files".into());
        let found = source("a/b", &config).unwrap().0;
        assert_eq!(found, Source::Local("/files/a/b".into()));
        assert!(source("a/../../b", &config).is_err());
    }

    #[test]
    fn outputs_only_go_down() {
        // AG-50
        assert_eq!(plain(Path::new("./a/b")).unwrap().len(), 2);
        let long = "x".repeat(NAME_BYTES + 1);
        for bad in ["", ".", "..", "a/../b", "/a", "a/", "a\0b", &long] {
            assert!(plain(Path::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("http://u:p@w@host/x@y?key=z"), "http://host/x@y");
        assert_eq!(shown("http://host?key=z"), "http://host");
        assert_eq!(shown("/a@b\n"), "/a@b\\n");
    }
}
