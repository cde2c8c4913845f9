//! The one way into a relay thread: commands, in order, bounded, with a wake-up.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::shard::{MemberState, Rates, Rules, Traffic};

use super::MemberView;
use crate::net::Socket;
use crate::peer::Peer;
use crate::registry::Seat;
use crate::snapshot::MemberSnapshot;

/// What a relay thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Let a member in whose connection follows; the answer tells that it hears from now on.
    Reserve {
        id: MemberId,
        seat: Box<Seat>,
        peer: Peer,
        rates: Option<Box<Rates>>,
        done: oneshot::Sender<()>,
    },
    /// The connection of a member, and the bytes that came behind its handshake.
    Attach {
        id: MemberId,
        socket: Box<Socket>,
        early: Bytes,
    },
    /// The connection of a member won't come.
    Abandon(MemberId),
    Probe {
        ids: [MemberId; 2],
        serial: Serial,
        ends: Box<[std::os::unix::net::UnixStream; 2]>,
    },
    End(Serial, CloseReason),
    Members(Serial, oneshot::Sender<Vec<MemberView>>),
    /// Sum up what some registrations have passed on, from a place in their list on.
    Traffic {
        from: usize,
        answer: oneshot::Sender<TrafficPart>,
    },
    TrafficOf(Serial, oneshot::Sender<Traffic>),
    Find(MemberId, oneshot::Sender<Option<MemberView>>),
    Disconnect(MemberId, CloseReason, oneshot::Sender<bool>),
    /// All members of a predecessor: none may be read from before the others are there to hear it.
    Succeed(Vec<Successor>),
    /// Close some of the members that can't be carried over; the answer is how many of them are left.
    Release {
        reason: CloseReason,
        at_most: usize,
        left: oneshot::Sender<usize>,
    },
    /// Copy all members for a successor, and then do nothing until the receiver wakes or breaks.
    Freeze {
        copies: oneshot::Sender<Vec<(MemberSnapshot, RawFd)>>,
        thaw: std::sync::mpsc::Receiver<()>,
    },
    Reconfigure(Box<Rules>, Duration),
    /// Close everybody, and end when all connections are gone or the time is over; the sender is dropped then.
    Stop(CloseReason, Duration, oneshot::Sender<()>),
}

/// What some registrations of a thread have passed on.
#[derive(Debug, Default)]
pub(super) struct TrafficPart {
    pub(super) of: Vec<(Serial, Traffic)>,
    /// Where to go on; the rest is another command, so that the thread does something else in between.
    pub(super) next: Option<usize>,
}

/// A predecessor's member, with its connection and where its stream stands.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) seat: Seat,
    pub(super) state: MemberState,
    pub(super) socket: Socket,
}

/// Commands that wait for a thread, and what wakes it.
#[derive(Debug)]
pub(super) struct Inbox {
    waker: mio::Waker,
    waiting: Mutex<VecDeque<Command>>,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self { waker, waiting: Mutex::new(VecDeque::new()) }
    }

    /// Puts in a command that a peer caused; gives it back when as many wait as may.
    pub(super) fn offer(&self, command: Command) -> Result<(), Command> {
        let mut waiting = self.lock();
        if waiting.len() >= BOUND {
            return Err(command);
        }
        self.put(&mut waiting, command);
        Ok(())
    }

    /// Puts in a command of the daemon's own; those are as few as registrations and administrators.
    pub(super) fn push(&self, command: Command) {
        self.put(&mut self.lock(), command);
    }

    /// Takes the first of those that wait into an empty list; tells whether some are left, for which nobody is woken.
    pub(super) fn take(&self, at_most: usize, into: &mut Vec<Command>) -> bool {
        let mut waiting = self.lock();
        let count = waiting.len().min(at_most);
        into.extend(waiting.drain(..count));
        !waiting.is_empty()
    }

    fn put(&self, waiting: &mut VecDeque<Command>, command: Command) {
        waiting.push_back(command);
        if waiting.len() == 1
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a relay thread can't be woken");
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins that may wait: some tenths of a second of a mass reconnect, a few megabytes.
const BOUND: usize = 8192;
