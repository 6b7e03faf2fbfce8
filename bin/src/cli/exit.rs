//! How a command can end: every exit code of every binary, in one place.
//!
//! Called by all commands. Deliberately not here: the texts that go with them (see `failure`).

use std::process::ExitCode;

use tepui_core::protocol::status;

/// How a command ends, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success,
    /// It tried and failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// What it names does not exist.
    NotFound,
    /// The credentials are not accepted.
    Denied,
    /// The time given by `--timeout` is over.
    Timeout,
    /// `run` failed by itself, which must not look like a code of the task.
    OwnFailure,
    /// The user interrupted it, and it cleaned up.
    Interrupted,
    /// Nobody reads its output any more.
    BrokenPipe,
    /// `run` passes on how its task ended.
    Task(status::Exit),
}

impl Exit {
    /// Returns the exit code; those of a task are cut to eight bits, as everywhere in Unix.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Timeout => 124,
            Self::OwnFailure => 125,
            Self::Interrupted => 130,
            Self::BrokenPipe => 141,
            Self::Task(exit) => (exit.shell_code() & 0xff) as u8,
        }
    }

    /// Returns the same for `run`, whose low codes belong to the task; bad usage stays what it is,
    /// for then there was no task.
    pub(crate) const fn of_run(self) -> Self {
        match self {
            Self::Failed | Self::NotFound | Self::Denied => Self::OwnFailure,
            Self::Success
            | Self::Usage
            | Self::Timeout
            | Self::OwnFailure
            | Self::Interrupted
            | Self::BrokenPipe
            | Self::Task(_) => self,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tasks_end_is_passed_on_as_a_shell_would() {
        assert_eq!(Exit::Task(status::Exit::Code(3)).code(), 3);
        assert_eq!(Exit::Task(status::Exit::Code(256 + 7)).code(), 7);
        assert_eq!(Exit::Task(status::Exit::Signal(9)).code(), 137);
    }

    #[test]
    fn failures_of_run_never_look_like_codes_of_its_task() {
        for exit in [Exit::Failed, Exit::NotFound, Exit::Denied] {
            assert_eq!(exit.of_run().code(), 125);
        }
        assert_eq!(Exit::Usage.of_run().code(), 2);
        let task = Exit::Task(status::Exit::Code(1));
        assert_eq!(task.of_run().code(), 1);
    }
}
