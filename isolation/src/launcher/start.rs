//! How the launcher starts a container, in either mode.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits, ContainerSpec};

use super::enter::Basis;
use super::input::{Awaited, Input};
use super::output::{Ears, Mouth, Speaker};
use super::{Container, FORKS, KINDS, Launcher, MEMORY, REPORT, State, guard, log};
use crate::cgroup::{self, Controller, Entrance, Group, Refusals, Settings};
use crate::error::{Error, Result};
use crate::init::{Order, Report};
use crate::launch::{Launch, Seccomp};
use crate::namespaces::{self, Shared};
use crate::nursery::{Birth, Nursery, Purpose, Role};
use crate::process::Program;
use crate::procfs;
use crate::spawn::{Files, Image, Plan, Signals, spawn};
use crate::volumes::c_string;
use crate::wait::{self, Whom};
use crate::wire::{Answer, Frames};

/// How long a started init may take to read on, in milliseconds; far more than it needs.
const ORDER_PATIENCE_MS: u16 = 10_000;

/// Why a plain process is not started.
const PLAIN: &str = "what isolators add to it takes container mode";

/// What the launcher holds of a container in container mode.
pub(super) struct Contained {
    /// `None` where an agent has no privileges.
    pub(super) group: Option<Group>,
    pub(super) reports: File,
    pub(super) frames: Frames,
    /// Whether the poll loop watches the reports.
    pub(super) watched: bool,
    pub(super) last: Option<Report>,
    /// In networks of its own.
    pub(super) addresses: Vec<IpAddr>,
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
    /// What its init waits for, until the agent releases it.
    pub(super) held: Option<Held>,
    /// The terminal that its init makes for its program.
    pub(super) awaited: Option<Awaited>,
}

/// An order that is not given yet, and the pipe for it.
pub(super) struct Held {
    order: Vec<u8>,
    pipe: OwnedFd,
}

/// What is to be started.
struct Wanted<'a> {
    id: &'a ContainerId,
    spec: &'a ContainerSpec,
    launch: &'a Launch,
    program: Program,
    mouth: Mouth,
    ears: Ears,
    /// Its sandbox.
    path: &'a Path,
    directory: &'a CString,
    /// Whether it waits to be released.
    hold: bool,
}

/// A container that is about to be started.
struct Prepared<'a> {
    order: &'a Order,
    limits: &'a ContainerLimits,
    settings: Settings,
    mouth: &'a Mouth,
    directory: &'a CString,
    group: Option<&'a Group>,
    shared: &'a Shared,
    hold: bool,
}

impl Launcher {
    /// Starts a container, or says why not; then nothing of it is left.
    pub(super) fn start(
        &mut self,
        id: &ContainerId,
        spec: &ContainerSpec,
        launch: &Launch,
        hold: bool,
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
        let speaker = Speaker {
            id,
            launch,
            logs: launch.logs.unwrap_or(self.logs),
            owner,
            contained: self.contained.is_some(),
            null: &self.null,
        };
        let (mouth, mut ears) = Mouth::open(&speaker, sandbox)?;
        let directory = c_string(&path)?;
        let key = self.next;
        if let Some(output) = ears.output.take() {
            self.copier.add(key, output)?;
        }
        let wanted = Wanted {
            id,
            spec,
            launch,
            program,
            mouth,
            ears,
            path: &path,
            directory: &directory,
            hold,
        };
        let started = match self.contained.is_some() {
            true => self.start_container(wanted),
            false => self.start_plain(wanted),
        };
        started.inspect_err(|_| self.copier.forget(key))
    }

    fn start_container(&mut self, mut wanted: Wanted<'_>) -> Result<()> {
        let (id, spec, launch, path) = (wanted.id, wanted.spec, wanted.launch, wanted.path);
        let Some(mode) = &mut self.contained else {
            return Err(Error::Invalid(PLAIN.to_owned()));
        };
        let filter = mode
            .compiler
            .filter(&launch.seccomp, launch.capabilities.bounding)?;
        let users = launch.user_namespace.as_ref();
        let users = users.map(|mapping| mode.users(mapping)).transpose()?;
        let basis = Basis::new(spec, launch, path, users.as_ref())?;
        let seals = mode.seals.clone();
        let hierarchies = mode.hierarchies.clone();
        let mut shared = Shared::open(launch, |id| self.first_process(id))?;
        shared.of_init.extend(users);
        shared.of_init.extend(wanted.mouth.link.take());
        let group = hierarchies.map(|all| all.group(&self.settings.cgroup_root, id.as_str()));
        let group = group.transpose()?;
        let order = Order {
            id: id.clone(),
            program: wanted.program,
            seals,
            directory: path.to_owned(),
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
            settings: self.settings_for(launch, &spec.limits, group.is_some())?,
            mouth: &wanted.mouth,
            directory: wanted.directory,
            group: group.as_ref(),
            shared: &shared,
            hold: wanted.hold,
        };
        self.start_contained(&birth, basis, wanted.ears)
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

    fn start_plain(&mut self, wanted: Wanted<'_>) -> Result<()> {
        let (id, launch, program) = (wanted.id, wanted.launch, &wanted.program);
        // What a container says is taken care of without one as well.
        let possible = Launch {
            logs: launch.logs,
            terminal: launch.terminal,
            interactive: launch.interactive,
            ..Launch::default()
        };
        if wanted.hold || *launch != possible {
            return Err(Error::Invalid(PLAIN.to_owned()));
        }
        let basis = Basis::new(wanted.spec, launch, wanted.path, None)?;
        let plan = Plan {
            image: Image::Paths(&program.paths),
            arguments: &program.arguments,
            environment: &program.environment,
            directory: Some(wanted.directory),
            files: Files {
                inherited: &[
                    wanted.mouth.stdin.as_fd(),
                    wanted.mouth.stdout.as_fd(),
                    wanted.mouth.stderr.as_fd(),
                ],
            },
            terminal: wanted.mouth.terminal,
            credentials: program.credentials.as_ref(),
            signals: Signals::Open,
            open_files: Some(self.open_files),
            confinement: None,
        };
        let pid = spawn(&plan, &program.name)?;
        self.add(id, pid, State::Running, None, (basis, wanted.ears.input));
        self.tell(ContainerEvent::started(
            id.clone(),
            pid.as_raw().unsigned_abs(),
        ));
        Ok(())
    }

    /// Says what a container gets beside its limits: who may use more memory than it keeps is
    /// killed sooner when the machine lacks it (CT-20), and devices are guarded (CT-33).
    fn settings_for(
        &self,
        launch: &Launch,
        limits: &ContainerLimits,
        has_group: bool,
    ) -> Result<Settings> {
        let mode = self.contained.as_ref();
        let hierarchies = mode.and_then(|mode| mode.hierarchies.as_ref());
        let controller = hierarchies.and_then(|all| all.version_of(Controller::Devices));
        let devices = match has_group {
            true => guard::devices(launch, controller.is_some())?,
            false => None,
        };
        let score = cgroup::oom_score(limits.kept, limits.mem, self.machine_bytes);
        Ok(Settings {
            oom_score: launch.group.oom_score.or(score),
            devices,
            ..launch.group.clone()
        })
    }

    /// Starts an init in its namespaces and group; it reports later whether the program runs.
    fn start_contained(&mut self, prepared: &Prepared<'_>, basis: Basis, ears: Ears) -> Result<()> {
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
        let (reports, writer) = report_pipe()?;
        let bytes = postcard::to_allocvec(order);
        let bytes = bytes.map_err(|error| Error::Frame(error.to_string()))?;
        let mut contained = Contained {
            group: prepared.group.cloned(),
            reports: reports.into(),
            frames: Frames::default(),
            watched: true,
            last: None,
            addresses: order.launch.addresses.clone(),
            memory,
            out_of_memory: false,
            limits: limits.clone(),
            settings: prepared.settings.clone(),
            forks,
            shares_pid: order.launch.share_pid.is_some(),
            held: None,
            awaited: ears.awaited,
        };
        // Before there is a process that would have to be ended if this failed. What is dropped
        // is no longer watched.
        self.watch(self.next, &contained)?;
        let pid = self.start_init(prepared, entrance.as_ref(), [&order_out, &writer])?;
        drop(order_out);
        let began = procfs::began(pid);
        let mut begun = prepare_init(pid, entrance.as_ref(), prepared);
        let is_held = prepared.hold && begun.is_ok();
        if is_held {
            contained.held = Some(Held {
                order: bytes,
                pipe: order_in,
            });
        } else {
            begun = begun.and_then(|()| give_order(&bytes, order_in));
        }
        // Who has ended meanwhile has reported why, which is told when it is reaped.
        let has_ended = || matches!(wait::look(Whom::Only(pid)), Ok(Some(_)));
        if let Err(error) = begun
            && !has_ended()
        {
            // It is reaped like any child.
            let _ = kill(pid, Signal::SIGKILL);
            return Err(error);
        }
        let rest = (basis, ears.input);
        self.add(&order.id, pid, State::Starting, Some(contained), rest);
        if is_held {
            self.link.tell(&Answer::Held {
                id: order.id.clone(),
                pid: pid.as_raw().unsigned_abs(),
                // One that has ended is nobody's; its end is told next.
                began: began.unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Lets a container begin that was held.
    pub(super) fn release(&mut self, key: u64) {
        let container = self.containers.get_mut(&key);
        let contained = container.and_then(|container| container.contained.as_mut());
        let Some(held) = contained.and_then(|contained| contained.held.take()) else {
            return;
        };
        if let Err(error) = give_order(&held.order, held.pipe) {
            log(&error.to_string());
            // Its end is told.
            self.destroy(key);
        }
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
        let Mouth {
            stdin,
            stdout,
            stderr,
            ..
        } = prepared.mouth;
        let own = [stdin, stdout, stderr, order, writer];
        let birth = Birth {
            purpose: Purpose::Init,
            directory: prepared.directory,
            own: own.map(AsFd::as_fd),
            enter: entrance.map(Entrance::enter),
            namespaces: namespaces::flags(&prepared.order.launch),
            shared: prepared.shared,
        };
        self.bear(&birth)
    }

    /// Has the nursery make a copy of itself.
    pub(super) fn bear(&mut self, birth: &Birth<'_>) -> Result<Pid> {
        let (image, null) = (self.image.as_fd(), self.null.as_fd());
        let role = match self.contained {
            Some(_) => Role::Container,
            None => Role::Plain,
        };
        let nursery = match self.nursery.take().filter(Nursery::lives) {
            Some(nursery) => nursery,
            None => Nursery::start(image, null, self.open_files, role)?,
        };
        let pid = nursery.bear(birth)?;
        // After a failure it is left: the next container gets a new one.
        self.nursery = Some(nursery);
        Ok(pid)
    }

    /// Enters a new container into the tables.
    fn add(
        &mut self,
        id: &ContainerId,
        pid: Pid,
        state: State,
        contained: Option<Contained>,
        (basis, input): (Basis, Option<Input>),
    ) {
        let key = self.next;
        self.next += 1;
        self.kept = None;
        let container = Container {
            id: id.clone(),
            pid,
            state,
            known: true,
            disowned: false,
            contained,
            basis,
            input,
        };
        self.by_id.insert(id.clone(), key);
        self.by_pid.insert(pid, key);
        self.containers.insert(key, container);
    }
}

/// Makes the pipe through which an init gets its order. Until it has that, it waits: what it and
/// its program must have first can be given to it meanwhile (CT-04).
pub(super) fn order_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|e| Error::system("pipe", e))?;
    let set = fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    set.map_err(|errno| Error::system("fcntl", errno))?;
    Ok((reader, writer))
}

/// Makes the pipe through which an init reports, which we do not wait at.
fn report_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|e| Error::system("pipe", e))?;
    let set = fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    set.map_err(|errno| Error::system("fcntl", errno))?;
    Ok((reader, writer))
}

/// Does from outside what an init cannot do.
fn prepare_init(pid: Pid, entrance: Option<&Entrance>, prepared: &Prepared<'_>) -> Result<()> {
    if let Some(entrance) = entrance {
        entrance.attach(pid)?;
    }
    if let Some(score) = prepared.settings.oom_score {
        let path = format!("/proc/{pid}/oom_score_adj");
        let written = std::fs::write(&path, score.to_string());
        written.map_err(|error| Error::file("write to", Path::new(&path), error))?;
    }
    Ok(())
}

/// Writes an order. Its environment is a secret of the container, so it is not among the init's
/// arguments.
fn give_order(bytes: &[u8], file: OwnedFd) -> Result<()> {
    let failed = |error| Error::system("write an order", error);
    let mut left = bytes;
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
