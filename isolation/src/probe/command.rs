//! A command of a try: a further process in the container, which ends with whoever holds it.
//!
//! Its input is empty, and nobody reads what it writes: only its exit counts (TK-96).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::check::ProbeOutcome;
use tepui_core::protocol::task::CommandInfo;

use super::engine::Step;
use crate::enter::{EnterError, Entered, Notice, Streams};
use crate::outlet::Enterer;

/// A command that runs. Dropping it kills it with all that it started.
#[derive(Debug)]
pub(super) struct Command(Entered);

impl Command {
    /// Asks for it to be started; what becomes of that is told later.
    pub(super) fn start(
        enterer: &Enterer,
        id: &ContainerId,
        command: CommandInfo,
    ) -> Result<Self, String> {
        let null = || {
            let opened = File::options().read(true).write(true).open("/dev/null");
            opened.map(Into::into)
        };
        let streams = || {
            Ok::<_, io::Error>(Streams::Files {
                stdin: null()?,
                stdout: null()?,
                stderr: null()?,
            })
        };
        let streams = streams().map_err(|error| format!("open /dev/null: {error}"))?;
        let entered = enterer.enter(id, command, streams);
        entered.map(Self).map_err(|error| error.to_string())
    }

    /// Finds out what has become of it.
    pub(super) fn proceed(&mut self) -> Step {
        loop {
            match self.0.try_next() {
                Ok(None) => return Step::Wait,
                Ok(Some(Notice::Started { .. })) => {}
                Ok(Some(Notice::Ended(exit))) => return Step::Over(ProbeOutcome::Exited(exit)),
                Err(error @ (EnterError::Lost | EnterError::NotRunning(_))) => {
                    return Step::Lost(ProbeOutcome::Failed(error.to_string()));
                }
                Err(
                    error @ (EnterError::Unsupported(_)
                    | EnterError::Invalid(_)
                    | EnterError::Failed(_)
                    | EnterError::Garbled(_)),
                ) => return Step::Over(ProbeOutcome::Failed(error.to_string())),
            }
        }
    }
}

impl AsFd for Command {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
