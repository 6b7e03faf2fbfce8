//! What programs read that were started to be interactive: the launcher keeps it open, so that it
//! outlives who says something, and the agent.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tepui_core::ids::ContainerId;

use super::copier::Output;
use super::{Launcher, State, log};
use crate::enter::{Refusal, Told, tell};
use crate::error::{Error, Result};
use crate::logs::LogFile;
use crate::passing;
use crate::terminal;

/// What somebody can say something to a program by.
#[derive(Debug)]
pub(super) enum Input {
    /// Its standard input.
    Pipe(OwnedFd),
    /// The far side of its terminal.
    Terminal(OwnedFd),
}

/// A terminal that is still to be made, in its container.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Where it comes from.
    pub(super) link: OwnedFd,
    /// Where goes what is written to it.
    pub(super) log: LogFile,
}

impl Awaited {
    /// Takes the terminal; nobody in the container but its init, which is ours, could have sent it,
    /// and nothing else than a terminal has a near side.
    fn take(self, id: &ContainerId) -> Result<(Input, Output)> {
        let failed = |error| Error::system("take a terminal", error);
        let mut files = Vec::new();
        passing::receive(&self.link, &mut [0], &mut files).map_err(failed)?;
        let missing = || failed(std::io::ErrorKind::NotFound.into());
        let far = files.pop().ok_or_else(missing)?;
        let near = terminal::near(&far).map_err(|errno| failed(errno.into()))?;
        of_terminal(id, far, near, self.log)
    }
}

/// Divides a terminal into what is said to it and what comes of it.
pub(super) fn of_terminal(
    id: &ContainerId,
    far: OwnedFd,
    near: OwnedFd,
    log: LogFile,
) -> Result<(Input, Output)> {
    fcntl(&far, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| Error::system("fcntl", errno))?;
    let input = far.try_clone();
    let input = input.map_err(|error| Error::system("duplicate a file", error))?;
    Ok((
        Input::Terminal(input),
        Output::of_terminal(id, far, near, log),
    ))
}

impl Launcher {
    /// Begins to copy what comes of a container's terminal, if it has one: its program runs.
    pub(super) fn take_terminal(&mut self, key: u64) {
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        let contained = container.contained.as_mut();
        let Some(awaited) = contained.and_then(|contained| contained.awaited.take()) else {
            return;
        };
        let taken = awaited.take(&container.id).and_then(|(input, output)| {
            container.input = Some(input);
            self.copier.add(key, output)
        });
        if let Err(error) = taken {
            log(&error.to_string());
            // It would wait for somebody to read what it writes.
            self.destroy(key);
        }
    }

    /// Hands over what somebody can say something to a program by, or tells why not.
    pub(super) fn on_input(&mut self, id: &ContainerId) {
        let Some(control) = self.link.take_files(1).pop() else {
            return log("a file is missing that belongs to a request");
        };
        let told = match self.input_of(id) {
            Ok(Input::Pipe(file)) => tell(
                &control,
                &Told::Input { terminal: false },
                Some(file.as_fd()),
            ),
            Ok(Input::Terminal(file)) => tell(
                &control,
                &Told::Input { terminal: true },
                Some(file.as_fd()),
            ),
            Err(refusal) => tell(&control, &Told::Refused(refusal), None),
        };
        if let Err(error) = told {
            log(&error.to_string());
        }
    }

    fn input_of(&self, id: &ContainerId) -> std::result::Result<&Input, Refusal> {
        let container = self.by_id.get(id).and_then(|key| self.containers.get(key));
        let container = container.filter(|container| matches!(container.state, State::Running));
        let container = container.ok_or_else(|| Refusal::NotRunning(id.clone()))?;
        let deaf = "it reads nothing: it was not started to be interactive, or its input has ended";
        container
            .input
            .as_ref()
            .ok_or_else(|| Refusal::Invalid(deaf.to_owned()))
    }

    /// There is nothing more for a program to read; on a terminal there can always be.
    pub(super) fn on_end_input(&mut self, id: &ContainerId) {
        let key = self.by_id.get(id).copied();
        let Some(container) = key.and_then(|key| self.containers.get_mut(&key)) else {
            return;
        };
        if matches!(container.input, Some(Input::Pipe(_))) {
            container.input = None;
        }
    }
}
