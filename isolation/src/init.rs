//! The first process of a container: arranges its namespaces, seals them, starts the program,
//! forwards SIGTERM, reaps what is orphaned, and tells the launcher how the program ended.
//!
//! When it exits, the kernel kills whatever is left in the process namespace. It is a copy of the
//! [nursery](crate::nursery) and is given two files: from one it reads its [`Order`], to the other
//! it writes [`Report`]s.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::status::Exit;

use crate::confine::{self, Seals};
use crate::error::{Error, Result};
use crate::namespaces;
use crate::process::Program;
use crate::spawn::{Files, Image, Plan, Signals, spawn};
use crate::wait::{self, Whom};
use crate::wire;

/// What the launcher asks of an init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: ContainerId,
    pub(crate) program: Program,
    pub(crate) seals: Seals,
}

/// What an init tells the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program runs.
    Started,
    /// It does not, and will not.
    Failed(String),
    /// It has ended.
    Ended(Exit),
}

/// Runs the init, if its process could be prepared; its own exit code only matters if nothing was
/// reported.
pub(crate) fn run_with(order: Result<OwnedFd>, reports: OwnedFd) -> i32 {
    let mut report = File::from(reports);
    let result = order.and_then(start).map_or_else(
        |error| Report::Failed(error.to_string()),
        |program| run(program, &mut report),
    );
    i32::from(tell(&mut report, &result).is_err())
}

/// Tells that the program runs, waits for its end, and returns that.
fn run(program: Pid, report: &mut File) -> Report {
    match tell(report, &Report::Started).and_then(|()| wait_for(program)) {
        Ok(exit) => Report::Ended(exit),
        Err(error) => Report::Failed(error.to_string()),
    }
}

fn start(order: OwnedFd) -> Result<Pid> {
    let mut bytes = Vec::new();
    let read = File::from(order).read_to_end(&mut bytes);
    read.map_err(|error| Error::system("read the order", error))?;
    let order: Order =
        postcard::from_bytes(&bytes).map_err(|error| Error::Frame(error.to_string()))?;
    namespaces::arrange(&order.id)?;
    order.seals.apply()?;
    confine::restrict()?;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let program = &order.program;
    let plan = Plan {
        image: Image::Paths(&program.paths),
        arguments: &program.arguments,
        environment: &program.environment,
        directory: None,
        files: Files {
            inherited: &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        },
        credentials: program.credentials.as_ref(),
        signals: Signals::Open,
        open_files: None,
    };
    spawn(&plan, &program.name)
}

/// Forwards SIGTERM to the program's group and reaps, until the program ends.
fn wait_for(program: Pid) -> Result<Exit> {
    // All others stay blocked too, and pend.
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGCHLD);
    wanted.add(Signal::SIGTERM);
    loop {
        let signal = wanted.wait();
        let signal = signal.map_err(|errno| Error::system("sigwait", errno))?;
        if signal == Signal::SIGTERM {
            // The program may have just ended; its SIGCHLD is on the way then.
            let _ = killpg(program, signal).or_else(|_| kill(program, signal));
        } else if let Some(exit) = reap(program)? {
            return Ok(exit);
        }
    }
}

/// Reaps all dead children; returns how the program ended, if it is one of them.
fn reap(program: Pid) -> Result<Option<Exit>> {
    loop {
        let dead = wait::reap(Whom::Anyone).map_err(|error| Error::system("waitid", error))?;
        match dead {
            Some((pid, exit)) if pid == program => return Ok(Some(exit)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

fn tell(file: &mut File, report: &Report) -> Result<()> {
    let mut bytes = Vec::new();
    wire::encode(report, &mut bytes)?;
    let written = file.write_all(&bytes);
    written.map_err(|error| Error::system("write a report", error))
}
