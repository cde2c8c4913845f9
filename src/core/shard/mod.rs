//! The work of one relay thread, without the I/O: members, delivery, outboxes, flow control, liveness and closing.
//!
//! A registration lives on one shard as a *room*. An iteration is: [`Shard::begin_iteration`], [`Shard::readable`] and
//! [`Shard::writable`] for each member whose connection is ready, [`Shard::resume`], then [`Shard::flush_some`], which
//! writes what a room's senders sent within the iteration to each receiver at once. A room with one receiver is served
//! at once instead.
//!
//! Flow control: a sender isn't read from while every receiver of it has more than the high-water mark in its outbox,
//! so that the fastest receiver sets the pace; one that falls further behind than its outbox allows, or takes nothing
//! for the stall timeout, is closed. A stream between two is thereby paced by TCP from end to end. A member may also
//! have a rate of its own ([`Rates`]), above which it isn't read from for a while.
//!
//! In registrations that have messages wait (the term `wait`), what has no receiver waits for the next member: see
//! [`Link::hold`].
//!
//! In a paired registration, each client has a room of its own with the host's end of its connection ([`Arrival`]).
//!
//! Closing is deferred: code that finds a reason marks the member, and the end of each entry point does the work. So
//! code in the middle of a member's turn can rely on it, its room and the other members until it returns.
//!
//! Broadcasts, closing, pings, announcements, sweeps and the freeing of large buffers are bounded in each call, by calls
//! and by bytes; what is left continues in the next iteration ([`Shard::has_work`]). The bounds are low while members of
//! several registrations are active ([`Shard::is_shared`]).
//!
//! The member of a session outlives its connection ([`Shard::begin_session`]).
//!
//! Connections are behind [`Link`], time comes as an argument, and nothing is random: so a history of joins, sends and
//! leaves can be run as a simulation and gives the same each time.

mod broadcast;
mod closing_queue;
mod delivery;
mod fanout;
#[cfg(any(test, feature = "test-util"))]
mod in_memory;
mod injection;
mod link;
mod listening;
mod liveness;
mod member;
mod memory_account;
mod outbox;
mod pools;
mod quantum;
mod rate;
mod room;
mod run_queue;
mod sent;
mod sessions;
mod snapshot;
mod throttled;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use slab::Slab;
use smallvec::SmallVec;

#[cfg(any(test, feature = "test-util"))]
pub use in_memory::{InMemoryLink, Pipe, SendCounter};
pub use injection::{Outcome, OutsideMessage};
pub use link::{Absence, Departure, Link, Received, TcpTransit};
pub use listening::{Arrival, Numbers, Pairing, Presence, parse_number};
pub use member::{MemberSummary, MemberTally, Newcomer, ShardTally, Traffic};
pub use rate::Rates;
pub use sessions::{Return, SessionClaim, SessionCounts, SessionError, SessionOwner, SessionTally};
pub use snapshot::MemberState;
pub use waiting::{DiscardReason, WaitingState, WaitingTotals};

use crate::close::CloseReason;
use crate::frame::{Batch, Buffers, CloseFrame, close_frame};
use crate::ids::{MemberId, Serial};
use closing_queue::{ClosingQueue, delivers_queue};
use fanout::FanOut;
use injection::AwaitedSides;
use listening::{CustomClose, Listening, NOBODY};
use liveness::Verdict;
use member::{Cause, Member, Phase};
use memory_account::MemoryAccount;
use pools::Pools;
use quantum::{Quantum, READ};
use rate::RateLimiter;
use room::{Room, receivers_of, side_of};
use run_queue::{Lane, RunQueue};
use sessions::Sessions;
use throttled::Throttled;
use waiting::WaitingQueues;

/// A point in time: milliseconds since a start that all moments of a shard share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns the time from `earlier` to this moment; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns this moment and some time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_millis() as u64))
    }
}

/// Limits and timeouts for members.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The largest message, in bytes of payload.
    pub max_message: u64,
    /// Bytes that may be queued for a receiver, with the overhead of keeping them; one message more is accepted.
    pub outbox: usize,
    /// Whether the slowest receiver sets the pace instead of the fastest.
    pub pace: bool,
    /// Silence after which a ping is sent.
    pub ping_interval: Duration,
    /// Silence after a ping after which the connection is closed.
    pub pong_timeout: Duration,
    /// Time for which a member may receive nothing of its outbox, or not continue a message that it has started.
    pub stall_timeout: Duration,
    /// Time in which a peer must answer the close frame.
    pub close_timeout: Duration,
    /// Time for which the member of a session may be without a connection; zero if there are no sessions.
    pub session_timeout: Duration,
    /// Bytes that were handed to the socket of a session's member and are kept, to be sent again.
    pub session_buffer: usize,
}

/// The members of some registrations and their connections.
#[derive(Debug)]
pub struct Shard<L: Link> {
    rules: Rules,
    members: Slab<Member<L>>,
    rooms: Slab<Room>,
    by_serial: HashMap<Serial, u32>,
    /// Paired registrations.
    listening: HashMap<Serial, Listening<L>>,
    /// Paired registrations to whose hosts clients are still to be announced.
    announcing: VecDeque<Serial>,
    /// Close frames other than those of a reason: of members that leave, and for members that are to be closed.
    custom_closes: HashMap<u32, CustomClose>,
    /// Read buffer; what a member left incomplete is put in front of the next read.
    scratch: Vec<u8>,
    batch: Batch,
    buffers: Buffers,
    pools: Pools,
    /// Bytes read from each member in this iteration.
    share: usize,
    quantum: Quantum,
    run_queue: RunQueue,
    throttled: Throttled,
    fan_out: FanOut,
    awaited: AwaitedSides,
    sessions: Sessions,
    closing: ClosingQueue,
    waiting: WaitingQueues<L::Hold>,
    /// Members to be pinged in later iterations, since the number of pings per iteration is limited.
    due_pings: VecDeque<u32>,
    sweep: Option<Sweep>,
    tally: ShardTally,
    memory: MemoryAccount,
}

impl<L: Link> Shard<L> {
    /// Creates a shard without members.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            members: Slab::new(),
            rooms: Slab::new(),
            by_serial: HashMap::new(),
            listening: HashMap::new(),
            announcing: VecDeque::new(),
            custom_closes: HashMap::new(),
            scratch: vec![0; SCRATCH],
            batch: Batch::default(),
            buffers: Buffers::default(),
            pools: Pools::default(),
            share: READ,
            quantum: Quantum::default(),
            run_queue: RunQueue::default(),
            throttled: Throttled::default(),
            fan_out: FanOut::default(),
            awaited: AwaitedSides::default(),
            sessions: Sessions::default(),
            closing: ClosingQueue::default(),
            waiting: WaitingQueues::default(),
            due_pings: VecDeque::new(),
            sweep: None,
            tally: ShardTally::default(),
            memory: MemoryAccount::default(),
        }
    }

    /// Adds a member, which receives everything sent from now on. Returns its slot, which is valid until its connection
    /// is dropped.
    pub fn join(&mut self, newcomer: &Newcomer, link: L, now: Moment) -> usize {
        self.add(newcomer, link, Phase::Open, now)
    }

    /// Adds a member whose connection follows, as while its handshake is answered. Messages to it are queued. It is
    /// removed at the deadline, unless [`Shard::arrived`] is called before.
    pub fn join_away(&mut self, newcomer: &Newcomer, link: L, deadline: Moment, now: Moment) -> usize {
        self.add(newcomer, link, Phase::Away(deadline), now)
    }

    fn add(&mut self, newcomer: &Newcomer, link: L, phase: Phase, now: Moment) -> usize {
        let room = self.room(newcomer.serial);
        self.add_to(room, newcomer, link, phase, now)
    }

    fn add_to(&mut self, room: u32, newcomer: &Newcomer, link: L, phase: Phase, now: Moment) -> usize {
        let slot = self.members.insert(Member::new(newcomer, link, now));
        let side = side_of(newcomer.role);
        let member = &mut self.members[slot];
        (member.room, member.place) = (room, self.rooms[room as usize].sides[side].add(slot));
        member.phase = phase;
        member.flags.is_special = newcomer.receives_only;
        self.rooms[room as usize].sides[side].receive_only += u32::from(newcomer.receives_only);
        self.tally.members += u64::from(newcomer.counts);
        if !self.waiting.is_empty() && !newcomer.receives_only {
            self.give_waiting(slot, (room, side), now);
        }
        self.wake_senders(room, side);
        slot
    }

    /// Continues with a member whose link is connected now, with the bytes that it sent right after its handshake.
    /// Returns how long the member of a session was away, if it is back.
    pub fn arrived(&mut self, slot: usize, early: &[u8], now: Moment) -> Option<Return> {
        let member = self.members.get_mut(slot)?;
        let mut back = None;
        if matches!(member.phase, Phase::Away(_)) {
            member.phase = Phase::Open;
            member.last_received = now;
            if let Some(outbox) = &mut member.outbox {
                outbox.note_progress(now);
            }
            if self.waiting.has_taken() {
                self.confirm_waiting(slot);
            }
            if !self.listening.is_empty() {
                self.finish_accept(slot, now);
            }
            if self.members[slot].flags.has_session {
                back = self.on_session_arrived(slot, now);
            }
        }
        self.read_early(slot, early, now);
        self.throttle(slot, now);
        let member = &mut self.members[slot];
        if member.link.has_unread() {
            self.run_queue.schedule(slot, member);
        }
        self.reap(now);
        back
    }

    /// Limits how much a member may send from now on.
    pub fn set_rates(&mut self, slot: usize, rates: &Rates) {
        if let Some(member) = self.members.get_mut(slot) {
            member.rate = Some(Box::new(RateLimiter::new(rates)));
        }
    }

    /// Returns the connection in a slot.
    pub fn link_mut(&mut self, slot: usize) -> Option<&mut L> {
        self.members.get_mut(slot).map(|member| &mut member.link)
    }

    /// Returns a member's connection; `None` if its slot has become another member's.
    pub fn link_of(&mut self, slot: usize, id: MemberId) -> Option<&mut L> {
        self.members.get_mut(slot).filter(|member| member.id == id).map(|member| &mut member.link)
    }

    /// Returns whether there is work that no readiness will announce.
    pub fn has_work(&self) -> bool {
        !(self.run_queue.is_empty()
            && self.fan_out.is_empty()
            && self.closing.is_empty()
            && self.announcing.is_empty()
            && self.due_pings.is_empty()
            && self.sweep.is_none()
            && !self.waiting.is_expiring()
            && !self.awaited.has_ready()
            && !self.buffers.has_excess())
    }

    /// Returns whether members of several registrations have been active lately, so that each can be served only little
    /// at a time.
    pub fn is_shared(&self) -> bool {
        self.quantum.is_shared()
    }

    /// Returns the next time at which a member must be read from that no readiness will announce.
    pub fn next_due(&self) -> Option<Moment> {
        self.throttled.next_due()
    }

    /// Returns whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes new rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Returns the shard's counters.
    pub fn tally(&self) -> &ShardTally {
        &self.tally
    }

    /// Returns the members of a registration.
    pub fn members_of(&self, serial: Serial) -> impl Iterator<Item = MemberSummary<'_, L>> {
        let slots = self.slots_of(serial);
        slots
            .filter_map(|slot| Some((slot, self.members.get(slot)?)))
            .filter(|(_, member)| member.id != NOBODY)
            .map(move |(slot, member)| self.summary(slot, member))
    }

    fn summary<'a>(&self, slot: usize, member: &'a Member<L>) -> MemberSummary<'a, L> {
        MemberSummary { pairing: self.pairing(member), away_since: self.away_since(slot), ..member.summary() }
    }

    /// Finds a member; a search through all, for the rare question of an administrator.
    pub fn find(&self, id: MemberId) -> Option<(usize, MemberSummary<'_, L>)> {
        let found = self.members.iter().find(|(_, member)| member.id == id && id != NOBODY && member.is_present());
        found.map(|(slot, member)| (slot, self.summary(slot, member)))
    }

    /// Reports each room's sums, of which a paired registration has several, from a place on (0 is the first), until so
    /// many rooms and members have been looked at; returns the place to go on at, or `None` behind the last room. Rooms
    /// that come and go between two calls may be reported or not.
    pub fn traffic(
        &self,
        from: usize,
        at_most: usize,
        now: Moment,
        mut report: impl FnMut(Serial, Traffic),
    ) -> Option<usize> {
        let (mut looked_at, end) = (0, self.rooms.capacity());
        for (serial, listening) in self.listening.iter().filter(|_| from == 0) {
            report(*serial, Traffic { tally: listening.departed, ..Traffic::default() });
        }
        for place in from..end {
            if looked_at >= at_most {
                return Some(place);
            }
            looked_at += 1;
            if let Some(room) = self.rooms.get(place) {
                looked_at += room.sides.iter().map(room::Side::len).sum::<usize>();
                report(room.serial, self.sum(place as u32, room, now));
            }
        }
        None
    }

    /// Returns one registration's sums.
    pub fn traffic_of(&self, serial: Serial, now: Moment) -> Traffic {
        let tally = self.listening.get(&serial).map(|listening| listening.departed).unwrap_or_default();
        let mut sum = Traffic { tally, ..Traffic::default() };
        for place in self.rooms_of(serial) {
            if let Some(room) = self.rooms.get(place as usize) {
                sum.add(&self.sum(place, room, now));
            }
        }
        sum
    }

    fn sum(&self, place: u32, room: &Room, now: Moment) -> Traffic {
        let tally = room.departed.as_deref().copied().unwrap_or_default();
        let mut sum = Traffic { tally, outbox: 0, waiting: self.waiting.totals(place, now) };
        for member in room.slots().filter_map(|slot| self.members.get(slot)) {
            sum.tally.add(&member.tally);
            sum.outbox += member.queued() as u64;
        }
        sum
    }

    /// Copies all members that a new process can continue, and the connections that are only closing, with their
    /// connections. To be called after [`Shard::flush`].
    pub fn export(&self, now: Moment) -> impl Iterator<Item = (&L, MemberState)> {
        let members = self.members.iter().filter(|(_, member)| member.counts);
        members.filter_map(move |(slot, member)| match member.phase {
            Phase::Closing(deadline) => Some((&member.link, MemberState::export_closing(member, deadline, now))),
            Phase::Open => Some((&member.link, self.export_member(slot, member, now)?)),
            Phase::Away(_) if self.has_begun_session(slot) => {
                Some((&member.link, self.export_member(slot, member, now)?))
            }
            Phase::Away(_) | Phase::Leaving(_) | Phase::Finishing(_) | Phase::Closed => None,
        })
    }

    fn export_member(&self, slot: usize, member: &Member<L>, now: Moment) -> Option<MemberState> {
        let serial = self.rooms.get(member.room as usize)?.serial;
        let mut state = MemberState::export(member, serial, now);
        state.session = self.export_session(slot, now);
        state.paired = self.export_paired(member.room, serial, now);
        Some(state)
    }

    /// Adds a member of an old process; returns the connection if its state can't be continued. `end` makes the connection
    /// of the host's end of a client that waits ([`Arrival`]). To be followed by [`Shard::finish_restore`].
    pub fn restore(
        &mut self,
        mut state: MemberState,
        link: L,
        end: impl FnOnce() -> L,
        now: Moment,
    ) -> Result<usize, L> {
        let (paired, closing) = (state.paired.take(), state.closing.take());
        let newcomer = Newcomer {
            id: state.id,
            serial: state.serial,
            role: state.role,
            receives_only: state.receives_only,
            counts: true,
        };
        let Some(restored) = state.restore(&self.rules, now) else { return Err(link) };
        let slot = match (paired, closing) {
            (_, Some(_)) => self.members.insert(Member::new(&newcomer, link, now)),
            (None, None) => self.join(&newcomer, link, now),
            (Some(paired), None) => self.restore_paired(*paired, &newcomer, link, end, now),
        };
        let member = &mut self.members[slot];
        let session = restored.put_into(member);
        if let Some(closing) = closing {
            closing.put_into(member, &self.rules, now);
            member.room = NO_ROOM;
            self.write_later(slot);
        } else if let Some(session) = session {
            self.restore_session(slot, newcomer.serial, *session, now);
        }
        self.account(slot);
        Ok(slot)
    }

    /// Sends all pending broadcasts and closes all marked members, without the limits of one iteration: for a
    /// hand-over, during which everything else stands still.
    pub fn flush(&mut self, now: Moment) {
        self.flush_fan_outs(now);
        self.closing.lift_limit();
        self.reap(now);
        self.closing.start_iteration(closing_queue::PER_ITERATION);
    }

    /// Sends pings to silent members, closes dead and stalled ones, and drops connections whose closing takes too long.
    /// To be called about once a second. The first members are looked at within the call, and the others in the next
    /// iterations.
    pub fn sweep(&mut self, now: Moment) {
        let may_ask = self.due_pings.is_empty();
        self.sweep.get_or_insert(Sweep { next: 0, now, may_ask });
        self.sweep_some();
        self.start_expiring(now);
        self.send_due_pings(now);
        self.reap(now);
    }

    /// Continues the sweep in progress.
    fn sweep_some(&mut self) {
        let Some(Sweep { next, now, may_ask }) = self.sweep.take() else { return };
        let end = self.members.capacity().min(next + SWEPT_PER_ITERATION);
        if end < self.members.capacity() {
            self.sweep = Some(Sweep { next: end, now, may_ask });
        }
        for slot in next..end {
            let Some(member) = self.members.get_mut(slot) else { continue };
            match member.phase {
                Phase::Closing(_) if member.flags.delivers_all => {
                    member.extend_closing(&self.rules, now);
                }
                Phase::Closing(deadline) | Phase::Finishing(deadline) if deadline <= now => {
                    self.tally.close_timeouts += u64::from(member.counts);
                    self.closing.mark(slot, member, CloseReason::Lost);
                }
                Phase::Away(deadline) if deadline <= now => self.mark_abandoned(slot, now),
                Phase::Away(_) if member.holds_others_up(&self.rules, now) => {
                    self.closing.mark(slot, member, CloseReason::TooSlow);
                }
                Phase::Open => match member.check_liveness(&self.rules, now) {
                    Verdict::Alive => {}
                    Verdict::SendPing if may_ask => self.due_pings.push_back(slot as u32),
                    Verdict::SendPing => {}
                    Verdict::NoPong => self.closing.mark(slot, member, CloseReason::NoPong),
                    // As far as one can tell, its network is lost.
                    Verdict::Stalled if member.flags.has_session && !self.rules.pace => {
                        self.closing.mark(slot, member, CloseReason::NoPong);
                    }
                    Verdict::MessageStalled if member.flags.has_session => {
                        self.closing.mark(slot, member, CloseReason::NoPong);
                    }
                    Verdict::Stalled => self.closing.mark(slot, member, CloseReason::TooSlow),
                    Verdict::MessageStalled => {
                        self.tally.stalled_messages += u64::from(member.counts);
                        self.closing.mark(slot, member, CloseReason::TooSlow);
                    }
                },
                _ => {}
            }
        }
    }

    /// Sends some of the pings that are due.
    fn send_due_pings(&mut self, now: Moment) {
        for _ in 0..self.quantum.calls(PINGS_PER_ITERATION) {
            let Some(slot) = self.due_pings.pop_front() else { return };
            let Some(member) = self.members.get_mut(slot as usize).filter(|member| member.is_open()) else { continue };
            // It may have sent something in the meantime, or the slot may be another member's.
            if member.check_liveness(&self.rules, now) == Verdict::SendPing {
                self.ping(slot as usize, now);
            }
        }
    }

    /// Returns the bytes of memory that the members' streams hold, or somewhat more.
    pub fn held(&self) -> u64 {
        self.memory.held()
    }

    /// Measures the memory exactly; takes time in proportion to the length of the outboxes.
    pub fn measure(&mut self) {
        let members: u64 = self.members.iter().map(|(_, member)| member.share()).sum();
        self.memory.set_measured(members + self.waiting.memory());
    }

    /// Discards messages that wait for a receiver, the largest queues first. If that isn't enough, closes the members that
    /// hold most, in the registrations and client networks that hold most together, until so many bytes are or will be
    /// free; returns how much was given up. Shared chunks count in parts, since they aren't free before all their holders
    /// are gone.
    pub fn shed_load(&mut self, bytes: u64, now: Moment) -> Shed {
        self.measure();
        // Pending broadcasts are about to be sent or queued in outboxes, and what marked members hold is about to be
        // freed, too.
        let marked = self.members.iter().filter(|(_, member)| matches!(member.phase, Phase::Leaving(_)));
        let (mut freed, mut closed) =
            (self.memory.broadcasts + marked.map(|(_, member)| member.share()).sum::<u64>(), 0);
        let (discarded, messages) = self.shed_waiting(bytes.saturating_sub(freed));
        freed += discarded;
        freed += self.shed_sent(bytes.saturating_sub(freed));
        for Holders { mut members, .. } in self.largest_holders() {
            // Some may be marked already, as members of another group.
            members.retain(|(_, slot)| self.members[*slot].can_be_shed());
            members.sort_unstable_by(|one, other| other.cmp(one));
            for (share, slot) in members {
                if freed >= bytes {
                    break;
                }
                let is_closing = !self.members[slot].is_present();
                let reason = if is_closing { CloseReason::Lost } else { CloseReason::TooSlow };
                self.mark(slot, Cause { reason, received: None, frees_memory: true });
                (freed, closed) = (freed + share, closed + 1);
            }
        }
        self.reap(now);
        Shed { members: closed, messages }
    }

    /// Returns the registrations and client networks whose members hold much, those that hold most first. A network's
    /// members may be in thousands of registrations that hold little each.
    fn largest_holders(&self) -> Vec<Holders> {
        let (mut by_room, mut by_network) = (HashMap::<u32, Holders>::new(), HashMap::<u64, Holders>::new());
        for (slot, member) in self.members.iter().filter(|(_, member)| member.can_be_shed()) {
            let share = member.share();
            if share < WORTH_CLOSING {
                continue;
            }
            by_room.entry(member.room).or_default().add(slot, share);
            if let Some(network) = member.link.network() {
                by_network.entry(network).or_default().add(slot, share);
            }
        }
        let mut all: Vec<_> = by_room.into_values().chain(by_network.into_values()).collect();
        all.retain(|holders| holders.total >= WORTH_A_SEAT);
        all.sort_unstable_by_key(|holders| std::cmp::Reverse(holders.total));
        all
    }

    /// Closes all members of a registration, after sending what was queued for them, and discards what waits for others.
    pub fn end(&mut self, serial: Serial, reason: CloseReason, now: Moment) {
        if let Some(room) = self.by_serial.get(&serial).copied() {
            self.discard_waiting(room, DiscardReason::Ended);
        }
        let slots: SmallVec<[usize; 4]> = self.slots_of(serial).collect();
        for slot in slots {
            self.mark(slot, reason);
        }
        self.reap(now);
    }

    /// Closes one member; returns whether there was one.
    pub fn disconnect(&mut self, id: MemberId, reason: CloseReason, now: Moment) -> bool {
        let found = self.find(id).map(|(slot, _)| slot);
        if let Some(slot) = found {
            self.mark(slot, reason);
            self.reap(now);
        }
        found.is_some()
    }

    /// Closes the member in a slot, unless the slot is another member's by now.
    pub fn close(&mut self, slot: usize, id: MemberId, reason: CloseReason, now: Moment) {
        if self.members.get(slot).is_some_and(|member| member.id == id) {
            self.mark(slot, reason);
            self.reap(now);
        }
    }

    /// Closes every member, and discards what waits for others.
    pub fn close_all(&mut self, reason: CloseReason, now: Moment) {
        self.discard_all_waiting(DiscardReason::Ended);
        for (slot, member) in &mut self.members {
            self.closing.mark(slot, member, reason);
        }
        self.reap(now);
    }

    /// Closes some of the members whose links match `such`; returns how many of these connections are left, including
    /// those that are closing.
    pub fn close_some(&mut self, such: impl Fn(&L) -> bool, at_most: usize, reason: CloseReason, now: Moment) -> usize {
        let (mut left, mut to_mark) = (0, at_most);
        for (slot, member) in self.members.iter_mut().filter(|(_, member)| such(&member.link)) {
            left += 1;
            if to_mark > 0 && member.is_present() {
                to_mark -= 1;
                self.closing.mark(slot, member, reason);
            }
        }
        self.reap(now);
        left
    }

    /// Marks a member for closing.
    fn mark(&mut self, slot: usize, cause: impl Into<Cause>) {
        self.closing.mark(slot, &mut self.members[slot], cause);
    }

    /// Marks a member that sent its close frame.
    fn mark_left(&mut self, slot: usize, received: CloseFrame) {
        self.mark(slot, Cause { reason: CloseReason::Left, received: Some(received), frees_memory: false });
    }

    /// Closes the marked members, as many as one iteration allows.
    fn reap(&mut self, now: Moment) {
        while let Some(slot) = self.closing.pop() {
            // One whose session went on may have been marked twice, and be gone by now.
            let Some(member) = self.members.get(slot) else { continue };
            match member.phase {
                Phase::Leaving(cause) => self.close_member(slot, cause, now),
                Phase::Closed => self.drop_connection(slot),
                Phase::Open | Phase::Away(_) | Phase::Closing(_) | Phase::Finishing(_) => {}
            }
        }
    }

    /// Removes a member from its room, and sends it the close frame.
    fn close_member(&mut self, slot: usize, cause: Cause, now: Moment) {
        let Cause { reason, received, frees_memory } = cause;
        let mut was_away = false;
        if self.members[slot].flags.has_session {
            if self.go_away(slot, cause, false, now) {
                return;
            }
            was_away = self.leave_session(slot, reason);
        }
        let custom = if self.custom_closes.is_empty() { None } else { self.custom_closes.remove(&(slot as u32)) };
        let is_awaited = self.members[slot].id == NOBODY;
        if delivers_queue(reason) {
            let sent = self.catch_up(slot, now);
            self.closing.spend(sent / WRITE_COST);
        }
        let member = &mut self.members[slot];
        member.phase = Phase::Closing(now.after(self.rules.close_timeout));
        member.flags.peer_closed = received.is_some();
        member.flags.delivers_all = reason == CloseReason::PeerDisconnected;
        member.flags.is_undecodable =
            matches!(reason, CloseReason::Protocol | CloseReason::InvalidUtf8 | CloseReason::TooBig);
        let (code, silent) = (received.and_then(|received| received.code), now.since(member.last_received));
        member.link.on_close(&Departure { member: member.id, reason, code, silent, tally: member.tally });
        member.decoder.start_discarding(&mut self.buffers);
        self.tally.members -= u64::from(member.counts);
        self.tally.closes[reason as usize] += u64::from(member.counts);
        let (room, serial) = (self.members[slot].room, self.rooms[self.members[slot].room as usize].serial);
        if self.waiting.has_taken() {
            self.take_waiting_back(slot, reason, now);
        }
        self.leave_room(slot);
        if !delivers_queue(reason) || is_awaited {
            self.drop_queue(slot);
        }
        self.account(slot);
        if !self.listening.is_empty() {
            let sent = custom.clone().filter(|_| received.is_some());
            self.on_departure(slot, room, serial, reason, sent, now);
        }
        if is_awaited || was_away {
            return self.mark(slot, CloseReason::Lost);
        }
        let keeps_too_much = frees_memory && self.members[slot].share() >= WORTH_A_SEAT;
        let frame = match custom {
            Some(custom) if received.is_none() => Some(custom.frame()),
            _ => close_frame(reason, received),
        };
        match frame {
            Some(frame) if !keeps_too_much => self.start_closing(slot, &frame, now),
            // The connection is lost, or memory is too short to wait for the end of a large message in progress.
            _ => self.mark(slot, CloseReason::Lost),
        }
    }

    /// Sends the close frame over a connection that is closing.
    fn start_closing(&mut self, slot: usize, frame: &[u8], now: Moment) {
        self.send_control(slot, frame, now);
        self.finish_if_closed(slot);
        // Input that comes or hasn't been read yet must be discarded, and the socket may have taken more while the
        // member was marked.
        self.write_later(slot);
    }

    /// Sends a member that is about to be closed its part of pending broadcasts; returns how many bytes it took.
    fn catch_up(&mut self, slot: usize, now: Moment) -> usize {
        let member = &self.members[slot];
        let (room, side, place) = (member.room, side_of(member.role), member.place as usize);
        let mut sent = 0;
        if let Some(current) = self.fan_out.take_from(room, side) {
            if current.is_to_reach(place) {
                sent += self.send_broadcast(slot, place, &current.broadcast, None, now);
            }
            self.fan_out.put_back(current);
        }
        if let Some(pending) = self.rooms[room as usize].sides[side].pending.take() {
            sent += self.send_broadcast(slot, place, &pending, None, now);
            self.rooms[room as usize].sides[side].pending = Some(pending);
        }
        sent
    }

    /// Shuts down the sending direction, once the peer has closed and all is sent. Until then it stays open, since a
    /// client that sees the end before it has sent its own close frame reports an abnormal closure (RFC 6455 section
    /// 7.1.1).
    fn finish_if_closed(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if let Phase::Closing(deadline) = member.phase
            && member.flags.peer_closed
            && member.backlog().is_none()
            && member.link.flush().unwrap_or(true)
        {
            member.phase = Phase::Finishing(deadline);
            member.link.finish();
            self.run_queue.schedule_in(Lane::Closing, slot, member);
        }
    }

    /// Drops a connection, and everything that is still queued for it.
    fn drop_connection(&mut self, slot: usize) {
        let mut member = self.members.remove(slot);
        member.link.finish();
        member.decoder.abandon(&mut self.buffers);
        if let Some(outbox) = member.outbox.take() {
            // The kernel holds as much as it takes, and frees that now.
            self.closing.spend(FULL_SOCKET_COST);
            self.pools.give_outbox(outbox, &mut self.buffers);
        }
        member.account(&mut self.memory, &mut self.tally);
    }

    fn leave_room(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let (at, side, target) = (member.room, side_of(member.role), receivers_of(member.role));
        let (place, flags, receives_only) = (member.place as usize, member.flags, member.receives_only);
        (member.flags.is_paused, member.flags.above_high_water) = (false, false);
        let room = &mut self.rooms[at as usize];
        if flags.is_paused {
            room.sides[target].paused.retain(|sender| *sender as usize != slot);
        }
        let left = &mut room.sides[side];
        left.receive_only -= u32::from(receives_only);
        *left.above_mut(receives_only) -= u32::from(flags.above_high_water);
        self.awaited.on_progress(at, side, room.serial);
        if let Some(moved) = left.remove(place, self.fan_out.serves(at, side)) {
            self.members[moved].place = place as u32;
        }
        if room.is_empty() && !self.waiting.contains(at) {
            if let Some(listening) = self.listening.get_mut(&room.serial) {
                listening.departed.add(&self.members[slot].tally);
            }
            self.drop_room(at);
        } else {
            room.keep_tally(&self.members[slot].tally);
            // Senders that were paused wait for the receivers that are left, which are as far behind as before, unless
            // none is left, or a single one set the pace.
            let left = &room.sides[side];
            let is_lobby = side == target;
            let is_paced = self.rules.pace && (left.above <= 1 || left.receive_only_above <= 1);
            if left.senders() == usize::from(is_lobby) || is_paced {
                self.wake_senders(at, side);
            }
        }
    }

    /// Drops a room in which nobody is and nothing waits.
    fn drop_room_if_unused(&mut self, at: u32) {
        let is_unused = self.rooms.get(at as usize).is_some_and(Room::is_empty) && !self.waiting.contains(at);
        if is_unused {
            self.drop_room(at);
        }
    }

    fn drop_room(&mut self, at: u32) {
        let room = self.rooms.remove(at as usize);
        if self.by_serial.get(&room.serial) == Some(&at) {
            self.by_serial.remove(&room.serial);
        }
        if let Some(departed) = &room.departed
            && let Some(listening) = self.listening.get_mut(&room.serial)
        {
            listening.departed.add(departed);
        }
        (0..room.sides.len()).for_each(|side| self.awaited.on_progress(at, side, room.serial));
        for side in 0..room.sides.len() {
            if let Some(current) = self.fan_out.cancel(at, side) {
                self.recycle_broadcast(current.broadcast);
            }
        }
        for pending in room.sides.into_iter().filter_map(|side| side.pending) {
            self.tally.undelivered += pending.messages;
            self.recycle_broadcast(pending);
        }
    }

    fn drop_queue(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if let Some(outbox) = &mut member.outbox {
            outbox.keep_begun_frame(&mut self.buffers);
        }
        if let Some(outbox) = member.outbox.take_if(|outbox| outbox.queued() == 0) {
            self.pools.give_outbox(outbox, &mut self.buffers);
        }
    }

    fn room(&mut self, serial: Serial) -> u32 {
        *self.by_serial.entry(serial).or_insert_with(|| self.rooms.insert(Room::new(serial)) as u32)
    }
}

/// What was given up for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shed {
    /// Number of members closed.
    pub members: u64,
    /// Number of messages discarded that waited for a receiver.
    pub messages: u64,
}

/// A sweep in progress.
#[derive(Debug)]
struct Sweep {
    /// The first slot that is left.
    next: usize,
    /// Time of its start, by which all members are judged: after a standstill they haven't been read yet.
    now: Moment,
    /// Whether silent members are to be pinged. Pings of the sweep before come first; the next one finds the others.
    may_ask: bool,
}

/// Members of a registration or a client network that hold memory, each with its share.
#[derive(Debug, Default)]
struct Holders {
    total: u64,
    members: Vec<(u64, usize)>,
}

impl Holders {
    fn add(&mut self, slot: usize, share: u64) {
        self.total += share;
        self.members.push((share, slot));
    }
}

/// Room number of connections that are only closing, and were never in a room of this shard.
const NO_ROOM: u32 = u32::MAX;
/// Bytes read at once from each of many members.
const LEAST_SHARE: usize = 16 << 10;
/// Size of the read buffer: a read, and what a member may have left incomplete.
const SCRATCH: usize = READ + (20 << 10);
/// Bytes whose writing counts as a unit of work: they take a few times as long as the system call itself.
const WRITE_COST: usize = 16 << 10;
/// Registrations and networks that hold less aren't closed for memory: thousands of members would be disconnected for little.
const WORTH_A_SEAT: u64 = 64 << 10;
/// Members that hold less aren't closed for memory: they have nothing but a header or two in progress.
const WORTH_CLOSING: u64 = 1 << 10;
/// Pings sent per iteration, a few microseconds each.
const PINGS_PER_ITERATION: usize = 64;
/// Members looked at per iteration by a sweep: some ten microseconds, or some hundred if the kernel is asked about each.
const SWEPT_PER_ITERATION: usize = 128;
/// Units of work for which a connection is dropped whose socket holds unsent data.
const FULL_SOCKET_COST: usize = 8;

#[cfg(test)]
mod tests;
