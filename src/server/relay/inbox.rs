//! The queue of commands to a relay thread, the only way to reach the thread. It is bounded for commands caused by peers.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use ws_router_admin_api::event::Admission;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::shard::{
    MemberState, OutsideMessage, Rates, Rules, SessionClaim, SessionCounts, SessionError, Traffic, WaitingState,
};

use super::away::AwayHold;
use super::{MemberView, SendOutcome};
use crate::log::messages;
use crate::net::Socket;
use crate::peer::{Peer, Share};
use crate::registry::{Hold, Seat, Sender};
use crate::snapshot::{MemberSnapshot, WaitingSnapshot};

/// A command to a relay thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Adds a member whose connection will be attached later. After the reply, messages to the member are queued.
    Reserve {
        id: MemberId,
        seat: Box<Seat>,
        peer: Peer,
        rates: Option<Box<Rates>>,
        waiting: Option<Box<WaitingClient>>,
        session: Option<Box<SessionClaim>>,
        done: oneshot::Sender<()>,
    },
    /// Accepts the client that was announced with a number, for a host whose connection will be attached later. The reply
    /// is whether there is such a client.
    Accept {
        id: MemberId,
        number: u128,
        seat: Box<Seat>,
        peer: Peer,
        rates: Option<Box<Rates>>,
        session: Option<Box<SessionClaim>>,
        done: oneshot::Sender<bool>,
    },
    /// Takes the member of a session over for a device, whose connection will be attached later.
    Resume(Box<Resume>),
    /// Makes the member of a session away.
    Suspend(Box<SessionClaim>, oneshot::Sender<Result<SessionCounts, SessionError>>),
    /// Ends a session, if there is one.
    EndSession(Box<SessionClaim>, oneshot::Sender<Result<(), SessionError>>),
    /// Attaches the connection of a member, with the bytes received after its handshake.
    Attach { id: MemberId, socket: Box<Socket>, early: Bytes },
    /// Removes a member whose handshake failed.
    Abandon(MemberId),
    /// Adds the two members of a self-test.
    SelfTest { ids: [MemberId; 2], serial: Serial, ends: Box<[std::os::unix::net::UnixStream; 2]> },
    /// Sends a message from outside, which waits for so long while all its receivers are behind.
    Send(Box<Send>, Duration),
    /// Closes all members of a registration.
    End(Serial, CloseReason),
    /// Lists the members of a registration.
    Members(Serial, oneshot::Sender<Vec<MemberView>>),
    /// Returns the traffic of some registrations, from a position in their list on.
    Traffic { from: usize, answer: oneshot::Sender<TrafficPart> },
    /// Returns the traffic of one registration.
    TrafficOf(Serial, oneshot::Sender<Traffic>),
    /// Finds a member.
    Find(MemberId, oneshot::Sender<Option<MemberView>>),
    /// Closes a member's connection for an administrator; the answer is whether there was one.
    Disconnect(MemberId, Peer, oneshot::Sender<bool>),
    /// Adds all members of an old process and what waited for others there at once, so that no member is read from before
    /// the others can receive and what was sent earlier waits.
    Restore(Vec<RestoredMember>, Vec<RestoredWaiting>),
    /// Closes some of the members that can't be handed over. The reply is the number of such members that are left.
    Release { reason: CloseReason, at_most: usize, left: oneshot::Sender<usize> },
    /// Copies all members and what waits for others for a new process, and stops the thread until the sender of `thaw` is dropped.
    Freeze { copies: oneshot::Sender<FrozenThread>, thaw: std::sync::mpsc::Receiver<()> },
    /// Applies new limits and timeouts, and how long the thread polls without sleeping.
    Reconfigure(Box<Rules>, Duration),
    /// Closes all members, and ends the thread when their connections are gone or the time is over; then the sender is
    /// dropped.
    Stop(CloseReason, Duration, oneshot::Sender<()>),
}

/// A session that a device resumes.
#[derive(Debug)]
pub(super) struct Resume {
    /// Number of the reservation.
    pub(super) id: MemberId,
    pub(super) claim: SessionClaim,
    /// Messages that the device has received.
    pub(super) received: u64,
    pub(super) peer: Peer,
    pub(super) admission: Option<Arc<Admission>>,
    pub(super) rates: Option<Box<Rates>>,
    pub(super) answer: oneshot::Sender<Result<(), SessionError>>,
}

/// A message from outside that is to be sent.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) sender: Sender,
    pub(super) message: OutsideMessage,
    pub(super) answer: oneshot::Sender<SendOutcome>,
}

/// Traffic of some registrations of a thread.
#[derive(Debug, Default)]
pub(super) struct TrafficPart {
    pub(super) of: Vec<(Serial, Traffic)>,
    /// Position at which the next command continues; messages are relayed in between.
    pub(super) next: Option<usize>,
}

/// A copy of a thread's members, each with its descriptor, and of what waits for others.
#[derive(Debug, Default)]
pub(super) struct FrozenThread {
    pub(super) members: Vec<(MemberSnapshot, RawFd)>,
    /// Members of sessions that are without a connection.
    pub(super) away: Vec<MemberSnapshot>,
    pub(super) waiting: Vec<WaitingSnapshot>,
}

/// A client of a paired registration, which waits until a host accepts it.
#[derive(Debug)]
pub struct WaitingClient {
    /// Text for the hosts.
    pub hello: Box<str>,
    /// Time within which a host must accept it.
    pub accept_timeout: Duration,
    /// Its share of `limits.waiting`.
    pub share: Share,
}

/// Messages that waited for a receiver in an old process: what keeps their registration, how long messages wait in it, and
/// the messages.
pub(super) type RestoredWaiting = (Hold, Duration, WaitingState);

/// The connection of a member of an old process.
#[derive(Debug)]
pub enum RestoredConnection {
    /// Its socket.
    Socket(Socket),
    /// None, since it has a session and is away. The peer is that of its last connection.
    Away(Peer, AwayHold),
}

impl RestoredConnection {
    /// Returns its other end.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Socket(socket) => socket.peer,
            Self::Away(peer, _) => *peer,
        }
    }
}

/// A member of an old process, with its connection and the state of its stream.
#[derive(Debug)]
pub struct RestoredMember {
    /// Its seat; `None` if its connection is only closing.
    pub seat: Option<Seat>,
    /// The state of its stream.
    pub state: MemberState,
    /// Its connection.
    pub connection: RestoredConnection,
    /// Share of `limits.waiting`, if it is a client that waits.
    pub share: Option<Share>,
}

/// Commands that wait for a thread, and its waker.
#[derive(Debug)]
pub(super) struct Inbox {
    waker: mio::Waker,
    waiting: Mutex<VecDeque<Command>>,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self { waker, waiting: Mutex::new(VecDeque::new()) }
    }

    /// Adds a command that a peer caused; returns it if the inbox is full.
    pub(super) fn try_push(&self, command: Command) -> Result<(), Command> {
        let waiting = self.lock();
        if waiting.len() >= CAPACITY {
            return Err(command);
        }
        Self::put(waiting, command, &self.waker);
        Ok(())
    }

    /// Adds a command that no peer caused, without a limit: there are at most as many as registrations and administrators.
    pub(super) fn push(&self, command: Command) {
        Self::put(self.lock(), command, &self.waker);
    }

    /// Moves the first commands into `into`. Returns whether some are left; the waker will not be called again for these.
    pub(super) fn take(&self, at_most: usize, into: &mut Vec<Command>) -> bool {
        let mut waiting = self.lock();
        let count = waiting.len().min(at_most);
        into.extend(waiting.drain(..count));
        !waiting.is_empty()
    }

    /// Adds a command, and wakes the thread if it is the first one. The lock is released before, since the thread takes
    /// it as soon as it is awake, which may be at once and in the place of this thread.
    fn put(mut waiting: MutexGuard<'_, VecDeque<Command>>, command: Command, waker: &mio::Waker) {
        waiting.push_back(command);
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first && let Err(error) = waker.wake() {
            tracing::error!(message_id = messages::WAKE_FAILED, %error, "cannot wake a relay thread");
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.waiting.lock()
    }
}

/// Maximum number of waiting joins and messages: some tenths of a second of a mass reconnect, which take a few megabytes.
const CAPACITY: usize = 8192;
