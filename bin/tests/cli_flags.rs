//! What a flag's value meets after its grammar: dashes, text that is no text, variables, files and
//! directories that cannot be used, certificates that do not fit, outputs that nobody reads.
//!
//! Each case starts the real binary. Beside it `cli_args` has the grammar of single values.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{AGENT, Dir, Ended, MASTER, Process, TEPUI, command, run};

/// Checks that a command ends with exit code 2, and with one line that has all `parts`.
#[track_caller]
fn refused(command: Command, parts: &[&str]) {
    let shown = format!("{command:?}");
    let ended = run(command);
    assert_eq!(ended.code, Some(2), "{shown}: {}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{shown}: {}", ended.err);
    assert!(ended.err.starts_with("error: "), "{shown}: {}", ended.err);
    assert!(ended.err.len() < 600, "{shown}: {}", ended.err);
    assert_eq!(ended.out, "", "{shown}");
    for part in parts {
        let found = ended.err.contains(part);
        assert!(found, "{shown}: no {part:?} in {}", ended.err);
    }
}

fn with(program: &str, args: &[&str]) -> Command {
    let mut command = command(program);
    command.args(args);
    command
}

/// Checks a value in both ways of giving it.
#[track_caller]
fn refused_both(program: &str, before: &[&str], flag: &str, value: &str, expected: &str) {
    let named = format!("{flag} {value:?}: ");
    let joined = format!("{flag}={value}");
    for given in [&[flag, value][..], &[&joined]] {
        let mut command = with(program, before);
        command.args(given);
        if before == ["run"] {
            command.args(["--", "true"]);
        }
        refused(command, &[&named, expected]);
    }
}

#[test]
fn values_that_begin_with_a_dash_name_their_flag() {
    for (flag, value, expected) in [
        ("--cpus", "-1", "at 0: no digit"),
        ("--mem", "-1", "at 0: no digit"),
        ("--timeout", "-1s", "at 0: "),
        ("--kill-grace", "-1s", "at 0: "),
        ("--instances", "-1", "expected a whole number from 1 to"),
        ("--pids", "-1", "expected a whole number from 1 to"),
        ("--role", "-x", "expected * or a path"),
        ("--resources", "-x", "at 2: expected "),
        ("--env", "-x", "expected NAME=VALUE"),
        ("--name", "-x", "expected a name that does not begin with"),
        ("--master", "-x", "at 2: the port is missing"),
        ("--tls-dir", "--json", "expected a path"),
    ] {
        refused_both(TEPUI, &["run"], flag, value, expected);
    }
    for (flag, value, expected) in [
        ("--seed", "-1", "expected a whole number from 0 to"),
        ("--agents", "-1", "expected a whole number from 1 to"),
        ("--for", "-1h", "at 0: "),
        ("--log", "-x", "expected a path"),
    ] {
        refused_both(TEPUI, &["sim"], flag, value, expected);
    }
    let daemon = ["--work-dir", "x", "--master", "a:1"];
    refused_both(AGENT, &daemon, "--attributes", "-x", "at 2: expected ");
    refused_both(AGENT, &daemon, "--hostname", "-x", "at 0: no part");
    refused_both(MASTER, &[], "--work-dir", "-x", "expected a path");
    refused_both(TEPUI, &["cert", "issue"], "--days", "-1", "from 1 to 3650");
}

#[test]
fn a_flag_without_its_value_is_named() {
    for flag in ["--cpus", "--role", "--tls-dir", "--log-level"] {
        let expected = format!("error: {flag}: expected a value before --\n");
        refused(with(TEPUI, &["run", flag, "--", "true"]), &[&expected]);
        refused(
            with(TEPUI, &["run", flag]),
            &[&format!("{flag}: expected a value")],
        );
    }
    // Behind it such a word is the task's own.
    let ended = run(with(TEPUI, &["run", "--", "echo", "--cpus", "--", "-1"]));
    assert_eq!(ended.with(0).out, "--cpus -- -1\n");
    // So it is with flags that want none.
    run(with(TEPUI, &["run", "--quiet", "--", "true"])).with(0);
}

#[test]
fn what_is_too_much_is_refused_before_a_cluster_is_started() {
    let dir = Dir::new();
    let long = "x".repeat(5_000);
    let many = vec!["x"; 5_000];
    for (args, parts) in [
        (
            &["--cpus", "1000001", "--", "true"][..],
            "at most a million",
        ),
        (
            &["--timeout", "18446744073709551615s", "--", "true"],
            "--timeout \"18446744073709551615s\": at 0: it is longer than 100 years",
        ),
        (&["--kill-grace", "101y", "--", "true"], "100 years"),
        (
            &["--name", &long, "--", "true"],
            "it has 5000 bytes; expected at most 4096",
        ),
        (
            &["--name", "", "--", "true"],
            "--name \"\": expected a name",
        ),
        (&["--", ""], "CMD \"\": expected a program to run"),
        (&["--", &long], "it has 5000 bytes; expected at most 4096"),
        (
            &[&["--"], &many[..]].concat(),
            "it has 4999 arguments; expected at most 4096",
        ),
    ] {
        let mut run = with(TEPUI, &["run"]);
        run.args(args).env("TMPDIR", dir.path());
        refused(run, &[parts]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    let ended = run(with(TEPUI, &["run", "--timeout", "99y", "--", "true"]));
    ended.with(0);
}

#[test]
fn text_that_is_no_utf8_is_shown_with_its_flag() {
    let bytes = OsStr::from_bytes(b"a\xffb");
    for (args, named) in [
        (&["run", "--cpus"][..], "--cpus"),
        (&["run", "--name"], "--name"),
        (&["run", "--"], "CMD"),
        (&["kill"], "TASK"),
        (&["kill", "t", "--framework"], "--framework"),
        (&["cert", "issue", "--name"], "--name"),
    ] {
        let mut command = with(TEPUI, args);
        command.arg(bytes);
        let line = format!("error: {named} \"a\u{fffd}b\": expected text in UTF-8\n");
        refused(command, &[&line]);
    }
    let mut level = with(TEPUI, &["ps", "--log-level"]);
    level.arg(bytes);
    refused(
        level,
        &["--log-level \"a\u{fffd}b\": expected text in UTF-8"],
    );
}

#[test]
fn a_bad_variable_is_named_with_its_flag() {
    for (program, args, variable, value, line) in [
        (
            TEPUI,
            &["ps"][..],
            "TEPUI_MASTER",
            OsStr::new("nowhere"),
            "--master \"nowhere\" from TEPUI_MASTER: at 7: the port is missing",
        ),
        (
            TEPUI,
            &["ps"],
            "TEPUI_MASTER",
            OsStr::from_bytes(b"\xff"),
            "--master \"\u{fffd}\" from TEPUI_MASTER: expected text in UTF-8",
        ),
        (
            TEPUI,
            &["ps"],
            "TEPUI_LOG_LEVEL",
            OsStr::new("loud"),
            "--log-level \"loud\" from TEPUI_LOG_LEVEL: expected one of off, error",
        ),
        (
            AGENT,
            &["--work-dir", "x", "--master", "a:1"],
            "TEPUI_RESOURCES",
            OsStr::new("cpus"),
            "--resources \"cpus\" from TEPUI_RESOURCES: at 4: expected",
        ),
        (
            MASTER,
            &["--work-dir", "x"],
            "TEPUI_LISTEN",
            OsStr::new("5050"),
            "--listen \"5050\" from TEPUI_LISTEN: at 4: the port is missing",
        ),
    ] {
        let mut command = with(program, args);
        command.env(variable, value);
        refused(command, &[line]);
    }
    // The flag comes before the variable, so only the flag can be wrong.
    let mut command = with(TEPUI, &["ps", "--master", "x"]);
    command.env("TEPUI_MASTER", "nowhere");
    refused(command, &["--master \"x\": at 1: "]);
}

#[test]
fn the_command_that_was_meant_is_named() {
    for (program, args, parts) in [
        (
            TEPUI,
            &["agent", "show", "x"][..],
            "\"show\": expected a command of tepui agent;",
        ),
        (TEPUI, &["agent", "show"], "see tepui agent --help"),
        (
            TEPUI,
            &["run"],
            "expected CMD, which is missing; see tepui run --help",
        ),
        (TEPUI, &["cert", "issue"], "see tepui cert issue --help"),
        (
            TEPUI,
            &["run", "--zzz"],
            "--zzz: expected a known flag; see tepui run --help",
        ),
        (MASTER, &[], "see tepui-master --help"),
    ] {
        refused(with(program, args), &[parts]);
    }
}

#[test]
fn completions_for_every_program() {
    for (program, flag) in [
        ("tepui", "kill-grace"),
        ("tepui-master", "allocation-interval"),
        ("tepui-agent", "registration-backoff"),
    ] {
        for shell in ["bash", "zsh", "fish"] {
            let ended = run(with(TEPUI, &["completions", shell, "--for", program])).with(0);
            assert!(ended.out.contains(flag), "{shell}: {program}");
            assert!(ended.out.contains(program), "{shell}: {program}");
        }
    }
}

#[test]
fn outputs_that_nobody_takes_end_a_command_in_good_order() {
    for args in [
        &["completions", "bash"][..],
        &["completions", "zsh", "--for", "tepui-agent"],
        &["version"],
        &["sim", "--for", "1s", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut unread = with(TEPUI, args);
        let unread = unread
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(unread.status.code(), Some(141), "{args:?}: {unread:?}");
        assert!(unread.stderr.is_empty(), "{args:?}: {unread:?}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut full_disk = with(TEPUI, args);
        let full_disk = full_disk
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(full_disk.status.code(), Some(1), "{args:?}: {full_disk:?}");
        let error = String::from_utf8(full_disk.stderr).unwrap();
        assert!(
            error.starts_with("error: cannot write the output: "),
            "{error}"
        );
    }
}

/// Makes an authority in `ca` and certificates in `agent`, `master` and `other` of `dir`.
fn certificates(dir: &Dir) {
    let ca = dir.join("ca");
    let ca = ca.to_str().unwrap();
    run(with(TEPUI, &["cert", "init", ca])).with(0);
    for (role, out) in [("agent", "agent"), ("master", "master"), ("agent", "other")] {
        let mut issue = with(TEPUI, &["cert", "issue", "--ca", ca, "--role", role]);
        issue.args(["--name", out, "--out"]).arg(dir.join(out));
        run(issue).with(0);
    }
}

#[test]
fn daemons_name_the_flag_of_certificates_that_do_not_fit() {
    // SE-30
    let dir = Dir::new();
    certificates(&dir);
    let daemon = |program: &str, tls: &Path| {
        let mut daemon = with(program, &["--listen", "127.0.0.1:0", "--work-dir"]);
        daemon.arg(dir.join("work")).arg("--tls-dir").arg(tls);
        if program == AGENT {
            daemon.args(["--master", "127.0.0.1:1"]);
        }
        daemon
    };
    for (program, role, other) in [(AGENT, "agent", "master"), (MASTER, "master", "agent")] {
        let tls = dir.join(role);
        let flag = format!("error: --tls-dir {tls:?}: ");
        let missing = dir.join("missing");
        refused(
            daemon(program, &missing),
            &[
                &format!("error: --tls-dir {missing:?}: cannot read "),
                "expected the authority's certificate in PEM\n",
            ],
        );
        refused(
            daemon(program, &dir.join(other)),
            &["--tls-dir ", &format!("it is of {other}")],
        );
        for (file, content, problem) in [
            (
                "ca.pem",
                "",
                "does not hold certificates in PEM: there is none",
            ),
            (
                "cert.pem",
                "garbage",
                "does not hold certificates in PEM: there is none",
            ),
            (
                "key.pem",
                "-----BEGIN PRIVATE KEY-----\nMC4C\n",
                "its end is missing",
            ),
        ] {
            let path = tls.join(file);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, content).unwrap();
            refused(daemon(program, &tls), &[&flag, file, problem]);
            std::fs::write(&path, good).unwrap();
        }
        let (path, other) = (tls.join("key.pem"), dir.join("other/key.pem"));
        let good = std::fs::read(&path).unwrap();
        std::fs::copy(other, &path).unwrap();
        let problem = "it is the key of another certificate";
        refused(daemon(program, &tls), &[&flag, "key.pem", problem]);
        let shown = with(TEPUI, &["cert", "show", tls.to_str().unwrap()]);
        refused(shown, &["DIR ", problem]);
        std::fs::write(path, good).unwrap();
    }
}

#[test]
fn directories_and_files_that_cannot_be_used_are_named_with_their_flag() {
    let dir = Dir::new();
    certificates(&dir);
    let (ca, file) = (dir.join("ca"), dir.join("file"));
    let (ca, tls) = (ca.to_str().unwrap(), dir.join("agent"));
    std::fs::write(&file, "").unwrap();
    let below = file.join("x");
    for bad in ["/proc/x", "/proc", below.to_str().unwrap()] {
        let flag = format!("error: --work-dir {bad:?}: ");
        let expected = "expected a directory that can be written to\n";
        refused(with(MASTER, &["--work-dir", bad]), &[&flag, expected]);
        refused(with(TEPUI, &["dev", "--work-dir", bad]), &[&flag, expected]);
        let mut agent = with(AGENT, &["--master", "a:1", "--work-dir", bad, "--tls-dir"]);
        agent.arg(&tls);
        refused(agent, &[&flag, expected]);

        let flag = format!("error: CA_DIR {bad:?}: ");
        refused(
            with(TEPUI, &["cert", "init", bad]),
            &[&flag, "cannot create"],
        );
        let flag = format!("error: --out {bad:?}: ");
        let mut issue = with(TEPUI, &["cert", "issue", "--ca", ca, "--role", "agent"]);
        issue.args(["--name", "a", "--out", bad]);
        refused(issue, &[&flag, "cannot create"]);
        let flag = format!("error: --log {bad:?}: ");
        let expected = "expected a file that can be written to\n";
        refused(with(TEPUI, &["sim", "--log", bad]), &[&flag, expected]);
    }
}

#[test]
fn a_master_that_cannot_start_makes_nothing_and_advises_nothing() {
    let dir = Dir::new();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    for (program, first) in [(MASTER, None), (TEPUI, Some("dev"))] {
        let mut daemon = command(program);
        daemon.args(first).args(["--listen", &taken, "--work-dir"]);
        daemon.arg(dir.join("work"));
        let ended = run(daemon).with(1);
        let error = format!("error: --listen {taken}: cannot listen there: ");
        assert!(ended.err.starts_with(&error), "{}", ended.err);
        assert_eq!(
            ended.err.matches("Address already in use").count(),
            1,
            "{}",
            ended.err
        );
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(!dir.join("work/ca").exists());
    }
    drop(socket);
    let mut master = with(MASTER, &["--listen", "127.0.0.1:0", "--work-dir"]);
    master.arg(dir.join("work"));
    let mut master = Process::start(master);
    master.until_it_says("`tepui cert issue --ca ");
    master.until_it_says("clients and one agent find certificates with --tls-dir ");
    common::signal(master.pid(), "TERM");
    master.end().with(0);
}

#[test]
fn a_cluster_with_its_authority_beside_it_stays_on_loopback() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:15099"] {
        let flag = format!("error: --listen {listen:?}: expected an address on loopback");
        refused(with(TEPUI, &["dev", "--listen", listen]), &[&flag]);
    }
    let nowhere = with(
        MASTER,
        &["--listen", "192.0.2.1:0", "--work-dir", "/nonexistent"],
    );
    refused(nowhere, &["--tls-dir: expected a directory"]);
}

#[test]
fn an_error_says_its_cause_once() {
    let dir = Dir::new();
    certificates(&dir);
    std::fs::create_dir(dir.join("work")).unwrap();
    std::fs::write(dir.join("work/registry"), "").unwrap();
    let mut master = with(MASTER, &["--listen", "127.0.0.1:0", "--tls-dir"]);
    master.arg(dir.join("master"));
    master.arg("--work-dir").arg(dir.join("work"));
    let Ended { code, err, .. } = run(master);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(err.matches("(os error ").count(), 1, "{err}");
}
