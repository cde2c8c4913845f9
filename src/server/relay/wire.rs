//! A member's connection as its shard sees it: a socket, plain or with TLS, and the seat that it fills.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use ws_router_admin_api::event::EventKind;
use ws_router_core::ids::MemberId;
use ws_router_core::shard::TcpTransit;
use ws_router_core::shard::{Departure, Link, Received};

use super::tls::Tls;
use crate::events::Events;
use crate::net::{Permit, Plain, Socket, Transport};
use crate::peer::Peer;
use crate::registry::Seat;
use crate::sys::{self, TcpState};

/// What all connections of a thread share.
#[derive(Debug)]
pub(super) struct Common {
    /// Told of those who leave.
    pub(super) events: Events,
    /// Where what TLS connections receive is put before it is decrypted.
    pub(super) sealed: RefCell<Vec<u8>>,
}

/// A member's connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    pub(super) id: MemberId,
    pub(super) peer: Peer,
    /// Given back as soon as the membership ends; a probe has none.
    pub(super) seat: Option<Seat>,
    _permit: Option<Permit>,
    common: Rc<Common>,
}

#[derive(Debug)]
enum Stream {
    /// Not there yet: the member is in its room already while its handshake is answered, and what it hears waits.
    Awaited,
    Bare(Bare),
    Tls(Box<Tls>),
}

/// A socket in the thread's event loop.
#[derive(Debug)]
pub(super) enum Bare {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Makes a member's connection before it is there.
    pub(super) fn awaited(id: MemberId, seat: Seat, peer: Peer, common: &Rc<Common>) -> Self {
        Self { stream: Stream::Awaited, id, peer, seat: Some(seat), _permit: None, common: Rc::clone(common) }
    }

    /// Takes the connection over from the front.
    pub(super) fn attach(&mut self, socket: Socket) {
        self.stream = match socket.transport {
            Transport::Plain(plain) => Stream::Bare(plain.into()),
            Transport::Tls(plain, session) => Stream::Tls(Box::new(Tls::new(plain.into(), *session))),
        };
        self._permit = Some(socket.permit);
    }

    /// Makes one end of a probe.
    pub(super) fn probe(id: MemberId, stream: std::os::unix::net::UnixStream, common: &Rc<Common>) -> Self {
        let stream = Stream::Bare(Bare::Unix(UnixStream::from_std(stream)));
        let peer = Peer::Unix { uid: 0, pid: 0 };
        Self { stream, id, peer, seat: None, _permit: None, common: Rc::clone(common) }
    }

    /// The socket's descriptor, if a successor can go on with it: TLS can't move, since its keys are in this process.
    pub(super) fn movable(&self) -> Option<RawFd> {
        match &self.stream {
            Stream::Bare(Bare::Tcp(stream)) => Some(stream.as_raw_fd()),
            Stream::Bare(Bare::Unix(stream)) => Some(stream.as_raw_fd()),
            Stream::Awaited | Stream::Tls(_) => None,
        }
    }

    /// Asks the kernel how the connection does; `None` unless it is TCP.
    pub(super) fn tcp(&self) -> Option<TcpState> {
        self.ask(sys::tcp_state)
    }

    fn ask<T>(&self, question: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        let bare = match &self.stream {
            Stream::Awaited => return None,
            Stream::Bare(bare) => bare,
            Stream::Tls(tls) => tls.bare(),
        };
        match bare {
            Bare::Tcp(stream) => question(stream.as_fd()),
            Bare::Unix(_) => None,
        }
    }

    /// Tells whether the connection is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The socket, for the event loop.
    pub(super) fn source(&mut self) -> Option<&mut dyn Source> {
        let bare = match &mut self.stream {
            Stream::Awaited => return None,
            Stream::Bare(bare) => bare,
            Stream::Tls(tls) => tls.bare_mut(),
        };
        Some(match bare {
            Bare::Tcp(stream) => stream,
            Bare::Unix(stream) => stream,
        })
    }
}

impl Link for Wire {
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        match &mut self.stream {
            Stream::Awaited => Err(io::ErrorKind::WouldBlock.into()),
            Stream::Bare(bare) => {
                let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
                let bytes = bare.read_vectored(buffers)?;
                Ok(Received { bytes, more: bytes == room })
            }
            Stream::Tls(tls) => tls.receive(buffers, &mut self.common.sealed.borrow_mut()),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Awaited => Ok(0),
            Stream::Bare(bare) => would_block_is_nothing(bare.write_vectored(slices)),
            Stream::Tls(tls) => tls.send(slices),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        match &mut self.stream {
            Stream::Awaited => Ok(false),
            Stream::Bare(_) => Ok(true),
            Stream::Tls(tls) => tls.push_out(),
        }
    }

    fn has_unread(&self) -> bool {
        match &self.stream {
            Stream::Awaited | Stream::Bare(_) => false,
            Stream::Tls(_) => true,
        }
    }

    fn transit(&self) -> Option<TcpTransit> {
        self.ask(sys::tcp_transit)
    }

    fn finish(&mut self) {
        match &mut self.stream {
            Stream::Awaited => {}
            Stream::Bare(bare) => bare.shutdown(),
            Stream::Tls(tls) => tls.finish(),
        }
    }

    fn on_close(&mut self, departure: &Departure) {
        let Some(seat) = self.seat.take() else { return };
        let (registration, role, member) = (seat.registration.id.clone(), seat.role, self.id);
        let Departure { reason, code, silent, tally } = *departure;
        self.common.events.publish(EventKind::Left {
            registration,
            member,
            role,
            reason,
            code,
            silent_ms: silent.as_millis() as u64,
            messages_in: tally.messages_in,
            messages_out: tally.messages_out,
        });
    }
}

impl Bare {
    /// Tells the peer that nothing more comes.
    pub(super) fn shutdown(&self) {
        // A peer that is gone already needn't be told.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Bare {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        })
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if let [one] = buffers {
            return self.read(one);
        }
        retry(|| match self {
            Self::Tcp(stream) => stream.read_vectored(buffers),
            Self::Unix(stream) => stream.read_vectored(buffers),
        })
    }
}

impl Write for Bare {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        })
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [one] = slices {
            return self.write(one);
        }
        retry(|| match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Plain> for Bare {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)),
            Plain::Unix(stream) => Self::Unix(UnixStream::from_std(stream)),
        }
    }
}

/// Reads "would block" as nothing sent.
pub(super) fn would_block_is_nothing(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_stays_small() {
        // In debug builds mio remembers more of a socket.
        assert!(size_of::<Wire>() <= if cfg!(debug_assertions) { 120 } else { 104 });
        assert!(size_of::<Seat>() <= 24);
    }
}
