//! What an image says about running it, and what becomes of it with a task's command (CT-50, DR).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tepui_core::protocol::task::CommandInfo;

const SHELL: &str = "/bin/sh";

/// The configuration of an image, as its author wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What is always run, before `command` or a task's arguments.
    pub entrypoint: Vec<String>,
    /// What is run, or added to the entrypoint, without arguments of a task.
    pub command: Vec<String>,
    /// Environment variables as `NAME=value`.
    pub environment: Vec<String>,
    /// The user, which tasks do not follow (DR-07).
    pub user: Option<String>,
    /// The working directory.
    pub working_directory: Option<String>,
    /// Where volumes were thought of, which tasks do not follow (DR-07).
    pub volumes: BTreeSet<String>,
    /// The ports that are listened to, as `80/tcp`, which tasks do not follow (DR-07).
    pub exposed_ports: BTreeSet<String>,
    /// The author's notes.
    pub labels: BTreeMap<String, String>,
    /// The signal that ends it well.
    pub stop_signal: Option<String>,
}

/// What is executed in the image's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The executable and its arguments: at least one.
    pub arguments: Vec<String>,
    /// The environment: each name once.
    pub environment: Vec<(String, String)>,
    /// The directory where it begins; `None` if neither the task nor the image names one.
    pub working_directory: Option<String>,
    /// The task's user; the image's is not followed (DR-07).
    pub user: Option<String>,
}

/// Why a task cannot run in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandFault {
    /// DR-05.
    #[error("a shell command without a value")]
    ShellWithoutValue,
    /// DR-01 and DR-02.
    #[error("no executable: neither the command has a value nor the image an entrypoint or cmd")]
    Nothing,
}

impl Config {
    /// What is run of an image for a command (DR-01 to DR-07).
    ///
    /// A command's value is absent if it is empty. With an image, its arguments come after the
    /// executable, or after the whole entrypoint. The command's working directory goes before the
    /// image's; a relative one of the image is below its root.
    pub fn merge(
        &self,
        command: &CommandInfo,
        working_directory: Option<&str>,
    ) -> Result<Process, CommandFault> {
        let working_directory = working_directory.filter(|path| !path.is_empty());
        let working_directory = working_directory.map(str::to_owned).or_else(|| {
            let path = self.working_directory.as_deref()?;
            (!path.is_empty()).then(|| format!("/{}", path.trim_start_matches('/')))
        });
        Ok(Process {
            arguments: self.arguments(command)?,
            environment: self.environment(command),
            working_directory,
            user: command.user.clone(),
        })
    }

    fn arguments(&self, command: &CommandInfo) -> Result<Vec<String>, CommandFault> {
        let CommandInfo {
            shell,
            value,
            arguments,
            ..
        } = command;
        let has_value = !value.is_empty();
        if *shell {
            if !has_value {
                return Err(CommandFault::ShellWithoutValue);
            }
            return Ok(vec![SHELL.into(), "-c".into(), value.clone()]);
        }
        let (executable, rest): (&[String], &[String]) = if has_value {
            (std::slice::from_ref(value), arguments)
        } else if !self.entrypoint.is_empty() {
            let usual = arguments.is_empty();
            (
                &self.entrypoint,
                if usual { &self.command } else { arguments },
            )
        } else {
            let Some((first, rest)) = self.command.split_first() else {
                return Err(CommandFault::Nothing);
            };
            let usual = arguments.is_empty();
            (
                std::slice::from_ref(first),
                if usual { rest } else { arguments },
            )
        };
        Ok([executable, rest].concat())
    }

    /// The image's variables below the task's.
    fn environment(&self, command: &CommandInfo) -> Vec<(String, String)> {
        let images = self.environment.iter();
        let images = images.filter_map(|variable| variable.split_once('='));
        let images = images.filter(|(name, _)| !name.is_empty());
        let tasks = command.environment.iter();
        let tasks = tasks.map(|(name, value)| (name.as_str(), value.as_str()));
        let mut merged: Vec<(String, String)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, value) in images.chain(tasks) {
            match places.get(name) {
                Some(place) => merged[*place].1 = value.to_owned(),
                None => {
                    places.insert(name, merged.len());
                    merged.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        merged
    }
}

/// `config` of an image's configuration. Authors write null for nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Written {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

impl From<Written> for Config {
    fn from(written: Written) -> Self {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let names = |map: Option<BTreeMap<String, IgnoredAny>>| {
            map.unwrap_or_default().into_keys().collect()
        };
        Self {
            entrypoint: written.entrypoint.unwrap_or_default(),
            command: written.cmd.unwrap_or_default(),
            environment: written.env.unwrap_or_default(),
            user: given(written.user),
            working_directory: given(written.working_dir),
            volumes: names(written.volumes),
            exposed_ports: names(written.exposed_ports),
            labels: written.labels.unwrap_or_default(),
            stop_signal: given(written.stop_signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_command_and_an_image_are_merged_as_in_the_table() {
        // CT-50, DR-01 to DR-06: neither, cmd only, entrypoint only, both.
        const ERROR: &str = "";
        let table = [
            (false, "", "", [ERROR, "c0 c1", "e0 e1", "e0 e1 c0 c1"]),
            (
                false,
                "",
                "a b",
                [ERROR, "c0 a b", "e0 e1 a b", "e0 e1 a b"],
            ),
            (false, "v", "", ["v"; 4]),
            (false, "v", "a b", ["v a b"; 4]),
            (true, "", "", [ERROR; 4]),
            (true, "", "a b", [ERROR; 4]),
            (true, "v", "", ["/bin/sh -c v"; 4]),
            (true, "v", "a b", ["/bin/sh -c v"; 4]),
        ];
        let columns = [("", ""), ("", "c0 c1"), ("e0 e1", ""), ("e0 e1", "c0 c1")];
        for (shell, value, arguments, expected) in table {
            for ((entrypoint, cmd), expected) in columns.into_iter().zip(expected) {
                let config = Config {
                    entrypoint: words(entrypoint),
                    command: words(cmd),
                    ..Config::default()
                };
                let command = CommandInfo {
                    shell,
                    value: value.into(),
                    arguments: words(arguments),
                    ..CommandInfo::default()
                };
                let merged = config.merge(&command, None);
                let case = format!("{shell} {value:?} {arguments:?} {entrypoint:?} {cmd:?}");
                match (merged, expected) {
                    (Ok(process), expected) => {
                        assert_eq!(process.arguments, words(expected), "{case}");
                        assert_ne!(expected, ERROR, "{case}");
                    }
                    (Err(fault), ERROR) if shell => {
                        assert_eq!(fault, CommandFault::ShellWithoutValue, "{case}");
                    }
                    (Err(fault), ERROR) => assert_eq!(fault, CommandFault::Nothing, "{case}"),
                    (Err(fault), _) => panic!("{case}: {fault}"),
                }
            }
        }
    }

    #[test]
    fn the_environment_of_a_task_is_above_the_images_and_its_user_is_the_tasks() {
        // DR-07
        let config = Config {
            command: words("c"),
            environment: ["A=image", "B=x=y", "C", "=d", "A=later"]
                .map(str::to_owned)
                .into(),
            user: Some("nobody".into()),
            working_directory: Some("srv".into()),
            ..Config::default()
        };
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut command = CommandInfo {
            environment: vec![variable("B", "task"), variable("Z", "")],
            ..CommandInfo::default()
        };
        let merged = config.merge(&command, None).unwrap();
        let expected = [
            variable("A", "later"),
            variable("B", "task"),
            variable("Z", ""),
        ];
        assert_eq!(merged.environment, expected);
        assert_eq!(merged.user, None);
        assert_eq!(merged.working_directory.as_deref(), Some("/srv"));
        command.user = Some("alice".into());
        let merged = config.merge(&command, Some("/own")).unwrap();
        assert_eq!(merged.user.as_deref(), Some("alice"));
        assert_eq!(merged.working_directory.as_deref(), Some("/own"));
        let none = Config::default()
            .merge(&CommandInfo::shell("x"), None)
            .unwrap();
        assert_eq!(none.working_directory, None);
    }

    #[test]
    fn null_in_a_configuration_is_nothing() {
        let text = r#"{"Entrypoint":null,"Cmd":["a"],"Env":null,"User":"","WorkingDir":"/w",
            "Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"StopSignal":"INT",
            "Unknown":[1]}"#;
        let written: Written = serde_json::from_str(text).unwrap();
        let config = Config::from(written);
        assert_eq!(config.command, ["a"]);
        assert_eq!((config.user, config.entrypoint.len()), (None, 0));
        assert_eq!(config.working_directory.as_deref(), Some("/w"));
        assert!(config.volumes.contains("/v") && config.exposed_ports.contains("80/tcp"));
        assert_eq!(config.stop_signal.as_deref(), Some("INT"));
    }
}
