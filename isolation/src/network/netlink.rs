//! Talks to the kernel over netlink: messages and attributes, one request at a time.
//!
//! Only what this crate asks for: requests that are acknowledged, and dumps. What the messages mean
//! is known by those who use it (`links.rs`, `sockets.rs`, `bandwidth.rs`). Deliberately not here:
//! multicast groups, generic netlink.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::error::{NetworkError, Result};

/// The kernel fills at most 32 KiB at a time, unless it is offered more.
const ANSWER_BYTES: usize = 64 * 1024;
/// A dump during which the table changed is begun anew, so often.
const ATTEMPTS: u32 = 5;
/// Netlink answers at once; a kernel that does not is not waited for longer.
const PATIENCE_SECONDS: i64 = 30;
const HEADER_BYTES: usize = 16;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// What is wrong with an answer that ends too early.
pub(crate) const CUT: &str = "it is cut short";

/// A socket of one protocol, in the network namespace of the thread that opens it.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request {
    name: &'static str,
    subject: String,
    bytes: Vec<u8>,
}

/// A message of the kernel, without its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
}

/// How an answer ended.
enum Ended {
    /// Completely.
    Whole,
    /// The table changed meanwhile.
    Interrupted,
}

impl Request {
    /// Begins a request of this kind with the protocol's fixed part. `name` and `subject` are for
    /// errors.
    pub(crate) fn new(
        name: &'static str,
        subject: impl Into<String>,
        kind: u16,
        flags: i32,
        body: &[u8],
    ) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        pad(&mut bytes);
        Self {
            name,
            subject: subject.into(),
            bytes,
        }
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, data: &[u8]) -> Self {
        attribute(&mut self.bytes, kind, data);
        self
    }

    /// Adds an attribute that consists of attributes.
    pub(crate) fn nested(self, kind: u16, inner: &[(u16, Vec<u8>)]) -> Self {
        let mut data = Vec::new();
        for (kind, value) in inner {
            attribute(&mut data, *kind, value);
        }
        self.attribute(kind | NESTED, &data)
    }

    fn finish(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }

    fn failed(&self, source: impl Into<io::Error>) -> NetworkError {
        NetworkError::Netlink {
            request: self.name,
            subject: self.subject.clone(),
            source: source.into(),
        }
    }

    fn misunderstood(&self, problem: &'static str) -> NetworkError {
        NetworkError::Answer {
            request: self.name,
            problem,
        }
    }
}

impl Netlink {
    /// Opens a socket for links, addresses and queues.
    pub(crate) fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for questions about sockets.
    pub(crate) fn diagnostics() -> Result<Self> {
        Self::open(SockProtocol::NetlinkSockDiag)
    }

    fn open(protocol: SockProtocol) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(|errno| NetworkError::system("open a netlink socket", errno))?;
        let patience = TimeVal::seconds(PATIENCE_SECONDS);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)
            .map_err(|errno| NetworkError::system("set a netlink socket's timeout", errno))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Orders something, and returns when it is done.
    pub(crate) fn order(&mut self, mut request: Request) -> Result<()> {
        add_flags(&mut request.bytes, libc::NLM_F_ACK as u16);
        match self.exchange(&request, |_| {})? {
            Ended::Whole => Ok(()),
            Ended::Interrupted => Err(request.misunderstood("an order was answered like a dump")),
        }
    }

    /// Asks for a table, and returns what `read` makes of its rows as they are at one moment; of
    /// the rows themselves, which may be many, nothing is kept.
    pub(crate) fn dump<T>(
        &mut self,
        mut request: Request,
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>> {
        add_flags(&mut request.bytes, libc::NLM_F_DUMP as u16);
        for _ in 0..ATTEMPTS {
            let mut rows = Vec::new();
            match self.exchange(&request, |row| rows.extend(read(row)))? {
                Ended::Whole => return Ok(rows),
                Ended::Interrupted => {}
            }
        }
        Err(request.failed(Errno::EINTR))
    }

    fn exchange(&mut self, request: &Request, mut each: impl FnMut(Message<'_>)) -> Result<Ended> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        let sent = send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty());
        let sent = sent.map_err(|errno| request.failed(errno))?;
        if sent != bytes.len() {
            return Err(request.failed(Errno::EMSGSIZE));
        }
        let mut buffer = vec![0; ANSWER_BYTES];
        let mut ended = Ended::Whole;
        loop {
            // With this flag the length is that of the message, also if it does not fit.
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(request.failed(errno)),
            };
            let answer = buffer.get(..length);
            let mut rest = answer.ok_or_else(|| request.misunderstood("it is too long"))?;
            while !rest.is_empty() {
                let (row, after) = split(rest).ok_or_else(|| request.misunderstood(CUT))?;
                rest = after;
                if row.sequence != self.sequence {
                    continue;
                }
                if row.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    ended = Ended::Interrupted;
                }
                match i32::from(row.kind) {
                    libc::NLMSG_NOOP => {}
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let code = number_at::<4>(row.body, 0).map_or(0, i32::from_ne_bytes);
                        if code != 0 {
                            return Err(request.failed(io::Error::from_raw_os_error(-code)));
                        }
                        return Ok(ended);
                    }
                    libc::NLMSG_OVERRUN => return Err(request.failed(Errno::ENOBUFS)),
                    _ => each(Message {
                        kind: row.kind,
                        body: row.body,
                    }),
                }
            }
        }
    }
}

fn add_flags(bytes: &mut [u8], more: u16) {
    let flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | more;
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
}

struct Row<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// Takes one message off the front.
fn split(bytes: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let length = u32::from_ne_bytes(number_at(bytes, 0)?) as usize;
    let row = Row {
        kind: u16::from_ne_bytes(number_at(bytes, 4)?),
        flags: u16::from_ne_bytes(number_at(bytes, 6)?),
        sequence: u32::from_ne_bytes(number_at(bytes, 8)?),
        body: bytes.get(HEADER_BYTES..length)?,
    };
    let next = aligned(length).min(bytes.len());
    Some((row, &bytes[next..]))
}

/// Walks the attributes of a message from `offset` on, behind its fixed part.
pub(crate) fn attributes(body: &[u8], offset: usize) -> Attributes<'_> {
    Attributes {
        rest: body.get(aligned(offset)..).unwrap_or_default(),
    }
}

/// The attributes of a message; ends where it is cut short.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Returns the data of the first attribute of this kind.
    pub(crate) fn find(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find_map(|(kind, data)| (kind == wanted).then_some(data))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(number_at(self.rest, 0)?));
        let kind = u16::from_ne_bytes(number_at(self.rest, 2)?) & TYPE_MASK;
        let data = self.rest.get(4..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, data))
    }
}

/// Returns the bytes of a number in a message.
pub(crate) fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, data: &[u8]) {
    // What we send is far shorter than what 16 bits can count.
    let length = (data.len() + 4) as u16;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let inner = [(1, b"abc".to_vec()), (2, 7u32.to_ne_bytes().to_vec())];
        let request = Request::new("test", "", 16, 0, &[9; 6])
            .attribute(3, b"x")
            .nested(4, &inner);
        let bytes = request.finish(5);
        let (row, rest) = split(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((row.kind, row.sequence), (16, 5));
        let outer: Vec<_> = attributes(row.body, 6).collect();
        assert_eq!(outer[0], (3, b"x".as_slice()));
        assert_eq!(outer[1].0, 4);
        let nested = attributes(outer[1].1, 0);
        assert_eq!(nested.clone().find(1), Some(b"abc".as_slice()));
        assert_eq!(nested.find(2), Some(7u32.to_ne_bytes().as_slice()));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_ends_the_walk() {
        let whole = Request::new("test", "", 16, 0, &[]).attribute(3, &[1; 9]);
        let bytes = whole.finish(1);
        for end in 0..bytes.len() {
            assert!(split(&bytes[..end]).is_none_or(|(row, _)| row.body.len() < 12));
        }
        for length in [0u16, 1, 3, 5, u16::MAX] {
            let mut lie = vec![0; 4];
            lie[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(attributes(&lie, 0).count(), 0, "{length}");
        }
        // A header that counts less than itself is no message.
        let mut short = bytes;
        short[..4].copy_from_slice(&4u32.to_ne_bytes());
        assert!(split(&short).is_none());
    }
}
