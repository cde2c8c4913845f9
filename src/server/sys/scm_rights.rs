//! Descriptors in messages over Unix sockets (SCM_RIGHTS, unix(7)).
//!
//! [`send_fd`] and [`recv_fd`] pass one descriptor to another process. [`send_fds`] and [`recv_fds`] keep thousands in
//! flight in a socket pair, so that one descriptor represents all of them: a service manager's store or a new program then
//! receives a few descriptors, not fifty thousand with a name each. The number in flight is limited only by the kernel, to
//! about RLIMIT_NOFILE per user.
//!
//! Each message has one byte of data, since a stream socket passes no descriptors without data.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt,
    socketpair, sockopt,
};

/// Sends a copy of a descriptor; fails as `sendmsg(2)` does.
pub fn send_fd(stream: &impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    send(stream, &[descriptor.as_raw_fd()])
}

/// Receives the descriptor that [`send_fd`] sent.
///
/// On a non-blocking socket without a message the error is `WouldBlock`; a closed one gives `UnexpectedEof`, and a
/// message with no descriptor or more than one `InvalidData`. Descriptors beyond the expected one are closed, so that a
/// confused peer can't fill this process's table.
pub fn recv_fd(stream: &impl AsFd) -> io::Result<OwnedFd> {
    let received = recv(stream, MsgFlags::empty())?
        .ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "the peer closed before it sent a descriptor"))?;
    match <[OwnedFd; 1]>::try_from(received) {
        Ok([descriptor]) => Ok(descriptor),
        Err(several) => {
            let text = format!("expected one descriptor in the message, got {}", several.len());
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
    }
}

/// Sends copies of descriptors into a new socket pair, and returns the end from which [`recv_fds`] receives them.
pub fn send_fds(descriptors: &[RawFd]) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    // As much as the system allows; the kernel takes less without an error.
    setsockopt(&near, sockopt::SndBuf, &SEND_BUFFER)?;
    for some in descriptors.chunks(SCM_MAX_FD) {
        send(&near, some)?;
    }
    Ok(far)
}

/// Receives all descriptors that [`send_fds`] sent, in their order.
pub fn recv_fds(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    while let Some(some) = recv(socket, MsgFlags::MSG_DONTWAIT)? {
        received.extend(some);
    }
    Ok(received)
}

fn send(socket: &impl AsFd, descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let data = [IoSlice::new(b"\0")];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &data, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives the descriptors of one message; `None` at the end of the stream.
fn recv(socket: &impl AsFd, flags: MsgFlags) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            // SAFETY: the kernel has just put these descriptors into this process's table for this message, whose
            // parts are visited once; so nothing else owns them.
            received.extend(descriptors.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes > 0).then_some(received))
}

/// Maximum number of descriptors in a message (unix(7)). With space for this many a message is never truncated,
/// which could leave unknown descriptors open.
const SCM_MAX_FD: usize = 253;
/// Size of the send buffer: some hundred messages, with some ten thousand descriptors.
const SEND_BUFFER: usize = 8 << 20;

#[cfg(test)]
mod tests;
