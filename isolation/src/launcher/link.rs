//! The launcher's socket and its one connection. A new connection replaces the one before.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{CONNECTION, LISTENER, log};
use crate::error::{Error, Result};
use crate::passing;
use crate::wire::{Answer, Frames, Request, encode};

/// The name of the socket in the runtime directory.
pub(crate) const SOCKET: &str = "launcher.sock";
/// The pause after a peer could not be let in.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// The most files whose requests have not been taken. A turn takes far more than come with a read.
const WAITING_FILES: usize = 1024;

/// Opens `dir` so that a socket in it can be named by a short path: the address of a Unix socket
/// holds 108 bytes, work directories may be longer.
pub(crate) fn short(dir: &Path) -> Result<(OwnedFd, std::path::PathBuf)> {
    let file = std::fs::File::open(dir).map_err(|error| Error::file("open", dir, error))?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", file.as_raw_fd());
    Ok((file.into(), path.into()))
}

/// The listening socket and the connection.
#[derive(Debug)]
pub(super) struct Link {
    listener: UnixListener,
    /// Until when the listener is out of the poll loop, because a peer could not be let in.
    paused: Option<Instant>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    frames: Frames,
    /// What came with requests, in their order.
    files: Vec<OwnedFd>,
    out: Vec<u8>,
    blocked: bool,
}

impl Link {
    /// Listens in `dir`. The caller holds the lock of the directory.
    pub(super) fn listen(dir: &Path, epoll: &Epoll) -> Result<Self> {
        let (_directory, path) = short(dir)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &path, error));
            }
            Ok(()) | Err(_) => {}
        }
        let listener =
            UnixListener::bind(&path).map_err(|error| Error::file("listen on", &path, error))?;
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(|error| Error::file("configure", &path, error))?;
        epoll
            .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))
            .map_err(|errno| Error::system("epoll_ctl", errno))?;
        Ok(Self {
            listener,
            paused: None,
            connection: None,
        })
    }

    /// Returns whether there is an agent.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns when [`Link::resume`] is due, if nobody is let in until then.
    pub(super) fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// Takes a new connection; returns whether there is one.
    ///
    /// After a failure nobody is let in for a while: who waits still waits, and the poll loop would
    /// be told so again and again.
    pub(super) fn accept(&mut self, epoll: &Epoll) -> Result<bool> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => {
                if self.watch_listener(epoll, EpollFlags::empty()).is_ok() {
                    self.paused = Some(Instant::now() + ACCEPT_RETRY);
                }
                return Err(Error::system("accept", error));
            }
        };
        let peer = getsockopt(&stream, PeerCredentials)
            .map_err(|errno| Error::system("peer credentials", errno))?;
        let is_ours = peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw();
        if !is_ours || !is_beside_us(peer.pid()) {
            let (pid, uid) = (peer.pid(), peer.uid());
            log(&format!("process {pid} of user {uid} is refused"));
            return Ok(false);
        }
        let nonblocking = stream.set_nonblocking(true);
        nonblocking.map_err(|error| Error::system("configure a connection", error))?;
        epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, CONNECTION))
            .map_err(|errno| Error::system("epoll_ctl", errno))?;
        self.connection = Some(Connection {
            stream,
            frames: Frames::default(),
            files: Vec::new(),
            out: Vec::new(),
            blocked: false,
        });
        Ok(true)
    }

    /// Lets peers in again, if it is time.
    pub(super) fn resume(&mut self, epoll: &Epoll, now: Instant) {
        let due = self.paused.is_some_and(|until| until <= now);
        if due && self.watch_listener(epoll, EpollFlags::EPOLLIN).is_ok() {
            self.paused = None;
        }
    }

    fn watch_listener(&self, epoll: &Epoll, flags: EpollFlags) -> nix::Result<()> {
        epoll.modify(&self.listener, &mut EpollEvent::new(flags, LISTENER))
    }

    /// Reads what has come; a connection that ended or is out of order is dropped.
    pub(super) fn read(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut buffer = vec![0; READ_BYTES];
        match passing::receive(&connection.stream, &mut buffer, &mut connection.files) {
            Ok(0) => self.connection = None,
            Ok(length) => connection.frames.push(&buffer[..length]),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.connection = None,
        }
        let files = self.connection.as_ref().map_or(0, |c| c.files.len());
        if files > WAITING_FILES {
            log(&format!("{files} files wait for their requests"));
            self.connection = None;
        }
    }

    /// Takes the files that came with the request before; fewer if there were fewer.
    pub(super) fn take_files(&mut self, count: usize) -> Vec<OwnedFd> {
        let Some(connection) = &mut self.connection else {
            return Vec::new();
        };
        let count = count.min(connection.files.len());
        connection.files.drain(..count).collect()
    }

    /// Takes the next request.
    pub(super) fn next(&mut self) -> Result<Option<Request>> {
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        let next = connection.frames.next();
        if next.is_err() {
            self.connection = None;
        }
        next
    }

    /// Queues an answer. Without an agent it is dropped: the next one asks anew.
    pub(super) fn tell(&mut self, answer: &Answer) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if let Err(error) = encode(answer, &mut connection.out) {
            log(&format!("not told to the agent: {error}"));
        }
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, epoll: &Epoll) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if let Err(error) = connection.flush(epoll) {
            log(&format!("the agent's connection: {error}"));
            self.connection = None;
        }
    }
}

impl Connection {
    fn flush(&mut self, epoll: &Epoll) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..written);
        let blocked = !self.out.is_empty();
        if blocked != self.blocked {
            self.blocked = blocked;
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, blocked);
            epoll.modify(&self.stream, &mut EpollEvent::new(flags, CONNECTION))?;
        }
        Ok(())
    }
}

/// Returns whether a process is in our process namespace, as agents are and containers are not.
/// The socket is hidden from containers; this is for one that comes at it through the disk.
fn is_beside_us(pid: libc::pid_t) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/pid"));
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}
