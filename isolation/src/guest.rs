//! What stands beside a further process of a container: enters what the container is made of,
//! starts the program there with no more rights than the container's own has, and ends with it.
//!
//! A copy of the [nursery](crate::nursery), born in the container's process namespace and groups,
//! and a child of the launcher. What the program starts and leaves becomes its child, and is killed
//! when the program ends, or when the agent lets go of the other end of its socket. It is killed by
//! the kernel with the first process of the namespace.
//!
//! It holds no directory and no file of the host's while it is inside, and nobody inside can look
//! into it: the nursery has seen to that before it was copied.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::unistd::{
    Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchdir, setfsgid, setfsuid, setgroups,
};
use serde::{Deserialize, Serialize};
use tepui_core::protocol::container_info::Terminal as Size;
use tepui_core::protocol::status::Exit;

use crate::confine;
use crate::enter::{Asked, Refusal, Told, asked, tell};
use crate::error::{Error, Result};
use crate::init::{Placed, Subject, complete, end_all, execute};
use crate::launch::Launch;
use crate::mountapi;
use crate::place::Inside;
use crate::process::Program;
use crate::seccomp::Filter;
use crate::spawn::{Credentials, Files, Image, Plan, Signals, spawn};
use crate::terminal;
use crate::users;
use crate::volumes::outside;
use crate::wait::{self, Whom};

/// What the launcher asks of a guest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) program: Program,
    /// That of the container, as far as it is about its programs.
    pub(crate) launch: Launch,
    /// What the profile of the launch is compiled to.
    pub(crate) filter: Option<Filter>,
    /// Where the program starts.
    pub(crate) directory: PathBuf,
    pub(crate) terminal: Option<Size>,
    /// Whether there is a container at all, and not only processes.
    pub(crate) contained: bool,
}

/// What a guest is given beside its standard files.
pub(crate) struct Given {
    /// Ends when it may begin: what has to be done to it from outside is done.
    pub(crate) gate: OwnedFd,
    pub(crate) control: OwnedFd,
    /// The first process of the container, the null device, the order, and the users' namespace
    /// if there is one.
    pub(crate) files: Vec<OwnedFd>,
}

/// Runs a guest, if its process could be prepared; returns an exit code, which nobody asks for.
pub(crate) fn run(prepared: Result<()>, given: Given) -> i32 {
    let control = UnixStream::from(given.control);
    let begun = prepared.and_then(|()| begin(given.gate, given.files));
    let ended = match begun {
        Ok(guest) => guest.attend(&control),
        Err(error) => Told::Refused(Refusal::Failed(error.to_string())),
    };
    i32::from(tell(&control, &ended, None).is_err())
}

/// A program that runs, and the other side of its terminal.
struct Guest {
    program: Pid,
    terminal: Option<OwnedFd>,
    children: SignalFd,
}

fn begin(gate: OwnedFd, files: Vec<OwnedFd>) -> Result<Guest> {
    let mut files = files.into_iter();
    let missing = || Error::Frame("a file of a further process is missing".to_owned());
    let process = files.next().ok_or_else(missing)?;
    let null = files.next().ok_or_else(missing)?;
    let order = read(gate, files.next().ok_or_else(missing)?)?;
    let users = files.next();
    confine::shut_off()?;
    confine::leave_keyring()?;
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Error::system("become a subreaper", errno))?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let children =
        SignalFd::with_flags(&mask, flags).map_err(|errno| Error::system("signalfd", errno))?;
    if order.contained {
        enter(process)?;
    }
    let (program, terminal) = start(&order, users.as_ref())?;
    if order.contained {
        confine::restrict()?;
    }
    // Who reads what it writes is to see when it and its own have ended.
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .map_err(|errno| Error::system("dup2", errno))?;
    Ok(Guest {
        program,
        terminal,
        children,
    })
}

/// Waits until it may begin, and reads the order.
fn read(gate: OwnedFd, order: OwnedFd) -> Result<Order> {
    let failed = |error| Error::system("read the order", error);
    let mut nothing = Vec::new();
    File::from(gate).read_to_end(&mut nothing).map_err(failed)?;
    let mut bytes = Vec::new();
    File::from(order).read_to_end(&mut bytes).map_err(failed)?;
    postcard::from_bytes(&bytes).map_err(|error| Error::Frame(error.to_string()))
}

/// Enters all that the container has for itself. One that ends meanwhile has none of it any more,
/// and its number is nobody else's: it is not by its number that it is found.
fn enter(process: OwnedFd) -> Result<()> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    setns(process, namespaces).map_err(|errno| {
        if errno == Errno::ESRCH {
            return Error::Invalid("it has ended".to_owned());
        }
        Error::system("enter the container", errno)
    })
}

fn start(order: &Order, users: Option<&OwnedFd>) -> Result<(Pid, Option<OwnedFd>)> {
    let launch = &order.launch;
    let root = match order.contained {
        true => Some(Inside::open(Path::new("/"), false)?),
        false => None,
    };
    let own_root = root.as_ref().filter(|_| launch.root.is_some());
    let wanted = order.program.user.as_deref();
    let user = match (own_root, wanted) {
        (Some(root), Some(wanted)) => Some(users::inside(root, wanted)?),
        (Some(_) | None, _) => order.program.credentials.clone(),
    };
    let user = complete(launch, true, user);
    let pair = match (order.terminal, &root) {
        (Some(size), Some(root)) => Some(terminal::open(root, size)?),
        (Some(size), None) => Some(terminal::open(&Inside::open(Path::new("/"), false)?, size)?),
        (None, _) => None,
    };
    if let (Some((_, near)), Some(user)) = (&pair, &user) {
        let mapping = launch.user_namespace.as_ref();
        terminal::give(near, user, mapping, own_root.is_some())?;
    }
    go_to(order, own_root, user.as_ref())?;
    // The wish is forgotten by who acts as another user.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| Error::system("die with the launcher", errno))?;
    drop(root);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let near = pair.as_ref().map(|(_, near)| near.as_fd());
    let files = match near {
        Some(near) => [near; 3],
        None => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
    };
    let terminal = near.is_some();
    let program = match order.contained {
        true => {
            let subject = Subject {
                program: &order.program,
                launch,
                filter: order.filter.as_ref(),
                files,
                terminal,
            };
            let placed = Placed {
                directory: None,
                user,
            };
            execute(&subject, &placed, users.map(AsFd::as_fd))?
        }
        false => execute_plain(&order.program, files, terminal)?,
    };
    Ok((program, pair.map(|(far, _)| far)))
}

/// Executes a program beside a task that is no container.
fn execute_plain(program: &Program, files: [BorrowedFd<'_>; 3], terminal: bool) -> Result<Pid> {
    let plan = Plan {
        image: Image::Paths(&program.paths),
        arguments: &program.arguments,
        environment: &program.environment,
        directory: None,
        files: Files { inherited: &files },
        terminal,
        credentials: program.credentials.as_ref(),
        signals: Signals::Open,
        open_files: None,
        confinement: None,
    };
    spawn(&plan, &program.name)
}

/// Goes to where the program starts. The task has had time to put links there: in a root of its own
/// they lead nowhere out of it; on the host's root they are followed as its user, who could else
/// have us go where that user must not.
fn go_to(order: &Order, own_root: Option<&Inside>, user: Option<&Credentials>) -> Result<()> {
    let path = &order.directory;
    let failed = |errno| Error::file("go to", path, errno);
    let found = match own_root {
        Some(root) => {
            let found = root.find(path)?;
            found.ok_or(Errno::ENOENT).map_err(failed)?
        }
        None => {
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
            match openat2(mountapi::here(), path, how) {
                Err(Errno::ELOOP) => return go_as(order, user),
                found => found.map_err(failed)?,
            }
        }
    };
    fchdir(found).map_err(failed)
}

/// Goes there with the rights of the program's user.
fn go_as(order: &Order, user: Option<&Credentials>) -> Result<()> {
    let path = &order.directory;
    let failed = |errno| Error::file("go to", path, errno);
    let before = match user {
        None => None,
        Some(user) => {
            let mapping = order.launch.user_namespace.as_ref();
            let (uid, gid) = outside(mapping, (user.uid, user.gid))?;
            setgroups(&[gid]).map_err(failed)?;
            Some((setfsuid(uid), setfsgid(gid)))
        }
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let went = open(path, flags, Mode::empty()).and_then(fchdir);
    if let Some((uid, gid)) = before {
        let _: (Uid, Gid) = (setfsuid(uid), setfsgid(gid));
    }
    went.map_err(failed)
}

impl Guest {
    /// Tells that the program runs, and waits for its end or for being asked to end it; returns
    /// how it ended, when nothing that it started is left.
    fn attend(mut self, control: &UnixStream) -> Told {
        let far = self.terminal.take();
        let told = tell(control, &Told::Started, far.as_ref().map(AsFd::as_fd));
        // Closed here, so that the agent's is the last one.
        drop(far);
        let attended = told.and_then(|()| self.wait(control));
        let exit = match attended {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) | Err(_) => self.end(),
        };
        match exit.and_then(|exit| end_all().map(|()| exit)) {
            Ok(exit) => Told::Ended(exit),
            Err(error) => Told::Refused(Refusal::Failed(error.to_string())),
        }
    }

    /// Waits; returns how the program ended, or nothing if the agent wants an end.
    fn wait(&self, control: &UnixStream) -> Result<Option<Exit>> {
        let failed = |errno| Error::system("poll", errno);
        let nonblocking = control.set_nonblocking(true);
        nonblocking.map_err(|error| Error::system("configure a socket", error))?;
        loop {
            if let Some(exit) = self.reap()? {
                return Ok(Some(exit));
            }
            match asked(control) {
                Asked::End => return Ok(None),
                Asked::Signal(number) => {
                    self.signal(number);
                    continue;
                }
                Asked::Nothing => {}
            }
            let mut ready = [
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
                PollFd::new(control.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            // What it is about is found out anyway.
            while let Ok(Some(_)) = self.children.read_signal() {}
        }
    }

    /// Signals the program's group. It is not reaped, so the number is its.
    fn signal(&self, number: i32) {
        // SAFETY: plain numbers. Those of real-time signals have no name in nix. It may have died.
        unsafe { libc::kill(-self.program.as_raw(), number) };
    }

    /// Reaps all dead children; returns how the program ended, if it is one of them.
    fn reap(&self) -> Result<Option<Exit>> {
        loop {
            let dead = wait::reap(Whom::Anyone).map_err(|error| Error::system("waitid", error))?;
            match dead {
                Some((pid, exit)) if pid == self.program => return Ok(Some(exit)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Kills the program.
    fn end(&self) -> Result<Exit> {
        // It may have died by itself; it is reaped either way.
        let _ =
            killpg(self.program, Signal::SIGKILL).or_else(|_| kill(self.program, Signal::SIGKILL));
        let reaped = wait::reap_at_last(self.program);
        let reaped = reaped.map_err(|error| Error::system("waitid", error))?;
        let gone = || Error::Invalid("its end was not seen".to_owned());
        reaped.map(|(_, exit)| exit).ok_or_else(gone)
    }
}
