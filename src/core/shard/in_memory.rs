//! A connection in memory, for tests, fuzz targets and allocation counts. No operating system takes part in it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::rc::Rc;
use std::time::Duration;

use super::{Absence, Departure, Link, Received, TcpTransit};
use crate::close::CloseReason;

/// The shard's end of a connection in memory; the peer's end is the [`Pipe`] itself.
#[derive(Debug)]
pub struct InMemoryLink(pub Rc<RefCell<Pipe>>);

/// State of a connection in memory, with the bytes in transit in both directions.
#[derive(Debug)]
pub struct Pipe {
    /// Bytes that the peer has sent and the shard hasn't received.
    pub inbound: VecDeque<u8>,
    /// Most bytes that one call receives.
    pub read_limit: usize,
    /// Number of bytes that the shard has received.
    pub received: usize,
    /// Whether the peer has ended its stream, after the bytes in `inbound`.
    pub has_ended: bool,
    /// Bytes that the shard has sent and the peer hasn't taken.
    pub outbound: Vec<u8>,
    /// Whether sent bytes are only counted, and not kept in `outbound`.
    pub discards_outbound: bool,
    /// Bytes that the shard can send before the connection would block.
    pub room: usize,
    /// Calls that send, and bytes sent. Several pipes may share one counter.
    pub sent: Rc<SendCounter>,
    /// Number of calls that sent on this connection.
    pub sends: usize,
    /// Acknowledgments of the peer's machine, if it reports any.
    pub transit: Option<TcpTransit>,
    /// Number of the client network that the peer belongs to.
    pub network: Option<u64>,
    /// How long messages wait for a receiver in the registration, and what is cloned to keep it from ending meanwhile.
    pub wait: Option<(Duration, Rc<()>)>,
    /// Whether the member leaves when the connection is lost, even if it has a session.
    pub may_not_be_away: bool,
    /// Whether the connection is lost: nothing can be sent, and nothing follows the bytes in `inbound`.
    pub is_broken: bool,
    /// Reason for the end of the membership, once it has ended.
    pub left: Option<CloseReason>,
    /// Value of `received` when the membership ended.
    pub received_when_left: Option<usize>,
    /// Whether the shard has shut its sending direction down.
    pub is_finished: bool,
    /// Whether the shard has dropped the connection.
    pub is_dropped: bool,
}

/// Counts what is sent over one or more connections.
#[derive(Debug, Default)]
pub struct SendCounter {
    /// Number of calls.
    pub calls: Cell<usize>,
    /// Number of bytes that were accepted.
    pub bytes: Cell<u64>,
}

impl Pipe {
    /// Creates a connection that accepts so many bytes before it would block.
    pub fn with_room(room: usize) -> Self {
        Self {
            inbound: VecDeque::new(),
            read_limit: usize::MAX,
            received: 0,
            has_ended: false,
            outbound: Vec::new(),
            discards_outbound: false,
            room,
            sent: Rc::default(),
            sends: 0,
            transit: None,
            network: None,
            wait: None,
            may_not_be_away: false,
            is_broken: false,
            left: None,
            received_when_left: None,
            is_finished: false,
            is_dropped: false,
        }
    }

    /// Shares the state between the peer's end and a link.
    pub fn shared(self) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(self))
    }
}

impl InMemoryLink {
    /// Creates the connection of a member that has none.
    pub fn unconnected() -> Self {
        Self(Pipe::with_room(0).shared())
    }
}

impl Link for InMemoryLink {
    type Hold = Rc<()>;

    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let mut pipe = self.0.borrow_mut();
        let mut bytes = 0;
        for buffer in buffers {
            let mut buffer = &mut buffer[..];
            while !buffer.is_empty() && !pipe.inbound.is_empty() && bytes < pipe.read_limit {
                let most = buffer.len().min(pipe.read_limit - bytes);
                let read = pipe.inbound.read(&mut buffer[..most])?;
                buffer = &mut buffer[read..];
                bytes += read;
            }
        }
        pipe.received += bytes;
        match bytes {
            0 if pipe.is_broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 if !pipe.has_ended => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(Received { bytes, more: !pipe.inbound.is_empty() }),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        pipe.sends += 1;
        pipe.sent.calls.set(pipe.sent.calls.get() + 1);
        if pipe.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!pipe.is_finished, "sent after the end of the stream");
        let mut sent = 0;
        for slice in slices {
            let part = slice.len().min(pipe.room);
            if !pipe.discards_outbound {
                pipe.outbound.extend_from_slice(&slice[..part]);
            }
            pipe.room -= part;
            sent += part;
        }
        if let Some(transit) = &mut pipe.transit {
            transit.written += sent as u64;
        }
        pipe.sent.bytes.set(pipe.sent.bytes.get() + sent as u64);
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn transit(&self) -> Option<TcpTransit> {
        self.0.borrow().transit
    }

    fn network(&self) -> Option<u64> {
        self.0.borrow().network
    }

    fn hold(&self) -> Option<(Duration, Rc<()>)> {
        self.0.borrow().wait.clone()
    }

    fn go_away(&mut self, _absence: &Absence, _must: bool) -> Option<Self> {
        if self.0.borrow().may_not_be_away {
            return None;
        }
        let (wait, network) = (self.0.borrow().wait.clone(), self.0.borrow().network);
        let away = Pipe { wait, network, ..Pipe::with_room(0) };
        Some(std::mem::replace(self, Self(away.shared())))
    }

    fn finish(&mut self) {
        self.0.borrow_mut().is_finished = true;
    }

    fn on_close(&mut self, departure: &Departure) {
        let mut pipe = self.0.borrow_mut();
        pipe.received_when_left = Some(pipe.received);
        assert_eq!(pipe.left.replace(departure.reason), None, "the membership ended twice");
    }
}

impl Drop for InMemoryLink {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}
