//! A further process in a container that runs, as its agent sees it: how it is asked for, what it
//! tells, how it is signalled and ended (CT-10, CT-14, FW-91, TK-99).
//!
//! [`crate::Containerizer::enter`] hands one end of a pair of sockets to the launcher, which has it
//! go on to a [guest](crate::guest) inside. That does the work, and ends with the sockets: there is
//! no process that nobody holds. Deliberately not here: where its bytes come from and go to.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container_info::Terminal as Size;
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;

use crate::passing;
use crate::wire::{Frames, encode};

/// Where the input of a further process comes from, and where its output goes.
#[derive(Debug)]
pub enum Streams {
    /// Open files, as the ends of pipes.
    Files {
        /// Its standard input.
        stdin: OwnedFd,
        /// Its standard output.
        stdout: OwnedFd,
        /// Its standard error.
        stderr: OwnedFd,
    },
    /// A terminal of this size, from the container's own `/dev`; the other side of it comes with
    /// [`Notice::Started`].
    Terminal(Size),
}

/// What the launcher is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) command: CommandInfo,
    /// Without one, three open files come along.
    pub(crate) terminal: Option<Size>,
}

/// Why there is no further process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// There is no such container, or it is not running.
    #[error("container {0} does not run")]
    NotRunning(ContainerId),
    /// This agent cannot do that for anybody.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It could not be started, as a program that is not there.
    #[error("{0}")]
    Failed(String),
    /// It is gone without a word: its container ended, or the launcher did.
    #[error("it ended with its container")]
    Lost,
    /// What it told is not understood.
    #[error("what stands beside it is out of order: {0}")]
    Garbled(String),
}

/// What a guest, or the launcher in its place, tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The program runs; with a terminal its other side comes along.
    Started,
    /// It does not, and will not.
    Refused(Refusal),
    /// It has ended, and nothing that it started is left.
    Ended(Exit),
    /// What somebody can say something to a container's own program by comes along, and whether
    /// that is a terminal.
    Input { terminal: bool },
}

/// Why not, where an error comes from the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NotRunning(ContainerId),
    Unsupported(String),
    Invalid(String),
    Failed(String),
}

impl From<Refusal> for EnterError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotRunning(id) => Self::NotRunning(id),
            Refusal::Unsupported(why) => Self::Unsupported(why),
            Refusal::Invalid(why) => Self::Invalid(why),
            Refusal::Failed(why) => Self::Failed(why),
        }
    }
}

/// What happens to a further process.
#[derive(Debug)]
pub enum Notice {
    /// The program runs.
    Started {
        /// The other side of its terminal, if it has one.
        terminal: Option<Terminal>,
    },
    /// It has ended, and so has all that it started.
    Ended(Exit),
}

/// The side of a terminal that its user holds: what is read is output, what is written is input.
/// When it is closed, the processes on it are hung up on.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);

impl Terminal {
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self(file)
    }

    /// Changes the size; the processes on it are told by SIGWINCH.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let Size { rows, columns } = size;
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: an open file and a structure that lives through the call.
        unsafe { set_size(self.0.as_raw_fd(), &raw const size) }?;
        Ok(())
    }

    /// Reads output that is there. It does not block: without output that is
    /// [`io::ErrorKind::WouldBlock`]; when nobody has the terminal open any more, nothing is read.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match nix::unistd::read(&self.0, buffer) {
            Err(Errno::EIO) => Ok(0),
            read => Ok(read?),
        }
    }

    /// Writes input, as much as it takes. It does not block, as above.
    pub fn write(&self, input: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(&self.0, input)?)
    }

    /// Duplicates the file: to read and to write on two threads.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Terminal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.0
    }
}

/// A further process of a container. Dropping it kills that with all that it started.
#[derive(Debug)]
pub struct Entered {
    control: UnixStream,
    frames: Frames,
    files: Vec<OwnedFd>,
    terminal: bool,
}

impl Entered {
    /// Makes both ends; the other is for the guest.
    pub(crate) fn pair(terminal: bool) -> io::Result<(Self, OwnedFd)> {
        let (control, theirs) = UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let entered = Self {
            control,
            frames: Frames::default(),
            files: Vec::new(),
            terminal,
        };
        Ok((entered, theirs.into()))
    }

    /// Waits for the next notice: first that it has started, then that it has ended.
    ///
    /// # Errors
    /// If there is no process, or no more; then nothing comes after.
    pub fn wait(&mut self) -> Result<Notice, EnterError> {
        loop {
            if let Some(notice) = self.try_next()? {
                return Ok(notice);
            }
            let mut wait = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wait, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return Err(EnterError::Lost),
            }
        }
    }

    /// Returns the next notice, if it is there; when there may be one, this can be read
    /// ([`AsFd`]).
    ///
    /// # Errors
    /// As [`Entered::wait`].
    pub fn try_next(&mut self) -> Result<Option<Notice>, EnterError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(told) = self.told()? {
                return self.notice(told).map(Some);
            }
            match passing::receive(&self.control, &mut buffer, &mut self.files) {
                Ok(0) => return Err(EnterError::Lost),
                Ok(length) => self.frames.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(EnterError::Garbled(error.to_string()));
                }
                Err(_) => return Err(EnterError::Lost),
            }
        }
    }

    fn told(&mut self) -> Result<Option<Told>, EnterError> {
        let told = self.frames.next();
        told.map_err(|error| EnterError::Garbled(error.to_string()))
    }

    fn notice(&mut self, told: Told) -> Result<Notice, EnterError> {
        match told {
            Told::Started => {
                let terminal = self.files.pop().map(Terminal::new);
                if terminal.is_some() != self.terminal {
                    let message = "it has no terminal, or one that was not asked for";
                    return Err(EnterError::Garbled(message.to_owned()));
                }
                Ok(Notice::Started { terminal })
            }
            Told::Refused(refusal) => Err(refusal.into()),
            Told::Ended(exit) => Ok(Notice::Ended(exit)),
            Told::Input { .. } => {
                let message = "it tells of another's input";
                Err(EnterError::Garbled(message.to_owned()))
            }
        }
    }

    /// Sends a signal to the program's process group. One that has ended does not mind.
    ///
    /// # Errors
    /// If the number is none of a signal, or too many wait to be delivered.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let Some(number) = u8::try_from(number).ok().filter(|n| (1..=64).contains(n)) else {
            let message = format!("{number} is no signal: 1 to 64");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        match (&self.control).write(&[number]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map(drop),
        }
    }

    /// Kills it with all that it started; its end is told as any other.
    pub fn kill(&self) {
        // Who has closed the other end has ended already.
        let _ = self.control.shutdown(Shutdown::Write);
    }
}

impl AsRawFd for Entered {
    fn as_raw_fd(&self) -> RawFd {
        self.control.as_raw_fd()
    }
}

impl AsFd for Entered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// Tells something to the agent, with a file if there is one; an agent that does not listen any
/// more has let go of the process.
pub(crate) fn tell(
    control: impl AsFd,
    told: &Told,
    file: Option<BorrowedFd<'_>>,
) -> crate::error::Result<()> {
    let mut bytes = Vec::new();
    encode(told, &mut bytes)?;
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    // What is told is short: a socket that nobody fills up takes it whole.
    match passing::send(control, &bytes, &files) {
        Ok(_) => Ok(()),
        Err(error) => Err(crate::error::Error::system("tell the agent", error)),
    }
}

/// What the agent asks of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Signal(i32),
    /// To end everything.
    End,
    /// Nothing yet.
    Nothing,
}

/// Reads what the agent asks for.
pub(crate) fn asked(mut control: &UnixStream) -> Asked {
    let mut byte = [0];
    match control.read(&mut byte) {
        Ok(1) if byte[0] > 0 => Asked::Signal(i32::from(byte[0])),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Asked::Nothing
        }
        Ok(_) | Err(_) => Asked::End,
    }
}
