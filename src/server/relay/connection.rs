//! A member's connection: the shard's [`Link`] over a plain socket or one with TLS, and the seat that the member holds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use ws_router_admin_api::event::{Admission, EventKind};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::MemberId;
use ws_router_core::shard::{Absence, Departure, Link, Received, TcpTransit};

use super::away::{AwayHold, AwayPool};
use super::kernel_tls::KernelTls;
use super::plain_stream::{PlainStream, would_block_as_zero};
use super::tls::Tls;
use crate::events::Events;
use crate::net::{ConnectionPermit, Socket, Transport};
use crate::peer::{Network, Peer, Share};
use crate::registry::{Hold, Seat};
use crate::sys::{self, TcpState};

/// State that all connections of a thread share.
#[derive(Debug)]
pub(super) struct ThreadContext {
    /// Receives an event when a member leaves.
    pub(super) events: Events,
    /// Administrators who have closed members, until these leave.
    pub(super) closed_by: RefCell<HashMap<MemberId, Peer>>,
    /// Shares of `limits.waiting`, by the clients that wait.
    pub(super) waiting: RefCell<HashMap<MemberId, Share>>,
    /// Members without a connection.
    pub(super) away: AwayPool,
    /// The event loop's registry.
    pub(super) registry: Registry,
    /// Buffer into which TLS connections read records before decrypting them.
    pub(super) ciphertext: RefCell<Vec<u8>>,
}

/// A member's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    pub(super) peer: Peer,
    /// Released as soon as the membership ends; self-test connections have none.
    pub(super) seat: Option<Seat>,
    _permit: Option<ConnectionPermit>,
    context: Rc<ThreadContext>,
}

/// What encrypts a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPlace {
    /// The kernel, which keeps the connection over a restart.
    Kernel,
    /// This process.
    Process,
}

#[derive(Debug)]
enum Stream {
    /// The member has no connection, since its handshake is in progress or it has lost one; messages to it are queued.
    Away {
        _hold: Option<Box<AwayHold>>,
    },
    Plain(PlainStream),
    Kernel(Box<KernelTls>),
    Tls(Box<Tls>),
}

impl Connection {
    /// Creates the connection of a member whose handshake is in progress.
    pub(super) fn away(seat: Seat, peer: Peer, context: &Rc<ThreadContext>) -> Self {
        Self {
            stream: Stream::Away { _hold: None },
            peer,
            seat: Some(seat),
            _permit: None,
            context: Rc::clone(context),
        }
    }

    /// Creates a connection without a seat: that of the host's end of a client that waits, where `peer` is the client, for
    /// which its memory counts; or one that is only closing.
    pub(super) fn without_seat(peer: Peer, context: &Rc<ThreadContext>) -> Self {
        Self { stream: Stream::Away { _hold: None }, peer, seat: None, _permit: None, context: Rc::clone(context) }
    }

    /// Attaches the socket once the handshake is done.
    pub(super) fn attach(&mut self, socket: Socket) {
        self.stream = match socket.transport {
            Transport::Plain(plain) => Stream::Plain(plain.into()),
            Transport::Kernel(socket, sealed) => {
                Stream::Kernel(Box::new(KernelTls::new(TcpStream::from_std(socket), sealed)))
            }
            Transport::Tls(plain, session) => Stream::Tls(Box::new(Tls::new(plain.into(), *session))),
        };
        self._permit = Some(socket.permit);
    }

    /// Creates a connection of a self-test.
    pub(super) fn self_test(stream: std::os::unix::net::UnixStream, context: &Rc<ThreadContext>) -> Self {
        let stream = Stream::Plain(PlainStream::Unix(UnixStream::from_std(stream)));
        let peer = Peer::Unix { uid: 0, pid: 0 };
        Self { stream, peer, seat: None, _permit: None, context: Rc::clone(context) }
    }

    /// Continues for a device that resumes its session.
    pub(super) fn take_over(&mut self, peer: Peer, admission: Option<Arc<Admission>>) {
        self.peer = peer;
        if let Some(seat) = &mut self.seat {
            seat.admission = admission;
        }
    }

    /// Lets the member be without a connection from the start, as one that an old process has handed over.
    pub(super) fn hold_away(&mut self, hold: AwayHold) {
        self.stream = Stream::Away { _hold: Some(Box::new(hold)) };
    }

    /// Limits what the kernel holds of what was sent, so that it can be sent again from `bytes` that are kept. The kernel
    /// allows twice the number that it is given (socket(7)); the rest is for what TLS and the way hold.
    pub(super) fn limit_unsent(&self, bytes: usize) {
        let Some(plain) = self.plain() else { return };
        let limited = match plain {
            PlainStream::Tcp(stream) => SockRef::from(stream).set_send_buffer_size(bytes / 4),
            PlainStream::Unix(stream) => SockRef::from(stream).set_send_buffer_size(bytes / 4),
        };
        if let Err(error) = limited {
            tracing::debug!(peer = %self.peer, %error, "cannot limit a send buffer");
        }
    }

    /// Returns the descriptor if the connection can move to a new process. TLS connections in this process can't, since
    /// their keys stay in it.
    pub(super) fn movable(&self) -> Option<RawFd> {
        Some(match self.plain()? {
            _ if self.is_immovable() => return None,
            PlainStream::Tcp(stream) => stream.as_raw_fd(),
            PlainStream::Unix(stream) => stream.as_raw_fd(),
        })
    }

    /// Returns whether the connection can't move to a new process.
    pub(super) fn is_immovable(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    fn plain(&self) -> Option<&PlainStream> {
        match &self.stream {
            Stream::Away { .. } => None,
            Stream::Plain(plain) => Some(plain),
            Stream::Kernel(tls) => Some(tls.socket()),
            Stream::Tls(tls) => Some(tls.socket()),
        }
    }

    /// Queries the kernel for the state of the connection; `None` unless it is TCP.
    pub(super) fn tcp(&self) -> Option<TcpState> {
        self.query(sys::tcp_state)
    }

    fn query<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        match self.plain()? {
            PlainStream::Tcp(stream) => call(stream.as_fd()),
            PlainStream::Unix(_) => None,
        }
    }

    /// Returns what encrypts the connection.
    pub(super) fn tls(&self) -> Option<TlsPlace> {
        match self.stream {
            Stream::Away { .. } | Stream::Plain(_) => None,
            Stream::Kernel(_) => Some(TlsPlace::Kernel),
            Stream::Tls(_) => Some(TlsPlace::Process),
        }
    }

    /// Returns what the keys of a connection in the kernel have protected, if that is limited.
    pub(super) fn sealed(&self) -> Option<u64> {
        match &self.stream {
            Stream::Kernel(tls) => tls.sealed(),
            _ => None,
        }
    }

    /// Returns the socket to register with the event loop.
    pub(super) fn source(&mut self) -> Option<&mut dyn Source> {
        let plain = match &mut self.stream {
            Stream::Away { .. } => return None,
            Stream::Plain(plain) => plain,
            Stream::Kernel(tls) => tls.socket_mut(),
            Stream::Tls(tls) => tls.socket_mut(),
        };
        Some(match plain {
            PlainStream::Tcp(stream) => stream,
            PlainStream::Unix(stream) => stream,
        })
    }
}

impl Link for Connection {
    type Hold = Hold;

    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        match &mut self.stream {
            Stream::Away { .. } => Err(io::ErrorKind::WouldBlock.into()),
            Stream::Plain(plain) => {
                let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
                let bytes = plain.read_vectored(buffers)?;
                Ok(Received { bytes, more: bytes == room })
            }
            Stream::Kernel(tls) => tls.receive(buffers),
            Stream::Tls(tls) => tls.receive(buffers, &mut self.context.ciphertext.borrow_mut()),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Away { .. } => Ok(0),
            Stream::Plain(plain) => would_block_as_zero(plain.write_vectored(slices)),
            Stream::Kernel(tls) => tls.send(slices),
            Stream::Tls(tls) => tls.send(slices),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        match &mut self.stream {
            Stream::Away { .. } => Ok(false),
            Stream::Plain(_) | Stream::Kernel(_) => Ok(true),
            Stream::Tls(tls) => tls.flush(),
        }
    }

    fn has_unread(&self) -> bool {
        match &self.stream {
            Stream::Away { .. } | Stream::Plain(_) => false,
            Stream::Kernel(_) | Stream::Tls(_) => true,
        }
    }

    fn transit(&self) -> Option<TcpTransit> {
        self.query(sys::tcp_transit)
    }

    fn network(&self) -> Option<u64> {
        self.peer.ip().and_then(|address| Network::of(address).number())
    }

    fn hold(&self) -> Option<(Duration, Hold)> {
        self.seat.as_ref()?.hold()
    }

    fn go_away(&mut self, absence: &Absence, must: bool) -> Option<Self> {
        let share = self.context.away.take(&self.peer);
        if share.is_none() && !must {
            return None;
        }
        let seat = self.seat.take()?;
        let slot = self._permit.as_mut().and_then(ConnectionPermit::take_slot);
        self.context.events.publish(EventKind::Away {
            registration: seat.registration.id.clone(),
            member: absence.member,
            role: seat.role,
            reason: absence.reason,
            silent_ms: absence.silent.as_millis() as u64,
        });
        let away = Self {
            stream: Stream::Away { _hold: Some(Box::new(AwayHold::new(share, slot))) },
            peer: self.peer,
            seat: Some(seat),
            _permit: None,
            context: Rc::clone(&self.context),
        };
        Some(std::mem::replace(self, away))
    }

    fn moved_to(&mut self, slot: usize) {
        let context = Rc::clone(&self.context);
        let Some(source) = self.source() else { return };
        if let Err(error) = context.registry.reregister(source, Token(slot), INTERESTS) {
            tracing::warn!(%error, "cannot register a connection with the event loop again");
        }
    }

    fn finish(&mut self) {
        match &mut self.stream {
            Stream::Away { .. } => {}
            Stream::Plain(plain) => plain.shutdown(),
            Stream::Kernel(tls) => tls.finish(),
            Stream::Tls(tls) => tls.finish(),
        }
    }

    fn on_close(&mut self, departure: &Departure) {
        let Some(seat) = self.seat.take() else { return };
        let (registration, role, admission) = (seat.registration.id.clone(), seat.role, seat.admission.clone());
        let Departure { member, reason, code, silent, tally } = *departure;
        self.context.waiting.borrow_mut().remove(&member);
        // Another reason may have come first.
        let by = self.context.closed_by.borrow_mut().remove(&member).filter(|_| reason == CloseReason::ClosedByAdmin);
        self.context.events.publish(EventKind::Left {
            registration,
            member,
            role,
            reason,
            by,
            code,
            silent_ms: silent.as_millis() as u64,
            messages_in: tally.messages_in,
            bytes_in: tally.bytes_in,
            messages_out: tally.messages_out,
            bytes_out: tally.bytes_out,
            admission,
        });
    }
}

/// What the event loop reports about a connection.
pub(super) const INTERESTS: Interest = Interest::READABLE.add(Interest::WRITABLE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_stays_small() {
        // In debug builds mio keeps more state with a socket.
        assert!(size_of::<Connection>() <= if cfg!(debug_assertions) { 120 } else { 104 });
        assert!(size_of::<Seat>() <= 32);
    }
}
