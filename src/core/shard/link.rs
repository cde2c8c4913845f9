//! The interface between a shard and its connections, which is the only one between the core and the sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

use super::MemberTally;
use crate::close::CloseReason;
use crate::ids::MemberId;

/// A member's connection. Nothing here ever waits.
pub trait Link {
    /// Keeps the registration from ending as empty while messages wait for a receiver.
    type Hold: std::fmt::Debug;

    /// Receives available bytes into the buffers, one after the other. Zero bytes mean the end of the stream, and
    /// [`io::ErrorKind::WouldBlock`] that none are available. [`io::ErrorKind::Unsupported`] means that nothing more can be
    /// received, though a close frame can be sent.
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received>;

    /// Sends as much as the connection takes now. If that isn't everything, [`super::Shard::writable`] must be called
    /// when it takes more.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends what the connection itself buffers (TLS records); returns whether nothing is left.
    fn flush(&mut self) -> io::Result<bool>;

    /// Returns whether received bytes may wait that no readiness will announce.
    fn has_unread(&self) -> bool;

    /// Queries how much of what was sent the peer's machine has acknowledged; `None` if that is unknown.
    fn transit(&self) -> Option<TcpTransit> {
        None
    }

    /// Returns a number of the client network that the peer belongs to; `None` if the peer has no address.
    fn network(&self) -> Option<u64> {
        None
    }

    /// Returns how long messages wait for a receiver in the member's registration, and what keeps it from ending
    /// meanwhile; `None` if messages without a receiver are dropped. Called when the first message begins to wait.
    fn hold(&self) -> Option<(Duration, Self::Hold)> {
        None
    }

    /// Separates a connection that is lost from its member, which has a session and stays without one. Returns the old
    /// connection, or `None` if the member may not be away. `must` says that a new connection follows at once.
    fn go_away(&mut self, absence: &Absence, must: bool) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = (absence, must);
        None
    }

    /// Notes that a connection which was separated from its member is in another slot now.
    fn moved_to(&mut self, slot: usize) {
        let _ = slot;
    }

    /// Shuts down the sending direction.
    fn finish(&mut self);

    /// Reports the end of the membership. Called once, while the connection is still closing.
    fn on_close(&mut self, departure: &Departure);
}

/// How a member lost its connection, without an end of the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// The member's number.
    pub member: MemberId,
    /// What happened to the connection.
    pub reason: CloseReason,
    /// Time since its last bytes were received.
    pub silent: Duration,
}

/// How a membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// The member's number.
    pub member: MemberId,
    /// The reason.
    pub reason: CloseReason,
    /// The close code that the member sent, if any.
    pub code: Option<u16>,
    /// Time since its last bytes were received.
    pub silent: Duration,
    /// Its traffic.
    pub tally: MemberTally,
}

/// Result of [`Link::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes received.
    pub bytes: usize,
    /// Whether there may be more that no further readiness will announce.
    pub more: bool,
}

/// Progress of a TCP connection, in bytes since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpTransit {
    /// Bytes written by this side.
    pub written: u64,
    /// Bytes of these that the peer's machine has acknowledged.
    pub acknowledged: u64,
}
