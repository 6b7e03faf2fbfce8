//! How the launcher has a further process started in a container that runs.
//!
//! It makes a [guest](crate::guest) and goes on: what becomes of that the guest tells the agent
//! itself. Here it is only known that there is one, and reaped.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;

use super::start::order_pipe;
use super::{Launcher, State, log};
use crate::cgroup::Entrance;
use crate::enter::{Entry, Refusal, Told, tell};
use crate::error::{Error, Result};
use crate::guest::Order;
use crate::launch::{Launch, Network, Seccomp};
use crate::namespaces::Shared;
use crate::nursery::{Birth, Purpose};
use crate::process::{Program, TERM};

/// The most further processes of a container at a time.
const MAX_GUESTS: usize = 64;
/// How much of a message is told, in bytes; it quotes what others wrote.
const MESSAGE_BYTES: usize = 4096;

/// What a further process of a container is made of: what its first program was.
pub(super) struct Basis {
    environment: Vec<(String, String)>,
    launch: Launch,
    sandbox: PathBuf,
    /// The namespace that its programs' users are in, if it is one of their own.
    users: Option<OwnedFd>,
}

impl Basis {
    pub(super) fn new(
        spec: &ContainerSpec,
        launch: &Launch,
        sandbox: &Path,
        users: Option<&OwnedFd>,
    ) -> Result<Self> {
        let users = users.map(OwnedFd::try_clone).transpose();
        let environment = spec.environment.iter().chain(&spec.command.environment);
        let user = spec.command.user.as_ref().or(launch.user.as_ref());
        Ok(Self {
            environment: environment.cloned().collect(),
            launch: Launch {
                user: user.cloned(),
                // What is made once and is there.
                command: None,
                mounts: Vec::new(),
                devices: Vec::new(),
                network: Network::Host,
                hostname: None,
                ..launch.clone()
            },
            sandbox: sandbox.to_owned(),
            users: users.map_err(|error| Error::system("duplicate a namespace", error))?,
        })
    }

    /// Describes a program beside the first one.
    fn program(&self, id: &ContainerId, entry: &Entry) -> Result<Program> {
        let mut environment = self.environment.clone();
        let launch = &self.launch;
        let mut known = launch.environment.iter().chain(&environment);
        if entry.terminal.is_some() && !known.any(|(name, _)| name == "TERM") {
            environment.push(("TERM".to_owned(), TERM.to_owned()));
        }
        let spec = ContainerSpec {
            environment,
            ..ContainerSpec::new(entry.command.clone(), Vec::new())
        };
        Program::prepare(id, &spec, launch, &self.sandbox)
    }

    /// Returns where its programs start.
    fn directory(&self) -> PathBuf {
        let launch = &self.launch;
        let sandbox = launch.sandbox_inside(&self.sandbox);
        let chosen = launch.working_directory.as_deref();
        chosen.unwrap_or(sandbox).to_owned()
    }
}

/// Says why a guest could not be made, for whom it was to be.
fn failed(error: Error) -> Refusal {
    Refusal::Failed(short(error.to_string()))
}

/// The same of what cannot be asked for.
fn invalid(error: Error) -> Refusal {
    if let Error::Invalid(why) = error {
        return Refusal::Invalid(short(why));
    }
    failed(error)
}

impl Launcher {
    /// Starts what stands beside a further process, or tells why not.
    pub(super) fn on_enter(&mut self, id: &ContainerId, entry: &Entry) {
        let count = if entry.terminal.is_some() { 1 } else { 4 };
        let mut files = self.link.take_files(count);
        let Some(control) = files.pop().filter(|_| files.len() + 1 == count) else {
            return log("files are missing that belong to a request");
        };
        let Err(refusal) = self.enter(id, entry, &files, &control) else {
            return;
        };
        if let Err(error) = tell(&control, &Told::Refused(refusal), None) {
            log(&error.to_string());
        }
    }

    fn enter(
        &mut self,
        id: &ContainerId,
        entry: &Entry,
        files: &[OwnedFd],
        control: &OwnedFd,
    ) -> std::result::Result<(), Refusal> {
        let missing = || Refusal::NotRunning(id.clone());
        let key = *self.by_id.get(id).ok_or_else(missing)?;
        let container = self.containers.get(&key).ok_or_else(missing)?;
        if !matches!(container.state, State::Running) {
            return Err(missing());
        }
        if self.guests.values().filter(|of| **of == key).count() >= MAX_GUESTS {
            let message = format!("the container has {MAX_GUESTS} further processes already");
            return Err(Refusal::Failed(message));
        }
        let (basis, contained) = (&container.basis, container.contained.as_ref());
        let group = contained.and_then(|contained| contained.group.as_ref());
        if contained.is_some() && group.is_none() {
            let message = "an agent without privileges cannot enter its containers";
            return Err(Refusal::Unsupported(message.to_owned()));
        }
        let program = basis.program(id, entry).map_err(invalid)?;
        let (launch, directory) = (basis.launch.clone(), basis.directory());
        let users = basis.users.as_ref().map(OwnedFd::try_clone).transpose();
        let users = users.map_err(|error| failed(Error::system("duplicate a file", error)))?;
        let pid = container.pid;
        let entrance = group.map(|group| group.entrance()).transpose();
        let entrance = entrance.map_err(failed)?;
        let score = contained.and_then(|contained| contained.settings.oom_score);
        let contained = contained.is_some();
        let filter = match &mut self.contained {
            Some(mode) => mode
                .compiler
                .filter(&launch.seccomp, launch.capabilities.bounding)
                .map_err(failed)?,
            None => None,
        };
        let order = Order {
            program,
            launch: Launch {
                seccomp: Seccomp::default(),
                environment: Vec::new(),
                ..launch
            },
            filter,
            directory,
            terminal: entry.terminal,
            contained,
        };
        let guest = Birthing {
            pid,
            order: &order,
            entrance: entrance.as_ref(),
            users,
            score,
            files,
            control,
        };
        let guest = self.make(guest).map_err(failed)?;
        self.guests.insert(guest, key);
        Ok(())
    }

    fn make(&mut self, guest: Birthing<'_>) -> Result<Pid> {
        let duplicated = |file: &OwnedFd| {
            let copy = file.try_clone();
            copy.map_err(|error| Error::system("duplicate a file", error))
        };
        let (gate_out, gate_in) = order_pipe()?;
        let process = pidfd(guest.pid)?;
        let mut of_init = vec![duplicated(&process)?];
        of_init.push(duplicated(&self.null)?);
        of_init.push(written(guest.order)?);
        of_init.extend(guest.users);
        let shared = Shared {
            pid: guest.order.contained.then_some(process),
            of_init,
        };
        let null = duplicated(&self.null)?;
        let [stdin, stdout, stderr] = match guest.files {
            [stdin, stdout, stderr] => [stdin, stdout, stderr],
            _ => [&null; 3],
        };
        let own = [stdin, stdout, stderr, &gate_out, guest.control];
        let birth = Birth {
            purpose: Purpose::Guest,
            directory: c"/",
            own: own.map(|file: &OwnedFd| -> BorrowedFd<'_> { file.as_fd() }),
            enter: guest.entrance.map(Entrance::enter),
            namespaces: CloneFlags::empty(),
            shared: &shared,
        };
        let pid = self.bear(&birth)?;
        let attached = guest
            .entrance
            .map_or(Ok(()), |entrance| entrance.attach(pid));
        let scored = guest.score.map_or(Ok(()), |score| {
            let path = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
            let written = std::fs::write(&path, score.to_string());
            written.map_err(|error| Error::file("write to", &path, error))
        });
        if let Err(error) = attached.and(scored) {
            // It is reaped like any child.
            let _ = kill(pid, Signal::SIGKILL);
            return Err(error);
        }
        // It may begin.
        drop(gate_in);
        Ok(pid)
    }
}

/// What a guest is made with.
struct Birthing<'a> {
    pid: Pid,
    order: &'a Order,
    entrance: Option<&'a Entrance>,
    users: Option<OwnedFd>,
    score: Option<i16>,
    files: &'a [OwnedFd],
    control: &'a OwnedFd,
}

/// Opens our child, which is not reaped, so that it is nobody else.
fn pidfd(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd).map_err(|errno| Error::system("pidfd_open", errno))?;
    let fd = i32::try_from(fd).map_err(|_| Error::system("pidfd_open", Errno::EBADF))?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes an order into memory: a guest that is slow, as one that gets no CPU, must not hold us up.
fn written(order: &Order) -> Result<OwnedFd> {
    let failed = |error| Error::system("write an order", error);
    let bytes = postcard::to_allocvec(order).map_err(|error| Error::Frame(error.to_string()))?;
    let file = memfd_create(c"order", MFdFlags::MFD_CLOEXEC);
    let mut file = File::from(file.map_err(|errno| Error::system("memfd_create", errno))?);
    file.write_all(&bytes).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file.into())
}

fn short(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
    message
}
