//! Messages that wait for a receiver, in registrations whose device has asked for that (the term `wait`).
//!
//! A message waits only where it would otherwise have no receiver, so that nothing here is reached while there is one. The
//! messages for a side of a room form a queue, in the order in which they arrived. A queue above the high-water mark
//! counts as one slow receiver, so that its senders aren't read from. The next member of the side that may also send
//! takes over the whole queue as its outbox. Each message waits for a limited time, after which it is discarded. While
//! something waits, the room exists without members, and a hold keeps the registration from ending as empty.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, VariantArray};

use super::delivery::bytes_of;
use super::member::{HIGH_WATER, LOW_WATER, Phase, ShardTally, Watermark, saturated};
use super::memory_account::MemoryAccount;
use super::outbox::{Chunk, Outbox};
use super::room::{receivers_of, side_of};
use super::{Link, Moment, Shard};
use crate::close::CloseReason;
use crate::frame::{Batch, Buffers, Piece};
use crate::ids::Serial;
use crate::kind::Role;

/// The queues of all rooms.
#[derive(Debug)]
pub(super) struct WaitingQueues<H> {
    rooms: HashMap<u32, WaitingRoom<H>>,
    /// Each queue with the time at which its oldest messages expire.
    deadlines: BTreeSet<(Moment, u32, usize)>,
    /// Time up to which expired messages are being discarded, some queues in each iteration.
    expiring: Option<Moment>,
    /// Members that have taken over a queue and aren't connected yet, by slot. If the handshake fails, the queue waits
    /// for the next member.
    taken: HashMap<usize, Taken<H>>,
}

/// A queue that a member has taken over before it is connected. The messages are in its outbox.
#[derive(Debug)]
struct Taken<H> {
    wait: Duration,
    hold: H,
    arrivals: VecDeque<Arrival>,
    messages: u64,
    bytes: usize,
}

/// The queues of a room, of which at least one isn't empty.
#[derive(Debug)]
struct WaitingRoom<H> {
    /// Time for which a message waits at most.
    wait: Duration,
    /// Keeps the registration from ending as empty.
    hold: H,
    queues: [Option<Box<Queue>>; 2],
}

/// Messages for one side of a room.
#[derive(Debug)]
struct Queue {
    outbox: Box<Outbox>,
    arrivals: VecDeque<Arrival>,
    messages: u64,
    /// Time at which the oldest messages expire, as it stands in the table of deadlines.
    deadline: Moment,
    /// The part of the shard's sums that this queue makes up.
    accounted: Accounted,
    above_high_water: bool,
}

/// Messages that arrived at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrival {
    at: Moment,
    bytes: usize,
    messages: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Accounted {
    memory: u32,
    bytes: u64,
    messages: u64,
}

/// What waits for a receiver in a registration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitingTotals {
    /// Number of messages.
    pub messages: u64,
    /// Their bytes, frame headers included.
    pub bytes: u64,
    /// Time until the oldest of them is discarded; `None` if nothing waits.
    pub left: Option<Duration>,
    /// Whether some wait for a host or peer.
    pub for_host_or_peer: bool,
    /// Whether some wait for a client.
    pub for_client: bool,
}

impl WaitingTotals {
    /// Adds what waits in another room of the registration.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { messages, bytes, left, for_host_or_peer, for_client } = *other;
        self.messages += messages;
        self.bytes += bytes;
        self.left = [self.left, left].into_iter().flatten().min();
        self.for_host_or_peer |= for_host_or_peer;
        self.for_client |= for_client;
    }
}

/// Reason for which messages that waited for a receiver were discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray)]
pub enum DiscardReason {
    /// They had waited for as long as the registration allows.
    Expired,
    /// Memory was short.
    Memory,
    /// Their registration ended, or the router stopped.
    Ended,
}

impl DiscardReason {
    /// All reasons.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the reason as a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Memory => "memory",
            Self::Ended => "ended",
        }
    }
}

/// The messages that wait in a registration, for a new process. Times are relative to the moment of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingState {
    /// The registration.
    pub serial: Serial,
    queues: Vec<QueueState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct QueueState {
    side: usize,
    /// Whole frames.
    #[serde(with = "serde_bytes")]
    frames: Vec<u8>,
    arrivals: Vec<ArrivalState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ArrivalState {
    age_ms: u64,
    bytes: usize,
    messages: u64,
}

impl<H> Default for WaitingQueues<H> {
    fn default() -> Self {
        let (rooms, deadlines) = (HashMap::new(), BTreeSet::new());
        Self { rooms, deadlines, expiring: None, taken: HashMap::new() }
    }
}

impl<H> WaitingQueues<H> {
    /// Returns whether nothing waits in any room.
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Returns whether members have taken over queues and aren't connected yet.
    pub(super) fn has_taken(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Returns whether something waits in a room.
    pub(super) fn contains(&self, room: u32) -> bool {
        self.rooms.contains_key(&room)
    }

    /// Returns whether there are expired messages to discard in the next iteration.
    pub(super) fn is_expiring(&self) -> bool {
        self.expiring.is_some()
    }

    /// Returns the memory of all queues, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.queues().map(|(_, _, queue)| queue.memory() as u64).sum()
    }

    /// Returns what waits in a room.
    pub(super) fn totals(&self, room: u32, now: Moment) -> WaitingTotals {
        let mut totals = WaitingTotals::default();
        let Some(room) = self.rooms.get(&room) else { return totals };
        for (side, queue) in room.queues.iter().enumerate() {
            let Some(queue) = queue else { continue };
            totals.for_host_or_peer |= side == side_of(Role::Host);
            totals.for_client |= side == side_of(Role::Client);
            totals.messages += queue.messages;
            totals.bytes += queue.outbox.queued() as u64;
            let left = queue.deadline.since(now);
            totals.left = Some(totals.left.map_or(left, |other| other.min(left)));
        }
        totals
    }

    fn queues(&self) -> impl Iterator<Item = (u32, usize, &Queue)> {
        self.rooms.iter().flat_map(|(number, room)| {
            let queues = room.queues.iter().enumerate();
            queues.filter_map(move |(side, queue)| Some((*number, side, queue.as_deref()?)))
        })
    }

    fn get_mut(&mut self, room: u32, side: usize) -> Option<&mut Queue> {
        self.rooms.get_mut(&room)?.queues[side].as_deref_mut()
    }

    /// Adds frames that `put` moves into the outbox of a side's queue. The first queue of a room needs a hold; without
    /// one nothing is added. Returns whether something was added.
    fn add(
        &mut self,
        (room, side): (u32, usize),
        arrival: Arrival,
        hold: impl FnOnce() -> Option<(Duration, H)>,
        outbox: impl FnOnce() -> Box<Outbox>,
        put: impl FnOnce(&mut Outbox),
    ) -> bool {
        let found = match self.rooms.get_mut(&room) {
            Some(found) => found,
            None => {
                let Some((wait, hold)) = hold() else { return false };
                self.rooms.entry(room).or_insert(WaitingRoom { wait, hold, queues: [None, None] })
            }
        };
        let deadline = arrival.at.after(found.wait);
        let queue = found.queues[side].get_or_insert_with(|| {
            self.deadlines.insert((deadline, room, side));
            Box::new(Queue::new(outbox(), deadline))
        });
        put(&mut queue.outbox);
        queue.note(arrival);
        true
    }

    /// Removes a queue; the hold is returned with the last one of its room.
    fn remove(&mut self, room: u32, side: usize) -> Option<(Box<Queue>, Option<H>)> {
        let found = self.rooms.get_mut(&room)?;
        let queue = found.queues[side].take()?;
        self.deadlines.remove(&(queue.deadline, room, side));
        let is_last = found.queues.iter().all(Option::is_none);
        let hold = if is_last { self.rooms.remove(&room).map(|room| room.hold) } else { None };
        Some((queue, hold))
    }

    /// Discards the messages of a queue that have waited long enough; returns their number.
    fn expire(&mut self, room: u32, side: usize, now: Moment, buffers: &mut Buffers) -> u64 {
        let Some(found) = self.rooms.get_mut(&room) else { return 0 };
        let (wait, Some(queue)) = (found.wait, found.queues[side].as_deref_mut()) else { return 0 };
        let before = queue.messages;
        while let Some(arrival) = queue.arrivals.front().filter(|arrival| arrival.at.after(wait) <= now) {
            queue.outbox.discard_front(arrival.bytes, buffers);
            queue.messages -= arrival.messages;
            queue.arrivals.pop_front();
        }
        if let Some(oldest) = queue.arrivals.front() {
            self.deadlines.remove(&(queue.deadline, room, side));
            queue.deadline = oldest.at.after(wait);
            self.deadlines.insert((queue.deadline, room, side));
        }
        before - queue.messages
    }

    fn next_due(&self, now: Moment) -> Option<(u32, usize)> {
        self.deadlines.first().filter(|(deadline, ..)| *deadline <= now).map(|(_, room, side)| (*room, *side))
    }
}

impl Queue {
    fn new(outbox: Box<Outbox>, deadline: Moment) -> Self {
        let (arrivals, accounted) = (VecDeque::new(), Accounted::default());
        Self { outbox, arrivals, messages: 0, deadline, accounted, above_high_water: false }
    }

    /// Returns the bytes of memory that it takes.
    fn memory(&self) -> usize {
        self.outbox.kept() + self.arrivals.len() * size_of::<Arrival>()
    }

    /// Records the time and size of messages that were added.
    fn note(&mut self, arrival: Arrival) {
        self.messages += arrival.messages;
        match self.arrivals.back_mut().filter(|last| last.at == arrival.at) {
            Some(last) => {
                last.bytes += arrival.bytes;
                last.messages += arrival.messages;
            }
            None => self.arrivals.push_back(arrival),
        }
    }

    /// Updates the shard's sums with what it holds now; returns the change that matters for its senders.
    fn account(&mut self, memory: &mut MemoryAccount, tally: &mut ShardTally) -> Watermark {
        let (bytes, messages) = (self.outbox.queued() as u64, self.messages);
        self.set_accounted(Accounted { memory: saturated(self.memory()), bytes, messages }, memory, tally);
        let weight = self.outbox.weight();
        if !self.above_high_water && weight > HIGH_WATER {
            self.above_high_water = true;
            Watermark::Rose
        } else if self.above_high_water && weight <= LOW_WATER {
            self.above_high_water = false;
            Watermark::Fell
        } else {
            Watermark::Unchanged
        }
    }

    fn set_accounted(&mut self, now: Accounted, memory: &mut MemoryAccount, tally: &mut ShardTally) {
        let before = std::mem::replace(&mut self.accounted, now);
        memory.change(before.memory, now.memory);
        tally.waiting_bytes = tally.waiting_bytes + now.bytes - before.bytes;
        tally.waiting_messages = tally.waiting_messages + now.messages - before.messages;
    }

    fn state(&self, side: usize, now: Moment) -> QueueState {
        QueueState::new(&self.outbox, self.arrivals.iter(), side, now)
    }
}

impl<H> Taken<H> {
    /// Returns the arrivals of the messages that were taken over and those sent to the member since, `messages` in all.
    fn arrivals_of(&self, outbox: &Outbox, messages: u64, now: Moment) -> VecDeque<Arrival> {
        let mut arrivals = self.arrivals.clone();
        let rest = Arrival { at: now, bytes: outbox.queued() - self.bytes, messages: messages - self.messages };
        arrivals.extend((rest.messages > 0).then_some(rest));
        arrivals
    }
}

impl QueueState {
    fn new<'a>(outbox: &Outbox, arrivals: impl Iterator<Item = &'a Arrival>, side: usize, now: Moment) -> Self {
        let arrivals = arrivals.map(|arrival| ArrivalState {
            age_ms: now.since(arrival.at).as_millis() as u64,
            bytes: arrival.bytes,
            messages: arrival.messages,
        });
        Self { side, frames: outbox.state().0, arrivals: arrivals.collect() }
    }

    /// Returns whether the arrivals are in order and make up the frames.
    fn is_consistent(&self) -> bool {
        let bytes = self.arrivals.iter().try_fold(0_usize, |sum, arrival| sum.checked_add(arrival.bytes));
        self.side < 2 && bytes == Some(self.frames.len()) && self.arrivals.is_sorted_by(|a, b| a.age_ms >= b.age_ms)
    }
}

impl<L: Link> Shard<L> {
    /// Lets the messages of a batch wait for the next member of a side, if its registration has messages wait; returns
    /// whether they do. The batch keeps its messages if it `is_shared` with members that only receive. The hold, if it is
    /// needed, is that of the `member`'s connection.
    pub(super) fn wait(
        &mut self,
        member: usize,
        place: (u32, usize),
        batch: &mut Batch,
        is_shared: bool,
        now: Moment,
    ) -> bool {
        let Self { waiting, members, pools, buffers, scratch, .. } = self;
        let arrival = Arrival { at: now, bytes: batch.bytes, messages: batch.messages };
        let put = |outbox: &mut Outbox| {
            if is_shared {
                batch.pieces.iter().for_each(|piece| push_copy(outbox, bytes_of(piece, scratch)));
            } else {
                batch.pieces.drain(..).for_each(|piece| push_piece(outbox, piece, scratch, buffers));
            }
        };
        let waits = waiting.add(place, arrival, || members[member].link.hold(), || pools.take_outbox(now), put);
        if waits {
            self.account_queue(place);
        }
        waits
    }

    /// Returns whether a member is there that receives what members with this role send, and doesn't only receive.
    pub fn has_receiver(&self, serial: Serial, sender: Role) -> bool {
        let Some(room) = self.by_serial.get(&serial).and_then(|room| self.rooms.get(*room as usize)) else {
            return false;
        };
        let may_send = |slot| self.members.get(slot).is_some_and(|member| member.is_present() && !member.receives_only);
        room.sides[receivers_of(sender)].slots().any(may_send)
    }

    /// Lets a message that no member has sent wait for the next member that receives what members with the role of
    /// `sender` send ([`Role::Peer`] in a lobby). To be called only while there is none ([`Shard::has_receiver`]), else it
    /// would overtake messages. `frame` is the message as one whole frame without a mask, with its header
    /// ([`crate::frame::ServerHeader`]). `hold` returns how long messages wait in the registration and what keeps it
    /// from ending meanwhile, as [`Link::hold`] does.
    ///
    /// Returns whether the message waits. It doesn't if what waits already is above the high-water mark, or if `hold`
    /// returned nothing.
    pub fn wait_for_receiver(
        &mut self,
        serial: Serial,
        sender: Role,
        frame: Vec<u8>,
        hold: impl FnOnce() -> Option<(Duration, L::Hold)>,
        now: Moment,
    ) -> bool {
        let place = (self.room(serial), receivers_of(sender));
        let is_full = self.waiting.get_mut(place.0, place.1).is_some_and(|queue| queue.above_high_water);
        let (arrival, len) = (Arrival { at: now, bytes: frame.len(), messages: 1 }, frame.len());
        let (pools, put) = (&mut self.pools, |outbox: &mut Outbox| outbox.push(Rc::new(frame), 0..len, 0));
        // It is asked for even if it isn't needed, since the messages that wait already may be older than what keeps new
        // ones from waiting.
        let hold = if is_full { None } else { hold() };
        let waits = hold.is_some() && self.waiting.add(place, arrival, || hold, || pools.take_outbox(now), put);
        if waits {
            self.account_queue(place);
        }
        self.drop_room_if_unused(place.0);
        waits
    }

    /// Gives a new member everything that waits for one of its side, as its outbox.
    pub(super) fn give_waiting(&mut self, slot: usize, place: (u32, usize), now: Moment) {
        self.expire_queue(place, now);
        // The member holds a seat, so that the registration doesn't end with the hold.
        let Some((mut queue, _hold)) = self.remove_queue(place) else { return };
        queue.outbox.note_progress(now);
        let (member, messages, bytes) = (&mut self.members[slot], queue.messages, queue.outbox.queued());
        member.count_sent(messages, bytes, &mut self.tally);
        member.outbox = Some(queue.outbox);
        if matches!(member.phase, Phase::Away(_))
            && let Some((wait, hold)) = member.link.hold()
        {
            self.waiting.taken.insert(slot, Taken { wait, hold, arrivals: queue.arrivals, messages, bytes });
        }
        self.account(slot);
    }

    /// Leaves what a member has taken over to it, since it is connected now.
    pub(super) fn confirm_waiting(&mut self, slot: usize) {
        self.waiting.taken.remove(&slot);
    }

    /// Has everything that was queued for a member wait again, if it has taken a queue over and is lost before it was
    /// connected. Members that have joined since would receive it in the wrong order, so it is dropped if there are any.
    pub(super) fn take_waiting_back(&mut self, slot: usize, reason: CloseReason, now: Moment) {
        let Some(taken) = self.waiting.taken.remove(&slot) else { return };
        let member = &mut self.members[slot];
        let place = (member.room, side_of(member.role));
        let is_lobby = place.1 == receivers_of(member.role);
        let others = self.rooms[place.0 as usize].sides[place.1].senders() - 1;
        if reason != CloseReason::Lost || others > usize::from(is_lobby) {
            return;
        }
        let Some(outbox) = member.outbox.take() else { return };
        let arrivals = taken.arrivals_of(&outbox, member.tally.messages_out, now);
        self.account(slot);
        let mut hold = Some((taken.wait, taken.hold));
        let mut outbox = Some(outbox);
        // What was sent while the member was marked for closing waits already, and comes behind.
        let newer = self.remove_queue(place).map(|(queue, _)| *queue);
        let (newer_arrivals, newer_outbox) = newer.map(|queue| (queue.arrivals, queue.outbox)).unzip();
        for arrival in arrivals.into_iter().chain(newer_arrivals.unwrap_or_default()) {
            let take = || outbox.take().unwrap_or_else(|| Box::new(Outbox::new(now)));
            self.waiting.add(place, arrival, || hold.take(), take, |_| {});
        }
        if let Some((queue, newer)) = self.waiting.get_mut(place.0, place.1).zip(newer_outbox) {
            queue.outbox.append(*newer);
        }
        self.account_queue(place);
    }

    /// Discards what has waited long enough by `now`, in some queues within the call and in the others in the next
    /// iterations.
    pub(super) fn start_expiring(&mut self, now: Moment) {
        self.waiting.expiring = Some(now);
        self.expire_some();
    }

    /// Continues to discard expired messages.
    pub(super) fn expire_some(&mut self) {
        let Some(now) = self.waiting.expiring else { return };
        for _ in 0..EXPIRED_PER_ITERATION {
            let Some(place) = self.waiting.next_due(now) else {
                self.waiting.expiring = None;
                return;
            };
            self.expire_queue(place, now);
        }
    }

    fn expire_queue(&mut self, place: (u32, usize), now: Moment) {
        let expired = self.waiting.expire(place.0, place.1, now, &mut self.buffers);
        self.tally.waiting_discarded[DiscardReason::Expired as usize] += expired;
        let Some(queue) = self.waiting.get_mut(place.0, place.1) else { return };
        if queue.messages == 0 { self.drop_queue_of(place) } else { self.account_queue(place) }
    }

    /// Discards everything that waits in a room.
    pub(super) fn discard_waiting(&mut self, room: u32, reason: DiscardReason) {
        for side in 0..2 {
            self.discard_queue((room, side), reason);
        }
    }

    /// Discards everything that waits in all rooms.
    pub(super) fn discard_all_waiting(&mut self, reason: DiscardReason) {
        let rooms: Vec<u32> = self.waiting.rooms.keys().copied().collect();
        for room in rooms {
            self.discard_waiting(room, reason);
        }
    }

    /// Discards the largest queues until so many bytes are free; returns how many bytes and messages that were.
    pub(super) fn shed_waiting(&mut self, bytes: u64) -> (u64, u64) {
        let mut all: Vec<_> = self
            .waiting
            .queues()
            .map(|(room, side, queue)| (queue.memory() as u64, queue.messages, room, side))
            .collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let (mut freed, mut discarded) = (0, 0);
        for (memory, messages, room, side) in all {
            if freed >= bytes {
                break;
            }
            self.discard_queue((room, side), DiscardReason::Memory);
            (freed, discarded) = (freed + memory, discarded + messages);
        }
        (freed, discarded)
    }

    /// Copies everything that waits, for a new process, with the holds.
    pub fn export_waiting(&self, now: Moment) -> impl Iterator<Item = (&L::Hold, WaitingState)> {
        let waiting = self.waiting.rooms.iter().filter_map(move |(number, room)| {
            let serial = self.rooms.get(*number as usize)?.serial;
            let queues = room.queues.iter().enumerate();
            let queues = queues.filter_map(|(side, queue)| Some(queue.as_deref()?.state(side, now))).collect();
            Some((&room.hold, WaitingState { serial, queues }))
        });
        // A member whose handshake is in progress can't be handed over.
        let taken = self.waiting.taken.iter().filter_map(move |(slot, taken)| {
            let member = self.members.get(*slot)?;
            let (outbox, side) = (member.outbox.as_deref()?, side_of(member.role));
            let arrivals = taken.arrivals_of(outbox, member.tally.messages_out, now);
            let serial = self.rooms.get(member.room as usize)?.serial;
            let state = QueueState::new(outbox, arrivals.iter(), side, now);
            Some((&taken.hold, WaitingState { serial, queues: vec![state] }))
        });
        waiting.chain(taken)
    }

    /// Adds what waited in an old process. To be called after its members have been restored, which don't take it over.
    pub fn restore_waiting(
        &mut self,
        state: WaitingState,
        wait: Duration,
        hold: impl Fn() -> Option<L::Hold>,
        now: Moment,
    ) {
        let room = self.room(state.serial);
        for QueueState { side, frames, arrivals, .. } in state.queues.into_iter().filter(QueueState::is_consistent) {
            let mut rest = &frames[..];
            for ArrivalState { age_ms, bytes, messages } in arrivals {
                let (part, behind) = rest.split_at(bytes);
                rest = behind;
                let arrival = Arrival { at: Moment(now.0.saturating_sub(age_ms)), bytes, messages };
                let (pools, put) = (&mut self.pools, |outbox: &mut Outbox| push_copy(outbox, part));
                let hold = || Some((wait, hold()?));
                self.waiting.add((room, side), arrival, hold, || pools.take_outbox(now), put);
            }
            self.account_queue((room, side));
        }
        self.drop_room_if_unused(room);
    }

    fn discard_queue(&mut self, place: (u32, usize), reason: DiscardReason) {
        let Some(queue) = self.waiting.get_mut(place.0, place.1) else { return };
        self.tally.waiting_discarded[reason as usize] += queue.messages;
        self.drop_queue_of(place);
    }

    /// Removes a queue with what is left in it, and the room if nothing else is in it.
    fn drop_queue_of(&mut self, place: (u32, usize)) {
        let Some((queue, hold)) = self.remove_queue(place) else { return };
        self.pools.give_outbox(queue.outbox, &mut self.buffers);
        self.drop_room_if_unused(place.0);
        // Last, since this may end the registration.
        drop(hold);
    }

    /// Removes a queue from all sums, and resumes its senders.
    fn remove_queue(&mut self, (room, side): (u32, usize)) -> Option<(Box<Queue>, Option<L::Hold>)> {
        let (mut queue, hold) = self.waiting.remove(room, side)?;
        queue.set_accounted(Accounted::default(), &mut self.memory, &mut self.tally);
        if queue.above_high_water {
            self.rooms[room as usize].sides[side].above -= 1;
            self.wake_senders(room, side);
        }
        Some((queue, hold))
    }

    /// Updates all sums with what a queue holds now, and resumes its senders when it has room again.
    fn account_queue(&mut self, (room, side): (u32, usize)) {
        let Some(queue) = self.waiting.get_mut(room, side) else { return };
        match queue.account(&mut self.memory, &mut self.tally) {
            Watermark::Unchanged => {}
            Watermark::Rose => self.rooms[room as usize].sides[side].above += 1,
            Watermark::Fell => {
                self.rooms[room as usize].sides[side].above -= 1;
                self.wake_senders(room, side);
            }
        }
    }
}

/// Copies frames into an outbox, in a buffer of their size: they may stay for minutes.
fn push_copy(outbox: &mut Outbox, frames: &[u8]) {
    let copy: Chunk = Rc::new(frames.to_vec());
    outbox.push(copy, 0..frames.len(), 0);
}

/// Moves frames into an outbox. A message's own buffer is moved with it, unless it is much larger than the message.
fn push_piece(outbox: &mut Outbox, piece: Piece, scratch: &[u8], buffers: &mut Buffers) {
    match piece {
        Piece::Assembled(buffer, range) if buffer.capacity() / 2 <= range.len() => {
            outbox.push(buffers.share(buffer), range, 0);
        }
        Piece::Assembled(buffer, range) => {
            push_copy(outbox, &buffer[range]);
            buffers.give(buffer);
        }
        Piece::InPlace(range) => push_copy(outbox, &scratch[range]),
    }
}

/// Queues from which expired messages are discarded per iteration: each may hold two thousand buffers.
const EXPIRED_PER_ITERATION: usize = 16;
