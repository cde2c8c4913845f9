//! Descriptors by the thousand, at rest inside one: in flight in a socket pair whose far end is kept (unix(7)).
//!
//! A service manager's store and a new program are then passed a few descriptors, not fifty thousand with a name each.
//! The kernel allows a user about as many in flight as RLIMIT_NOFILE; nothing else limits a parcel.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt,
    socketpair, sockopt,
};

use super::passing::own;

/// Puts copies of descriptors into a parcel, in their order.
pub fn pack(descriptors: &[RawFd]) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (inlet, parcel) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    // As much as the system allows; the kernel takes less without an error.
    setsockopt(&inlet, sockopt::SndBuf, &SEND_BUFFER)?;
    for some in descriptors.chunks(IN_A_MESSAGE) {
        let rights = [ControlMessage::ScmRights(some)];
        sendmsg::<()>(inlet.as_raw_fd(), &[IoSlice::new(b"\0")], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    }
    Ok(parcel)
}

/// Takes all descriptors out of a parcel.
pub fn unpack(parcel: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    loop {
        let mut byte = [0];
        let mut data = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; IN_A_MESSAGE]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(parcel.as_raw_fd(), &mut data, Some(&mut space), flags)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                taken.extend(descriptors.into_iter().map(own));
            }
        }
        if message.bytes == 0 {
            return Ok(taken);
        }
    }
}

/// SCM_MAX_FD: what the kernel takes in one message.
const IN_A_MESSAGE: usize = 253;
/// Room for some hundred messages, which is some ten thousand descriptors.
const SEND_BUFFER: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_come_out_in_order_and_what_was_sent_meanwhile_waits_in_them() {
        let (mut near, far): (Vec<_>, Vec<_>) = (0..600).map(|_| UnixStream::pair().unwrap()).unzip();
        let raw: Vec<RawFd> = far.iter().map(AsRawFd::as_raw_fd).collect();
        let parcel = pack(&raw).unwrap();
        drop(far);
        for (number, stream) in near.iter_mut().enumerate() {
            stream.write_all(&(number as u32).to_be_bytes()).unwrap();
        }
        let taken = unpack(&parcel).unwrap();
        assert_eq!(taken.len(), 600);
        for (number, descriptor) in taken.into_iter().enumerate() {
            let mut heard = [0; 4];
            UnixStream::from(descriptor).read_exact(&mut heard).unwrap();
            assert_eq!(u32::from_be_bytes(heard), number as u32);
        }
    }
}
