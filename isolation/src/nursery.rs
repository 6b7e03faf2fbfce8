//! Makes inits out of itself: a process of one thread that was executed once, so that a container
//! costs no execution of our whole binary.
//!
//! The launcher starts it and asks it, over a pair of sockets, for one init after the other. Each
//! is a copy of it in namespaces and groups of its own, and a child of the launcher, not of it. It
//! sees no order and no environment: those are in a file that it only passes on. It ends with its
//! socket.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, send, sendmsg, setsockopt, socketpair,
};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, geteuid};

use crate::cgroup::{Enter, ROOM};
use crate::confine;
use crate::entry;
use crate::error::{Error, Result};
use crate::guest::{self, Given};
use crate::idspace;
use crate::init;
use crate::namespaces::Shared;
use crate::spawn::{
    Files, Image, OpenFiles, Plan, Signals, copy_as_sibling, reset_dispositions, spawn,
};

/// The most files that come with a request.
const MAX_FILES: usize = 32;
/// Those that every init gets: input, output, errors, order, reports. What it shares with other
/// containers and the files of its groups follow.
const OWN_FILES: usize = 5;
/// What an init shares with other containers: namespaces of processes, IPC, mounts, network, users.
/// Then, where it says which terminal it has made.
const SHARED_FILES: usize = 6;
const _: () = assert!(OWN_FILES + SHARED_FILES + ROOM <= MAX_FILES);
/// What a request begins with: what the files of the groups are, how many namespaces the init
/// gets, whether the one to be born in is before those, the namespaces that are made, and what the
/// copy is to be.
const HEAD_BYTES: usize = 8;
/// The longest request: its head, and a path.
const REQUEST_BYTES: usize = HEAD_BYTES + 4096;
/// What the first byte of a request says the files of the groups are.
const TASKS: u8 = 0;
const GROUP: u8 = 1;
/// What the last byte of a head says that the copy is to be.
const INIT: u8 = 0;
const GUEST: u8 = 1;
/// The argument of a nursery that stays who it is.
const PLAIN: &str = "plain";
/// How long the launcher waits for an answer; far more than a copy takes.
const PATIENCE_SECONDS: i64 = 10;

/// The launcher's end.
#[derive(Debug)]
pub(crate) struct Nursery {
    socket: OwnedFd,
}

impl Nursery {
    /// Starts one from an image of our binary. Its children are those of the calling thread.
    pub(crate) fn start(
        image: BorrowedFd<'_>,
        null: BorrowedFd<'_>,
        open_files: OpenFiles,
        role: Role,
    ) -> Result<Self> {
        let failed = |errno| Error::system("sockets of the nursery", errno);
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        let patience = TimeVal::new(PATIENCE_SECONDS, 0);
        setsockopt(&ours, ReceiveTimeout, &patience).map_err(failed)?;
        setsockopt(&ours, SendTimeout, &patience).map_err(failed)?;
        let text = |text| CString::new(text).expect("constants hold no NUL");
        let mut arguments = vec![text(entry::NURSERY), text(entry::HIDDEN)];
        if role == Role::Plain {
            arguments.push(text(PLAIN));
        }
        let stderr = io::stderr();
        let plan = Plan {
            image: Image::Open(image),
            arguments: &arguments,
            environment: &[],
            directory: None,
            files: Files {
                inherited: &[null, null, stderr.as_fd(), theirs.as_fd()],
            },
            terminal: false,
            credentials: None,
            signals: Signals::Blocked,
            open_files: Some(open_files),
            confinement: None,
        };
        spawn(&plan, entry::NURSERY)?;
        Ok(Self { socket: ours })
    }

    /// Returns whether it still listens.
    pub(crate) fn lives(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }

    /// Asks for an init. It is a child of the thread that started the nursery. After an error the
    /// nursery is of no use any more.
    pub(crate) fn bear(&self, birth: &Birth<'_>) -> Result<Pid> {
        let failed = |errno| Error::system("ask the nursery", errno);
        let (kind, groups) = match &birth.enter {
            Some(Enter::Tasks(files)) => (TASKS, files.iter().map(AsFd::as_fd).collect()),
            Some(Enter::Group(file)) => (GROUP, vec![*file]),
            None => (TASKS, Vec::new()),
        };
        let shared = birth.shared.pid.iter().chain(&birth.shared.of_init);
        let own = birth.own.iter().map(AsRawFd::as_raw_fd);
        let files = own.chain(shared.map(AsRawFd::as_raw_fd));
        let files = files.chain(groups.iter().map(AsRawFd::as_raw_fd));
        let files: Vec<RawFd> = files.collect();
        let of_init = u8::try_from(birth.shared.of_init.len()).unwrap_or(u8::MAX);
        let [a, b, c, d] = birth.namespaces.bits().to_le_bytes();
        let head = [
            kind,
            of_init,
            u8::from(birth.shared.pid.is_some()),
            a,
            b,
            c,
            d,
            match birth.purpose {
                Purpose::Init => INIT,
                Purpose::Guest => GUEST,
            },
        ];
        let directory = birth.directory.to_bytes();
        let request = [IoSlice::new(&head), IoSlice::new(directory)];
        let rights = [ControlMessage::ScmRights(&files)];
        let socket = self.socket.as_raw_fd();
        sendmsg::<()>(socket, &request, &rights, MsgFlags::MSG_NOSIGNAL, None).map_err(failed)?;
        let mut answer = [0; size_of::<i32>()];
        let length = recv(socket, &mut answer, MsgFlags::empty()).map_err(failed)?;
        match (length == answer.len()).then(|| i32::from_ne_bytes(answer)) {
            Some(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
            Some(errno) => Err(Error::system(
                "clone an init",
                io::Error::from_raw_os_error(-errno),
            )),
            None => Err(Error::system(
                "ask the nursery",
                io::Error::from(io::ErrorKind::UnexpectedEof),
            )),
        }
    }
}

/// For whom a nursery works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// For containers.
    Container,
    /// For what runs beside plain processes: it makes nothing but guests.
    Plain,
}

/// What a copy is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first process of a container.
    Init,
    /// What stands beside a further process of one; its order and reports are the gate and the
    /// control of [`crate::guest::Given`].
    Guest,
}

/// What a copy is made of.
pub(crate) struct Birth<'a> {
    pub(crate) purpose: Purpose,
    /// Where it works.
    pub(crate) directory: &'a CStr,
    /// Input, output, errors, order, reports.
    pub(crate) own: [BorrowedFd<'a>; OWN_FILES],
    /// How it comes into its groups, if it has any.
    pub(crate) enter: Option<Enter<'a>>,
    /// The namespaces that are made for it.
    pub(crate) namespaces: CloneFlags,
    /// What it uses of other containers.
    pub(crate) shared: &'a Shared,
}

/// Runs a nursery, and each of its children; returns an exit code.
pub(crate) fn main() -> i32 {
    // SAFETY: the launcher placed it; nothing else in this process has touched it.
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    // Whatever is ignored, as the runtime does with SIGPIPE, must not be for the programs.
    reset_dispositions();
    // An agent without privileges has them in a namespace of its users, all containers in one.
    let plain = std::env::args_os().nth(2).is_some_and(|role| role == PLAIN);
    let entered = match (geteuid().is_root(), plain) {
        // Before there is a copy: one that is born beside others must be shut off from the first.
        (true, _) => confine::shut_off(),
        (false, true) => Ok(()),
        (false, false) => idspace::enter_alone(),
    };
    if let Err(error) = entered {
        // The launcher, which asks in vain, has this in its log.
        let _ = writeln!(io::stderr(), "{error}");
        return 1;
    }
    while let Ok(Some(request)) = receive(&socket) {
        let answer = match request.copy() {
            Ok(Some(pid)) => pid.as_raw(),
            Ok(None) => {
                drop(socket);
                return request.become_it();
            }
            Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
        };
        let answer = answer.to_ne_bytes();
        if send(socket.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL).is_err() {
            break;
        }
    }
    0
}

/// What the launcher asks for.
struct Request {
    kind: u8,
    purpose: u8,
    namespaces: CloneFlags,
    directory: Vec<u8>,
    own: [OwnedFd; OWN_FILES],
    /// The namespace to be born in.
    pid: Option<OwnedFd>,
    of_init: Vec<OwnedFd>,
    groups: Vec<OwnedFd>,
}

/// Takes one request; `None` when there will be no more.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    let mut bytes = vec![0; REQUEST_BYTES];
    let mut space = cmsg_space!([RawFd; MAX_FILES]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let length = message.bytes;
    let mut files = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made them for us.
            files.extend(
                received
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    let Some((&head, directory)) = bytes[..length].split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let [kind, of_init, has_pid, a, b, c, d, purpose] = head;
    let (of_init, has_pid) = (usize::from(of_init), usize::from(has_pid));
    if files.len() < OWN_FILES + of_init + has_pid {
        return Ok(None);
    }
    let groups = files.split_off(OWN_FILES + of_init + has_pid);
    let of_init = files.split_off(OWN_FILES + has_pid);
    let pid = files.split_off(OWN_FILES).pop();
    Ok(Some(Request {
        kind,
        purpose,
        namespaces: CloneFlags::from_bits_retain(i32::from_le_bytes([a, b, c, d])),
        directory: directory.to_vec(),
        own: files.try_into().expect("what follows was split off"),
        pid,
        of_init,
        groups,
    }))
}

impl Request {
    /// Makes the copy that goes on as an init, in another container's process namespace if that is
    /// shared. We ourselves stay where we are.
    fn copy(&self) -> io::Result<Option<Pid>> {
        let Some(pid) = &self.pid else {
            return copy_as_sibling(self.namespaces, self.group());
        };
        let own = File::open("/proc/self/ns/pid")?;
        setns(pid, CloneFlags::CLONE_NEWPID)?;
        let copied = copy_as_sibling(self.namespaces, self.group());
        if matches!(copied, Ok(None)) {
            return copied;
        }
        let back = setns(own, CloneFlags::CLONE_NEWPID);
        if let (Err(_), Ok(Some(pid))) = (back, &copied) {
            // Nobody will be told of it.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        back?;
        copied
    }

    /// Returns the group of version 2 to be born in.
    fn group(&self) -> Option<BorrowedFd<'_>> {
        let group = self.groups.first().filter(|_| self.kind == GROUP);
        group.map(AsFd::as_fd)
    }

    /// Goes on as what was asked for.
    fn become_it(self) -> i32 {
        let prepared = self.prepare();
        let [stdin, stdout, stderr, order, reports] = self.own;
        drop((stdin, stdout, stderr, self.groups, self.pid));
        if self.purpose == GUEST {
            let given = Given {
                gate: order,
                control: reports,
                files: self.of_init,
            };
            return guest::run(prepared, given);
        }
        init::run_with(prepared.map(|()| order), reports, self.of_init)
    }

    fn prepare(&self) -> Result<()> {
        let failed = |call| move |errno| Error::system(call, errno);
        if self.kind == TASKS {
            for tasks in &self.groups {
                nix::unistd::write(tasks, b"0").map_err(failed("enter a control group"))?;
            }
        }
        nix::unistd::setsid().map_err(failed("setsid"))?;
        nix::unistd::dup2_stdin(&self.own[0]).map_err(failed("dup2"))?;
        nix::unistd::dup2_stdout(&self.own[1]).map_err(failed("dup2"))?;
        nix::unistd::dup2_stderr(&self.own[2]).map_err(failed("dup2"))?;
        nix::unistd::chdir(OsStr::from_bytes(&self.directory)).map_err(failed("chdir"))?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("die with the launcher"))
    }
}
