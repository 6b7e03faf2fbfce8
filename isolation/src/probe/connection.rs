//! One connection of a try: let in, asked, answered. Nothing here waits.
//!
//! What a server sends is bounded: [`MOST_BYTES`] in all before its answer is known, of which the
//! head may be [`HEAD_BYTES`](head::HEAD_BYTES). Of the body some is read and thrown away, because
//! many servers complain each time that they are cut off in the middle.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrIn, SockaddrIn6, connect};
use nix::unistd::Pid;
use rustls::{ClientConnection, StreamOwned};
use tepui_core::protocol::check::ProbeOutcome;

use super::engine::Step;
use super::head;
use super::target::Target;
use super::{door, tls};

/// The most bytes that are read before an answer: its head, and what TLS needs.
const MOST_BYTES: usize = 256 * 1024;
/// The most bytes that are thrown away after it.
const REST_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: usize = 4 * 1024;

/// A connection to a container.
#[derive(Debug)]
pub(super) struct Connection {
    target: Target,
    /// Why it was not let in, if that was known at once.
    refused: Option<Errno>,
    is_open: bool,
    channel: Channel,
    /// What is still to be sent.
    request: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Debug)]
enum Channel {
    Plain(Metered),
    Tls(Box<StreamOwned<ClientConnection, Metered>>),
}

/// A socket that is read only so far.
#[derive(Debug)]
struct Metered {
    socket: TcpStream,
    left: usize,
}

impl Connection {
    /// Begins a connection in the network of a process; `None` is our own. Fails if there can be
    /// none, with `NotFound` if the process has ended. Whether it is let in shows later.
    pub(super) fn open(target: Target, process: Option<Pid>) -> io::Result<Self> {
        let (socket, begun) = match target.address {
            SocketAddr::V4(address) => {
                let socket = door::socket_of(process, AddressFamily::Inet)?;
                let begun = connect(socket.as_raw_fd(), &SockaddrIn::from(address));
                (socket, begun)
            }
            SocketAddr::V6(address) => {
                let socket = door::socket_of(process, AddressFamily::Inet6)?;
                let begun = connect(socket.as_raw_fd(), &SockaddrIn6::from(address));
                (socket, begun)
            }
        };
        let refused = match begun {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => None,
            Err(errno) => Some(errno),
        };
        let metered = Metered {
            socket: TcpStream::from(socket),
            left: MOST_BYTES,
        };
        let request = target.request.as_ref();
        let channel = match request.filter(|request| request.tls) {
            None => Channel::Plain(metered),
            Some(_) => {
                let client = tls::client(target.address.ip()).map_err(Error::other)?;
                Channel::Tls(Box::new(StreamOwned::new(client, metered)))
            }
        };
        let request = request.map(|request| request.text(target.address).into_bytes());
        Ok(Self {
            refused,
            is_open: false,
            channel,
            request: request.unwrap_or_default(),
            answer: Vec::new(),
            target,
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Goes on as far as it can.
    pub(super) fn proceed(&mut self) -> Step {
        loop {
            match self.advance() {
                Ok(step) => return step,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait,
                Err(error) => return Step::Over(self.failed(&error)),
            }
        }
    }

    fn advance(&mut self) -> io::Result<Step> {
        if !self.is_open {
            self.enter()?;
            self.is_open = true;
        }
        if self.target.request.is_none() {
            return Ok(Step::Over(ProbeOutcome::Accepted(true)));
        }
        while !self.request.is_empty() {
            match self.channel.write(&self.request)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => drop(self.request.drain(..written)),
            }
        }
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let room = chunk.len().min(head::HEAD_BYTES - self.answer.len());
            let length = self.channel.read(&mut chunk[..room])?;
            self.answer.extend_from_slice(&chunk[..length]);
            match head::parse(&self.answer) {
                Ok(Some(head)) => return Ok(Step::Answered(head)),
                Ok(None) if length == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(None) => {}
                Err(why) => return Ok(Step::Over(ProbeOutcome::Failed(why))),
            }
        }
    }

    /// Finds out whether it is let in. It blocks while that is open.
    fn enter(&mut self) -> io::Result<()> {
        if let Some(errno) = self.refused {
            return Err(errno.into());
        }
        let socket = self.channel.socket();
        match socket.take_error()? {
            None => {}
            // It was let in, and hung up on at once.
            Some(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Some(error) => return Err(error),
        }
        let peer = match socket.peer_addr() {
            Ok(peer) => peer,
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                return Err(ErrorKind::WouldBlock.into());
            }
            Err(error) => return Err(error),
        };
        // Where nobody listens, a port for outgoing connections may be its own counterpart.
        match socket.local_addr()? == peer {
            true => Err(ErrorKind::ConnectionRefused.into()),
            false => Ok(()),
        }
    }

    /// Says what came of a connection that has failed.
    fn failed(&self, error: &Error) -> ProbeOutcome {
        let address = self.target.address;
        if self.target.request.is_none() {
            return ProbeOutcome::Accepted(false);
        }
        let has_hung_up = error.kind() == ErrorKind::UnexpectedEof;
        ProbeOutcome::Failed(match (has_hung_up, self.is_open) {
            (true, _) => format!("{address} hung up before the end of the head of its answer"),
            (false, true) => format!("talk to {address}: {error}"),
            (false, false) => format!("connect to {address}: {error}"),
        })
    }

    /// Has what is left of an answer bounded, to be thrown away.
    pub(super) fn linger(&mut self) {
        self.channel.metered().left = REST_BYTES;
    }

    /// Throws away what has come after an answer. Returns whether that is over.
    pub(super) fn drain(&mut self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            match self.channel.metered().read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.socket().as_fd()
    }
}

impl Channel {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(metered) => &metered.socket,
            Self::Tls(stream) => &stream.sock.socket,
        }
    }

    fn metered(&mut self) -> &mut Metered {
        match self {
            Self::Plain(metered) => metered,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(metered) => metered.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(metered) => metered.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Read for Metered {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(Error::other("it sends too much"));
        }
        let room = bytes.len().min(self.left);
        let length = self.socket.read(&mut bytes[..room])?;
        self.left -= length;
        Ok(length)
    }
}

impl Write for Metered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
