//! How the launcher starts a container, in either mode.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Pid, pipe2};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits, ContainerSpec};

use super::{Container, FORKS, KINDS, Launcher, MEMORY, REPORT, State};
use crate::cgroup::{Entrance, Group, Refusals};
use crate::error::{Error, Result};
use crate::init::{Order, Report};
use crate::launch::Launch;
use crate::namespaces::{self, Shared};
use crate::nursery::{Birth, Nursery};
use crate::process::Program;
use crate::sandbox::Sandbox;
use crate::spawn::{Files, Image, Plan, Signals, spawn};
use crate::wire::Frames;

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
    pub(super) limits_memory: bool,
    /// Tells when a fork was refused, if processes are limited.
    pub(super) forks: Option<Refusals>,
    /// Whether its processes do not end with its init.
    pub(super) shares_pid: bool,
}

/// A container that is about to be started.
struct Prepared<'a> {
    order: &'a Order,
    limits: &'a ContainerLimits,
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
        let root = &self.settings.cgroup_root;
        let group = hierarchies
            .map(|all| all.group(root, id.as_str()))
            .transpose()?;
        let order = Order {
            id: id.clone(),
            program,
            seals,
            directory: path.clone(),
            launch: launch.clone(),
            filter,
            groups: group.as_ref().map(Group::views).unwrap_or_default(),
            privileged: group.is_some(),
        };
        let birth = Prepared {
            order: &order,
            limits: &spec.limits,
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

    /// Starts an init in its namespaces and group; it reports later whether the program runs.
    fn start_contained(&mut self, prepared: &Prepared<'_>) -> Result<()> {
        let Prepared { order, limits, .. } = *prepared;
        let mut entrance = None;
        let (mut memory, mut forks) = (None, None);
        if let Some(group) = prepared.group {
            group.create(limits)?;
            entrance = Some(group.entrance()?);
            if limits.mem.is_some() {
                memory = group.watch_memory()?;
            }
            forks = limits.pids.map(|_| group.watch_forks()).transpose()?;
        }
        let file = order_file(order)?;
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
            limits_memory: limits.mem.is_some(),
            forks,
            shares_pid: order.launch.share_pid.is_some(),
        };
        // Before there is a process that would have to be ended if this failed. What is dropped
        // is no longer watched.
        self.watch(self.next, &contained)?;
        let pid = self.start_init(prepared, entrance.as_ref(), [&file, &writer])?;
        self.add(&order.id, pid, State::Starting, Some(contained));
        Ok(())
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

/// Writes an order into a file without a name. Its environment is a secret of the container, so
/// it is not among the init's arguments.
fn order_file(order: &Order) -> Result<OwnedFd> {
    let bytes = postcard::to_allocvec(order).map_err(|error| Error::Frame(error.to_string()))?;
    let file = memfd_create(c"tepui-order", MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| Error::system("memfd_create", errno))?;
    let mut file = File::from(file);
    file.write_all(&bytes)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .map_err(|error| Error::system("write an order", error))?;
    Ok(file.into())
}

fn c_path(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    let text = CString::new(path.as_os_str().as_bytes());
    text.map_err(|_| Error::Invalid("the path of its sandbox contains a NUL".to_owned()))
}
