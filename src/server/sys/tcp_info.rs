//! The kernel's statistics of a TCP connection (tcp(7), `TCP_INFO`): causes of slowness, and acknowledged bytes.
//!
//! The kernel fills in as much of `struct tcp_info` (linux/tcp.h) as it knows, and that structure only ever grows at
//! the end; fields beyond what an older kernel fills in are left out.

use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use nix::libc;
use ws_router_core::shard::TcpTransit;

/// State of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpState {
    /// Smoothed round-trip time.
    pub round_trip: Duration,
    /// Number of retransmitted segments.
    pub retransmits: u32,
    /// Bytes that the kernel holds and has not sent yet.
    pub unsent: u32,
}

/// Returns the state of a TCP connection; `None` for other sockets.
pub fn tcp_state(socket: BorrowedFd<'_>) -> Option<TcpState> {
    let (info, filled) = tcp_info(socket)?;
    let known = offset_of!(libc::tcp_info, tcpi_notsent_bytes) + size_of_val(&info.tcpi_notsent_bytes);
    (filled >= known).then(|| TcpState {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        retransmits: info.tcpi_total_retrans,
        unsent: info.tcpi_notsent_bytes,
    })
}

/// Returns how far the bytes of a TCP connection have come; `None` for other sockets, and on kernels before 4.19.
pub fn tcp_transit(socket: BorrowedFd<'_>) -> Option<TcpTransit> {
    let (info, filled) = tcp_info(socket)?;
    if filled < offset_of!(libc::tcp_info, tcpi_bytes_retrans) + size_of_val(&info.tcpi_bytes_retrans) {
        return None;
    }
    let sent = info.tcpi_bytes_sent.checked_sub(info.tcpi_bytes_retrans)?;
    Some(TcpTransit { written: sent + u64::from(info.tcpi_notsent_bytes), acknowledged: info.tcpi_bytes_acked })
}

/// Returns the kernel's structure, and how many bytes of it the kernel filled in.
fn tcp_info(socket: BorrowedFd<'_>) -> Option<(libc::tcp_info, usize)> {
    // SAFETY: the structure consists of integers alone, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes at most `len` bytes, which is the
    // size of the structure; each of its fields may have any value.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            ptr::from_mut(&mut info).cast(),
            &mut len,
        )
    };
    (outcome == 0).then_some((info, len as usize))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_tcp_connection_has_a_round_trip_and_another_socket_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        one.write_all(b"hello").unwrap();
        other.read_exact(&mut [0; 5]).unwrap();
        let state = tcp_state(one.as_fd()).unwrap();
        assert!(!state.round_trip.is_zero() && state.round_trip < Duration::from_secs(60), "{state:?}");
        assert_eq!(state.unsent, 0);
        other.write_all(b"thanks").unwrap();
        one.read_exact(&mut [0; 6]).unwrap();
        // The handshake may count as one byte.
        let transit = tcp_transit(one.as_fd()).unwrap();
        assert!(transit.written == 5 && (5..=6).contains(&transit.acknowledged), "{transit:?}");
        let (local, _) = UnixStream::pair().unwrap();
        assert_eq!((tcp_state(local.as_fd()), tcp_transit(local.as_fd())), (None, None));
    }

    #[test]
    fn bytes_that_the_peer_does_not_receive_are_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _other = listener.accept().unwrap();
        one.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = one.write(&[0; 65_536]) {
            written += count as u64;
        }
        assert!(tcp_state(one.as_fd()).unwrap().unsent > 0);
        let transit = tcp_transit(one.as_fd()).unwrap();
        assert!(transit.written == written && transit.acknowledged < written, "{transit:?} of {written}");
    }
}
