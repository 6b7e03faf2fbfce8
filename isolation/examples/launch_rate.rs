//! Prints how many `true` are launched and reaped a second, and what processor time each takes in
//! the launcher, the init and the program: by the standard library one after the other, and through
//! a containerizer in both modes.
//!
//! `cargo run --release --example launch_rate [COUNT [BINARY]]`; the launcher is made of `BINARY`,
//! whose size counts.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example is a program"
)]

use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::{Config, Containerizer, LauncherCommand, Mode, Result};

/// How many containers are on their way at once.
const IN_FLIGHT: u64 = 64;

fn main() -> ExitCode {
    tepui_isolation::entry::run_if_hidden();
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let count: u64 = count.unwrap_or(2_000);
    let (begin, before) = (Instant::now(), children());
    for _ in 0..count {
        let status = Command::new("/bin/true").status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "/bin/true fails"
        );
    }
    report("posix_spawn and wait", count, begin.elapsed());
    report_processor("posix_spawn and wait", count, before);
    let detected = Mode::detect();
    let modes = match detected.mode {
        Mode::Process => {
            println!("no containers: {}", detected.reason);
            vec![Mode::Process]
        }
        Mode::Container => vec![Mode::Process, Mode::Container],
    };
    for mode in modes {
        if let Err(error) = measure(mode, count) {
            eprintln!("{mode:?}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(mode: Mode, count: u64) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("tepui-launch-rate-{}", std::process::id()));
    let (sender, events) = channel();
    let before = children();
    let launcher = match std::env::args_os().nth(2) {
        Some(binary) => LauncherCommand::binary(binary),
        None => LauncherCommand::this_binary(),
    };
    let config = Config {
        launcher,
        cgroup_root: format!("tepui-launch-rate-{}", std::process::id()),
        ..Config::new(&dir, mode)
    };
    let sink = move |event| sender.send(event).unwrap_or_default();
    let containerizer = Containerizer::start(config, Box::new(sink))?;
    let begin = Instant::now();
    let mut next = 0;
    while next < IN_FLIGHT.min(count) {
        launch(&containerizer, next);
        next += 1;
    }
    for _ in 0..count {
        await_exit(&events);
        if next < count {
            launch(&containerizer, next);
            next += 1;
        }
    }
    report(
        &format!("{mode:?}, {IN_FLIGHT} in flight"),
        count,
        begin.elapsed(),
    );
    let begin = Instant::now();
    let alone = count.min(500);
    for n in 0..alone {
        launch(&containerizer, count + n);
        await_exit(&events);
    }
    report(&format!("{mode:?}, one by one"), alone, begin.elapsed());
    containerizer.shutdown()?;
    // The launcher has been waited for when its lock is free, or is just about to be.
    while children() == before {
        std::thread::yield_now();
    }
    report_processor(&format!("{mode:?}"), count + alone, before);
    if let Err(error) = std::fs::remove_dir_all(&dir) {
        eprintln!("remove {}: {error}", dir.display());
    }
    Ok(())
}

fn launch(containerizer: &Containerizer, n: u64) {
    let id = ContainerId::numbered(n);
    let command = CommandInfo::exec("/bin/true", [""; 0]);
    let spec = ContainerSpec::new(command, vec![id.as_str().to_owned()]);
    containerizer.send(ContainerCommand::Launch { id, spec });
}

fn await_exit(events: &Receiver<ContainerEvent>) {
    loop {
        match events.recv().expect("the containerizer lives") {
            ContainerEvent::Started { .. } => {}
            ContainerEvent::Exited { exit, .. } => {
                assert!(exit.is_success(), "{exit}");
                return;
            }
            other @ (ContainerEvent::LaunchFailed { .. }
            | ContainerEvent::Lost { .. }
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. }
            | ContainerEvent::Recovered) => panic!("{other:?}"),
        }
    }
}

/// Returns the processor time of all processes that we started and that are reaped.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the question is valid");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
        .sum()
}

fn report_processor(what: &str, count: u64, before: Duration) {
    let each = (children() - before).as_secs_f64() * 1e6 / count as f64;
    println!("{what:28} {each:8.0} us of processor time each");
}

fn report(what: &str, count: u64, took: Duration) {
    let rate = count as f64 / took.as_secs_f64();
    let each = took.as_secs_f64() * 1000.0 / count as f64;
    println!("{what:28} {rate:8.0} /s   {each:.3} ms each");
}
