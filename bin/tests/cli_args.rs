//! What the binaries say to bad command lines, and the commands that need no cluster.
//!
//! Each case starts the real binary: the exit code and the one line on standard error are what a
//! user sees.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

use std::path::Path;
use std::process::{Command, Output};

const TEPUI: &str = env!("CARGO_BIN_EXE_tepui");
const MASTER: &str = env!("CARGO_BIN_EXE_tepui-master");
const AGENT: &str = env!("CARGO_BIN_EXE_tepui-agent");

fn start(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TEPUI_") {
            command.env_remove(name);
        }
    }
    command.args(args).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text in UTF-8")
}

/// Checks that a command line is refused with exit code 2, and with one line that has all `parts`.
fn refused(program: &str, args: &[&str], parts: &[&str]) {
    let output = start(program, args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    assert!(error.starts_with("error: "), "{args:?}: {error}");
    assert!(error.len() < 400, "{args:?}: {error}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: no {part:?} in {error}");
    }
}

#[test]
fn values_of_run() {
    for (flag, value, expected) in [
        (
            "--cpus",
            "two",
            "at 0: no digit; expected a number of cores such as 2 or 0.5",
        ),
        ("--volume", ":bad", "expected [SOURCE:]PATH[:ro|rw]"),
        ("--volume", "/a:../b", "expected [SOURCE:]PATH[:ro|rw]"),
        ("--image", "", "expected something"),
        ("--network", "", "expected something"),
        ("--uri", "", "expected something"),
        ("--cpus", "0", "expected at least 0.001 cores"),
        (
            "--mem",
            "64Q",
            "at 2: the unit is unknown; expected a size such as 64 (MiB)",
        ),
        ("--mem", "", "expected a"),
        ("--resources", "cpus:x", "at 5: expected "),
        ("--resources", "ports:[3-", "at 9: expected "),
        (
            "--resources",
            "cpus:2",
            "expected no cpus, for which there is --cpus",
        ),
        ("--pids", "0", "expected a whole number from 1 to"),
        ("--env", "NAME", "at 4: there is no =; expected NAME=VALUE"),
        ("--role", "a//b", "expected * or a path such as ads/web"),
        ("--instances", "many", "expected a whole number from 1 to"),
        (
            "--kill-grace",
            "5",
            "at 1: a unit is missing; expected a duration such as 500ms",
        ),
        ("--timeout", "0s", "expected a duration longer than zero"),
        (
            "--timeout",
            "1 fortnight",
            "at 2: the unit is unknown; expected a duration",
        ),
        (
            "--master",
            "localhost",
            "at 9: the port is missing; expected HOST:PORT",
        ),
        (
            "--master",
            "localhost:http",
            "at 10: no port from 1 to 65535; expected HOST:PORT",
        ),
        (
            "--log-level",
            "loud",
            "expected one of off, error, warn, info, debug, trace",
        ),
    ] {
        let quoted = format!("{flag} {value:?}: ");
        let parts = match value {
            "" => [flag, expected],
            _ => [quoted.as_str(), expected],
        };
        refused(TEPUI, &["run", flag, value, "--", "true"], &parts);
    }
}

#[test]
fn combinations_of_run() {
    // VA-32: unknown flags, and those that exclude each other
    refused(TEPUI, &["run"], &["expected CMD, which is missing"]);
    refused(
        TEPUI,
        &["run", "true"],
        &["\"true\"", "a task's command comes after --"],
    );
    refused(
        TEPUI,
        &["run", "--cpu", "1", "--", "true"],
        &["--cpu:", "did you mean --cpus?"],
    );
    refused(TEPUI, &["run", "--cpus"], &["--cpus", "expected a value"]);
    refused(
        TEPUI,
        &["run", "--cpus", "1", "--cpus", "2", "--", "true"],
        &["--cpus", "once"],
    );
    refused(
        TEPUI,
        &["run", "--detach", "--", "true"],
        &["--detach: expected --master"],
    );
    // What only containers have a use for is not left out silently.
    for (flag, value) in [
        ("--capabilities", "CHOWN"),
        ("--device", "/dev/null"),
        ("--disk-projects", "1..2"),
        ("--port-watch", "report"),
    ] {
        let expected = format!("{flag}: expected together with containers");
        refused(
            TEPUI,
            &["dev", "--process", flag, value],
            &[&expected, "plain processes"],
        );
    }
    refused(
        TEPUI,
        &["dev", "--disk-projects", "5..4"],
        &["--disk-projects \"5..4\": expected", "5000..10000"],
    );
    refused(
        TEPUI,
        &["run", "--process", "--container", "--", "true"],
        &["--process: cannot go together with --container"],
    );
    refused(
        TEPUI,
        &["run", "--master", "a:1", "--", "true"],
        &["--tls-dir: expected", "TEPUI_TLS_DIR", "tepui cert issue"],
    );
    refused(
        TEPUI,
        &[
            "run",
            "--master",
            "a:1",
            "--tls-dir",
            "x",
            "--process",
            "--",
            "true",
        ],
        &["--process: expected no --master"],
    );
}

#[test]
fn commands_that_ask() {
    refused(
        TEPUI,
        &["ps"],
        &["--master: expected HOST:PORT", "TEPUI_MASTER", "tepui dev"],
    );
    refused(
        TEPUI,
        &["pss"],
        &["\"pss\": expected a command of tepui", "did you mean ps?"],
    );
    refused(
        TEPUI,
        &["agent", "lits"],
        &["\"lits\"", "did you mean list?"],
    );
    refused(
        TEPUI,
        &["ps", "-o", "xml"],
        &["--output \"xml\": expected one of table, wide, json, name"],
    );
    refused(
        TEPUI,
        &["ps", "-q", "-o", "json"],
        &["--quiet", "cannot go together with", "--output"],
    );
    refused(TEPUI, &["kill"], &["expected TASK, which is missing"]);
    refused(
        TEPUI,
        &["quota", "set", "ads"],
        &["expected --guarantee", "which is missing"],
    );
    refused(
        TEPUI,
        &["quota", "set", "ads//web", "--limit", "cpus:1"],
        &["ROLE \"ads//web\": ", "expected * or a path"],
    );
    refused(
        TEPUI,
        &["quota", "set", "ads", "--limit", "gpus:0.5"],
        &["--limit \"gpus:0.5\": ", "a whole number for gpus"],
    );
    refused(
        TEPUI,
        &["quota", "set", "ads", "--guarantee", "cpus:0"],
        &["--guarantee \"cpus:0\": ", "above zero"],
    );
    refused(
        TEPUI,
        &["weight", "set", "ads=0"],
        &["ROLE \"ads=0\": ", "above 0"],
    );
    refused(
        TEPUI,
        &["weight", "set", "ads:2"],
        &["ROLE \"ads:2\": ", "such as ads/web=1.5"],
    );
    refused(
        TEPUI,
        &["maintenance", "down", "a/10.0.0.300", "--yes"],
        &["MACHINE \"a/10.0.0.300\": ", "as in host-1/10.0.0.7"],
    );
    refused(
        TEPUI,
        &["maintenance", "up"],
        &["expected MACHINE, which is missing"],
    );
    refused(
        TEPUI,
        &["maintenance", "set", "/nowhere/schedule.json"],
        &["FILE \"/nowhere/schedule.json\": No such file"],
    );
    refused(
        TEPUI,
        &["framework", "teardown", "a/b"],
        &["FRAMEWORK \"a/b\": ", "it contains a slash"],
    );
    refused(TEPUI, &["kill", ""], &["TASK", "expected"]);
    refused(
        TEPUI,
        &["kill", "t", "--grace", "soon"],
        &["--grace \"soon\": at 0: ", "expected"],
    );
    refused(
        TEPUI,
        &["kill", "t", "--framework", "a/b"],
        &["--framework \"a/b\": ", "it contains a slash"],
    );
    refused(
        TEPUI,
        &["logs", "t", "--tail"],
        &["--tail: expected a known flag"],
    );
    refused(
        TEPUI,
        &["completions", "csh"],
        &["SHELL \"csh\": expected one of bash"],
    );
}

#[test]
fn values_of_sim() {
    for (flag, value, expected) in [
        ("--agents", "0", "expected a whole number from 1 to"),
        ("--frameworks", "-1", "expected a whole number from 1 to"),
        (
            "--seed",
            "x",
            "expected a whole number from 0 to 18446744073709551615",
        ),
        ("--for", "1", "at 1: a unit is missing; expected a duration"),
    ] {
        let argument = format!("{flag}={value}");
        refused(
            TEPUI,
            &["sim", &argument],
            &[&format!("{flag} {value:?}: "), expected],
        );
    }
}

#[test]
fn values_of_the_daemons() {
    // VA-32: values of another type
    refused(
        MASTER,
        &[],
        &[
            "expected --work-dir, which is missing",
            "tepui-master --help",
        ],
    );
    for (flag, value, expected) in [
        (
            "--listen",
            "5050",
            "expected IP:PORT such as 127.0.0.1:5050",
        ),
        ("--listen", "localhost:5050", "expected IP:PORT"),
        (
            "--cluster",
            "a b",
            "expected 1 to 64 letters, digits, - or _",
        ),
        ("--allocation-interval", "1", "at 1: a unit is missing"),
        ("--offer-timeout", "0s", "longer than zero, or `never`"),
        ("--offer-timeout", "nevr", "or `never`"),
        ("--most-offered", "cpus", "at 4: expected "),
        (
            "--most-offered",
            "cpus:1;mem:0",
            "mem:0: expected amounts above zero such as cpus:64;mem:262144",
        ),
        ("--most-offered", "", "expected amounts above zero"),
        ("--log-format", "xml", "expected one of text, json"),
    ] {
        let quoted = format!("{flag} {value:?}: ");
        refused(
            MASTER,
            &["--work-dir", "x", flag, value],
            &[&quoted, expected],
        );
    }
    refused(
        MASTER,
        &["--work-dir", "/nonexistent/x", "--listen", "0.0.0.0:0"],
        &[
            "--tls-dir: expected a directory",
            "--listen 0.0.0.0:0 is not on loopback",
        ],
    );
    refused(
        AGENT,
        &["--work-dir", "x"],
        &["expected --master, which is missing"],
    );
    for (flag, value, expected) in [
        ("--resources", "cpus:4;mem", "at 10: expected "),
        ("--attributes", "rack", "at 4: expected "),
        ("--listen", "::1:0", "expected IP:PORT"),
        ("--registration-backoff", "-1s", "expected a duration"),
        ("--gc-delay", "7", "expected a duration"),
        ("--registry", "a b", "expected HOST[:PORT], such as"),
        ("--insecure-registry", "", "expected HOST[:PORT], such as"),
        ("--user-namespaces", "0", "expected FIRST[:COUNT], such as"),
        (
            "--user-namespaces",
            "1:4294967295",
            "expected FIRST[:COUNT]",
        ),
        (
            "--user-namespaces",
            "a:1",
            "expected FIRST[:COUNT], such as",
        ),
        ("--capabilities", "FLY", "expected names of capabilities"),
    ] {
        let quoted = format!("{flag} {value:?}: ");
        let (argument, master) = (format!("{flag}={value}"), "a:1");
        let args = ["--work-dir", "x", "--master", master, &argument];
        refused(AGENT, &args, &[&quoted, expected]);
    }
}

#[test]
fn help_and_version_succeed() {
    for (program, name) in [
        (TEPUI, "tepui "),
        (MASTER, "tepui-master "),
        (AGENT, "tepui-agent "),
    ] {
        let output = start(program, &["--version"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).starts_with(name), "{output:?}");
        let output = start(program, &["--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("\nExamples:\n"), "{output:?}");
    }
    let output = start(TEPUI, &["version"]);
    assert_eq!(output.status.code(), Some(0));
    let version = text(&output.stdout);
    assert!(version.contains(env!("CARGO_PKG_VERSION")) && version.contains("protocols 15 to"));
}

#[test]
fn bare_groups_show_their_help() {
    for args in [&[][..], &["agent"], &["cert"], &["maintenance"]] {
        let output = start(TEPUI, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("Usage:"), "{args:?}");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = start(TEPUI, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = text(&output.stdout);
        assert!(
            script.contains("framework") && script.contains("kill-grace"),
            "{shell}"
        );
    }
}

fn issue(ca: &Path, role: &str, name: &str, out: &Path) -> Output {
    let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let (ca, out) = (&text(ca), &text(out));
    start(
        TEPUI,
        &[
            "cert", "issue", "--ca", ca, "--role", role, "--name", name, "--out", out, "--days",
            "9",
        ],
    )
}

#[test]
fn certificates_are_made_and_shown() {
    // SE-30
    let dir = tempfile::tempdir().unwrap();
    let (ca, out) = (dir.path().join("ca"), dir.path().join("m1"));
    let init = start(TEPUI, &["cert", "init", ca.to_str().unwrap()]);
    assert_eq!(init.status.code(), Some(0), "{init:?}");
    let issued = issue(&ca, "master", "m1", &out);
    assert_eq!(issued.status.code(), Some(0), "{issued:?}");
    let shown = start(TEPUI, &["cert", "show", out.to_str().unwrap()]);
    let lines: Vec<&str> = text(&shown.stdout).lines().collect();
    assert_eq!(lines[..2], ["role          master", "name          m1"]);
    assert!(lines[2].starts_with("valid from    20"), "{lines:?}");
    assert!(lines[3].starts_with("valid until   20"), "{lines:?}");
}

#[test]
fn certificates_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let ca_text = ca.to_str().unwrap();
    let no_ca = format!("--ca {ca_text:?}: cannot read {ca_text}/ca-key.pem");
    let args = [
        "cert", "issue", "--ca", ca_text, "--name", "x", "--out", "y", "--role",
    ];
    let with_role = |role: &'static str| [&args[..], &[role]].concat();
    refused(
        TEPUI,
        &with_role("master"),
        &[&no_ca, "expected the authority's key in PEM"],
    );
    refused(
        TEPUI,
        &with_role("admin"),
        &["--role \"admin\": expected master, agent, framework or operator"],
    );
    assert_eq!(
        start(TEPUI, &["cert", "init", ca_text]).status.code(),
        Some(0)
    );
    refused(
        TEPUI,
        &["cert", "init", ca_text],
        &["CA_DIR", "exists already"],
    );
    let out = dir.path().join("out");
    let out_text = out.to_str().unwrap();
    let name = |name: &'static str| {
        let role = ["--role", "agent", "--name", name, "--out", out_text];
        [&["cert", "issue", "--ca", ca_text][..], &role].concat()
    };
    refused(
        TEPUI,
        &name("a/b"),
        &["--name \"a/b\": expected 1 to 128 letters"],
    );
    let days = [&name("a")[..], &["--days", "0"]].concat();
    refused(
        TEPUI,
        &days,
        &["--days \"0\": expected a whole number from 1 to 3650"],
    );
    assert_eq!(issue(&ca, "agent", "a", &out).status.code(), Some(0));
    refused(
        TEPUI,
        &name("a"),
        &["--out", "exists already and is not overwritten"],
    );
    let nothing = dir.path().join("nothing");
    refused(
        TEPUI,
        &["cert", "show", nothing.to_str().unwrap()],
        &[
            "DIR",
            "ca.pem",
            "expected the authority's certificate in PEM",
        ],
    );
}
