//! `tepui run` and `tepui dev` without a cluster to talk to: they bring their own, in the same
//! process, and leave nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use common::{
    AGENT, Dir, Ended, NO_PROCESS, Process, TEPUI, command, is_root_or_skip, processes_about,
    task_of,
};
use serde_json::Value;

/// Starts `tepui` where the directory of its cluster is below `dir`.
fn start(dir: &Dir, args: &[&str]) -> Process {
    let mut tepui = command(TEPUI);
    tepui.args(args).env("TMPDIR", dir.path());
    Process::start(tepui)
}

/// Checks that neither a process nor a file is left of what used `dir`.
fn nothing_is_left_of(dir: &Dir) {
    // The launcher, the containers and their processes all hold something below it.
    assert_eq!(processes_about(dir.text()), NO_PROCESS);
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("it is there").count(),
        0
    );
}

const HELLO: &[&str] = &[
    "--cpus",
    "0.5",
    "--mem",
    "64",
    "--",
    "sh",
    "-c",
    "echo hello from $TEPUI_TASK_ID; exit 3",
];

#[test]
fn the_first_command_of_the_readme() {
    let dir = Dir::new();
    let ended = start(&dir, &[&["run"], HELLO].concat()).end().with(3);
    let task = task_of(&ended.err);
    assert_eq!(ended.out, format!("hello from {task}\n"));
    let mode = match is_root_or_skip("the mode of a run by root") {
        true => "tasks run in container (",
        false => "tasks run in process (not root)",
    };
    ended.says(&[
        mode,
        "tepui: offer ",
        &format!("tepui: task {task} staging (cpus:0.5;mem:64)"),
        &format!("tepui: task {task} running"),
        &format!("tepui: task {task} failed: exit code 3"),
        "(cpus:0.5;mem:64)",
    ]);
    nothing_is_left_of(&dir);
}

#[test]
fn json_is_one_object_a_line() {
    let dir = Dir::new();
    let args = [&["run", "--json"], HELLO].concat();
    let ended = start(&dir, &args).end().with(3);
    assert_eq!(ended.err, "");
    let parse = |line| serde_json::from_str(line).expect("every line is JSON");
    let steps: Vec<Value> = ended.out.lines().map(parse).collect();
    let states: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["state"].as_str())
        .collect();
    assert_eq!(states, ["staging", "running", "failed"]);
    let told: BTreeSet<&str> = steps
        .iter()
        .filter_map(|step| step["event"].as_str())
        .collect();
    assert!(told.is_superset(&BTreeSet::from(["cluster", "offer", "output"])));
    let task = steps.iter().find_map(|step| step["task"].as_str()).unwrap();
    let text: String = steps
        .iter()
        .filter_map(|step| step["text"].as_str())
        .collect();
    assert_eq!(text, format!("hello from {task}\n"));
    let last = steps.last().unwrap();
    assert_eq!(last, &serde_json::json!({ "event": "exit", "code": 3 }));
}

#[test]
fn more_memory_than_allowed_ends_the_task() {
    // TK-41
    if !is_root_or_skip("a memory limit") {
        return;
    }
    let dir = Dir::new();
    // One line of 300 MiB, which tail keeps in memory.
    let greedy = "head -c 300M /dev/zero | tail -n 1 | wc -c";
    let args = ["run", "--mem", "64", "--", "sh", "-c", greedy];
    let ended = start(&dir, &args).end().with(137);
    let task = task_of(&ended.err);
    ended.says(&[
        &format!("tepui: task {task} failed: "),
        "container-limitation-memory; used ",
        " MiB of memory, the limit is 64 MiB",
    ]);
    nothing_is_left_of(&dir);
}

#[test]
fn a_task_sees_nothing_of_its_agent_but_its_sandbox() {
    if !is_root_or_skip("a container") {
        return;
    }
    let dir = Dir::new();
    // All of the cluster is below one directory: journals, keys, sandboxes.
    let script = format!(
        "find {0} -type f ! -path \"$TEPUI_SANDBOX/*\"; ls ../..; echo mine > file && cat file
         [ $(pwd -P) = $TEPUI_SANDBOX ] && echo here
         touch {0}/tepui-*/file || echo refused; ls {0}",
        dir.text()
    );
    let ended = start(&dir, &["run", "--", "sh", "-c", &script]).end();
    let cluster = ended.out.lines().last().unwrap_or_default();
    let below = ended.out.lines().next().unwrap_or_default();
    assert!(!cluster.is_empty() && !below.is_empty(), "{}", ended.err);
    assert_eq!(
        ended.out,
        format!("{below}\nmine\nhere\nrefused\n{cluster}\n")
    );
    ended.with(0);
    nothing_is_left_of(&dir);
}

#[test]
fn a_fork_bomb_stays_small_and_goes_entirely() {
    if !is_root_or_skip("a limit of processes") {
        return;
    }
    let dir = Dir::new();
    let marker = format!("MARKER={}", dir.text());
    // The inner shell goes on until it may not fork any more; what it forked stays.
    let bomb = "(while :; do setsid sleep 600 & done) 2>/dev/null; echo full; exec sleep 600";
    let flags = ["run", "--pids", "40", "--env", &marker];
    let mut run = start(&dir, &[&flags[..], &["--", "sh", "-c", bomb]].concat());
    run.until_it_says(" running");
    common::wait_for("no more forks", || (run.out() == "full\n").then_some(()));
    let mut inside = processes_about(&marker);
    inside.retain(|pid| *pid != run.pid());
    assert!(
        (30..=40).contains(&inside.len()),
        "{} processes",
        inside.len()
    );
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", inside[0])).unwrap();
    let ours = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let ours: Vec<String> = ours
        .filter(|path| path.contains("/tepui/"))
        .map(Into::into)
        .collect();
    assert!(!ours.is_empty(), "{groups}");

    common::signal(run.pid(), "INT");
    let ended = run.end().with(130);
    ended.says(&[" killed"]);
    assert_eq!(processes_about(&marker), NO_PROCESS);
    nothing_is_left_of(&dir);
    for hierarchy in ["", "pids", "cpu", "memory"] {
        for group in &ours {
            let path = format!("/sys/fs/cgroup/{hierarchy}{group}");
            assert!(!std::path::Path::new(&path).exists(), "{path} is left");
        }
    }
}

#[test]
fn on_a_terminal_a_spinner_turns_while_there_is_nothing_but_to_wait() {
    let dir = Dir::new();
    let mut tepui = command(TEPUI);
    tepui.args(["run", "--cpus", "100000", "--", "true"]);
    tepui.env("TMPDIR", dir.path()).env("TERM", "xterm");
    let run = Process::start_on_terminal(tepui);
    common::wait_for("a spinner that turns", || {
        let text = run.err();
        let turns = text
            .chars()
            .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c));
        (turns.collect::<BTreeSet<char>>().len() >= 3).then_some(())
    });
    common::signal(run.pid(), "INT");
    let text = run.end().with(130).err;
    assert!(text.contains("\u{2801} waiting for an offer"), "{text:?}");
    // Steps stand on lines of their own: the spinner is cleared away before each.
    assert!(text.contains("\r\u{1b}[2K"), "{text:?}");
    let steps = text
        .split(['\r', '\n'])
        .map(|line| line.trim_start_matches("\u{1b}[2K"));
    let mut steps = steps.filter(|line| line.contains("tepui: "));
    assert!(steps.all(|line| line.starts_with("tepui: ")), "{text:?}");
    nothing_is_left_of(&dir);
}

#[test]
fn what_is_skipped_is_said_even_though_the_test_passes() {
    let test = "more_memory_than_allowed_ends_the_task";
    let all = std::fs::metadata("/proc/self/exe").unwrap().mode() & 0o001;
    if all == 0 {
        return common::skipped("nobody else may execute this test");
    }
    if !is_root_or_skip("another user") {
        return;
    }
    // The same program again, as nobody: through its link, for its path may be out of reach.
    let mut tests = command("/proc/self/exe");
    tests.args(["--exact", test]).uid(65_534).gid(65_534);
    let ended = common::run(tests).with(0);
    assert!(ended.out.contains("1 passed"), "{}", ended.out);
    let line = format!("skipped: {test}: a memory limit: needs root\n");
    assert!(ended.err.contains(&line), "{}", ended.err);
}

#[test]
fn ctrl_c_kills_the_task_and_all_its_processes() {
    let dir = Dir::new();
    let marker = format!("MARKER={}", dir.text());
    // A child of its own session, in the background, that would outlive its shell.
    let script = "setsid sh -c 'sleep 600 & sleep 600' & echo up; wait";
    let args = ["run", "--env", &marker, "--", "sh", "-c", script];
    let run = start(&dir, &args);
    common::wait_for("the task to be up", || {
        // The shell of the task, the one in the new session, and two that sleep.
        (run.out() == "up\n" && processes_about(&marker).len() >= 4).then_some(())
    });
    common::signal(run.pid(), "INT");
    let ended = run.end().with(130);
    let task = task_of(&ended.err);
    ended.says(&[
        &format!("tepui: killing task {task}: interrupted"),
        &format!("tepui: task {task} killed"),
    ]);
    nothing_is_left_of(&dir);
}

#[test]
fn even_a_cluster_of_its_own_speaks_quic_on_loopback() {
    let dir = Dir::new();
    let mut run = start(&dir, &["run", "--", "sleep", "600"]);
    run.until_it_says(" running");
    let addresses = udp_sockets_of(run.pid());
    assert!(!addresses.is_empty());
    assert!(
        addresses.iter().all(|one| one.starts_with("127.0.0.1:")),
        "{addresses:?}"
    );
    // The master and the agent listen; the sockets of clients do not answer.
    let speak = addresses
        .iter()
        .filter_map(|one| common::quic_versions(one));
    let versions: Vec<Vec<u32>> = speak.collect();
    assert_eq!(versions.len(), 2, "{addresses:?}: {versions:?}");
    assert!(
        versions.iter().all(|versions| versions.contains(&1)),
        "{versions:x?}"
    );
    common::signal(run.pid(), "INT");
    run.end().with(130);
    nothing_is_left_of(&dir);
}

/// Returns the local addresses of the UDP sockets that a process has open.
fn udp_sockets_of(pid: u32) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let links: BTreeSet<String> = links
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/udp")).expect("it runs");
    let mut addresses = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if !links.contains(&format!("socket:[{}]", fields[9])) {
            continue;
        }
        let (ip, port) = fields[1].split_once(':').expect("IP:PORT");
        // In the byte order of the machine.
        let ip = u32::from_str_radix(ip, 16)
            .expect("hexadecimal")
            .to_ne_bytes();
        let port = u16::from_str_radix(port, 16).expect("hexadecimal");
        addresses.push(format!("{}:{port}", std::net::Ipv4Addr::from(ip)));
    }
    addresses
}

#[test]
fn dev_prints_how_to_join_and_ends_clean() {
    let dir = Dir::new();
    let dev = start(&dir, &["dev"]);
    let joining = common::wait_for("how to join", || {
        let out = dev.out();
        let line = out.lines().find_map(|line| line.strip_prefix("export "));
        // Whole only if it is not the last one.
        out.contains("# Ctrl-C")
            .then(|| line.expect("printed before").to_owned())
    });
    let variables: Vec<(&str, &str)> = joining
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    let [("TEPUI_MASTER", master), ("TEPUI_TLS_DIR", _)] = variables[..] else {
        panic!("{joining}");
    };
    let versions = common::quic_versions(master).expect("it answers");
    assert!(versions.contains(&1), "{versions:x?}");

    let tepui = |args: &[&str]| -> Ended {
        let mut tepui = command(TEPUI);
        tepui.args(args).envs(variables.iter().copied());
        common::run(tepui)
    };
    let ended = tepui(&["run", "--", "echo", "hello"]).with(0);
    assert_eq!(ended.out, "hello\n");
    assert!(!ended.err.contains("started a cluster"), "{}", ended.err);
    common::signal(dev.pid(), "INT");
    dev.end().with(0);
    assert_eq!(common::quic_versions(master), None, "it is gone");
    nothing_is_left_of(&dir);
}

#[test]
fn the_lines_that_dev_prints_work_as_they_are() {
    let (dir, here) = (Dir::new(), Dir::new());
    let dev = start(&dir, &["dev"]);
    let lines = common::wait_for("how to join", || {
        let out = dev.out();
        out.contains("# Ctrl-C").then_some(out)
    });
    let export = lines.lines().find(|line| line.starts_with("export "));
    let export = export.expect("the variables of clients").to_owned();
    // A shell in another directory, with our programs in its path, reads exactly what was printed.
    let shell = |script: &str| {
        let programs = std::path::Path::new(TEPUI)
            .parent()
            .unwrap()
            .to_str()
            .unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = command("sh");
        shell.env("PATH", format!("{programs}:{path}"));
        shell.args(["-e", "-c", script]).current_dir(here.path());
        shell
    };
    let mut joined = Process::start(shell(&lines));
    // The last of the lines is the agent, which stays.
    joined.until_it_says("agent a2");
    let list = format!("{export}\ntepui agent list -o json");
    let agents = common::wait_for("both agents", || {
        let ended = common::run(shell(&list)).with(0);
        let agents: Value = serde_json::from_str(&ended.out).expect("JSON");
        (agents.as_array()?.len() == 2).then_some(agents)
    });
    let connected = agents.as_array().unwrap().iter();
    assert!(
        connected.clone().all(|agent| agent["connected"] == true),
        "{agents}"
    );
    // What came before it did what it says.
    let out = joined.out();
    assert!(out.starts_with("hello\n"), "{out}");
    assert!(out.contains("finished"), "the task is listed: {out}");

    let agent = processes_about("--work-dir\0a2");
    let [agent] = agent[..] else {
        panic!("one agent: {agent:?}");
    };
    common::signal(agent, "TERM");
    joined.end().with(0);
    common::signal(dev.pid(), "INT");
    dev.end().with(0);
    nothing_is_left_of(&dir);
    common::remove_control_groups(&here.join("a2"));
}

/// Takes the place of the agent of a cluster below `dir`, which then ends.
fn take_the_agents_place(dir: &Dir, master: &str) -> (Process, Dir) {
    let private = std::fs::read_dir(dir.path()).unwrap().next();
    let private = private.expect("the cluster's directory").unwrap().path();
    let here = Dir::new();
    let mut agent = command(AGENT);
    agent.args([
        "--master",
        master,
        "--process",
        "--registration-backoff",
        "0s",
    ]);
    agent.arg("--tls-dir").arg(private.join("tls/agent-1"));
    agent.arg("--work-dir").arg(here.path());
    (Process::start(agent), here)
}

#[test]
fn a_cluster_that_loses_a_node_ends() {
    let dir = Dir::new();
    let dev = start(&dir, &["dev", "--process"]);
    let master = common::wait_for("the master's address", || {
        let out = dev.out();
        let (_, rest) = out.split_once("TEPUI_MASTER=")?;
        Some(rest.split_once(' ')?.0.to_owned())
    });
    let replaced = take_the_agents_place(&dir, &master);
    dev.end()
        .with(1)
        .says(&["ending the cluster", "taken our place"]);
    drop(replaced);
    nothing_is_left_of(&dir);

    // One that waits for an offer would wait for ever.
    let mut run = start(
        &dir,
        &["run", "--process", "--cpus", "100000", "--", "true"],
    );
    run.until_it_says("subscribed");
    let addresses = udp_sockets_of(run.pid());
    let taking = addresses.iter().map(|one| take_the_agents_place(&dir, one));
    let replaced: Vec<_> = taking.collect();
    run.end()
        .with(125)
        .says(&["the cluster: ", "taken our place"]);
    drop(replaced);
    nothing_is_left_of(&dir);
}
