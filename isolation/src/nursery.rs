//! Makes inits out of itself: a process of one thread that was executed once, so that a container
//! costs no execution of our whole binary.
//!
//! The launcher starts it and asks it, over a pair of sockets, for one init after the other. Each
//! is a copy of it in namespaces and groups of its own, and a child of the launcher, not of it. It
//! sees no order and no environment: those are in a file that it only passes on. It ends with its
//! socket.

use std::ffi::{CString, OsStr};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, send, sendmsg, setsockopt, socketpair,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::cgroup::Enter;
use crate::entry;
use crate::error::{Error, Result};
use crate::init;
use crate::namespaces;
use crate::spawn::{
    Files, Image, OpenFiles, Plan, Signals, copy_as_sibling, reset_dispositions, spawn,
};

/// The most files that come with a request.
const MAX_FILES: usize = 8;
/// Those that every init gets: input, output, errors, order, reports. Those of its groups follow.
const OWN_FILES: usize = 5;
/// The longest request: one byte, and a path.
const REQUEST_BYTES: usize = 4097;
/// What the first byte of a request says the files of the groups are.
const TASKS: u8 = 0;
const GROUP: u8 = 1;
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
    ) -> Result<Self> {
        let failed = |errno| Error::system("sockets of the nursery", errno);
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        let patience = TimeVal::new(PATIENCE_SECONDS, 0);
        setsockopt(&ours, ReceiveTimeout, &patience).map_err(failed)?;
        setsockopt(&ours, SendTimeout, &patience).map_err(failed)?;
        let text = |text| CString::new(text).expect("constants hold no NUL");
        let stderr = io::stderr();
        let plan = Plan {
            image: Image::Open(image),
            arguments: &[text(entry::NURSERY), text(entry::HIDDEN)],
            environment: &[],
            directory: None,
            files: Files {
                inherited: &[null, null, stderr.as_fd(), theirs.as_fd()],
            },
            credentials: None,
            signals: Signals::Blocked,
            open_files: Some(open_files),
        };
        spawn(&plan, entry::NURSERY)?;
        Ok(Self { socket: ours })
    }

    /// Returns whether it still listens.
    pub(crate) fn lives(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
    }

    /// Asks for an init that works in `directory`, with its own five files. It is a child of the
    /// thread that started the nursery. After an error the nursery is of no use any more.
    pub(crate) fn bear(
        &self,
        directory: &CString,
        own: [BorrowedFd<'_>; OWN_FILES],
        enter: &Enter<'_>,
    ) -> Result<Pid> {
        let failed = |errno| Error::system("ask the nursery", errno);
        let (kind, groups) = match enter {
            Enter::Tasks(files) => (TASKS, files.iter().map(AsFd::as_fd).collect()),
            Enter::Group(file) => (GROUP, vec![*file]),
        };
        let files = own.iter().chain(&groups).map(AsRawFd::as_raw_fd);
        let files: Vec<RawFd> = files.collect();
        let kind = [kind];
        let request = [IoSlice::new(&kind), IoSlice::new(directory.to_bytes())];
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

/// Runs a nursery, and each of its children; returns an exit code.
pub(crate) fn main() -> i32 {
    // SAFETY: the launcher placed it; nothing else in this process has touched it.
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    // Whatever is ignored, as the runtime does with SIGPIPE, must not be for the programs.
    reset_dispositions();
    while let Ok(Some(request)) = receive(&socket) {
        let group = request.group();
        let answer = match copy_as_sibling(namespaces::flags(), group) {
            Ok(Some(pid)) => pid.as_raw(),
            Ok(None) => {
                drop(socket);
                return request.become_init();
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
    directory: Vec<u8>,
    own: [OwnedFd; OWN_FILES],
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
    if length == 0 || files.len() < OWN_FILES {
        return Ok(None);
    }
    let groups = files.split_off(OWN_FILES);
    bytes.truncate(length);
    Ok(Some(Request {
        kind: bytes.remove(0),
        directory: bytes,
        own: files.try_into().expect("what follows was split off"),
        groups,
    }))
}

impl Request {
    /// Returns the group of version 2 to be born in.
    fn group(&self) -> Option<BorrowedFd<'_>> {
        let group = self.groups.first().filter(|_| self.kind == GROUP);
        group.map(AsFd::as_fd)
    }

    /// Goes on as the first process of a container.
    fn become_init(self) -> i32 {
        let prepared = self.prepare();
        let [stdin, stdout, stderr, order, reports] = self.own;
        drop((stdin, stdout, stderr, self.groups));
        init::run_with(prepared.map(|()| order), reports)
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
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(failed("die with the launcher"))
    }
}
