//! What a container gets for its standard input, output and error: pipes or a terminal, whose other
//! ends the launcher has, or the files themselves where nothing bounds these.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{fchown, pipe2};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container_info::Terminal as Size;

use super::copier::Output;
use super::input::{Awaited, Input, of_terminal};
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::logs::{LogFile, Logs};
use crate::place::Inside;
use crate::sandbox::Sandbox;
use crate::spawn::Credentials;
use crate::terminal;

/// The names of the files.
const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";

/// What a container reads and writes.
#[derive(Debug)]
pub(super) struct Mouth {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Whether these are a terminal.
    pub(super) terminal: bool,
    /// Where an init says which terminal it has made.
    pub(super) link: Option<OwnedFd>,
}

/// The other side of it.
#[derive(Debug, Default)]
pub(super) struct Ears {
    /// What somebody says something by, if the program is interactive.
    pub(super) input: Option<Input>,
    /// What is to be copied, if it is not written to the files at once.
    pub(super) output: Option<Output>,
    pub(super) awaited: Option<Awaited>,
}

/// For whom it is made.
pub(super) struct Speaker<'a> {
    pub(super) id: &'a ContainerId,
    pub(super) launch: &'a Launch,
    pub(super) logs: Logs,
    pub(super) owner: Option<&'a Credentials>,
    /// Whether it has an init, which makes its terminal where its program is.
    pub(super) contained: bool,
    pub(super) null: &'a OwnedFd,
}

impl Mouth {
    /// Makes both sides.
    pub(super) fn open(of: &Speaker<'_>, sandbox: Sandbox) -> Result<(Self, Ears)> {
        match of.launch.terminal {
            Some(_) if of.contained => of.awaited(sandbox),
            Some(size) => of.on_terminal(sandbox, size),
            None => of.on_pipes(sandbox),
        }
    }
}

impl Speaker<'_> {
    fn on_pipes(&self, sandbox: Sandbox) -> Result<(Mouth, Ears)> {
        let Sandbox {
            directory,
            stdout,
            stderr,
        } = sandbox;
        let mut ears = Ears::default();
        let stdin = match self.launch.interactive {
            true => {
                let (theirs, ours) = self.pipe()?;
                without_waiting(&ours)?;
                ears.input = Some(Input::Pipe(ours));
                theirs
            }
            false => self.null()?,
        };
        let mouth = |stdin, stdout, stderr| Mouth {
            stdin,
            stdout,
            stderr,
            terminal: false,
            link: None,
        };
        if !self.logs.are_bounded() {
            return Ok((mouth(stdin, stdout, stderr), ears));
        }
        let directory = Arc::new(directory);
        let copied = |name, file| -> Result<(OwnedFd, (OwnedFd, LogFile))> {
            let log = self.log(&directory, name, file)?;
            let (ours, theirs) = self.pipe()?;
            without_waiting(&ours)?;
            Ok((theirs, (ours, log)))
        };
        let (stdout, first) = copied(STDOUT, stdout)?;
        let (stderr, second) = copied(STDERR, stderr)?;
        ears.output = Some(Output::new(self.id, vec![first, second]));
        Ok((mouth(stdin, stdout, stderr), ears))
    }

    /// A terminal that is made by the init.
    fn awaited(&self, sandbox: Sandbox) -> Result<(Mouth, Ears)> {
        let failed = |error| Error::system("make a pair of sockets", error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let log = self.log(&Arc::new(sandbox.directory), STDOUT, sandbox.stdout)?;
        let mouth = Mouth {
            stdin: self.null()?,
            stdout: self.null()?,
            stderr: self.null()?,
            terminal: false,
            link: Some(theirs.into()),
        };
        let link = ours.into();
        let ears = Ears {
            awaited: Some(Awaited { link, log }),
            ..Ears::default()
        };
        Ok((mouth, ears))
    }

    /// A terminal of the machine's.
    fn on_terminal(&self, sandbox: Sandbox, size: Size) -> Result<(Mouth, Ears)> {
        let log = self.log(&Arc::new(sandbox.directory), STDOUT, sandbox.stdout)?;
        let (far, near) = terminal::open(&Inside::open(Path::new("/"), false)?, size)?;
        if let Some(owner) = self.owner {
            terminal::give(&near, owner, None, false)?;
        }
        let mouth = Mouth {
            stdin: duplicated(&near)?,
            stdout: duplicated(&near)?,
            stderr: duplicated(&near)?,
            terminal: true,
            link: None,
        };
        let (input, output) = of_terminal(self.id, far, near, log)?;
        let ears = Ears {
            input: Some(input),
            output: Some(output),
            awaited: None,
        };
        Ok((mouth, ears))
    }

    fn log(&self, directory: &Arc<OwnedFd>, name: &'static str, file: OwnedFd) -> Result<LogFile> {
        let log = LogFile::new(Arc::clone(directory), name, file, self.logs);
        log.map_err(|error| Error::system("look at a log", error))
    }

    /// Makes a pipe: the end to read from, and the one to write to. A program may open its own
    /// again, as `/dev/stdout`, so it belongs to its user.
    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        let failed = |errno: Errno| Error::system("make a pipe", errno);
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        if let Some(owner) = self.owner {
            let (uid, gid) = owner.owner();
            fchown(&reader, Some(uid), Some(gid)).map_err(failed)?;
        }
        Ok((reader, writer))
    }

    fn null(&self) -> Result<OwnedFd> {
        duplicated(self.null)
    }
}

fn duplicated(file: &OwnedFd) -> Result<OwnedFd> {
    let copy = file.try_clone();
    copy.map_err(|error| Error::system("duplicate a file", error))
}

/// Our end of a pipe is not waited at.
fn without_waiting(ours: &OwnedFd) -> Result<()> {
    fcntl(ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(drop)
        .map_err(|errno| Error::system("fcntl", errno))
}
