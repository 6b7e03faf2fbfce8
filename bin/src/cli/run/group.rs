//! The file of `tepui run --group`: tasks that are launched together, on one agent.
//!
//! Deliberately not here: what becomes of them (see `plan`), and what an agent gives to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tepui_core::ids::TaskId;
use tepui_core::limits;
use tepui_core::protocol::container_info::{
    Access, ContainerInfo, Image, IpcMode, NetworkInfo, Uri, Volume, VolumeSource,
};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Resources;

use super::container::{filled, volume};
use super::plan::{Common, Plan, Template};
use crate::cli::failure::Failure;
use crate::cli::values;

const FLAG: &str = "--group";

/// What a group takes beside its tasks, unless it says so: the least that it may.
const LEAST: &str = "cpus:0.01;mem:32";

/// What a task takes that does not say it, as without a file.
const CPUS: &str = "1";
const MEM: &str = "128";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    /// What is taken for all of them together.
    resources: Option<String>,
    /// Networks that all of them are in.
    #[serde(default)]
    networks: Vec<String>,
    tasks: Vec<TaskFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    /// Its own in the group; it stands before each line of its output.
    name: String,
    /// Without one it is the image that says what is run.
    command: Option<Words>,
    cpus: Option<Amount>,
    mem: Option<Amount>,
    resources: Option<String>,
    pids: Option<u32>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    image: Option<String>,
    #[serde(default)]
    volumes: Vec<String>,
    /// Directories that it has in common with those that name them too.
    #[serde(default)]
    shared: Vec<String>,
    /// Whether it has IPC objects and `/dev/shm` in common with those that say so too.
    #[serde(default)]
    shared_memory: bool,
    #[serde(default)]
    uris: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a shell command, or an array of a program and its arguments"
)]
enum Words {
    Shell(String),
    Exec(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a text such as \"0.5\"")]
enum Amount {
    Number(serde_json::Number),
    Text(String),
}

impl Amount {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Reads a group; `id` is what the ids of its tasks begin with.
pub(super) fn read(file: &Path, id: &str, kill_grace: Option<Duration>) -> Result<Plan, Failure> {
    let refused = |problem: String| Failure::usage(FLAG, &file.display().to_string(), problem);
    let mut text = Vec::new();
    // A group that is larger would be refused, and a device has no end.
    let most = limits::TASK_BYTES;
    let opened = File::open(file).and_then(|opened| {
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        opened.take(bound).read_to_end(&mut text)
    });
    match opened {
        Err(error) => {
            let expected = "expected a JSON file such as `tepui run --help` shows";
            return Err(refused(format!("{error}; {expected}")));
        }
        Ok(bytes) if bytes > most => {
            return Err(refused(format!("expected at most {most} bytes")));
        }
        Ok(_) => {}
    }
    let group: GroupFile = serde_json::from_slice(&text).map_err(|error| refused(said(&error)))?;
    group.plan(id, kill_grace).map_err(refused)
}

/// Has what is unknown told like everything else.
fn said(error: &serde_json::Error) -> String {
    error.to_string().replace('`', "\"")
}

impl GroupFile {
    fn plan(self, id: &str, kill_grace: Option<Duration>) -> Result<Plan, String> {
        let (count, most) = (self.tasks.len(), limits::TASKS_PER_GROUP);
        if count == 0 || count > most {
            return Err(format!("it has {count} tasks; expected 1 to {most}"));
        }
        let text = self.resources.as_deref().unwrap_or(LEAST);
        let resources = within("resources", values::resources(text))?;
        let mut wanted = resources.clone();
        let (mut tasks, mut names) = (Vec::new(), BTreeSet::new());
        for task in self.tasks {
            let name = task.name.clone();
            let of_it = |problem: String| format!("task {name:?}: {problem}");
            if !names.insert(name.clone()) {
                return Err(of_it(
                    "expected another name, for one has it already".into(),
                ));
            }
            let task = task.template(id, kill_grace).map_err(of_it)?;
            add(&mut wanted, &task.resources).map_err(of_it)?;
            tasks.push(task);
        }
        let networks = self.networks.iter().map(|name| {
            let name = within("networks", filled(name))?;
            Ok(NetworkInfo {
                name,
                ..NetworkInfo::default()
            })
        });
        let asked = ContainerInfo {
            networks: networks.collect::<Result<_, String>>()?,
            ..ContainerInfo::default()
        };
        let common = Common {
            id: id.to_owned(),
            resources,
            container: some(asked),
        };
        let plan = Plan::group(tasks, common, wanted);
        plan.check()?;
        Ok(plan)
    }
}

impl TaskFile {
    fn template(self, id: &str, kill_grace: Option<Duration>) -> Result<Template, String> {
        let name = within("name", values::name(&self.name))?;
        let id = format!("{id}-{name}");
        // What is launched again has a longer one.
        let longest = format!("{id}.99");
        TaskId::new(&longest).map_err(|error| format!("name: {error}"))?;
        Ok(Template {
            id,
            name,
            resources: self.resources()?,
            command: self.command()?,
            container: self.container()?,
            health_check: None,
            kill_grace,
            pids: self.pids,
        })
    }

    fn resources(&self) -> Result<Resources, String> {
        let text = |amount: &Option<Amount>, default: &str| match amount {
            Some(amount) => amount.text(),
            None => default.to_owned(),
        };
        let cpus = within("cpus", values::cpus(&text(&self.cpus, CPUS)))?;
        let mem = within("mem", values::memory(&text(&self.mem, MEM)))?;
        let mut resources = Resources::cpus_mem(cpus, mem);
        let Some(more) = &self.resources else {
            return Ok(resources);
        };
        let more = within("resources", values::resources(more))?;
        let mut names = more.iter().map(|one| one.name());
        if let Some(twice) = names.find(|name| ["cpus", "mem"].contains(name)) {
            return Err(format!(
                "resources: expected no {twice}, for which there is \"{twice}\""
            ));
        }
        add(&mut resources, &more)?;
        Ok(resources)
    }

    fn command(&self) -> Result<CommandInfo, String> {
        let mut command = match &self.command {
            Some(Words::Shell(text)) if !text.is_empty() => CommandInfo::shell(text.as_str()),
            Some(Words::Shell(_)) => return Err("command: expected something to run".into()),
            Some(Words::Exec(words)) => {
                within("command", values::command(words))?;
                let (program, arguments) = words.split_first().ok_or("command: empty")?;
                CommandInfo::exec(program, arguments)
            }
            None if self.image.is_some() => CommandInfo::exec("", [""; 0]),
            None => return Err("expected \"command\", or an \"image\" that has one".into()),
        };
        for (name, value) in &self.env {
            let variable = values::variable(&format!("{name}={value}"));
            command.environment.push(within("env", variable)?);
        }
        for uri in &self.uris {
            command.uris.push(Uri::new(within("uris", filled(uri))?));
        }
        Ok(command)
    }

    fn container(&self) -> Result<Option<Box<ContainerInfo>>, String> {
        let image = self.image.as_deref().map(filled).transpose();
        let image = within("image", image)?.map(|reference| Image {
            reference,
            cached: true,
        });
        let own = self.volumes.iter();
        let own = own.map(|text| within("volumes", volume(text)));
        let shared = self.shared.iter();
        let shared = shared.map(|text| within("shared", shared_volume(text)));
        let ipc = match self.shared_memory {
            true => IpcMode::ShareParent,
            false => IpcMode::default(),
        };
        Ok(some(ContainerInfo {
            image,
            ipc,
            volumes: own.chain(shared).collect::<Result<_, _>>()?,
            ..ContainerInfo::default()
        }))
    }
}

/// Returns a directory of the group's sandbox, which its tasks see under the same path.
fn shared_volume(path: &str) -> Result<Volume, String> {
    let parts = || path.split('/');
    if path.is_empty() || parts().any(|part| ["", ".", ".."].contains(&part)) {
        return Err(format!(
            "expected a path below the sandbox such as data, not {path:?}"
        ));
    }
    Ok(Volume {
        path: path.to_owned(),
        access: Access::Write,
        source: VolumeSource::Parent {
            path: path.to_owned(),
        },
    })
}

/// Adds what a task takes; no port may be taken twice.
fn add(sum: &mut Resources, more: &Resources) -> Result<(), String> {
    if let Some(twice) = sum.overlap(more) {
        return Err(format!("resources: {twice} is taken twice in the group"));
    }
    sum.add(more).map_err(|error| format!("resources: {error}"))
}

/// Asks for nothing if there is nothing to ask for.
fn some(asked: ContainerInfo) -> Option<Box<ContainerInfo>> {
    (asked != ContainerInfo::default()).then(|| Box::new(asked))
}

/// Says where in a task something is wrong.
fn within<T>(field: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|problem| format!("{field}: {problem}"))
}

#[cfg(test)]
mod tests {
    use tepui_core::ids::{AgentId, FrameworkId, OfferId};
    use tepui_core::protocol::offer::{Offer, Operation};
    use tepui_core::protocol::validate_group;

    use super::*;

    fn parse(text: &str) -> Result<Plan, String> {
        let group: GroupFile = serde_json::from_str(text).map_err(|error| said(&error))?;
        group.plan("run-1", Some(Duration::from_secs(7)))
    }

    const PAIR: &str = r#"{
        "resources": "cpus:0.1;mem:32;disk:64", "networks": ["net"],
        "tasks": [
            { "name": "web", "command": ["./serve", "-p", "8000"], "cpus": 0.5, "mem": "64M",
              "resources": "ports:[8000-8000]", "pids": 9, "env": { "K": "V", "A": "" },
              "shared": ["pages"], "shared_memory": true, "uris": ["/a/tool"] },
            { "name": "pull", "command": "git pull", "image": "git:2", "volumes": ["/k:/k:ro"] }
        ] }"#;

    // TK-15, TK-91: what is read is what the master takes.
    #[test]
    fn a_file_says_all_of_a_group() {
        let mut plan = parse(PAIR).unwrap();
        assert_eq!(
            plan.wanted().to_string(),
            "cpus:1.6;disk:64;mem:224;ports:[8000-8000]"
        );
        assert_eq!(plan.host_paths(), [Path::new("/k")]);
        let offer = Offer::new(
            OfferId::new("o").unwrap(),
            FrameworkId::new("f").unwrap(),
            AgentId::new("a").unwrap(),
            Resources::parse("cpus:2;mem:1000;disk:100;ports:[7999-8001]").unwrap(),
        );
        let tasks = plan.consider(&offer);
        let Operation::LaunchGroup(group) = plan.operation(tasks) else {
            panic!("tasks are launched together");
        };
        assert_eq!(group.executor.id.as_str(), "run-1");
        assert_eq!(
            group.executor.resources.to_string(),
            "cpus:0.1;disk:64;mem:32"
        );
        let common = group.executor.container.as_ref().unwrap();
        assert_eq!(common.networks[0].name, "net");
        let [web, pull] = &group.tasks[..] else {
            panic!("two tasks");
        };
        assert_eq!((web.id.as_str(), web.name.as_str()), ("run-1-web", "web"));
        let variables = [("A", ""), ("K", "V")].map(|(name, value)| (name.into(), value.into()));
        let serve = CommandInfo {
            environment: variables.into(),
            uris: vec![Uri::new("/a/tool")],
            ..CommandInfo::exec("./serve", ["-p", "8000"])
        };
        assert_eq!(web.command, Some(serve));
        assert_eq!((web.pids, web.kill_grace), (Some(9), pull.kill_grace));
        assert_eq!(web.kill_grace, Some(Duration::from_secs(7)));
        let asked = web.container.as_ref().unwrap();
        assert_eq!(asked.ipc, IpcMode::ShareParent);
        assert_eq!(asked.volumes, [shared_volume("pages").unwrap()]);
        assert_eq!(pull.command, Some(CommandInfo::shell("git pull")));
        assert_eq!(pull.resources.to_string(), "cpus:1;mem:128");
        let asked = pull.container.as_ref().unwrap();
        assert_eq!(asked.image.as_ref().unwrap().reference, "git:2");
        assert_eq!(asked.volumes, [volume("/k:/k:ro").unwrap()]);
        let tasks = group.into_tasks().unwrap();
        validate_group::check_group(&tasks).unwrap();
        for task in &tasks {
            validate_group::check_member(task).unwrap();
        }
    }

    // The least that a group may take is what it takes (TK-14).
    #[test]
    fn a_group_takes_little_beside_its_tasks() {
        let plan = parse(r#"{ "tasks": [ { "name": "a", "image": "app" } ] }"#).unwrap();
        assert_eq!(plan.wanted().to_string(), "cpus:1.01;mem:160");
        assert_eq!(plan.host_paths(), [""; 0].map(Path::new));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let task = |more: &str| format!(r#"{{ "tasks": [ {{ "name": "a"{more} }} ] }}"#);
        let twice = r#"{ "name": "a", "command": "x", "resources": "ports:[5-6]" }"#;
        let other = twice.replace("\"a\"", "\"b\"");
        let many = vec![twice; limits::TASKS_PER_GROUP + 1].join(",");
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1"),
            ("{}", "missing field \"tasks\" at line 1"),
            (r#"{ "tasks": [] }"#, "it has 0 tasks; expected 1 to 256"),
            (&format!("{{ \"tasks\": [{many}] }}"), "it has 257 tasks"),
            (
                &format!("{{ \"tasks\": [{twice}, {twice}] }}"),
                "task \"a\": expected another name",
            ),
            (
                &format!("{{ \"tasks\": [{twice}, {other}] }}"),
                "task \"b\": resources: ports:[5-6] is taken twice in the group",
            ),
            (
                r#"{ "resources": "cpu", "tasks": [ { "name": "a", "command": "x" } ] }"#,
                "resources: ",
            ),
            (
                r#"{ "networks": [""], "tasks": [ { "name": "a", "command": "x" } ] }"#,
                "networks: expected something",
            ),
            (&task(r#", "cmd": "x""#), "unknown field \"cmd\""),
            (&task(r#", "command": 5"#), "an array of a program"),
            (&task(""), "task \"a\": expected \"command\""),
            (&task(r#", "command": "" "#), "command: expected something"),
            (&task(r#", "command": [] "#), "command: expected a program"),
            (
                &task(r#", "command": "x", "cpus": -1"#),
                "task \"a\": cpus: at 0: no digit; expected a number of cores",
            ),
            (
                &task(r#", "command": "x", "cpus": true"#),
                "expected a number, or a text",
            ),
            (
                &task(r#", "command": "x", "mem": "5X""#),
                "mem: at 1: the unit is unknown",
            ),
            (
                &task(r#", "command": "x", "resources": "mem:5""#),
                "resources: expected no mem, for which there is \"mem\"",
            ),
            (
                &task(r#", "command": "x", "env": { "": "" }"#),
                "task \"a\": env: ",
            ),
            (
                &task(r#", "command": "x", "shared": ["../b"]"#),
                "shared: expected a path below the sandbox",
            ),
            // TK-14: what the master would refuse
            (
                r#"{ "resources": "cpus:1", "tasks": [ { "name": "a", "command": "x" } ] }"#,
                "task \"a\": the executor of a group has 0 mem, less than 32",
            ),
            (
                &task(r#", "command": "x", "volumes": ["/"]"#),
                "volumes: expected [SOURCE:]PATH",
            ),
            (
                r#"{ "tasks": [ { "name": "a/b", "command": "x" } ] }"#,
                "task \"a/b\": name: invalid task id",
            ),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
