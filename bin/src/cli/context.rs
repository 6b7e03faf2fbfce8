//! The contexts file: the cluster that is meant when none is named, and who we are there.
//!
//! Read by `connect`, after flags and environment variables. It is `TEPUI_CONFIG`, or
//! `tepui/config.toml` in `XDG_CONFIG_HOME` or `~/.config`:
//!
//! ```toml
//! current = "rio"
//!
//! [contexts.rio]
//! master = "rio.example:5050"
//! tls-dir = "rio-tls"           # relative to this file
//! ```
//!
//! Deliberately not here: writing it.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::addresses;
use super::exit::Exit;
use super::failure::Failure;

/// The variable that names another file.
const CONFIG_VARIABLE: &str = "TEPUI_CONFIG";

/// One cluster, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Context {
    /// The master, as `host:port`.
    pub(super) master: String,
    /// The directory with our certificate, or with one directory a role.
    pub(super) tls_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// Returns the context of this name, or else the current one, if there is any.
pub(super) fn find(name: Option<&str>) -> Result<Option<Context>, Failure> {
    let asked_for = env::var_os(CONFIG_VARIABLE).map(PathBuf::from);
    let Some(path) = asked_for.clone().or_else(usual_path) else {
        return missing(name, "a file of contexts, and no HOME says where it is");
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => choose(&path, &text, name),
        Err(error) if error.kind() == io::ErrorKind::NotFound && asked_for.is_none() => {
            missing(name, &format!("{}, which is not there", path.display()))
        }
        Err(error) => Err(unusable(&path, error)),
    }
}

fn missing(name: Option<&str>, place: &str) -> Result<Option<Context>, Failure> {
    match name {
        Some(name) => Err(Failure::usage(
            "--context",
            name,
            format_args!("expected in {place}"),
        )),
        None => Ok(None),
    }
}

fn usual_path() -> Option<PathBuf> {
    let named = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".config"));
    let directory = named.filter(|path| path.is_absolute()).or_else(home)?;
    Some(directory.join("tepui/config.toml"))
}

fn choose(path: &Path, text: &str, name: Option<&str>) -> Result<Option<Context>, Failure> {
    let mut file: Contexts = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at].matches('\n').count() + 1;
        unusable(path, format_args!("line {line}: {}", error.message()))
    })?;
    let Some(name) = name.or(file.current.as_deref()).map(str::to_owned) else {
        return Ok(None);
    };
    let known = file.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(mut context) = file.contexts.remove(&name) else {
        let known = if known.is_empty() { "none" } else { &known };
        let problem = format_args!("expected a context of {}: {known}", path.display());
        return Err(Failure::usage("--context", &name, problem));
    };
    context.master = addresses::master_address(&context.master).map_err(|problem| {
        let master = &context.master;
        unusable(
            path,
            format_args!("contexts.{name}.master {master:?}: {problem}"),
        )
    })?;
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    context.tls_dir = context.tls_dir.map(|dir| beside.join(dir));
    Ok(Some(context))
}

fn unusable(path: &Path, problem: impl std::fmt::Display) -> Failure {
    let path = path.display();
    Failure::new(
        Exit::Usage,
        format_args!("the contexts file {path}: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
        current = \"rio\"\n\
        [contexts.rio]\n\
        master = \"rio.example:5050\"\n\
        tls-dir = \"rio-tls\"\n\
        [contexts.here]\n\
        master = \"127.0.0.1:5050\"\n";

    fn chosen(text: &str, name: Option<&str>) -> Result<Option<Context>, Failure> {
        choose(Path::new("/etc/tepui/config.toml"), text, name)
    }

    #[test]
    fn the_current_context_is_meant_unless_another_is_named() {
        let rio = chosen(FILE, None).unwrap().unwrap();
        assert_eq!(rio.master, "rio.example:5050");
        assert_eq!(
            rio.tls_dir.as_deref(),
            Some(Path::new("/etc/tepui/rio-tls"))
        );
        let here = chosen(FILE, Some("here")).unwrap().unwrap();
        assert_eq!(
            (here.master.as_str(), here.tls_dir),
            ("127.0.0.1:5050", None)
        );
        assert_eq!(chosen("", None).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_its_place() {
        for (text, name, expected) in [
            (
                FILE,
                Some("x"),
                "--context \"x\": expected a context of /etc/tepui/config.toml: \
                here, rio",
            ),
            (
                "\ncurent = 1",
                None,
                "the contexts file /etc/tepui/config.toml: line 2: unknown \
                field `curent`, expected `current` or `contexts`",
            ),
            (
                "current = \"a\"\n[contexts.a]\nmaster = \"a\"",
                None,
                "the contexts file \
                /etc/tepui/config.toml: contexts.a.master \"a\": at 1: the port is missing; \
                expected HOST:PORT such as 127.0.0.1:5050 or [::1]:5050",
            ),
        ] {
            let failure = chosen(text, name).unwrap_err();
            assert_eq!(
                (failure.exit, failure.message.as_str()),
                (Exit::Usage, expected)
            );
        }
    }
}
