//! The relay threads: each runs an event loop over the sockets of its registrations and a [`ws_router_core::shard`] core.
//!
//! A registration lives on exactly one thread, chosen by its serial, so that a message crosses no lock, no channel
//! and no task. The front reaches a thread only through its bounded inbox.

mod budget;
mod inbox;
mod probe;
mod thread;
mod tls;
mod wire;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId, Sequence, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{MemberState, Rates, Rules, Traffic};

use crate::config;
use crate::events::Events;
use crate::metrics::{Front, ThreadTotals};
use crate::net::Socket;
use crate::peer::Peer;
use crate::registry::{Registration, Seat};
use crate::snapshot::MemberSnapshot;
use crate::sys::TcpState;
pub use budget::{Budget, CONNECTION, REGISTRATION, REQUEST, TLS_SESSION};
use inbox::{Command, Inbox, Successor, TrafficPart};
use thread::{Ledger, Thread};

/// A handle on all relay threads; cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    threads: Vec<Handle>,
    budget: Arc<Budget>,
    members: Sequence,
    probes: Sequence,
}

#[derive(Debug)]
struct Handle {
    inbox: Arc<Inbox>,
    totals: Arc<ThreadTotals>,
}

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
    /// What the kernel knows of its connection.
    pub tcp: Option<TcpState>,
}

/// A member whose connection is on its way; it leaves again when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    id: MemberId,
    inbox: Arc<Inbox>,
    is_open: bool,
}

impl Reservation {
    /// Hands the connection over, with the bytes that came behind its handshake.
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

/// All members as they are while the threads hold still.
#[derive(Debug)]
pub struct Frozen {
    /// Each member and its descriptor, which stays the thread's.
    pub members: Vec<(MemberSnapshot, RawFd)>,
    /// The threads go on when these are dropped.
    _hold: Vec<std::sync::mpsc::Sender<()>>,
}

/// The thread's inbox is full; the caller answers 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl Relay {
    /// Starts the threads.
    pub fn start(
        threads: usize,
        websocket: &config::Websocket,
        busy_poll: Duration,
        events: Events,
        front: &Arc<Front>,
    ) -> io::Result<Self> {
        let totals: Vec<_> = (0..threads.max(1)).map(|_| Arc::new(ThreadTotals::default())).collect();
        let budget = Arc::new(Budget::new(Arc::clone(front), totals.clone()));
        let start = |(number, totals)| {
            let ledger = Ledger { totals, budget: Arc::clone(&budget) };
            start_thread(number, rules(websocket), busy_poll, events.clone(), ledger)
        };
        let threads = totals.into_iter().enumerate().map(start).collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Inner { threads, budget, members: Sequence::after(0), probes: Sequence::after(0) })))
    }

    /// The memory for all that peers can make us hold.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Lets a member in before its handshake is answered, so that it hears everything that is sent after the answer;
    /// what it hears waits for its connection. A registration that ended meanwhile closes it at once. `rates` say how much
    /// it may send.
    pub async fn reserve(&self, seat: Seat, peer: Peer, rates: Option<Box<Rates>>) -> Result<Reservation, Busy> {
        let id = MemberId(self.0.members.next());
        let inbox = Arc::clone(self.inbox_of(seat.registration.serial));
        let (done, is_done) = oneshot::channel();
        inbox.offer(Command::Reserve { id, seat: Box::new(seat), peer, rates, done }).map_err(|_| Busy)?;
        let reservation = Reservation { id, inbox, is_open: true };
        is_done.await.map(|()| reservation).map_err(|_| Busy)
    }

    /// Closes all members of a registration that has ended.
    pub fn end(&self, registration: &Registration, reason: CloseReason) {
        self.inbox_of(registration.serial).push(Command::End(registration.serial, reason));
    }

    /// Lists the members of a registration.
    pub async fn members(&self, registration: &Registration) -> Vec<MemberView> {
        let (answer, members) = oneshot::channel();
        self.inbox_of(registration.serial).push(Command::Members(registration.serial, answer));
        members.await.unwrap_or_default()
    }

    /// Sums up what the registrations have passed on; those that have no members aren't among them.
    pub async fn traffic(&self) -> HashMap<Serial, Traffic> {
        let mut all = HashMap::new();
        for thread in &self.0.threads {
            let mut next = Some(0);
            while let Some(from) = next {
                let (answer, part) = oneshot::channel();
                thread.inbox.push(Command::Traffic { from, answer });
                let part: TrafficPart = part.await.unwrap_or_default();
                all.extend(part.of);
                next = part.next;
            }
        }
        all
    }

    /// Sums up what a registration has passed on.
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

    /// Closes a member's connection; tells whether there was one.
    pub async fn disconnect(&self, id: MemberId, reason: CloseReason) -> bool {
        for thread in &self.0.threads {
            let (answer, was_there) = oneshot::channel();
            thread.inbox.push(Command::Disconnect(id, reason, answer));
            if was_there.await == Ok(true) {
                return true;
            }
        }
        false
    }

    /// Takes new limits and times for open and future connections.
    pub fn reconfigure(&self, websocket: &config::Websocket, busy_poll: Duration) {
        for thread in &self.0.threads {
            thread.inbox.push(Command::Reconfigure(Box::new(rules(websocket)), busy_poll));
        }
    }

    /// Reads each thread's numbers.
    pub fn totals(&self) -> Vec<Arc<ThreadTotals>> {
        self.0.threads.iter().map(|thread| Arc::clone(&thread.totals)).collect()
    }

    /// Sends a message through each thread, between two members of its own; tells whether all arrived in time.
    pub async fn probe(&self, patience: Duration) -> bool {
        let all = async {
            for thread in &self.0.threads {
                let ids = [MemberId(self.0.members.next()), MemberId(self.0.members.next())];
                probe::pass_through(&thread.inbox, ids, self.0.probes.next()).await?;
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
            // Nothing is sent: the sender's end is the thread's.
            let _ = thread.await;
        }
    }

    /// Goes on with a predecessor's members.
    pub fn succeed(&self, members: impl IntoIterator<Item = (Seat, MemberState, Socket)>) {
        let mut by_thread: Vec<Vec<Successor>> = self.0.threads.iter().map(|_| Vec::new()).collect();
        for (seat, state, socket) in members {
            by_thread[self.thread_of(seat.registration.serial)].push(Successor { seat, state, socket });
        }
        for (thread, members) in self.0.threads.iter().zip(by_thread) {
            thread.inbox.push(Command::Succeed(members));
        }
    }

    /// Leaves out the member numbers up to `last`, which a predecessor gave.
    pub fn skip_members(&self, last: u64) {
        self.0.members.skip(last);
    }

    /// Tells the highest member number given.
    pub fn last_member(&self) -> u64 {
        self.0.members.last()
    }

    /// Closes up to `at_most` members of each thread that can't be carried over to a successor; tells how many of their
    /// connections are left.
    pub async fn release(&self, at_most: usize, reason: CloseReason) -> usize {
        let mut all = 0;
        for thread in &self.0.threads {
            let (left, answer) = oneshot::channel();
            thread.inbox.push(Command::Release { reason, at_most, left });
            all += answer.await.unwrap_or_default();
        }
        all
    }

    /// Copies all members that can be carried over, with their descriptors, and holds all threads until the copy is
    /// dropped.
    pub async fn freeze(&self) -> Frozen {
        let ask = |thread: &Handle| {
            let (copies, answer) = oneshot::channel();
            let (hold, thaw) = std::sync::mpsc::channel();
            thread.inbox.push(Command::Freeze { copies, thaw });
            (answer, hold)
        };
        let asked: Vec<_> = self.0.threads.iter().map(ask).collect();
        let mut frozen = Frozen { members: Vec::new(), _hold: Vec::new() };
        for (answer, hold) in asked {
            frozen.members.extend(answer.await.unwrap_or_default());
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

fn start_thread(
    number: usize,
    rules: Rules,
    busy_poll: Duration,
    events: Events,
    ledger: Ledger,
) -> io::Result<Handle> {
    let poll = mio::Poll::new()?;
    let inbox = Arc::new(Inbox::new(mio::Waker::new(poll.registry(), thread::WAKE)?));
    let handle = Handle { inbox: Arc::clone(&inbox), totals: Arc::clone(&ledger.totals) };
    let run = move || {
        if let Err(error) = Thread::new(poll, inbox, rules, busy_poll, events, ledger).run() {
            // A router without one of its threads is worse than one that its supervisor starts again.
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
    }
}
