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

use super::{Container, ContainerMode, FORKS, KINDS, Launcher, MEMORY, REPORT, State};
use crate::cgroup::{Entrance, Group, Refusals};
use crate::error::{Error, Result};
use crate::init::{Order, Report};
use crate::nursery::Nursery;
use crate::process::Program;
use crate::sandbox::Sandbox;
use crate::spawn::{Files, Image, Plan, Signals, spawn};
use crate::wire::Frames;

/// What the launcher holds of a container in container mode.
pub(super) struct Contained {
    pub(super) group: Group,
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
}

impl Launcher {
    /// Starts a container, or says why not; then nothing of it is left.
    pub(super) fn start(&mut self, id: &ContainerId, spec: &ContainerSpec) -> Result<()> {
        if self.stopping.is_some() {
            return Err(Error::Invalid("the agent is shutting down".to_owned()));
        }
        let path = self.sandboxes.path_of(&spec.sandbox)?;
        let program = Program::prepare(id, spec, &path)?;
        let owner = program.credentials.as_ref();
        let sandbox = self.sandboxes.create(&spec.sandbox, owner)?;
        let directory = c_path(&path)?;
        let Some(ContainerMode { hierarchies, seals }) = &self.contained else {
            let pid = self.start_plain(&program, &sandbox, &directory)?;
            self.add(id, pid, State::Running, None);
            let pid = pid.as_raw().unsigned_abs();
            self.tell(ContainerEvent::Started {
                id: id.clone(),
                pid,
            });
            return Ok(());
        };
        let group = hierarchies.group(&self.settings.cgroup_root, id.as_str())?;
        let order = Order {
            id: id.clone(),
            program,
            seals: seals.clone(),
        };
        match self.start_contained(&order, &spec.limits, &sandbox, &directory, &group) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.doomed.push(group);
                Err(error)
            }
        }
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
        };
        spawn(&plan, &program.name)
    }

    /// Starts an init in its namespaces and group; it reports later whether the program runs.
    fn start_contained(
        &mut self,
        order: &Order,
        limits: &ContainerLimits,
        sandbox: &Sandbox,
        directory: &CString,
        group: &Group,
    ) -> Result<()> {
        group.create(limits)?;
        let entrance = group.entrance()?;
        let memory = match limits.mem {
            Some(_) => group.watch_memory()?,
            None => None,
        };
        let forks = limits.pids.map(|_| group.watch_forks()).transpose()?;
        let file = order_file(order)?;
        let (reports, writer) =
            pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::system("pipe", errno))?;
        fcntl(&reports, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| Error::system("fcntl", errno))?;
        let contained = Contained {
            group: group.clone(),
            reports: reports.into(),
            frames: Frames::default(),
            watched: true,
            last: None,
            memory,
            out_of_memory: false,
            limits_memory: limits.mem.is_some(),
            forks,
        };
        // Before there is a process that would have to be ended if this failed. What is dropped
        // is no longer watched.
        self.watch(self.next, &contained)?;
        let pid = self.start_init(sandbox, directory, &entrance, [&file, &writer])?;
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
        sandbox: &Sandbox,
        directory: &CString,
        entrance: &Entrance,
        [order, writer]: [&OwnedFd; 2],
    ) -> Result<Pid> {
        let nursery = match self.nursery.take().filter(Nursery::lives) {
            Some(nursery) => nursery,
            None => Nursery::start(self.image.as_fd(), self.null.as_fd(), self.open_files)?,
        };
        let own = [&self.null, &sandbox.stdout, &sandbox.stderr, order, writer];
        let pid = nursery.bear(directory, own.map(AsFd::as_fd), &entrance.enter())?;
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
