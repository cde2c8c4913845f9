//! One relay thread: wait for readiness, let the shard do its round, take commands, sweep now and then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events as Readiness, Interest, Poll, Token};
use tokio::sync::oneshot;

use super::MemberView;
use super::budget::Budget;
use super::inbox::{Command, Inbox, Successor, TrafficPart};
use super::wire::{Common, Wire};
use crate::close::CloseReason;
use crate::directory::Seat;
use crate::events::{Events, What};
use crate::handoff::Carried;
use crate::ids::{MemberId, Serial};
use crate::kind::Role;
use crate::log::Rarely;
use crate::metrics::ThreadTotals;
use crate::net::Socket;
use crate::peer::Peer;
use crate::shard::{Glimpse, MemberState, Moment, Newcomer, Rules, Shard};

/// The token of the inbox's waker; slots are small numbers.
pub(super) const WAKE: Token = Token(usize::MAX);

/// A relay thread's state; lives on its stack.
pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    shard: Shard<Wire>,
    common: Rc<Common>,
    ledger: Ledger,
    /// When memory may be looked at closely again.
    next_relief: Moment,
    begin: Instant,
    now: Moment,
    busy_poll: Duration,
    /// Deliveries whose time has been counted.
    timed: u64,
    /// Commands wait that nobody wakes it for.
    has_commands: bool,
    /// Members whose connections are on their way, with their slots.
    awaited: HashMap<MemberId, usize>,
    stop: Option<Stop>,
}

/// Where a thread writes what it does, and reads how much memory there is.
pub(super) struct Ledger {
    /// Its own numbers.
    pub(super) totals: Arc<ThreadTotals>,
    /// What all threads share.
    pub(super) budget: Arc<Budget>,
}

/// How the thread ends.
struct Stop {
    reason: CloseReason,
    deadline: Moment,
    _told_when_done: oneshot::Sender<()>,
}

impl Thread {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        rules: Rules,
        busy_poll: Duration,
        events: Events,
        ledger: Ledger,
    ) -> Self {
        let common = Rc::new(Common { events, sealed: RefCell::new(vec![0; SEALED]) });
        let (shard, begin, now) = (Shard::new(rules), Instant::now(), BEGIN);
        Self {
            poll,
            inbox,
            shard,
            common,
            ledger,
            next_relief: now,
            begin,
            now,
            busy_poll,
            timed: 0,
            has_commands: false,
            awaited: HashMap::new(),
            stop: None,
        }
    }

    /// Runs until it is told to stop; fails when the kernel's event queue does.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut readiness = Readiness::with_capacity(EVENTS);
        let mut commands = Vec::with_capacity(COMMANDS_A_ROUND);
        let (mut next_sweep, mut last_event, mut put_off) = (self.now.after(SWEEP), self.begin, 0);
        loop {
            let timeout = self.patience(next_sweep, last_event);
            match self.poll.poll(&mut readiness, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let woken = Instant::now();
            self.now = BEGIN.after(woken.duration_since(self.begin));
            if !readiness.is_empty() {
                last_event = woken;
            }
            self.shard.begin_round(readiness.iter().filter(|event| event.is_readable()).count());
            self.has_commands |= self.serve(&readiness);
            self.shard.resume(self.now);
            if self.has_commands {
                self.has_commands = self.inbox.take(COMMANDS_A_ROUND, &mut commands);
                for command in commands.drain(..) {
                    self.obey(command);
                }
            }
            self.shard.flush_some(WRITES_A_ROUND, self.now);
            self.time(woken);
            if self.now >= next_sweep {
                // After a standstill, signs of life may be there that nobody has read yet, until a round takes in all.
                let stood_still = self.now.since(next_sweep) >= STANDSTILL;
                let is_behind = stood_still || (put_off > 0 && readiness.iter().count() == EVENTS);
                if is_behind && put_off < MOST_PUT_OFF {
                    put_off += 1;
                } else {
                    put_off = 0;
                    self.shard.sweep(self.now);
                }
                next_sweep = self.now.after(SWEEP);
            }
            self.publish();
            self.relieve();
            if let Some(stop) = &self.stop
                && (self.shard.is_empty() || self.now >= stop.deadline)
            {
                return Ok(());
            }
        }
    }

    /// How long to sleep at most.
    fn patience(&self, next_sweep: Moment, last_event: Instant) -> Duration {
        let is_looking = !self.busy_poll.is_zero() && last_event.elapsed() < self.busy_poll;
        if self.has_commands || self.shard.has_work() || is_looking {
            return Duration::ZERO;
        }
        let next = self.stop.as_ref().map_or(next_sweep, |stop| stop.deadline.min(next_sweep));
        let next = self.shard.next_due().map_or(next, |due| due.min(next));
        next.since(self.now).max(Duration::from_millis(1))
    }

    /// Lets every connection that is ready have its turn; tells whether commands wait.
    fn serve(&mut self, readiness: &Readiness) -> bool {
        let mut has_commands = false;
        for event in readiness {
            if event.token() == WAKE {
                has_commands = true;
                continue;
            }
            let slot = event.token().0;
            if event.is_writable() {
                self.shard.writable(slot, self.now);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.shard.readable(slot, event.is_read_closed() || event.is_error(), self.now);
            }
        }
        has_commands
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have gone away meanwhile; then the answer is for nobody.
        match command {
            Command::Reserve { id, seat, peer, rates, done } => {
                let slot = self.reserve(id, *seat, peer);
                if let Some(rates) = rates {
                    self.shard.pace(slot, &rates);
                }
                let _ = done.send(());
            }
            Command::Attach { id, socket, early } => self.attach(id, *socket, &early),
            Command::Abandon(id) => self.abandon(id),
            Command::Probe { ids, serial, ends } => {
                for (id, end) in ids.into_iter().zip(*ends) {
                    let newcomer = Newcomer { id, serial, role: Role::Peer, counts: false };
                    let slot = self.shard.join(&newcomer, Wire::probe(id, end, &self.common), self.now);
                    self.watch(slot, id);
                }
            }
            Command::End(serial, reason) => self.shard.end(serial, reason, self.now),
            Command::Members(serial, answer) => {
                let views = self.shard.members_of(serial).enumerate();
                let views = views.filter_map(|(at, glimpse)| self.view(&glimpse, at < ASKED)).collect();
                let _ = answer.send(views);
            }
            Command::Traffic { from, answer } => {
                let mut of = Vec::new();
                let next = self.shard.traffic(from, SUMMED, |serial, traffic| of.push((serial, traffic)));
                let _ = answer.send(TrafficPart { of, next });
            }
            Command::TrafficOf(serial, answer) => {
                let _ = answer.send(self.shard.traffic_of(serial));
            }
            Command::Find(id, answer) => {
                let _ = answer.send(self.shard.find(id).and_then(|(_, glimpse)| self.view(&glimpse, true)));
            }
            Command::Disconnect(id, reason, answer) => {
                let _ = answer.send(self.shard.disconnect(id, reason, self.now));
            }
            Command::Succeed(members) => {
                let arrived: Vec<_> = members.into_iter().map(|member| self.succeed(member)).collect();
                for (slot, id) in arrived {
                    self.watch(slot, id);
                }
            }
            Command::Release { reason, at_most, left } => {
                let _ = left.send(self.shard.close_some(Wire::is_tls, at_most, reason, self.now));
            }
            Command::Freeze { copies, thaw } => {
                self.shard.flush(self.now);
                if copies.send(self.copies()).is_ok() {
                    // Woken or broken, it goes on: what came meanwhile waits in the kernel.
                    let _ = thaw.recv();
                }
            }
            Command::Reconfigure(rules, busy_poll) => {
                self.shard.set_rules(*rules);
                self.busy_poll = busy_poll;
            }
            Command::Stop(reason, patience, done) => {
                self.shard.close_all(reason, self.now);
                self.stop = Some(Stop { reason, deadline: self.now.after(patience), _told_when_done: done });
            }
        }
    }

    fn reserve(&mut self, id: MemberId, mut seat: Seat, peer: Peer) -> usize {
        seat.occupy();
        let registration = Arc::clone(&seat.registration);
        let newcomer = Newcomer { id, serial: registration.serial, role: seat.role, counts: true };
        let role = newcomer.role;
        self.common.events.tell(What::Joined { registration: registration.id.clone(), member: id, role, peer });
        let slot = self.shard.join(&newcomer, Wire::awaited(id, seat, peer, &self.common), self.now);
        self.awaited.insert(id, slot);
        let end = registration.end().map(crate::events::EndReason::close_reason);
        if let Some(reason) = end.or(self.stop.as_ref().map(|stop| stop.reason)) {
            self.shard.disconnect(id, reason, self.now);
        }
        slot
    }

    fn attach(&mut self, id: MemberId, socket: Socket, early: &Bytes) {
        let Some(slot) = self.awaited.remove(&id) else { return };
        // It may have been closed meanwhile, and its time may be over; then the slot can be another's.
        let Some(wire) = self.shard.link_mut(slot).filter(|wire| wire.id == id) else { return };
        wire.attach(socket);
        self.watch(slot, id);
        self.shard.arrived(slot, early, self.now);
    }

    fn abandon(&mut self, id: MemberId) {
        if self.awaited.remove(&id).is_some() {
            self.shard.disconnect(id, CloseReason::Lost, self.now);
        }
    }

    /// Goes on with a predecessor's member, or tells it to come back if that can't be.
    fn succeed(&mut self, member: Successor) -> (usize, MemberId) {
        let Successor { seat, state, socket } = member;
        let (id, serial, role) = (state.id, seat.registration.serial, seat.role);
        let mut wire = Wire::awaited(id, seat, socket.peer, &self.common);
        wire.attach(socket);
        let slot = self.shard.succeed(state, wire, self.now).unwrap_or_else(|wire| {
            let newcomer = Newcomer { id, serial, role, counts: true };
            let slot = self.shard.join(&newcomer, wire, self.now);
            self.shard.disconnect(id, CloseReason::Restarting, self.now);
            slot
        });
        (slot, id)
    }

    /// Copies all members that can move.
    fn copies(&self) -> Vec<(Carried, RawFd)> {
        let carry = |(wire, member): (&Wire, MemberState)| {
            let registration = wire.seat.as_ref()?.registration.id.clone();
            Some((Carried { registration, member, peer: wire.peer }, wire.movable()?))
        };
        self.shard.states(self.now).filter_map(carry).collect()
    }

    /// Has the event loop announce when a connection is ready.
    fn watch(&mut self, slot: usize, id: MemberId) {
        let Some(source) = self.shard.link_mut(slot).and_then(Wire::source) else { return };
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(source, Token(slot), interests) {
            tracing::warn!(%error, member = %id, "a connection can't be watched");
            self.shard.disconnect(id, CloseReason::Lost, self.now);
        }
    }

    fn view(&self, glimpse: &Glimpse<'_, Wire>, with_tcp: bool) -> Option<MemberView> {
        Some(MemberView {
            id: glimpse.id,
            registration: glimpse.link.seat.as_ref()?.registration.id.clone(),
            role: glimpse.role,
            peer: glimpse.link.peer,
            tls: glimpse.link.is_tls(),
            age: self.now.since(glimpse.joined),
            silent: self.now.since(glimpse.heard),
            messages_in: glimpse.tally.messages_in,
            bytes_in: glimpse.tally.bytes_in,
            messages_out: glimpse.tally.messages_out,
            bytes_out: glimpse.tally.bytes_out,
            outbox: glimpse.outbox as u64,
            tcp: if with_tcp { glimpse.link.tcp() } else { None },
        })
    }

    /// Closes those who hold most when all peers together hold more than the budget.
    fn relieve(&mut self) {
        let budget = &self.ledger.budget;
        if budget.to_free(self.shard.held()) == 0 || self.now < self.next_relief {
            return;
        }
        self.next_relief = self.now.after(RELIEF);
        self.shard.measure();
        self.ledger.totals.held.set(self.shard.held());
        let bytes = budget.to_free(self.shard.held());
        let closed = if bytes > 0 { self.shard.relieve(bytes, self.now) } else { 0 };
        if closed > 0 {
            let relieved = &self.ledger.totals.relieved;
            relieved.set(relieved.value() + closed);
            if let Some(suppressed) = RELIEVED.ask(Instant::now()) {
                tracing::warn!(members = closed, bytes, suppressed, "members closed for memory; see limits.memory");
            }
        }
    }

    /// Counts how long the round's messages took.
    fn time(&mut self, woken: Instant) {
        let delivered = self.shard.tally().deliveries;
        if delivered != self.timed {
            self.ledger.totals.latency.observe(woken.elapsed(), delivered - self.timed);
            self.timed = delivered;
        }
    }

    fn publish(&self) {
        let (tally, totals) = (self.shard.tally(), &self.ledger.totals);
        totals.held.set(self.shard.held());
        totals.members.set(tally.members);
        totals.messages_in.set(tally.messages_in);
        totals.bytes_in.set(tally.bytes_in);
        totals.deliveries.set(tally.deliveries);
        totals.bytes_out.set(tally.bytes_out);
        totals.unheard.set(tally.unheard);
        totals.rests.set(tally.rests);
        totals.overdue.set(tally.overdue);
        totals.outbox_bytes.set(tally.outbox_bytes);
        for reason in CloseReason::ALL {
            totals.set_closes(reason, tally.closes[reason as usize]);
        }
    }
}

/// A probe's registration; the directory's serials count from one and won't get here.
pub(super) fn probe_serial(number: u64) -> Serial {
    Serial(u64::MAX - number)
}

/// The first moment of a thread: late enough that a predecessor's members can have come before it.
const BEGIN: Moment = Moment(100 * 365 * 86_400_000);
/// Readiness taken at once.
const EVENTS: usize = 1024;
/// Commands obeyed in a round, a few microseconds each: a mass join is let in by and by, beside those who talk.
const COMMANDS_A_ROUND: usize = 32;
/// Writes at the end of a round, some microseconds each: a pair doesn't wait until a thousand have had their message.
const WRITES_A_ROUND: usize = 32;
/// Members of one registration of which the kernel is asked for an administrator: some hundred microseconds.
const ASKED: usize = 500;
/// Registrations and members whose numbers are summed up in a round for an administrator: some ten microseconds.
const SUMMED: usize = 1000;
/// How often the silent, the stalled and the overdue are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How often memory is looked at closely: it can't grow by much meanwhile, and the look takes a while itself.
const RELIEF: Duration = Duration::from_millis(20);
/// Peers can cause the warning at will.
static RELIEVED: Rarely = Rarely::new(Duration::from_secs(10));
/// A sweep that is so late comes after a time in which the process didn't run: stopped, or its machine suspended.
const STANDSTILL: Duration = Duration::from_secs(1);
/// On a machine that is overloaded for good, sweeps come late all the time, and one of so many is made.
const MOST_PUT_OFF: u32 = 8;
/// Sealed bytes read at once.
const SEALED: usize = 256 << 10;
