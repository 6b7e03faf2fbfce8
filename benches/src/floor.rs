//! What the bare system takes: spawn `/bin/true` and wait for it, with no manager.
//!
//! Called by the rows, in turns with ours. The standard library spawns with `posix_spawn` here.

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::processes;

/// What all tasks run.
pub const TRUE: &str = "/bin/true";

/// What a number of spawns took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the first to the end of the last.
    pub wall: Duration,
    /// On all cores, in user space and in the kernel.
    pub cpu: Duration,
}

/// Spawns and waits for `count` programs on two threads.
pub fn spawn_loop(count: usize) -> io::Result<Took> {
    let cpu = processes::own_cpu_and_childrens();
    let begun = Instant::now();
    thread::scope(|scope| {
        let rest = scope.spawn(|| (0..count / 2).try_for_each(|_| spawn_once().map(drop)));
        (count / 2..count).try_for_each(|_| spawn_once().map(drop))?;
        rest.join().expect("spawning does not panic")
    })?;
    Ok(Took {
        wall: begun.elapsed(),
        cpu: processes::own_cpu_and_childrens() - cpu,
    })
}

/// Spawns one program, waits for it, and returns how long that took.
pub fn spawn_once() -> io::Result<Duration> {
    let begun = Instant::now();
    let status = Command::new(TRUE).stdin(Stdio::null()).status()?;
    let took = begun.elapsed();
    match status.success() {
        true => Ok(took),
        false => Err(io::Error::other(format!("{TRUE}: {status}"))),
    }
}
