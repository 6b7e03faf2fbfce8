//! A further process in the container of a task that runs, or its own program, as those ask for it
//! who may: operators, and frameworks for their own tasks (CT-10, FW-91, OB-32).
//!
//! It is asked for and fed over a stream of its own, straight from the agent, as output is
//! ([`Read`](super::agent::Read)). The first frame is an [`Opening`]; if it is granted, frames of
//! [`Input`] follow one way and of [`Output`] the other, up to [`Output::Ended`] or
//! [`Output::Refused`]. Who leaves before ends the further process with all that it started; to a
//! program that was there before it does nothing. Deliberately not here: who may ask, and what a
//! container is.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::container_info::Terminal;
use super::status::Exit;
use super::task::CommandInfo;
use crate::ids::{FrameworkId, TaskId};

/// The first frame of a stream that goes both ways.
///
/// It begins with a byte that is zero, the number of the first variant, which a
/// [`Read`](super::agent::Read) does not: that begins with the length of an id. So each is told
/// from the other, also by those who know only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// It is about containers.
    Containers(Wanted),
}

/// What somebody wants of the container of a task, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Have a further process in it.
    Enter(Box<Enter>),
    /// Follow what its own program writes from now on, and perhaps be what that reads.
    Attach(Attach),
    /// Know what all containers use that he may know of; answered by
    /// [`usage::Answer`](super::usage::Answer).
    Usage,
}

/// To whose program somebody attaches. What it writes is told as with a further process, and how it
/// ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task. It must run.
    pub task: TaskId,
    /// Whether it reads what is said here; only one may say something at a time, and it must have
    /// been started so ([`ContainerInfo`](super::container_info::ContainerInfo)). Signals are not
    /// passed on.
    pub input: bool,
}

/// What is to be started, and beside which task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enter {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task. It must run.
    pub task: TaskId,
    /// What to run; it fetches nothing. Its variables are added to those of the task.
    pub command: CommandInfo,
    /// The size of its terminal, if it is to have one: then its errors come as output.
    pub terminal: Option<Terminal>,
}

/// What is told to a further process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Bytes for its standard input; at most [`limits::ENTER_BYTES`](crate::limits::ENTER_BYTES).
    Bytes(Vec<u8>),
    /// There is no more input, ever. On a terminal, a user types that.
    End,
    /// Its terminal has another size.
    Resize(Terminal),
    /// A signal for it and those it started in its group, by number.
    Signal(u8),
}

/// What a further process tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// It runs.
    Started,
    /// It does not run, and will not.
    Refused(Refusal),
    /// It wrote to its standard output; at most
    /// [`limits::ENTER_BYTES`](crate::limits::ENTER_BYTES).
    Stdout(Vec<u8>),
    /// It wrote to its standard error; as much.
    Stderr(Vec<u8>),
    /// It has ended, and so has all that it started. Nothing follows.
    Ended(Exit),
    /// It is gone with its task, or with what stands beside it. Nothing follows.
    Lost,
}

/// Why there is no further process, each with a reason for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The task does not run here.
    NotRunning(String),
    /// Who asks may not.
    Denied(String),
    /// The agent cannot do that for any task.
    Unsupported(String),
    /// What is asked for makes no sense.
    Invalid(String),
    /// It could not be started, as a program that is not there.
    Failed(String),
    /// There are too many already.
    TooMany(String),
}

impl Refusal {
    /// Returns the reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotRunning(reason)
            | Self::Denied(reason)
            | Self::Unsupported(reason)
            | Self::Invalid(reason)
            | Self::Failed(reason)
            | Self::TooMany(reason) => reason,
        }
    }
}
