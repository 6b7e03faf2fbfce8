//! A cluster of real processes, as a user starts and uses it.
//!
//! Each test has a master, an agent in plain-process mode, and directories of its own, so that no
//! privileges are needed. Nothing sleeps blindly: what takes time is asked for again until it is
//! there, and a deadline says so if it never is.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);
const RESOURCES: &str = "cpus:4;mem:512;ports:[31000-31100];labels:{fast,ssd}";

struct Cluster {
    dir: tempfile::TempDir,
    address: String,
    daemons: Vec<Child>,
}

impl Cluster {
    fn without_daemons() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // QUIC is UDP. Nobody else is given this port right away again.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound").to_string();
        Self {
            dir,
            address,
            daemons: Vec::new(),
        }
    }

    fn start() -> Self {
        let mut cluster = Self::without_daemons();
        let mut master = Command::new(env!("CARGO_BIN_EXE_tepui-master"));
        master
            .args(["--listen", &cluster.address, "--work-dir"])
            .arg(cluster.path("master"));
        cluster.spawn(master);
        cluster.wait_for("the master to answer", |cluster| {
            cluster.tepui(&["agent", "list"]).status.success()
        });
        let mut agent = Command::new(env!("CARGO_BIN_EXE_tepui-agent"));
        agent.args([
            "--master",
            &cluster.address,
            "--process",
            "--resources",
            RESOURCES,
        ]);
        agent.args(["--attributes", "rack:r1", "--registration-backoff", "0s"]);
        agent.arg("--tls-dir").arg(cluster.path("master/tls"));
        agent.arg("--work-dir").arg(cluster.path("agent"));
        cluster.spawn(agent);
        cluster.wait_for("the agent to register", |cluster| {
            cluster.lines(&["agent", "list", "-q"]).len() == 1
        });
        cluster
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn spawn(&mut self, mut command: Command) {
        clean(&mut command);
        self.spawn_as_is(command);
    }

    fn spawn_as_is(&mut self, mut command: Command) {
        let log = self.path(&format!("log-{}", self.daemons.len()));
        let log = std::fs::File::create(log).expect("a log file");
        command
            .stderr(log)
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        self.daemons
            .push(command.spawn().expect("the daemon starts"));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tepui"));
        clean(&mut command).args(args).stdin(Stdio::null());
        command.env("TEPUI_MASTER", &self.address);
        command.env("TEPUI_TLS_DIR", self.path("master/tls"));
        command
    }

    fn tepui(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("tepui starts")
    }

    fn lines(&self, args: &[&str]) -> Vec<String> {
        let output = self.tepui(args);
        assert!(
            output.status.success(),
            "{args:?}: {output:?}{}",
            self.logs()
        );
        text(&output.stdout).lines().map(Into::into).collect()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.tepui(&[args, &["-o", "json"]].concat());
        assert!(
            output.status.success(),
            "{args:?}: {output:?}{}",
            self.logs()
        );
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The state of the only task, ended or not.
    fn state(&self) -> Option<String> {
        let tasks = self.json(&["ps", "-a"]);
        tasks[0]["state"].as_str().map(Into::into)
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_there(self) {
            assert!(
                begun.elapsed() < DEADLINE,
                "waited in vain for {what}{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self) -> String {
        let logs = (0..self.daemons.len()).map(|n| self.path(&format!("log-{n}")));
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default())
            .fold(String::from("\nlogs of the daemons:\n"), |all, log| {
                all + &log
            })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The agent first, while it has a master; each ends in good order.
        while let Some(mut daemon) = self.daemons.pop() {
            signal(&daemon, "TERM");
            let ended = daemon.wait();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEPUI_") {
            command.env_remove(name);
        }
    }
    for directory in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(directory, env!("CARGO_TARGET_TMPDIR"));
    }
    command
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.is_ok_and(|status| status.success()) || std::thread::panicking());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `tepui run` whose steps are read as they come.
struct Run {
    child: Child,
    steps: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Run {
    fn start(cluster: &Cluster, args: &[&str]) -> Self {
        Self::of(cluster.command(&[&["run"], args].concat()))
    }

    fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tepui starts");
        let steps = BufReader::new(child.stderr.take().expect("it is piped"));
        Self {
            child,
            steps,
            seen: String::new(),
        }
    }

    /// Reads steps up to one that contains `part`.
    fn until(&mut self, part: &str) {
        loop {
            let begin = self.seen.len();
            let read = self.steps.read_line(&mut self.seen).expect("text in UTF-8");
            assert!(read > 0, "the end, but no {part:?} in:\n{}", self.seen);
            if self.seen[begin..].contains(part) {
                return;
            }
        }
    }

    fn end(mut self) -> (Option<i32>, String) {
        let read = self.steps.read_to_string(&mut self.seen);
        read.expect("text in UTF-8");
        let status = self.child.wait().expect("it is our child");
        (status.code(), self.seen)
    }
}

#[test]
fn a_run_shows_its_steps_and_passes_on_output_and_exit_code() {
    let cluster = Cluster::start();
    let script = "echo hello from $TEPUI_TASK_ID; echo oops >&2; echo $GREETING; exit 3";
    let args = [
        "run",
        "--cpus",
        "0.5",
        "--mem",
        "64",
        "--env",
        "GREETING=hi",
        "--",
        "sh",
        "-c",
    ];
    let output = cluster.tepui(&[&args[..], &[script]].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(3),
        "{out}{err}{}",
        cluster.logs()
    );
    let task = out
        .strip_prefix("hello from ")
        .and_then(|rest| rest.lines().next());
    let task = task.expect("the first line names the task");
    assert_eq!(out, format!("hello from {task}\nhi\n"));
    assert!(err.lines().any(|line| line == "oops"), "{err}");
    let steps = [
        "tepui: subscribed as framework ",
        "tepui: offer ",
        &format!("tepui: task {task} staging (cpus:0.5;mem:64)"),
        &format!("tepui: task {task} running"),
        &format!("tepui: task {task} failed: exit code 3"),
    ];
    let mut rest = err.as_str();
    for step in steps {
        let at = rest.find(step);
        rest = &rest[at.unwrap_or_else(|| panic!("no {step:?} in its order in:\n{err}"))..];
    }
}

#[test]
fn json_is_one_object_a_line_to_the_exit() {
    let cluster = Cluster::start();
    let lines = cluster.lines(&["run", "--json", "--", "printf", "a\\nb"]);
    let steps: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let output = steps.iter().filter(|step| step["event"] == "output");
    let output: String = output.filter_map(|step| step["text"].as_str()).collect();
    assert_eq!(output, "a\nb");
    let mut states = steps.iter().filter(|step| step["event"] == "task");
    let last = states.next_back().expect("a task");
    assert_eq!(
        (&last["state"], &last["exit"]["code"]),
        (&"finished".into(), &0.into())
    );
    assert_eq!(
        steps.last(),
        Some(&serde_json::json!({ "event": "exit", "code": 0 }))
    );
}

#[test]
fn lists_of_agents_frameworks_offers_and_tasks() {
    let cluster = Cluster::start();
    let agents = cluster.json(&["agent", "list"]);
    let amounts = &agents[0]["resources"]["amounts"];
    assert_eq!(
        (&amounts["cpus"], &amounts["ports"]),
        (&4.0.into(), &101.0.into())
    );
    assert_eq!(
        (&agents[0]["connected"], &agents[0]["attributes"]),
        (&true.into(), &"rack:r1".into())
    );
    let table = cluster.lines(&["agent", "list"]);
    assert!(
        table[0].starts_with("ID ") && table[0].contains(" RESOURCES "),
        "{table:?}"
    );
    assert!(
        table[1].contains("cpus:4;") && table[1].contains("ports:[31000-31100]"),
        "{table:?}"
    );
    assert_eq!(cluster.json(&["framework", "list"]), serde_json::json!([]));
    assert_eq!(cluster.json(&["ps"]), serde_json::json!([]));

    let mut run = Run::start(&cluster, &["--name", "idle", "--", "sleep", "600"]);
    run.until(" running");
    let frameworks = cluster.json(&["framework", "list"]);
    assert_eq!(
        (&frameworks[0]["tasks"], &frameworks[0]["roles"]),
        (&1.into(), &serde_json::json!(["*"]))
    );
    let tasks = cluster.json(&["ps"]);
    assert_eq!(
        (&tasks[0]["name"], &tasks[0]["state"]),
        (&"idle".into(), &"running".into())
    );
    assert_eq!(tasks[0]["agent"], agents[0]["id"]);
    let framework = frameworks[0]["id"].as_str().expect("an id");
    assert_eq!(
        cluster.lines(&["ps", "-q", "--framework", framework]).len(),
        1
    );
    assert_eq!(
        cluster.lines(&["ps", "-q", "--framework", "other"]).len(),
        0
    );
    // It has what it wants, so no offer is out.
    assert_eq!(cluster.json(&["offer", "list"]), serde_json::json!([]));
    signal(&run.child, "INT");
    assert_eq!(run.end().0, Some(130));
}

#[test]
fn an_interrupt_kills_the_task_and_waits_for_its_end() {
    let cluster = Cluster::start();
    for name in ["INT", "TERM", "HUP"] {
        if name == "HUP" && ignores_hangup() {
            eprintln!("skipped: SIGHUP: whoever runs the tests has it ignored");
            continue;
        }
        let mut run = Run::start(&cluster, &["--", "sleep", "600"]);
        run.until(" running");
        signal(&run.child, name);
        let (code, steps) = run.end();
        assert_eq!(code, Some(130), "{steps}");
        assert!(
            steps.contains("killing task run-") && steps.contains(" killed"),
            "{steps}"
        );
    }
    assert_eq!(cluster.lines(&["ps", "-q"]).len(), 0);
}

/// Returns whether this process, and so what it starts, was told to ignore SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.expect("in every status").trim(), 16);
    mask.expect("hexadecimal") & 1 == 1
}

#[test]
fn a_run_goes_on_without_its_terminal_if_that_is_asked_for() {
    let cluster = Cluster::start();
    // As `nohup` does it.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let run = cluster.command(&["run", "--", "sleep", "600"]);
    shell.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    let mut run = Run::of(shell);
    run.until(" running");
    signal(&run.child, "HUP");
    // Had it heard that, it would have ended its task by itself.
    let task = cluster.lines(&["ps", "-q"]).pop().expect("it runs");
    cluster.lines(&["kill", &task]);
    let (code, steps) = run.end();
    assert_eq!(code, Some(128 + 15), "{steps}");
    assert!(!steps.contains("interrupted"), "{steps}");
}

#[test]
fn a_task_that_takes_too_long_is_killed() {
    let cluster = Cluster::start();
    let output = cluster.tepui(&["run", "--timeout", "500ms", "--", "sleep", "600"]);
    let steps = text(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{steps}");
    assert!(steps.contains("its time is over"), "{steps}");
}

#[test]
fn a_run_that_fits_nowhere_says_so() {
    let cluster = Cluster::start();
    let mut run = Run::start(&cluster, &["--cpus", "64", "--mem", "64", "--", "true"]);
    run.until("waiting for an offer of cpus:64;mem:64: the largest so far was cpus:4;");
    signal(&run.child, "INT");
    assert_eq!(run.end().0, Some(130));
}

#[test]
fn a_detached_task_is_found_read_and_killed() {
    let cluster = Cluster::start();
    let script = "echo started; exec sleep 600";
    let task = cluster.lines(&["run", "--detach", "--", "sh", "-c", script]);
    let task = task.first().expect("its id").as_str();
    assert_eq!(cluster.state().as_deref(), Some("running"));
    cluster.wait_for("its output", |cluster| {
        cluster.lines(&["logs", task]) == ["started"]
    });
    assert_eq!(cluster.lines(&["logs", "--stderr", task]).len(), 0);
    // A unique beginning will do; nothing begins with this one.
    assert_eq!(cluster.lines(&["kill", &task[..8]]), [task]);
    cluster.wait_for("its end", |cluster| {
        cluster.state().as_deref() == Some("killed")
    });
}

#[test]
fn a_detached_run_takes_leave_in_order() {
    let cluster = Cluster::start();
    let gate = cluster.path("gate");
    let script = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    cluster.lines(&["run", "--detach", "--", "sh", "-c", &script]);
    // A connection that nobody closed would seem to stand for 30 s.
    let frameworks = cluster.json(&["framework", "list"]);
    assert_eq!(
        frameworks[0]["connected"],
        Value::Bool(false),
        "{frameworks}"
    );
    // An acknowledgement that was lost would hold the next update back for 10 s.
    std::fs::write(gate, "").expect("a file");
    let begun = Instant::now();
    cluster.wait_for("its end", |cluster| {
        cluster.state().as_deref() == Some("finished")
    });
    assert!(begun.elapsed() < Duration::from_secs(9), "it was told late");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let cluster = Cluster::start();
    for args in [["kill", "nothing"], ["logs", "nothing"]] {
        let output = cluster.tepui(&args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {output:?}");
        assert_eq!(
            text(&output.stderr),
            "error: no task begins with \"nothing\"; `tepui ps -a` lists them\n"
        );
    }
}

#[test]
fn failures_to_connect_say_what_where_and_what_next() {
    // SE-30: a wrong role is denied.
    let cluster = Cluster::start();
    let mut command = cluster.command(&["ps"]);
    command.env("TEPUI_TLS_DIR", cluster.path("master/tls/framework"));
    let output = command.output().expect("tepui starts");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("does not accept the certificate in"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");

    let nobody = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = nobody.local_addr().expect("it is bound").to_string();
    let output = cluster.tepui(&["ps", "--master", &address, "--timeout", "300ms"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{error}");
    assert!(
        error.starts_with(&format!("error: no master at {address}: ")),
        "{error}"
    );
    assert!(error.contains("is it running?"), "{error}");
    let output = cluster.tepui(&[
        "run",
        "--master",
        &address,
        "--timeout",
        "300ms",
        "--",
        "true",
    ]);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));

    // Another authority's master.
    let foreign = Cluster::start();
    let mut command = cluster.command(&["ps"]);
    command.env("TEPUI_TLS_DIR", foreign.path("master/tls"));
    let output = command.output().expect("tepui starts");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("is not") || error.contains("does not"),
        "{error}"
    );
}

#[test]
fn on_one_machine_a_master_and_one_directory_are_all_that_must_be_named() {
    let mut cluster = Cluster::without_daemons();
    let (address, dir) = (cluster.address.clone(), cluster.path("both"));
    let (state, config) = (cluster.path("state"), cluster.path("config"));
    let mine = move |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        clean(&mut command).args(args).stdin(Stdio::null());
        command
            .env("XDG_STATE_HOME", &state)
            .env("XDG_CONFIG_HOME", &config);
        command
    };
    let mut master = mine(env!("CARGO_BIN_EXE_tepui-master"), &["--listen", &address]);
    master.arg("--work-dir").arg(&dir);
    cluster.spawn_as_is(master);
    let mut agent = mine(env!("CARGO_BIN_EXE_tepui-agent"), &["--master", &address]);
    let port = address.rsplit_once(':').expect("it has a port").1;
    let note = cluster.path("state/tepui/loopback").join(port);
    cluster.wait_for("the master to tell where its certificates are", |_| {
        note.exists()
    });
    agent.args(["--process", "--registration-backoff", "0s"]);
    agent.arg("--work-dir").arg(&dir);
    cluster.spawn_as_is(agent);
    let tepui = |args: &[&str]| {
        let output = mine(env!("CARGO_BIN_EXE_tepui"), args)
            .output()
            .expect("tepui starts");
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, err) = tepui(&["run", "--master", &address, "--", "echo", "here"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "here\n"),
        "{err}{}",
        cluster.logs()
    );

    // A context names the master too.
    let file = cluster.path("config/tepui/config.toml");
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("a directory");
    let text = format!("current = \"here\"\n[contexts.here]\nmaster = \"{address}\"\n");
    std::fs::write(&file, text).expect("a file");
    let (code, out, err) = tepui(&["agent", "list", "-q"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    let (code, _, err) = tepui(&["ps", "--context", "there"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.starts_with("error: --context \"there\": expected a context of "),
        "{err}"
    );

    // What a flag names goes before variables, what a variable names does not.
    for (context, args, code) in [
        (
            "nowhere",
            &["agent", "list", "-q", "--context", "here"][..],
            0,
        ),
        ("here", &["agent", "list", "-q"], 124),
        ("here", &["agent", "list", "--context", "there"], 2),
    ] {
        let mut tepui = mine(env!("CARGO_BIN_EXE_tepui"), args);
        tepui
            .env("TEPUI_MASTER", "127.0.0.1:9")
            .env("TEPUI_TLS_DIR", dir.join("tls"));
        let output = tepui
            .env("TEPUI_CONTEXT", context)
            .args(["--timeout", "2s"])
            .output();
        let output = output.expect("tepui starts");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            self::text(&output.stderr)
        );
    }

    // Somebody else finds no certificates.
    let other = mine(env!("CARGO_BIN_EXE_tepui"), &["ps", "--master", &address])
        .env("XDG_STATE_HOME", cluster.path("other"))
        .output()
        .expect("tepui starts");
    assert_eq!(
        other.status.code(),
        Some(2),
        "{}",
        self::text(&other.stderr)
    );
}
