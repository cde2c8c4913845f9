//! The relay threads: each runs an event loop over the sockets of its registrations and a [`ws_router_core::shard`]
//! core.
//!
//! A registration belongs to exactly one thread, chosen by its serial number, so that the path of a message has no lock, no
//! channel and no other task. The rest of the daemon sends commands to a thread through its inbox.

mod announcement_numbers;
mod away;
mod connection;
mod inbox;
mod kernel_tls;
mod memory_budget;
mod plain_stream;
mod self_test;
mod thread;
mod tls;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use ws_router_admin_api::event::Admission;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId, Sequence, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{
    OutsideMessage, Pairing, Rates, Rules, SessionClaim, SessionCounts, SessionError, Traffic, WaitingState,
};

use crate::config;
use crate::events::Events;
use crate::metrics::{FrontendMetrics, ThreadTotals};
use crate::net::Socket;
use crate::peer::Peer;
use crate::registry::{Hold, Registration, Seat, Sender};
use crate::snapshot::{MemberSnapshot, WaitingSnapshot};
use crate::sys::TcpState;
use announcement_numbers::AnnouncementNumbers;
pub use away::{AwayHold, AwayPool};
pub use connection::TlsPlace;
use inbox::{Command, Inbox, Resume, Send, TrafficPart};
pub use inbox::{RestoredConnection, RestoredMember, WaitingClient};
pub use memory_budget::{CONNECTION, MemoryBudget, REGISTRATION, REQUEST, TLS_SESSION};
use thread::{Stats, Thread};

/// Handle to all relay threads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    threads: Vec<Handle>,
    memory: Arc<MemoryBudget>,
    members: Sequence,
    self_tests: Sequence,
}

#[derive(Debug)]
struct Handle {
    inbox: Arc<Inbox>,
    totals: Arc<ThreadTotals>,
}

/// A member as the admin interface shows it.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// The member's number.
    pub id: MemberId,
    /// The registration that it belongs to.
    pub registration: RegistrationId,
    /// The access rule and token that admitted it; `None` without access rules.
    pub admission: Option<Arc<Admission>>,
    /// The role that it joined with.
    pub role: Role,
    /// Whether it may only receive.
    pub receives_only: bool,
    /// Its part in a paired registration; `None` in others.
    pub pairing: Option<Pairing>,
    /// The other end of its connection.
    pub peer: Peer,
    /// What encrypts its connection; `None` if it has no TLS.
    pub tls: Option<TlsPlace>,
    /// Time since it joined.
    pub age: Duration,
    /// Time since its last byte was received.
    pub silent: Duration,
    /// Messages received from it.
    pub messages_in: u64,
    /// Payload bytes received from it.
    pub bytes_in: u64,
    /// Messages sent to it.
    pub messages_out: u64,
    /// Bytes sent to it, frame headers included.
    pub bytes_out: u64,
    /// Bytes that wait for its socket.
    pub outbox: u64,
    /// Whether it has a session.
    pub has_session: bool,
    /// Time for which it has been without a connection; `None` unless it is away.
    pub away: Option<Duration>,
    /// The kernel's view of its connection; `None` unless it is TCP.
    pub tcp: Option<TcpState>,
}

/// A member whose handshake is in progress. Dropping it removes the member again.
#[derive(Debug)]
pub struct Reservation {
    id: MemberId,
    inbox: Arc<Inbox>,
    is_open: bool,
}

impl Reservation {
    /// Hands the connection over to the relay thread, with the bytes received after its handshake.
    pub fn attach(mut self, socket: Socket, early: Bytes) {
        self.is_open = false;
        self.inbox.push(Command::Attach { id: self.id, socket: Box::new(socket), early });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_open {
            self.inbox.push(Command::Abandon(self.id));
        }
    }
}

/// A copy of all members. The relay threads are stopped until it is dropped.
#[derive(Debug)]
pub struct Frozen {
    /// Each member and its descriptor, which the relay thread continues to own.
    pub members: Vec<(MemberSnapshot, RawFd)>,
    /// Members of sessions that are without a connection.
    pub away: Vec<MemberSnapshot>,
    /// What waits for a receiver, by registration.
    pub waiting: Vec<WaitingSnapshot>,
    /// The threads resume when these are dropped.
    _hold: Vec<std::sync::mpsc::Sender<()>>,
}

/// Result of [`Relay::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The message was written to, or queued for, so many members.
    Sent(usize),
    /// Nobody was there to receive it, and it waits for the next member.
    Waiting,
    /// Nobody was there to receive it.
    NoReceiver,
    /// All receivers were behind for the whole time.
    TooSlow,
}

/// Error returned when a thread's inbox is full; answered with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Relay {
    /// Starts the threads.
    pub fn start(
        threads: usize,
        websocket: &config::Websocket,
        busy_poll: Duration,
        events: Events,
        metrics: &Arc<FrontendMetrics>,
        away: &AwayPool,
    ) -> io::Result<Self> {
        let totals: Vec<_> = (0..threads.max(1)).map(|_| Arc::new(ThreadTotals::default())).collect();
        let memory = Arc::new(MemoryBudget::new(Arc::clone(metrics), totals.clone()));
        let start = |(number, totals)| {
            let stats = Stats { totals, memory: Arc::clone(&memory), away: away.clone() };
            start_thread(number, rules(websocket), busy_poll, events.clone(), stats)
        };
        let threads = totals.into_iter().enumerate().map(start).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner { threads, memory, members: Sequence::after(0), self_tests: Sequence::after(0) })))
    }

    /// Returns the budget of memory for peers.
    pub fn memory(&self) -> &MemoryBudget {
        &self.0.memory
    }

    /// Adds a member before its handshake is answered, so that it receives everything sent after the answer; messages
    /// to it are queued until its connection is attached. It is closed at once if its registration has ended in the
    /// meantime. `rates` bound what it may send. `waiting` is required for clients of paired registrations.
    pub async fn reserve(
        &self,
        seat: Seat,
        peer: Peer,
        rates: Option<Box<Rates>>,
        waiting: Option<Box<WaitingClient>>,
        session: Option<Box<SessionClaim>>,
    ) -> Result<Reservation, Busy> {
        let reserved = self.reserve_by(seat.registration.serial, |id, done| {
            let seat = Box::new(seat);
            Command::Reserve { id, seat, peer, rates, waiting, session, done }
        });
        reserved.await.map(|(reservation, ())| reservation)
    }

    /// Accepts the client that was announced with a number, for a host whose handshake isn't answered yet. Returns `None`
    /// if no client waits that has this number.
    pub async fn accept(
        &self,
        number: u128,
        seat: Seat,
        peer: Peer,
        rates: Option<Box<Rates>>,
        session: Option<Box<SessionClaim>>,
    ) -> Result<Option<Reservation>, Busy> {
        let accepted = self.reserve_by(seat.registration.serial, |id, done| {
            let seat = Box::new(seat);
            Command::Accept { id, number, seat, peer, rates, session, done }
        });
        let (reservation, is_accepted) = accepted.await?;
        Ok(is_accepted.then_some(reservation))
    }

    /// Takes the member of a session over for a device that has received so many of its messages.
    pub async fn resume(
        &self,
        claim: SessionClaim,
        received: u64,
        peer: Peer,
        admission: Option<Arc<Admission>>,
        rates: Option<Box<Rates>>,
    ) -> Result<Result<Reservation, SessionError>, Busy> {
        let resumed = self.reserve_by(claim.serial, |id, answer| {
            Command::Resume(Box::new(Resume { id, claim, received, peer, admission, rates, answer }))
        });
        let (reservation, is_resumed) = resumed.await?;
        Ok(is_resumed.map(|()| reservation))
    }

    /// Sends a command for a device whose connection will be attached later, and waits for its answer.
    async fn reserve_by<T>(
        &self,
        serial: Serial,
        command: impl FnOnce(MemberId, oneshot::Sender<T>) -> Command,
    ) -> Result<(Reservation, T), Busy> {
        let id = MemberId(self.0.members.next());
        let inbox = Arc::clone(self.inbox_of(serial));
        let (answer, answered) = oneshot::channel();
        inbox.try_push(command(id, answer)).map_err(|_| Busy)?;
        // Before the answer: if the device gives up while waiting, the member is removed.
        let reservation = Reservation { id, inbox, is_open: true };
        Ok((reservation, answered.await.map_err(|_| Busy)?))
    }

    /// Sends a command about a registration that a device has caused, and waits for its answer.
    async fn ask<T>(&self, serial: Serial, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        self.inbox_of(serial).try_push(command(answer)).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    /// Closes the connection of a session's member, which is away from then on, and returns its counts.
    pub async fn suspend(&self, claim: SessionClaim) -> Result<Result<SessionCounts, SessionError>, Busy> {
        self.ask(claim.serial, |answer| Command::Suspend(Box::new(claim), answer)).await
    }

    /// Ends a session, if there is one with this secret; fails if it belongs to another key or role.
    pub async fn end_session(&self, claim: SessionClaim) -> Result<Result<(), SessionError>, Busy> {
        self.ask(claim.serial, |answer| Command::EndSession(Box::new(claim), answer)).await
    }

    /// Sends a message to all who receive from the sender's role, and waits up to `patience` while all of them are behind.
    /// Unless the result says so, nothing was or will be sent.
    pub async fn send(&self, sender: Sender, message: OutsideMessage, patience: Duration) -> Result<SendOutcome, Busy> {
        let (answer, sent) = oneshot::channel();
        let inbox = self.inbox_of(sender.registration.serial);
        let send = Box::new(Send { sender, message, answer });
        inbox.try_push(Command::Send(send, patience)).map_err(|_| Busy)?;
        // A thread that has stopped never takes the command.
        let sent = tokio::time::timeout(patience + STOPPED_THREAD, sent);
        sent.await.ok().and_then(Result::ok).ok_or(Busy)
    }

    /// Closes all members of a registration that has ended in the registry.
    pub fn end(&self, registration: &Registration, reason: CloseReason) {
        self.inbox_of(registration.serial).push(Command::End(registration.serial, reason));
    }

    /// Lists the members of a registration.
    pub async fn members(&self, registration: &Registration) -> Vec<MemberView> {
        let (answer, members) = oneshot::channel();
        self.inbox_of(registration.serial).push(Command::Members(registration.serial, answer));
        members.await.unwrap_or_default()
    }

    /// Returns how much each registration has relayed, without those that have no members.
    pub async fn traffic(&self) -> HashMap<Serial, Traffic> {
        let mut all = HashMap::new();
        for thread in &self.0.threads {
            let mut next = Some(0);
            while let Some(from) = next {
                let (answer, part) = oneshot::channel();
                thread.inbox.push(Command::Traffic { from, answer });
                let part: TrafficPart = part.await.unwrap_or_default();
                for (serial, traffic) in part.of {
                    all.entry(serial).or_insert_with(Traffic::default).add(&traffic);
                }
                next = part.next;
            }
        }
        all
    }

    /// Returns how much a registration has relayed.
    pub async fn traffic_of(&self, registration: &Registration) -> Traffic {
        let (answer, traffic) = oneshot::channel();
        self.inbox_of(registration.serial).push(Command::TrafficOf(registration.serial, answer));
        traffic.await.unwrap_or_default()
    }

    /// Finds a member.
    pub async fn member(&self, id: MemberId) -> Option<MemberView> {
        for thread in &self.0.threads {
            let (answer, member) = oneshot::channel();
            thread.inbox.push(Command::Find(id, answer));
            if let Ok(Some(member)) = member.await {
                return Some(member);
            }
        }
        None
    }

    /// Closes a member's connection for an administrator; returns whether there was one.
    pub async fn disconnect(&self, id: MemberId, by: Peer) -> bool {
        for thread in &self.0.threads {
            let (answer, was_there) = oneshot::channel();
            thread.inbox.push(Command::Disconnect(id, by, answer));
            if was_there.await == Ok(true) {
                return true;
            }
        }
        false
    }

    /// Applies new limits and timeouts to open and future connections.
    pub fn reconfigure(&self, websocket: &config::Websocket, busy_poll: Duration) {
        for thread in &self.0.threads {
            thread.inbox.push(Command::Reconfigure(Box::new(rules(websocket)), busy_poll));
        }
    }

    /// Returns the counters of each thread.
    pub fn totals(&self) -> Vec<Arc<ThreadTotals>> {
        self.0.threads.iter().map(|thread| Arc::clone(&thread.totals)).collect()
    }

    /// Sends a message through each thread, between two members made for it; returns whether all arrived in time.
    pub async fn self_test(&self, patience: Duration) -> bool {
        let all = async {
            for thread in &self.0.threads {
                let ids = [MemberId(self.0.members.next()), MemberId(self.0.members.next())];
                self_test::pass_through(&thread.inbox, ids, self.0.self_tests.next()).await?;
            }
            io::Result::Ok(())
        };
        matches!(tokio::time::timeout(patience, all).await, Ok(Ok(())))
    }

    /// Closes every member and ends the threads; returns when all peers have answered, or `patience` is over.
    pub async fn stop(&self, reason: CloseReason, patience: Duration) {
        let stop = |thread: &Handle| {
            let (done, ended) = oneshot::channel();
            thread.inbox.push(Command::Stop(reason, patience, done));
            ended
        };
        let ended: Vec<_> = self.0.threads.iter().map(stop).collect();
        for thread in ended {
            // Resolves when the thread drops its end; nothing is ever sent.
            let _ = thread.await;
        }
    }

    /// Adds the members of an old process, and what waited for receivers there.
    pub fn restore(
        &self,
        members: impl IntoIterator<Item = RestoredMember>,
        waiting: impl IntoIterator<Item = (Hold, Duration, WaitingState)>,
    ) {
        let mut by_thread: Vec<(Vec<_>, Vec<_>)> = self.0.threads.iter().map(|_| Default::default()).collect();
        for member in members {
            // A connection that is only closing may be on any thread.
            let serial = member.seat.as_ref().map_or(Serial(member.state.id.0), |seat| seat.registration.serial);
            by_thread[self.thread_of(serial)].0.push(member);
        }
        for waiting in waiting {
            by_thread[self.thread_of(waiting.0.registration.serial)].1.push(waiting);
        }
        for (thread, (members, waiting)) in self.0.threads.iter().zip(by_thread) {
            thread.inbox.push(Command::Restore(members, waiting));
        }
    }

    /// Skips the member ids up to `last`, which the old process has assigned.
    pub fn skip_members(&self, last: u64) {
        self.0.members.skip(last);
    }

    /// Returns the highest member id assigned so far.
    pub fn last_member(&self) -> u64 {
        self.0.members.last()
    }

    /// Closes up to `at_most` members of each thread whose connections can't be handed over. Returns the number of such
    /// members that are left.
    pub async fn release(&self, at_most: usize, reason: CloseReason) -> usize {
        let mut all = 0;
        for thread in &self.0.threads {
            let (left, answer) = oneshot::channel();
            thread.inbox.push(Command::Release { reason, at_most, left });
            all += answer.await.unwrap_or_default();
        }
        all
    }

    /// Copies all members whose connections can be handed over, with their descriptors, and stops all threads until the
    /// copy is dropped.
    pub async fn freeze(&self) -> Frozen {
        let freeze = |thread: &Handle| {
            let (copies, answer) = oneshot::channel();
            let (hold, thaw) = std::sync::mpsc::channel();
            thread.inbox.push(Command::Freeze { copies, thaw });
            (answer, hold)
        };
        let asked: Vec<_> = self.0.threads.iter().map(freeze).collect();
        let mut frozen = Frozen { members: Vec::new(), away: Vec::new(), waiting: Vec::new(), _hold: Vec::new() };
        for (answer, hold) in asked {
            let copy = answer.await.unwrap_or_default();
            frozen.members.extend(copy.members);
            frozen.away.extend(copy.away);
            frozen.waiting.extend(copy.waiting);
            frozen._hold.push(hold);
        }
        frozen
    }

    fn inbox_of(&self, serial: Serial) -> &Arc<Inbox> {
        &self.0.threads[self.thread_of(serial)].inbox
    }

    fn thread_of(&self, serial: Serial) -> usize {
        serial.0 as usize % self.0.threads.len()
    }
}

/// Time after which a relay thread that hasn't answered counts as stopped.
const STOPPED_THREAD: Duration = Duration::from_secs(5);

fn start_thread(number: usize, rules: Rules, busy_poll: Duration, events: Events, stats: Stats) -> io::Result<Handle> {
    let poll = mio::Poll::new()?;
    let inbox = Arc::new(Inbox::new(mio::Waker::new(poll.registry(), thread::WAKE)?));
    let handle = Handle { inbox: Arc::clone(&inbox), totals: Arc::clone(&stats.totals) };
    let numbers = AnnouncementNumbers::random()?;
    let run = move || {
        let thread = Thread::new(poll, inbox, rules, busy_poll, events, stats, numbers);
        if let Err(error) = thread.and_then(Thread::run) {
            // A router without one of its threads must not continue; the service manager restarts it.
            panic!("the event queue of a relay thread failed: {error}");
        }
    };
    std::thread::Builder::new().name(format!("relay-{number}")).spawn(run)?;
    Ok(handle)
}

fn rules(websocket: &config::Websocket) -> Rules {
    Rules {
        max_message: websocket.max_message.as_u64(),
        outbox: usize::try_from(websocket.outbox.as_u64()).unwrap_or(usize::MAX),
        pace: websocket.slow_receiver == config::SlowReceiver::Pace,
        ping_interval: websocket.ping_interval,
        pong_timeout: websocket.pong_timeout,
        stall_timeout: websocket.stall_timeout,
        close_timeout: websocket.close_timeout,
        session_timeout: websocket.session_timeout,
        session_buffer: usize::try_from(websocket.session_buffer.as_u64()).unwrap_or(usize::MAX),
    }
}
