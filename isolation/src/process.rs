//! Turns a container's description into something that can be executed: checked strings,
//! environment, candidates of `PATH`, user.
//!
//! Used by the launcher for every container. Nothing is started here.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Gid, Uid, getegid, geteuid};
use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::limits::COMMAND_ENTRIES;
use tepui_core::protocol::container::ContainerSpec;
use tepui_core::protocol::container_info::ContainerInfo;

use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::spawn::Credentials;
use crate::users;

/// Where programs are looked up unless the environment says otherwise (AG-47).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a terminal is taken for where nobody says.
pub(crate) const TERM: &str = "xterm";
/// Names the container in the environment of its processes; the launcher finds them by it.
pub(crate) const CONTAINER_VARIABLE: &str = "TEPUI_CONTAINER_ID";
/// Names the sandbox, as they see it, in the environment of its processes (AG-40).
pub(crate) const SANDBOX_VARIABLE: &str = "TEPUI_SANDBOX";
/// Names it as the host sees it, where that is not the same.
pub(crate) const DIRECTORY_VARIABLE: &str = "TEPUI_DIRECTORY";
/// The longest argument or variable; the kernel's own bound (MAX_ARG_STRLEN), found out early.
const ENTRY_BYTES: usize = 128 * 1024 - 1;
/// The most that arguments and environment take together, with a pointer for each: the kernel's
/// bound for the usual stack of 8 MiB, found out early.
const TOTAL_BYTES: usize = 2 * 1024 * 1024;
/// The most directories of a `PATH`. Each becomes a string with the program's name, so the two
/// lengths, both of a framework's choice, would multiply without a bound.
const PATH_DIRECTORIES: usize = 1024;
/// The longest name of a file, and of a user (NAME_MAX).
pub(crate) const NAME_BYTES: usize = 255;
/// The longest path (PATH_MAX without its NUL).
const PATH_BYTES: usize = 4095;

/// A program, ready to be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// What people know it by.
    pub(crate) name: String,
    pub(crate) paths: Vec<CString>,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) credentials: Option<Credentials>,
    /// Whom a container with a root of its own is to look up there.
    pub(crate) user: Option<String>,
}

impl Program {
    /// Checks `spec` and prepares its program; `sandbox` is its working directory.
    pub(crate) fn prepare(
        id: &ContainerId,
        spec: &ContainerSpec,
        launch: &Launch,
        sandbox: &Path,
    ) -> Result<Self> {
        let command = &spec.command;
        if command.value.is_empty() {
            return Err(Error::Invalid("the command is empty".to_owned()));
        }
        let mut words = if command.shell {
            vec!["/bin/sh", "-c", command.value.as_str()]
        } else {
            vec![command.value.as_str()]
        };
        if !command.shell {
            words.extend(command.arguments.iter().map(String::as_str));
        }
        if words.len() > COMMAND_ENTRIES {
            return Err(Error::Invalid(format!(
                "it has {} arguments, more than {COMMAND_ENTRIES}",
                words.len()
            )));
        }
        let variables = variables(id, spec, launch, sandbox)?;
        check_total(&words, &variables)?;
        let path = variables.get("PATH").copied().unwrap_or(DEFAULT_PATH);
        let paths = candidates(words[0], path)?;
        let inside = sandbox_text(launch.sandbox_inside(sandbox))?;
        let sandbox = sandbox_text(sandbox)?;
        let mut marks = vec![
            (CONTAINER_VARIABLE, id.as_str()),
            (SANDBOX_VARIABLE, inside),
        ];
        if inside != sandbox {
            marks.push((DIRECTORY_VARIABLE, sandbox));
        }
        let environment = variables.into_iter().chain(marks);
        let user = command.user.as_deref().or(launch.user.as_deref());
        let (credentials, user) = match launch.root {
            None => (user.map(credentials).transpose()?.flatten(), None),
            Some(_) => (None, user.map(str::to_owned)),
        };
        Ok(Self {
            name: words[0].to_owned(),
            arguments: words
                .into_iter()
                .map(|word| checked("an argument", word.to_owned()))
                .collect::<Result<_>>()?,
            environment: environment
                .map(|(name, value)| checked("a variable", format!("{name}={value}")))
                .collect::<Result<_>>()?,
            credentials,
            user,
            paths,
        })
    }
}

/// Refuses what only isolators do, where there are none: nothing is left out silently.
pub(crate) fn refuse_unknown(spec: &ContainerSpec) -> Result<()> {
    let asked = spec.container.as_deref();
    if asked.is_some_and(|asked| *asked != ContainerInfo::default()) {
        let message = "it asks for an image, volumes, a network or rights of its own, and there \
                       are no isolators for these";
        return Err(Error::Invalid(message.to_owned()));
    }
    if let Some(volume) = spec.volumes.first() {
        let path = shown(&volume.path);
        return Err(Error::Invalid(format!(
            "it has a volume at {path:?}, and there is no isolator for volumes"
        )));
    }
    match spec.command.uris.first() {
        Some(uri) => Err(Error::Invalid(format!(
            "it has {:?} to be fetched, and there is no isolator that fetches",
            shown(&uri.value)
        ))),
        None => Ok(()),
    }
}

/// Merges the environment: a default `PATH`, Mesos' names of the sandbox (AG-40), the launch's
/// variables, the agent's, the command's (AG-47, AG-48). Nothing is inherited.
fn variables<'a>(
    id: &ContainerId,
    spec: &'a ContainerSpec,
    launch: &'a Launch,
    sandbox: &'a Path,
) -> Result<BTreeMap<&'a str, &'a str>> {
    let given = launch.environment.iter().chain(&spec.environment);
    let given = given.chain(&spec.command.environment);
    if given.clone().count() > COMMAND_ENTRIES {
        return Err(Error::Invalid(format!(
            "it has more than {COMMAND_ENTRIES} environment variables"
        )));
    }
    let inside = launch.sandbox_inside(sandbox);
    let mut variables = BTreeMap::from([
        ("PATH", DEFAULT_PATH),
        ("MESOS_DIRECTORY", sandbox_text(sandbox)?),
        ("MESOS_SANDBOX", sandbox_text(inside)?),
    ]);
    if launch.terminal.is_some() {
        variables.insert("TERM", TERM);
    }
    for (name, value) in given {
        if name.is_empty() || name.contains('=') {
            return Err(Error::Invalid(format!(
                "{:?} cannot name an environment variable (container {id}, sandbox {})",
                shown(name),
                sandbox.display()
            )));
        }
        variables.insert(name, value);
    }
    // Ours: a task that could change them would not be found again.
    variables.remove(CONTAINER_VARIABLE);
    variables.remove(SANDBOX_VARIABLE);
    variables.remove(DIRECTORY_VARIABLE);
    Ok(variables)
}

fn sandbox_text(sandbox: &Path) -> Result<&str> {
    let text = sandbox.to_str();
    text.ok_or_else(|| Error::Invalid(format!("sandbox {sandbox:?} is not UTF-8")))
}

/// Checks what arguments and environment take together, before any of it is copied.
fn check_total(words: &[&str], variables: &BTreeMap<&str, &str>) -> Result<()> {
    let entry = |bytes: usize| bytes + size_of::<usize>();
    let words = words.iter().map(|word| entry(word.len() + 1));
    let pairs = variables.iter();
    let pairs = pairs.map(|(name, value)| entry(name.len() + value.len() + 2));
    let total: usize = words.chain(pairs).sum();
    if total > TOTAL_BYTES {
        return Err(Error::Invalid(format!(
            "arguments and environment take {total} bytes, more than {TOTAL_BYTES}"
        )));
    }
    Ok(())
}

/// Lists the paths that `name` may stand for: itself if it has a slash, else each of `PATH`.
fn candidates(name: &str, path: &str) -> Result<Vec<CString>> {
    let (length, most) = match name.contains('/') {
        true => (name.len(), PATH_BYTES),
        false => (name.len(), NAME_BYTES),
    };
    if length > most {
        return Err(Error::Invalid(format!(
            "the command's name of {length} bytes is longer than {most}"
        )));
    }
    if name.contains('/') {
        return Ok(vec![checked("the command", name.to_owned())?]);
    }
    if path.len() > ENTRY_BYTES || path.split(':').count() > PATH_DIRECTORIES {
        return Err(Error::Invalid(format!(
            "PATH has more than {PATH_DIRECTORIES} directories or {ENTRY_BYTES} bytes"
        )));
    }
    let directories = path.split(':').map(|directory| match directory {
        "" => ".",
        named => named,
    });
    directories
        .map(|directory| checked("PATH", format!("{directory}/{name}")))
        .collect()
}

fn checked(what: &str, text: String) -> Result<CString> {
    if text.len() > ENTRY_BYTES {
        let length = text.len();
        return Err(Error::Invalid(format!(
            "{what} of {length} bytes is longer than {ENTRY_BYTES}"
        )));
    }
    CString::new(text).map_err(|error| {
        Error::Invalid(format!("{what} contains a NUL at {}", error.nul_position()))
    })
}

/// Cuts what a framework wrote to what a message can quote.
pub(crate) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES)]
}

/// Looks up a user; `None` if that is who we are.
fn credentials(name: &str) -> Result<Option<Credentials>> {
    let unknown = |why: String| Error::Invalid(format!("user {:?}: {why}", shown(name)));
    let user = users::on_host(name)?;
    if user.owner() == (geteuid(), getegid()) {
        return Ok(None);
    }
    if !geteuid().is_root() {
        return Err(unknown("only root can run tasks of other users".to_owned()));
    }
    Ok(Some(user))
}

impl Credentials {
    /// Returns whom the sandbox is to belong to.
    pub(crate) fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }
}

#[cfg(test)]
mod tests {
    use tepui_core::protocol::container_info::Uri;
    use tepui_core::protocol::task::CommandInfo;

    use super::*;

    fn prepare(command: CommandInfo, environment: &[(&str, &str)]) -> Result<Program> {
        let spec = ContainerSpec {
            environment: owned(environment),
            ..ContainerSpec::new(command, vec!["x".to_owned()])
        };
        let launch = Launch::default();
        Program::prepare(&ContainerId::numbered(1), &spec, &launch, Path::new("/box"))
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        owned.collect()
    }

    #[test]
    fn the_command_wins_over_the_agent_and_ours_over_both() {
        // AG-40, AG-47, AG-48
        let mut command = CommandInfo::exec("true", ["x"]);
        command.environment = owned(&[("A", "command"), (CONTAINER_VARIABLE, "stolen")]);
        let program = prepare(
            command,
            &[("A", "agent"), ("B", "agent"), ("PATH", "/p::/q")],
        );
        let program = program.unwrap();
        let texts = |list: &[CString]| -> Vec<String> {
            list.iter()
                .map(|c| c.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            texts(&program.environment),
            [
                "A=command",
                "B=agent",
                "MESOS_DIRECTORY=/box",
                "MESOS_SANDBOX=/box",
                "PATH=/p::/q",
                "TEPUI_CONTAINER_ID=c000001",
                "TEPUI_SANDBOX=/box"
            ]
        );
        assert_eq!(texts(&program.paths), ["/p/true", "./true", "/q/true"]);
        assert_eq!(texts(&program.arguments), ["true", "x"]);
    }

    #[test]
    fn bad_descriptions_are_refused_with_a_reason() {
        let long = "x".repeat(ENTRY_BYTES + 1);
        let many = vec!["x"; COMMAND_ENTRIES + 1];
        let commands = [
            CommandInfo::exec("", [""; 0]),
            CommandInfo::exec("a\0b", [""; 0]),
            CommandInfo::exec("a", ["b\0"]),
            CommandInfo::exec("a", [long.as_str()]),
            CommandInfo::exec("a", many),
            CommandInfo::exec("a", vec!["x".repeat(1024); 2048]),
            CommandInfo::exec("x".repeat(NAME_BYTES + 1), [""; 0]),
            CommandInfo::exec(format!("/{}", "x".repeat(PATH_BYTES)), [""; 0]),
            CommandInfo {
                user: Some("x".repeat(1 << 20)),
                ..CommandInfo::shell("true")
            },
            CommandInfo::shell("a\0b"),
            CommandInfo {
                user: Some("no such user".to_owned()),
                ..CommandInfo::shell("true")
            },
        ];
        for command in commands {
            let error = prepare(command.clone(), &[]).unwrap_err().to_string();
            assert!(error.starts_with("invalid container: "), "{error}");
        }
        let huge = format!("{}=", "x".repeat(1 << 20));
        for name in ["", "A=B", "a\0", &huge] {
            let error = prepare(CommandInfo::shell("true"), &[(name, "x")]);
            let error = error.unwrap_err().to_string();
            assert!(error.len() < 1024, "{} bytes of message", error.len());
        }
    }

    #[test]
    fn what_isolators_do_is_refused_without_them() {
        let read_only_root = true;
        let asked = ContainerInfo {
            read_only_root,
            ..ContainerInfo::default()
        };
        let spec = |command| ContainerSpec::new(command, vec!["x".to_owned()]);
        let shell = CommandInfo::shell("true");
        let contained = ContainerSpec {
            container: Some(Box::new(asked)),
            ..spec(shell.clone())
        };
        let fetched = CommandInfo {
            uris: vec![Uri::new("/a")],
            ..shell.clone()
        };
        for (spec, why) in [
            (contained, "it asks for an image"),
            (spec(fetched), "fetch"),
        ] {
            let text = refuse_unknown(&spec).unwrap_err().to_string();
            assert!(text.contains(why), "{text}");
        }
        refuse_unknown(&spec(shell)).unwrap();
    }

    #[test]
    fn path_and_name_do_not_multiply() {
        let name = "x".repeat(NAME_BYTES);
        let command = |name: &str| CommandInfo::exec(name, [""; 0]);
        let path = |n: usize| ":".repeat(n - 1);
        let found = prepare(command(&name), &[("PATH", &path(PATH_DIRECTORIES))]).unwrap();
        assert_eq!(found.paths.len(), PATH_DIRECTORIES);
        for bad in [path(PATH_DIRECTORIES + 1), "x".repeat(ENTRY_BYTES + 1)] {
            let error = prepare(command(&name), &[("PATH", &bad)]).unwrap_err();
            assert!(error.to_string().contains("PATH has more"), "{error}");
        }
        // Of a size with which the candidates would take 17 GB.
        let (name, bomb) = ("x".repeat(ENTRY_BYTES), path(ENTRY_BYTES));
        assert!(prepare(command(&name), &[("PATH", &bomb)]).is_err());
    }
}
