//! What a shard needs of a connection: the one seam between the rules and the sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::time::Duration;

use super::MemberTally;
use crate::close::CloseReason;

/// A member's connection. Nothing here ever waits.
pub trait Link {
    /// Receives what has come, into the buffers one after the other; no bytes are the end of the stream, and
    /// [`io::ErrorKind::WouldBlock`] says that nothing has come.
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received>;

    /// Sends as much as the connection takes now; where that is less than asked, [`super::Shard::writable`] is to be
    /// called when it takes more.
    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Pushes on what the connection itself holds back (TLS records); returns whether all is out.
    fn flush(&mut self) -> io::Result<bool>;

    /// Returns whether received bytes wait that no readiness will announce.
    fn has_unread(&self) -> bool;

    /// Asks how far the peer's machine has come with what was sent; `None` where nobody knows.
    fn transit(&self) -> Option<TcpTransit> {
        None
    }

    /// Tells the peer that nothing more will be sent.
    fn finish(&mut self);

    /// Is called once when the membership has ended, while the connection is still closing.
    fn on_close(&mut self, departure: &Departure);
}

/// How a membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Why.
    pub reason: CloseReason,
    /// The close code that the member sent.
    pub code: Option<u16>,
    /// How long nothing had been received from it.
    pub silent: Duration,
    /// What it has sent and been sent.
    pub tally: MemberTally,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How much.
    pub bytes: usize,
    /// Whether there may be more that no further readiness will announce.
    pub more: bool,
}

/// How far the peer's machine has come with what was written to a TCP connection, in bytes since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpTransit {
    /// Written.
    pub written: u64,
    /// Of these acknowledged.
    pub acknowledged: u64,
}
