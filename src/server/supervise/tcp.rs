//! What the kernel knows of a TCP connection (tcp(7), `TCP_INFO`): for administrators who ask why one is slow.
//!
//! No library wraps this option, so the call is made here. The kernel fills as much as it knows, and its layout only
//! ever grows at the end (linux/tcp.h); what an older one doesn't tell is left out.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;
use ws_router_core::shard::TcpTransit;

/// How a TCP connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpState {
    /// The smoothed time for a round trip.
    pub round_trip: Duration,
    /// Segments that were sent again, in all.
    pub retransmits: u32,
    /// Bytes that the kernel holds and hasn't sent yet.
    pub unsent: u32,
}

/// Asks the kernel; `None` if the socket isn't a TCP one, or the kernel doesn't tell.
pub fn tcp_state(socket: BorrowedFd<'_>) -> Option<TcpState> {
    let mut info = [0; LARGEST];
    let known = ask(socket, &mut info)?;
    Some(TcpState {
        round_trip: Duration::from_micros(u32_at(known, ROUND_TRIP)?.into()),
        retransmits: u32_at(known, RETRANSMITS)?,
        unsent: u32_at(known, UNSENT)?,
    })
}

/// Asks the kernel; `None` if the socket isn't a TCP one, or the kernel doesn't tell (it does since Linux 4.19).
pub fn tcp_transit(socket: BorrowedFd<'_>) -> Option<TcpTransit> {
    let mut info = [0; LARGEST];
    let known = ask(socket, &mut info)?;
    let sent = u64_at(known, SENT)?.checked_sub(u64_at(known, SENT_AGAIN)?)?;
    Some(TcpTransit { written: sent + u64::from(u32_at(known, UNSENT)?), acknowledged: u64_at(known, ACKNOWLEDGED)? })
}

#[allow(unsafe_code)]
fn ask<'a>(socket: BorrowedFd<'_>, info: &'a mut [u8; LARGEST]) -> Option<&'a [u8]> {
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes at most `len` bytes, which are
    // there and may have any value.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    info.get(..len as usize).filter(|_| outcome == 0)
}

fn u32_at(known: &[u8], at: usize) -> Option<u32> {
    known.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(known: &[u8], at: usize) -> Option<u64> {
    known.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

/// Places in the kernel's `struct tcp_info`: `tcpi_rtt` (microseconds), `tcpi_total_retrans`, `tcpi_bytes_acked`,
/// `tcpi_notsent_bytes`, `tcpi_bytes_sent`, `tcpi_bytes_retrans`.
const ROUND_TRIP: usize = 68;
const RETRANSMITS: usize = 100;
const ACKNOWLEDGED: usize = 120;
const UNSENT: usize = 144;
const SENT: usize = 200;
const SENT_AGAIN: usize = 208;
/// Room for what later kernels may add; they cut it off there.
const LARGEST: usize = 512;

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
    fn what_the_peer_does_not_take_is_unsent() {
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
