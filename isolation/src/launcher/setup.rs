//! How a launcher becomes one: from the first instruction to the loop.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode as FileMode;
use nix::unistd::geteuid;

use super::copier::Copier;
use super::doomed::Doomed;
use super::exits::Exits;
use super::link::{Link, SOCKET};
use super::{COPIED, ContainerMode, FIRST, Launcher, Presence, SIGNALS, heir, log, removed};
use crate::cgroup::Hierarchies;
use crate::confine::{self, Seals};
use crate::error::{Error, Result};
use crate::launch::SANDBOX;
use crate::logs::Logs;
use crate::mode::{Mode, Support, container_support};
use crate::procfs;
use crate::sandbox::Sandboxes;
use crate::seccomp::Compiler;
use crate::spawn::{OpenFiles, close_from, reset_dispositions};
use crate::wire::Settings;

/// What a launcher says on its standard output when it listens.
pub(crate) const READY: &str = "ready";
/// What it says when another launcher holds the directory.
pub(crate) const LOCKED: &str = "locked";
/// The names of the exits file and of the lock in the runtime directory.
pub(super) const EXITS: &str = "exits";
pub(crate) const LOCK: &str = "lock";
/// The name of the empty directory that containers see in place of the runtime directory.
const EMPTY: &str = "empty";
/// The name of the directory with what is mounted on in every root.
const FRAME: &str = "frame";

/// How long what a dead launcher left behind may take to die; less than an agent waits for us.
const LEFTOVERS_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a launcher; returns its exit code.
///
/// The work is done by a second thread, so that the children which it starts and the orphans
/// which the kernel gives to the main thread are told apart; see [`heir`].
pub(crate) fn main() -> i32 {
    let (launcher, lock) = match begin() {
        Ok(Some(begun)) => begun,
        Ok(None) => return i32::from(say(LOCKED).is_err()),
        Err(error) => {
            log(&error.to_string());
            // The agent reads this line; if it cannot, the log has it.
            let _ = say(&error.to_string());
            return 1;
        }
    };
    // Released by the kernel: who gets it next can rely on this process having ended.
    std::mem::forget(lock);
    match work(launcher) {
        Ok(()) => 0,
        Err(error) => {
            log(&error.to_string());
            1
        }
    }
}

fn work(mut launcher: Launcher) -> Result<()> {
    let (heirs, inheritance) = heir::pair();
    launcher.heirs = Some(heirs);
    let worker = thread::Builder::new().name("launcher".to_owned());
    let worker = worker.spawn(move || {
        let result = say(READY)
            .and_then(|()| release_stdio(&launcher.null))
            .and_then(|()| launcher.run());
        let socket = launcher.settings.runtime_dir.join(SOCKET);
        let removed = removed(&socket, fs::remove_file(&socket));
        result.and(removed)
    });
    let worker = worker.map_err(|error| Error::system("start a thread", error))?;
    inheritance.serve();
    match worker.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sets everything up; `None` if there is a launcher already.
fn begin() -> Result<Option<(Launcher, Flock<File>)>> {
    reset_dispositions();
    if geteuid().is_root() {
        confine::shut_off()?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
        .map_err(|errno| Error::system("sigprocmask", errno))?;
    close_from(3);
    nix::unistd::setsid().map_err(|errno| Error::system("setsid", errno))?;
    nix::unistd::chdir("/").map_err(|errno| Error::system("chdir", errno))?;
    nix::sys::stat::umask(FileMode::from_bits_truncate(0o022));
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| Error::system("become a subreaper", errno))?;
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| Error::system("read settings", error))?;
    let settings: Settings =
        postcard::from_bytes(&bytes).map_err(|error| Error::Frame(error.to_string()))?;
    let Some(lock) = lock(&settings.runtime_dir)? else {
        return Ok(None);
    };
    Ok(Some((assemble(settings)?, lock)))
}

fn assemble(settings: Settings) -> Result<Launcher> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
        .map_err(|errno| Error::system("epoll_create", errno))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| Error::system("signalfd", errno))?;
    epoll
        .add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))
        .map_err(|errno| Error::system("epoll_ctl", errno))?;
    let copier = Copier::start()?;
    epoll
        .add(copier.done(), EpollEvent::new(EpollFlags::EPOLLIN, COPIED))
        .map_err(|errno| Error::system("epoll_ctl", errno))?;
    let contained = match settings.mode {
        Mode::Process => None,
        Mode::Container => Some(container_mode(&settings.runtime_dir)?),
    };
    let sandboxes = Sandboxes::open(&settings.work_dir)?;
    let mut launcher = Launcher {
        exits: Exits::open(&settings.runtime_dir.join(EXITS))?,
        link: Link::listen(&settings.runtime_dir, &epoll)?,
        image: open_file(Path::new("/proc/self/exe"), OFlag::O_RDONLY)?,
        null: open_file(Path::new("/dev/null"), OFlag::O_RDWR)?,
        open_files: raise_open_files()?,
        machine_bytes: procfs::machine_bytes()?,
        containers: HashMap::new(),
        by_id: HashMap::new(),
        by_pid: HashMap::new(),
        guests: HashMap::new(),
        next: FIRST,
        draining: Vec::new(),
        doomed: Doomed::default(),
        shrinking: HashMap::new(),
        kept: Some(0),
        awaited: None,
        heirs: None,
        agent: Presence::Awaited,
        stopping: None,
        settings,
        epoll,
        signals,
        sandboxes,
        copier,
        logs: Logs::default(),
        contained,
        nursery: None,
    };
    launcher.end_leftovers()?;
    Ok(launcher)
}

fn container_mode(runtime_dir: &Path) -> Result<ContainerMode> {
    let hierarchies = match container_support().map_err(Error::NoContainers)? {
        Support::Full(hierarchies) => Some(hierarchies),
        Support::Rootless => None,
    };
    let (empty, frame) = (runtime_dir.join(EMPTY), runtime_dir.join(FRAME));
    let below = |path: &str| frame.join(path.trim_start_matches('/'));
    for path in [
        empty.clone(),
        below("/dev"),
        below("/proc"),
        below("/sys"),
        below(SANDBOX),
    ] {
        let made = fs::create_dir_all(&path);
        made.map_err(|error| Error::file("create", &path, error))?;
    }
    Ok(ContainerMode {
        hierarchies,
        seals: Seals::new(runtime_dir.to_owned(), empty, frame),
        compiler: Compiler::default(),
        users: HashMap::new(),
    })
}

impl Launcher {
    /// Ends what a launcher that died left behind: we hold the lock, so nobody else's is here.
    ///
    /// Returns when it is dead: whoever asks about it is told that it is lost. What will not die
    /// is logged after a while, and must not keep others from being started.
    fn end_leftovers(&mut self) -> Result<()> {
        if let Some(ContainerMode {
            hierarchies: Some(hierarchies),
            ..
        }) = &self.contained
        {
            let root = &self.settings.cgroup_root;
            hierarchies.prepare(root)?;
            let left = leftovers(hierarchies, root)?;
            left.into_iter().for_each(|group| self.doomed.push(group));
        }
        let deadline = Instant::now() + LEFTOVERS_PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let now = Instant::now();
            // A program may fork while we look, so only a look that finds nobody is the last.
            let pids = procfs::marked_below(self.sandboxes.path());
            for &pid in &pids {
                // It may have ended by itself.
                let _ = kill(pid, Signal::SIGKILL);
            }
            self.doomed.remove_some(now);
            if pids.is_empty() && self.doomed.is_empty() {
                return Ok(());
            }
            if now > deadline {
                let groups: Vec<String> = self.doomed.names().collect();
                log(&format!(
                    "left behind and will not die: {pids:?}, {groups:?}"
                ));
                return Ok(());
            }
            if self.doomed.due(now).is_none_or(|due| due > now) {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    }
}

fn leftovers(hierarchies: &Hierarchies, root: &str) -> Result<Vec<crate::cgroup::Group>> {
    let names = hierarchies.groups(root)?.into_iter();
    names.map(|name| hierarchies.group(root, &name)).collect()
}

/// Takes the directory's lock for as long as this process lives.
fn lock(dir: &Path) -> Result<Option<Flock<File>>> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(|error| Error::file("open", &path, error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(Error::file("lock", &path, errno)),
    }
}

/// Raises our own limit on open files (a container takes up to eight); programs get the one from
/// before.
fn raise_open_files() -> Result<OpenFiles> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| Error::system("getrlimit", errno))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|errno| Error::system("setrlimit", errno))?;
    Ok(OpenFiles { soft, hard })
}

fn open_file(path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let opened = open(path, flags | OFlag::O_CLOEXEC, FileMode::empty());
    opened.map_err(|errno| Error::file("open", path, errno))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Error::system("write to the agent", error))
}

/// Lets go of the agent's pipes.
fn release_stdio(null: &OwnedFd) -> Result<()> {
    nix::unistd::dup2_stdin(null)
        .and_then(|()| nix::unistd::dup2_stdout(null))
        .map_err(|errno| Error::system("dup2", errno))
}
