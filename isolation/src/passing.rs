//! Bytes with open files beside them, over a Unix socket.
//!
//! Used between containerizer and launcher, and by what stands beside a further process of a
//! container. Deliberately not here: what the bytes mean.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most files that come with one message.
pub(crate) const MAX_FILES: usize = 8;

/// Sends some of `bytes`, and all files with the first of them; returns how many bytes. Nothing is
/// sent after an error.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&files)];
    let rights = if files.is_empty() { &[][..] } else { &rights };
    let slices = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let socket = socket.as_fd().as_raw_fd();
    Ok(sendmsg::<()>(socket, &slices, rights, flags, None)?)
}

/// Receives bytes into `buffer`, and the files that came with them into `files`; returns how many
/// bytes, none of them at the end.
///
/// # Errors
/// If more files came than fit: then those that did are closed, and the connection is out of
/// order.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = cmsg_space!([RawFd; MAX_FILES]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let socket = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made them for us.
            let owned = numbers
                .into_iter()
                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            received.extend(owned);
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        let message = format!("more than {MAX_FILES} files came at once");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    files.append(&mut received);
    Ok(message.bytes)
}
