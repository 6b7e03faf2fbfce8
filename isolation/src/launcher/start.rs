//! How the launcher starts a container, in either mode.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits, ContainerSpec};

use super::{Container, FORKS, KINDS, Launcher, MEMORY, REPORT, State, log};
use crate::cgroup::{self, Entrance, Group, Refusals, Settings};
use crate::error::{Error, Result};
use crate::init::{Order, Report};
use crate::launch::{Launch, Seccomp};
use crate::namespaces::{self, Shared};
use crate::nursery::{Birth, Nursery};
use crate::process::Program;
use crate::sandbox::Sandbox;
use crate::spawn::{Files, Image, Plan, Signals, spawn};
use crate::wait::{self, Whom};
use crate::wire::Frames;

/// How long a started init may take to read on, in milliseconds; far more than it needs.
const ORDER_PATIENCE_MS: u16 = 10_000;

/// How long after it could not be had memory is asked back again.
const SHRINK_PAUSE: Duration = Duration::from_secs(2);

/// What the launcher holds of a container in container mode.
pub(super) struct Contained {
    /// `None` where an agent has no privileges.
    pub(super) group: Option<Group>,
    pub(super) reports: File,
    pub(super) frames: Frames,
    /// Whether the poll loop watches the reports.
    pub(super) watched: bool,
    pub(super) last: Option<Report>,
    /// Kept open, because the kernel signals through it.
    pub(super) memory: Option<EventFd>,
    /// Whether the kernel has signalled, and it was for this container.
    pub(super) out_of_memory: bool,
    /// What it may use.
    pub(super) limits: ContainerLimits,
    pub(super) settings: Settings,
    /// Tells when a fork was refused, if processes are limited.
    pub(super) forks: Option<Refusals>,
    /// Whether its processes do not end with its init.
    pub(super) shares_pid: bool,
}

/// A container that is about to be started.
struct Prepared<'a> {
    order: &'a Order,
    limits: &'a ContainerLimits,
    settings: Settings,
    sandbox: &'a Sandbox,
    directory: &'a CString,
    group: Option<&'a Group>,
    shared: &'a Shared,
}

impl Launcher {
    /// Starts a container, or says why not; then nothing of it is left.
    pub(super) fn start(
        &mut self,
        id: &ContainerId,
        spec: &ContainerSpec,
        launch: &Launch,
    ) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::Invalid("the agent is shutting down".to_owned()));
        }
        launch.check()?;
        let path = self.sandboxes.path_of(&spec.sandbox)?;
        let program = Program::prepare(id, spec, launch, &path)?;
        // Users inside are others than outside; the init knows which.
        let credentials = program.credentials.as_ref();
        let owner = credentials.filter(|_| launch.user_namespace.is_none());
        let sandbox = self.sandboxes.create(&spec.sandbox, owner)?;
        let directory = c_path(&path)?;
        let Some(mode) = &mut self.contained else {
            if *launch != Launch::default() {
                let message = "what isolators add to it takes container mode";
                return Err(Error::Invalid(message.to_owned()));
            }
            let pid = self.start_plain(&program, &sandbox, &directory)?;
            self.add(id, pid, State::Running, None);
            let pid = pid.as_raw().unsigned_abs();
            self.tell(ContainerEvent::Started {
                id: id.clone(),
                pid,
            });
            return Ok(());
        };
        let filter = mode
            .compiler
            .filter(&launch.seccomp, launch.capabilities.bounding)?;
        let users = launch.user_namespace.as_ref();
        let users = users.map(|mapping| mode.users(mapping)).transpose()?;
        let seals = mode.seals.clone();
        let hierarchies = mode.hierarchies.clone();
        let mut shared = Shared::open(launch, |id| self.first_process(id))?;
        shared.of_init.extend(users);
        let group = hierarchies.map(|all| all.group(&self.settings.cgroup_root, id.as_str()));
        let group = group.transpose()?;
        let order = Order {
            id: id.clone(),
            program,
            seals,
            directory: path.clone(),
            launch: Launch {
                // Both are in what was made of them, and may be long.
                seccomp: Seccomp::default(),
                environment: Vec::new(),
                ..launch.clone()
            },
            filter,
            groups: group.as_ref().map(Group::views).unwrap_or_default(),
            privileged: group.is_some(),
        };
        let birth = Prepared {
            order: &order,
            limits: &spec.limits,
            settings: self.settings_for(&spec.limits),
            sandbox: &sandbox,
            directory: &directory,
            group: group.as_ref(),
            shared: &shared,
        };
        self.start_contained(&birth)
            .inspect_err(|_| self.doomed.extend(group.clone()))
    }

    /// Returns the first process of a container that runs, to share what it has.
    fn first_process(&self, id: &ContainerId) -> Result<Pid> {
        let container = self.by_id.get(id).and_then(|key| self.containers.get(key));
        let running = container.filter(|container| matches!(container.state, State::Running));
        let running = running.filter(|container| container.contained.is_some());
        let missing = || Error::Invalid(format!("it shares with {id}, which does not run"));
        Ok(running.ok_or_else(missing)?.pid)
    }

    fn start_plain(
        &self,
        program: &Program,
        sandbox: &Sandbox,
        directory: &CString,
    ) -> Result<Pid> {
        let plan = Plan {
            image: Image::Paths(&program.paths),
            arguments: &program.arguments,
            environment: &program.environment,
            directory: Some(directory),
            files: Files {
                inherited: &[
                    self.null.as_fd(),
                    sandbox.stdout.as_fd(),
                    sandbox.stderr.as_fd(),
                ],
            },
            credentials: program.credentials.as_ref(),
            signals: Signals::Open,
            open_files: Some(self.open_files),
            confinement: None,
        };
        spawn(&plan, &program.name)
    }

    /// Says what a container gets beside its limits: who may use more memory than it keeps is
    /// killed sooner when the machine lacks it (CT-20).
    fn settings_for(&self, limits: &ContainerLimits) -> Settings {
        Settings {
            oom_score: cgroup::oom_score(limits.kept, limits.mem, self.machine_bytes),
            ..Settings::default()
        }
    }

    /// Starts an init in its namespaces and group; it reports later whether the program runs.
    fn start_contained(&mut self, prepared: &Prepared<'_>) -> Result<()> {
        let Prepared { order, limits, .. } = *prepared;
        let mut entrance = None;
        let (mut memory, mut forks) = (None, None);
        if let Some(group) = prepared.group {
            group.create(limits, &prepared.settings)?;
            entrance = Some(group.entrance()?);
            if limits.mem.is_some() {
                memory = group.watch_memory()?;
            }
            forks = limits.pids.map(|_| group.watch_forks()).transpose()?;
        }
        let (order_out, order_in) = order_pipe()?;
        let (reports, writer) =
            pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::system("pipe", errno))?;
        fcntl(&reports, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Error::system("fcntl", errno))?;
        let contained = Contained {
            group: prepared.group.cloned(),
            reports: reports.into(),
            frames: Frames::default(),
            watched: true,
            last: None,
            memory,
            out_of_memory: false,
            limits: limits.clone(),
            settings: prepared.settings.clone(),
            forks,
            shares_pid: order.launch.share_pid.is_some(),
        };
        // Before there is a process that would have to be ended if this failed. What is dropped
        // is no longer watched.
        self.watch(self.next, &contained)?;
        let pid = self.start_init(prepared, entrance.as_ref(), [&order_out, &writer])?;
        drop(order_out);
        let begun = prepare_init(pid, entrance.as_ref(), prepared, order_in);
        // Who has ended meanwhile has reported why, which is told when it is reaped.
        let has_ended = || matches!(wait::look(Whom::Only(pid)), Ok(Some(_)));
        if let Err(error) = begun
            && !has_ended()
        {
            // It is reaped like any child.
            let _ = kill(pid, Signal::SIGKILL);
            return Err(error);
        }
        self.add(&order.id, pid, State::Starting, Some(contained));
        Ok(())
    }

    /// Changes what a container may use; of processes it may have as many as before. Plain
    /// processes have no limits, as at their start.
    pub(super) fn resize(&mut self, key: u64, limits: ContainerLimits) -> Result<()> {
        let container = self.containers.get_mut(&key);
        let Some(contained) = container.and_then(|container| container.contained.as_mut()) else {
            return Ok(());
        };
        let limits = ContainerLimits {
            pids: contained.limits.pids,
            ..limits
        };
        let Some(group) = &contained.group else {
            return Ok(());
        };
        let changed = group.update(&limits, &contained.settings)?;
        if let (Some(wanted), Some(mem)) = (limits.mem, changed.mem)
            && mem > wanted
        {
            let name = group.name();
            log(&format!(
                "{name} is limited to {mem} MiB, for it uses more than {wanted}"
            ));
            self.shrinking.insert(key, Instant::now() + SHRINK_PAUSE);
        }
        if limits.mem.is_some() && contained.memory.is_none() {
            contained.memory = group.watch_memory()?;
            if let Some(memory) = &contained.memory {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, key * KINDS + MEMORY);
                let added = self.epoll.add(memory, event);
                added.map_err(|errno| Error::system("epoll_ctl", errno))?;
            }
        }
        contained.limits = limits;
        Ok(())
    }

    /// Tries again to take memory from those that used more than they are to have.
    pub(super) fn shrink_some(&mut self, now: Instant) {
        let containers = &self.containers;
        self.shrinking.retain(|key, due| {
            let contained = containers.get(key).and_then(|one| one.contained.as_ref());
            let Some(contained) = contained.filter(|_| *due <= now) else {
                return contained.is_some();
            };
            *due = now + SHRINK_PAUSE;
            let Some(group) = &contained.group else {
                return false;
            };
            let (limits, settings) = (&contained.limits, &contained.settings);
            match group.update(limits, settings) {
                Ok(changed) => limits.mem.zip(changed.mem).is_some_and(|(n, now)| now > n),
                Err(error) => {
                    log(&error.to_string());
                    true
                }
            }
        });
    }

    fn watch(&self, key: u64, contained: &Contained) -> Result<()> {
        let watch = |file: BorrowedFd<'_>, flags, kind| {
            let event = EpollEvent::new(flags, key * KINDS + kind);
            let added = self.epoll.add(file, event);
            added.map_err(|errno| Error::system("epoll_ctl", errno))
        };
        watch(contained.reports.as_fd(), EpollFlags::EPOLLIN, REPORT)?;
        if let Some(memory) = &contained.memory {
            watch(memory.as_fd(), EpollFlags::EPOLLIN, MEMORY)?;
        }
        if let Some(forks) = &contained.forks {
            watch(forks.as_fd(), EpollFlags::EPOLLPRI, FORKS)?;
        }
        Ok(())
    }

    fn start_init(
        &mut self,
        prepared: &Prepared<'_>,
        entrance: Option<&Entrance>,
        [order, writer]: [&OwnedFd; 2],
    ) -> Result<Pid> {
        let nursery = match self.nursery.take().filter(Nursery::lives) {
            Some(nursery) => nursery,
            None => Nursery::start(self.image.as_fd(), self.null.as_fd(), self.open_files)?,
        };
        let Sandbox { stdout, stderr } = prepared.sandbox;
        let own = [&self.null, stdout, stderr, order, writer];
        let birth = Birth {
            directory: prepared.directory,
            own: own.map(AsFd::as_fd),
            enter: entrance.map(Entrance::enter),
            namespaces: namespaces::flags(&prepared.order.launch),
            shared: prepared.shared,
        };
        let pid = nursery.bear(&birth)?;
        // After a failure it is left: the next container gets a new one.
        self.nursery = Some(nursery);
        Ok(pid)
    }

    /// Enters a new container into the tables.
    fn add(&mut self, id: &ContainerId, pid: Pid, state: State, contained: Option<Contained>) {
        let key = self.next;
        self.next += 1;
        let container = Container {
            id: id.clone(),
            pid,
            state,
            known: true,
            disowned: false,
            contained,
        };
        self.by_id.insert(id.clone(), key);
        self.by_pid.insert(pid, key);
        self.containers.insert(key, container);
    }
}

/// Makes the pipe through which an init gets its order. Until it has that, it waits: what it and
/// its program must have first can be given to it meanwhile (CT-04).
fn order_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|e| Error::system("pipe", e))?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| Error::system("fcntl", errno))?;
    Ok((reader, writer))
}

/// Does from outside what an init cannot do, and lets it begin.
fn prepare_init(
    pid: Pid,
    entrance: Option<&Entrance>,
    prepared: &Prepared<'_>,
    file: OwnedFd,
) -> Result<()> {
    if let Some(entrance) = entrance {
        entrance.attach(pid)?;
    }
    if let Some(score) = prepared.settings.oom_score {
        let path = format!("/proc/{pid}/oom_score_adj");
        let written = std::fs::write(&path, score.to_string());
        written.map_err(|error| Error::file("write to", Path::new(&path), error))?;
    }
    give_order(prepared.order, file)
}

/// Writes an order. Its environment is a secret of the container, so it is not among the init's
/// arguments.
fn give_order(order: &Order, file: OwnedFd) -> Result<()> {
    let failed = |error| Error::system("write an order", error);
    let bytes = postcard::to_allocvec(order).map_err(|error| Error::Frame(error.to_string()))?;
    let mut left = &*bytes;
    let mut file = File::from(file);
    while !left.is_empty() {
        match file.write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A long one: the init reads it piece by piece.
                let mut wait = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut wait, ORDER_PATIENCE_MS) {
                    Ok(0) => return Err(failed(io::ErrorKind::TimedOut.into())),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(failed(errno.into())),
                }
            }
            // It is ending, and has reported why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    let text = CString::new(path.as_os_str().as_bytes());
    text.map_err(|_| Error::Invalid("the path of its sandbox contains a NUL".to_owned()))
}
