//! A descriptor in a message over a Unix stream socket (SCM_RIGHTS, unix(7)).
//!
//! The message is one byte, since a stream carries no descriptor without data. Whatever a peer sends beyond the one
//! descriptor that was expected is closed here, so that a confused peer can't fill our table.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends a copy of a descriptor, with one byte of data; fails as `sendmsg(2)` does.
pub fn send_descriptor(stream: &impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let rights = [descriptor.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    let data = [IoSlice::new(b"\0")];
    sendmsg::<()>(stream.as_fd().as_raw_fd(), &data, &message, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives the descriptor that [`send_descriptor`] sent.
///
/// On a non-blocking socket without a message the error is `WouldBlock`; a closed one gives `UnexpectedEof`, and a
/// message with no descriptor or more than one `InvalidData`.
pub fn receive_descriptor(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; MOST_IN_A_MESSAGE]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_fd().as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            received.extend(descriptors.into_iter().map(own));
        }
    }
    if message.bytes == 0 {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the peer closed before it sent a descriptor"));
    }
    match <[OwnedFd; 1]>::try_from(received) {
        Ok([descriptor]) => Ok(descriptor),
        Err(several) => {
            let text = format!("expected one descriptor in the message, got {}", several.len());
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
    }
}

#[allow(unsafe_code)]
pub(super) fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just put this descriptor into our table for the message that was received, and each
    // number of that message comes here once; so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// SCM_MAX_FD: with room for this many nothing is ever cut off, which would leave descriptors open that nobody knows.
const MOST_IN_A_MESSAGE: usize = 253;

#[cfg(test)]
mod tests;
