//! The relay threads: each runs an event loop over the sockets of its registrations and a [`crate::shard`] core.
//!
//! A registration lives on exactly one thread, chosen by its serial, so that a message crosses no lock, no channel
//! and no task. The front reaches a thread only through its bounded inbox.

use std::time::Duration;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::config;
use crate::directory::{Registration, Seat};
use crate::events::Events;
use crate::ids::{MemberId, RegistrationId};
use crate::kind::Role;
use crate::metrics::ThreadTotals;
use crate::net::Socket;
use crate::peer::Peer;

/// A handle on all relay threads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {}

/// What the admin interface shows of a member.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// The member's number.
    pub id: MemberId,
    /// Where it is a member.
    pub registration: RegistrationId,
    /// As what.
    pub role: Role,
    /// From where.
    pub peer: Peer,
    /// Whether through TLS.
    pub tls: bool,
    /// How long it has been there.
    pub age: Duration,
    /// How long nothing has been heard of it.
    pub silent: Duration,
    /// Messages received from it.
    pub messages_in: u64,
    /// Payload bytes received from it.
    pub bytes_in: u64,
    /// Messages handed to it.
    pub messages_out: u64,
    /// Bytes handed to it, frame headers included.
    pub bytes_out: u64,
    /// Bytes that wait for its socket.
    pub outbox: u64,
}

/// The thread's inbox is full; the caller answers 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Relay {
    /// Starts the threads.
    pub fn start(
        _threads: usize,
        _websocket: &config::Websocket,
        _busy_poll: Duration,
        _events: Events,
    ) -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Hands a connection over, with the bytes that came behind its handshake; a registration that ended meanwhile
    /// closes it at once.
    pub fn join(&self, _seat: Seat, _socket: Socket, _early: Bytes) -> Result<MemberId, Busy> {
        Err(Busy)
    }

    /// Closes all members of a registration that has ended.
    pub fn end(&self, _registration: &Registration, _reason: CloseReason) {}

    /// Lists the members of a registration.
    pub async fn members(&self, _registration: &Registration) -> Vec<MemberView> {
        Vec::new()
    }

    /// Finds a member.
    pub async fn member(&self, _id: MemberId) -> Option<MemberView> {
        None
    }

    /// Closes a member's connection; tells whether there was one.
    pub async fn disconnect(&self, _id: MemberId, _reason: CloseReason) -> bool {
        false
    }

    /// Takes new limits and times for open and future connections.
    pub fn reconfigure(&self, _websocket: &config::Websocket, _busy_poll: Duration) {}

    /// Reads each thread's numbers.
    pub fn totals(&self) -> Vec<std::sync::Arc<ThreadTotals>> {
        Vec::new()
    }

    /// Sends a message through each thread, between two members of its own; tells whether all arrived in time.
    pub async fn probe(&self, _patience: Duration) -> bool {
        true
    }

    /// Closes every member and ends the threads; returns when all peers have answered, or `patience` is over.
    pub async fn stop(&self, _reason: CloseReason, _patience: Duration) {}
}
