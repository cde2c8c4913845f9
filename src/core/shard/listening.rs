//! Paired registrations: hosts that listen, clients that wait, and the pairs of those that were accepted.
//!
//! The hosts that listen are the members of the registration's own room; nothing is relayed there. Each client has a room
//! of its own with two sides: the client, and the host's end. Until a host accepts the client, that end is a member
//! without a connection: it buffers what the client sends up to the high-water mark, like a receiver that reads nothing,
//! and its deadline is that of the accept. Accepting attaches a connection to it. From then on the room is served like
//! any other, save that a large message is passed on in fragments while it arrives. If the handshake of the host that
//! accepted fails before that, the client waits again as if nothing had happened.
//!
//! Hosts receive JSON text messages: one that announces each client, and one when that client is gone. Each announcement
//! has a random number of its own, which identifies the host that accepted. To a host that joins, the clients that wait
//! already are announced some at a time, in the order of their arrival.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::IoSlice;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::delivery::bytes_of;
use super::member::{Cause, Member, MemberTally, Phase};
use super::outbox::{Outbox, rest_of_begun_frame};
use super::room::Room;
use super::snapshot::{PairedState, UnacceptedState, restored_outbox};
use super::{Departure, Link, Moment, Newcomer, Shard};
use crate::close::CloseReason;
use crate::frame::{Batch, CloseFrame, Opcode, ServerHeader, payload_of, whole_frame_len};
use crate::ids::{MemberId, Serial};
use crate::kind::Role;

/// A source of random numbers of 128 bits, for announcements.
pub type Numbers<'a> = &'a mut dyn FnMut() -> u128;

/// A client that joins a paired registration.
#[derive(Debug)]
pub struct Arrival<L> {
    /// Text for the hosts.
    pub hello: Box<str>,
    /// Time until which a host can accept the client.
    pub accept_by: Moment,
    /// Connection of the host's end until then: one that takes and receives nothing.
    pub end: L,
}

/// Numbers of a paired registration's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// Hosts that listen.
    pub hosts: usize,
    /// Clients that were accepted.
    pub pairs: usize,
    /// Clients that wait.
    pub waiting: usize,
}

/// The part of a member in a paired registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// A host that listens.
    Listens,
    /// A client that no host has accepted yet.
    Waits,
    /// One end of a pair, with the other one; `None` if that is closing.
    Paired(Option<MemberId>),
}

/// The state of one paired registration. The room of its serial number has the hosts that listen.
#[derive(Debug)]
pub(super) struct Listening<L> {
    /// The clients that wait, or were accepted by a host whose handshake is in progress, by room.
    waiting: HashMap<u32, Waiting<L>>,
    /// Their rooms, in the order of their arrival.
    arrivals: BTreeMap<u64, u32>,
    /// The last position in that order.
    last_arrival: u64,
    /// Hosts to which some of them are still to be announced.
    catching_up: VecDeque<CatchUp>,
    /// Rooms of the clients that wait, by the numbers of their announcements.
    numbers: HashMap<u128, u32>,
    /// Rooms of the pairs, including those of which the host's handshake is in progress.
    pairs: HashSet<u32>,
    /// Traffic of pairs that have ended, and of hosts that listened.
    pub(super) departed: MemberTally,
    /// Rooms of restored pairs, by their numbers in the old process.
    restored: HashMap<u32, u32>,
}

/// A client that waits.
#[derive(Debug)]
struct Waiting<L> {
    client: u32,
    /// The host's end.
    end: u32,
    id: MemberId,
    /// Position in the order of arrival.
    arrival: u64,
    hello: Box<str>,
    /// Time until which a host can accept it.
    accept_by: Moment,
    announcements: Vec<Announcement>,
    /// The accept whose handshake is in progress.
    accept: Option<Accept<L>>,
    /// Traffic of the host's end that earlier accepts have added to the shard's counters.
    counted: MemberTally,
}

/// An accept of a client before its handshake is answered.
#[derive(Debug)]
struct Accept<L> {
    /// The host to which the number was announced, if known.
    host: Option<MemberId>,
    /// The connection of the host's end before.
    end: L,
}

/// A host to which the clients from a position on, in the order of their arrival, are still to be announced.
#[derive(Debug, Clone, Copy)]
struct CatchUp {
    slot: u32,
    host: MemberId,
    next: u64,
}

/// An announcement of a client to a host.
#[derive(Debug, Clone, Copy)]
struct Announcement {
    number: u128,
    host: MemberId,
}

/// A code and a reason with which a member closes or is closed, other than those of a [`CloseReason`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomClose {
    code: u16,
    reason: Box<str>,
}

impl CustomClose {
    /// Returns the close frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let payload = [&self.code.to_be_bytes(), self.reason.as_bytes()].concat();
        [ServerHeader::new(Opcode::Close, payload.len()).as_bytes(), &payload].concat()
    }
}

/// A control message of a host.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject<'a> {
    #[serde(borrow)]
    reject: Cow<'a, str>,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default, borrow)]
    reason: Option<Cow<'a, str>>,
}

/// A control message for a host.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Notice<'a> {
    Incoming { incoming: String, hello: &'a str },
    Gone { gone: String },
}

impl<L> Default for Listening<L> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            arrivals: BTreeMap::new(),
            last_arrival: 0,
            catching_up: VecDeque::new(),
            numbers: HashMap::new(),
            pairs: HashSet::new(),
            departed: MemberTally::default(),
            restored: HashMap::new(),
        }
    }
}

impl<L> Listening<L> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.pairs.is_empty()
    }

    /// Returns the rooms of all clients.
    fn rooms(&self) -> impl Iterator<Item = u32> {
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.accept.is_none());
        waiting.map(|(room, _)| *room).chain(self.pairs.iter().copied())
    }

    /// Returns the client that was announced with a number, and its room, unless a host has accepted it.
    fn announced(&self, number: u128) -> Option<(u32, &Waiting<L>)> {
        let room = *self.numbers.get(&number)?;
        let waiting = self.waiting.get(&room).filter(|waiting| waiting.accept.is_none())?;
        Some((room, waiting))
    }

    /// Removes a client that no longer waits, with the numbers of its announcements.
    fn take_waiting(&mut self, room: u32) -> Option<Waiting<L>> {
        let waiting = self.waiting.remove(&room)?;
        self.arrivals.remove(&waiting.arrival);
        for announcement in &waiting.announcements {
            self.numbers.remove(&announcement.number);
        }
        Some(waiting)
    }

    /// Adds an announcement of a client to a host, and returns its message; `None` if the client was announced to it
    /// before.
    fn announce(&mut self, room: u32, host: MemberId, number: u128) -> Option<Vec<u8>> {
        let waiting = self.waiting.get_mut(&room)?;
        if waiting.announcements.iter().any(|it| it.host == host) {
            return None;
        }
        if waiting.announcements.len() >= MAX_ANNOUNCEMENTS {
            self.numbers.remove(&waiting.announcements.remove(0).number);
        }
        waiting.announcements.push(Announcement { number, host });
        self.numbers.insert(number, room);
        Some(Notice::Incoming { incoming: hex(number), hello: &waiting.hello }.frame())
    }
}

impl Notice<'_> {
    /// Returns the text message.
    fn frame(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut frame = ServerHeader::new(Opcode::Text, text.len()).as_bytes().to_vec();
        frame.extend_from_slice(&text);
        frame
    }
}

impl<L: Link> Shard<L> {
    /// Returns a member's part in a paired registration; `None` in others.
    pub(super) fn pairing(&self, member: &Member<L>) -> Option<Pairing> {
        let room = self.rooms.get(member.room as usize)?;
        let listening = self.listening.get(&room.serial)?;
        Some(if listening.pairs.contains(&member.room) {
            let mut members = room.slots().filter_map(|slot| self.members.get(slot));
            Pairing::Paired(members.find(|other| other.id != member.id).map(|other| other.id))
        } else if listening.waiting.contains_key(&member.room) {
            Pairing::Waits
        } else {
            Pairing::Listens
        })
    }

    /// Adds a host that listens, whose connection follows as with [`Shard::join_away`]. [`Shard::announce_some`] announces
    /// to it all clients that wait.
    pub fn join_listening(&mut self, newcomer: &Newcomer, link: L, deadline: Moment, now: Moment) -> usize {
        let slot = self.add_listening(newcomer, link, Phase::Away(deadline), now);
        self.start_catching_up(newcomer.serial, slot);
        slot
    }

    /// Has all clients announced to a host that wait and haven't been announced to it before.
    fn start_catching_up(&mut self, serial: Serial, slot: usize) {
        let host = self.members[slot].id;
        let Some(listening) = self.listening.get_mut(&serial).filter(|it| !it.waiting.is_empty()) else { return };
        if listening.catching_up.is_empty() {
            self.announcing.push_back(serial);
        }
        listening.catching_up.push_back(CatchUp { slot: slot as u32, host, next: 0 });
    }

    /// Announces some of the clients that waited before a host joined to that host. To be called once in each iteration:
    /// the hosts of all registrations have their turns, and one of them gets one write.
    pub fn announce_some(&mut self, numbers: Numbers<'_>, now: Moment) {
        let Some(serial) = self.announcing.pop_front() else { return };
        let Some(listening) = self.listening.get_mut(&serial) else { return };
        let Some(CatchUp { slot, host, mut next }) = listening.catching_up.pop_front() else { return };
        let is_there = self.members.get(slot as usize).is_some_and(|member| member.id == host && member.is_present());
        let mut clients = if is_there { self.quantum.calls(ANNOUNCED_PER_ITERATION) } else { 0 };
        let (mut frames, mut messages) = (Vec::new(), 0);
        while clients > 0 && frames.len() < ANNOUNCED_BYTES {
            let Some((arrival, room)) =
                listening.arrivals.range(next..).next().map(|(arrival, room)| (*arrival, *room))
            else {
                break;
            };
            (next, clients) = (arrival + 1, clients - 1);
            if let Some(frame) = listening.announce(room, host, numbers()) {
                frames.extend_from_slice(&frame);
                messages += 1;
            }
        }
        if is_there && listening.arrivals.range(next..).next().is_some() {
            listening.catching_up.push_back(CatchUp { slot, host, next });
        }
        if !listening.catching_up.is_empty() {
            self.announcing.push_back(serial);
        }
        if messages > 0 {
            self.notify(slot as usize, &frames, messages, now);
            self.reap(now);
        }
    }

    fn add_listening(&mut self, newcomer: &Newcomer, link: L, phase: Phase, now: Moment) -> usize {
        self.listening.entry(newcomer.serial).or_default();
        // It is treated as a member that only receives, and a message of it as a violation, unless it is a control
        // message.
        let newcomer = Newcomer { receives_only: true, role: Role::Host, ..*newcomer };
        let room = self.room(newcomer.serial);
        self.add_to(room, &newcomer, link, phase, now)
    }

    /// Adds a client, whose connection follows as with [`Shard::join_away`], and announces it to all hosts that listen.
    pub fn join_waiting(
        &mut self,
        newcomer: &Newcomer,
        link: L,
        arrival: Arrival<L>,
        deadline: Moment,
        numbers: Numbers<'_>,
        now: Moment,
    ) -> usize {
        let (slot, room) = self.add_waiting(newcomer, link, arrival, Phase::Away(deadline), now);
        for host in self.hosts_of(newcomer.serial) {
            let id = self.members[host].id;
            // A host that is catching up hears of it after those that came before.
            let listening = self.listening.get_mut(&newcomer.serial);
            let listening = listening.filter(|it| it.catching_up.iter().all(|catch_up| catch_up.host != id));
            let frame = listening.and_then(|it| it.announce(room, id, numbers()));
            self.notify(host, &frame.unwrap_or_default(), 1, now);
        }
        self.reap(now);
        slot
    }

    fn add_waiting(
        &mut self,
        newcomer: &Newcomer,
        link: L,
        arrival: Arrival<L>,
        phase: Phase,
        now: Moment,
    ) -> (usize, u32) {
        let Arrival { hello, accept_by, end } = arrival;
        let room = self.rooms.insert(Room::new(newcomer.serial)) as u32;
        let client = self.add_to(room, newcomer, link, phase, now);
        let placeholder = Newcomer { id: NOBODY, role: Role::Host, receives_only: false, counts: false, ..*newcomer };
        let end = self.add_to(room, &placeholder, end, Phase::Away(accept_by), now);
        (self.members[client].flags.is_special, self.members[end].flags.is_special) = (true, true);
        let listening = self.listening.entry(newcomer.serial).or_default();
        // Members that have just joined come last, and those of an old process in the order of their ids.
        let after = if matches!(phase, Phase::Away(_)) { listening.last_arrival + 1 } else { 0 };
        let arrival = newcomer.id.0.max(after);
        listening.last_arrival = listening.last_arrival.max(arrival);
        listening.arrivals.insert(arrival, room);
        let waiting = Waiting {
            client: client as u32,
            end: end as u32,
            id: newcomer.id,
            arrival,
            hello,
            accept_by,
            announcements: Vec::new(),
            accept: None,
            counted: MemberTally::default(),
        };
        listening.waiting.insert(room, waiting);
        self.tally.waiting_clients += 1;
        (client, room)
    }

    /// Accepts the client that was announced with a number. The connection of the host's end follows as with
    /// [`Shard::join_away`]; until it has arrived, [`Shard::abandon`] has the client wait again. Returns the slot of that
    /// end and the client's id; fails with the connection if no client waits that has this number.
    pub fn accept(
        &mut self,
        serial: Serial,
        number: u128,
        id: MemberId,
        link: L,
        deadline: Moment,
        now: Moment,
    ) -> Result<(usize, MemberId), L> {
        let Some(listening) = self.listening.get_mut(&serial) else { return Err(link) };
        let Some((room, waiting)) = listening.announced(number) else { return Err(link) };
        let (client, slot) = (waiting.client as usize, waiting.end as usize);
        // Either may be marked for closing.
        if !(self.members[client].is_present() && self.members[slot].is_present()) {
            return Err(link);
        }
        let Some(waiting) = listening.waiting.get_mut(&room) else { return Err(link) };
        listening.pairs.insert(room);
        let host = waiting.announcements.iter().find(|it| it.number == number).map(|it| it.host);
        let end = &mut self.members[slot];
        waiting.accept = Some(Accept { host, end: std::mem::replace(&mut end.link, link) });
        (end.id, end.counts) = (id, true);
        (end.phase, end.joined, end.last_received) = (Phase::Away(deadline), now, now);
        self.tally.members += 1;
        self.tally.deliveries += end.tally.messages_out - waiting.counted.messages_out;
        self.tally.bytes_out += end.tally.bytes_out - waiting.counted.bytes_out;
        self.tally.waiting_clients -= 1;
        Ok((slot, waiting.id))
    }

    /// Makes an accept final, if the member that has arrived is the host's end of one.
    pub(super) fn finish_accept(&mut self, slot: usize, now: Moment) {
        let room = self.members[slot].room;
        let serial = self.rooms[room as usize].serial;
        let Some(listening) = self.listening.get_mut(&serial) else { return };
        if listening.waiting.get(&room).is_some_and(|waiting| waiting.end as usize == slot)
            && let Some(waiting) = listening.take_waiting(room)
        {
            self.tally.accepted += 1;
            self.notify_gone(serial, &waiting, now);
        }
    }

    /// Removes a member whose handshake failed. A client that it has accepted waits again, as long as it would have
    /// without the accept.
    pub fn abandon(&mut self, slot: usize, id: MemberId, now: Moment) {
        // A member whose session has begun before stays away.
        if self.members.get(slot).is_some_and(|member| member.id == id) && !self.has_begun_session(slot) {
            self.mark_abandoned(slot, now);
            self.reap(now);
        }
    }

    /// Marks a member for closing whose handshake failed, unless it takes back an accept.
    pub(super) fn mark_abandoned(&mut self, slot: usize, now: Moment) {
        if !self.revoke_accept(slot, now) {
            self.mark(slot, CloseReason::Lost);
        }
    }

    /// Takes an accept back whose handshake failed; returns whether the member is the host's end of one.
    fn revoke_accept(&mut self, slot: usize, now: Moment) -> bool {
        let member = &mut self.members[slot];
        let Some(room) = self.rooms.get(member.room as usize).filter(|_| member.is_present()) else { return false };
        let Some(listening) = self.listening.get_mut(&room.serial) else { return false };
        let waiting = listening.waiting.get_mut(&member.room).filter(|waiting| waiting.end as usize == slot);
        let Some((waiting, accept)) = waiting.and_then(|waiting| waiting.accept.take().map(|it| (waiting, it))) else {
            return false;
        };
        listening.pairs.remove(&member.room);
        waiting.counted = member.tally;
        member.phase = Phase::Away(waiting.accept_by);
        let mut link = std::mem::replace(&mut member.link, accept.end);
        let (id, reason) = (std::mem::replace(&mut member.id, NOBODY), CloseReason::Lost);
        (member.counts, member.rate) = (false, None);
        self.tally.members -= 1;
        self.tally.closes[reason as usize] += 1;
        self.tally.waiting_clients += 1;
        let silent = now.since(member.last_received);
        link.on_close(&Departure { member: id, reason, code: None, silent, tally: MemberTally::default() });
        if member.flags.has_session {
            self.leave_session(slot, reason);
        }
        true
    }

    /// Returns the numbers of hosts, pairs and clients that wait.
    pub fn presence(&self, serial: Serial) -> Presence {
        let Some(listening) = self.listening.get(&serial) else { return Presence::default() };
        let (hosts, pairs) = (self.hosts_of(serial).len(), listening.pairs.len());
        Presence { hosts, pairs, waiting: listening.rooms().count() - pairs }
    }

    /// Returns the rooms of a registration.
    pub(super) fn rooms_of(&self, serial: Serial) -> impl Iterator<Item = u32> {
        let own = self.by_serial.get(&serial).copied();
        own.into_iter().chain(self.listening.get(&serial).into_iter().flat_map(Listening::rooms))
    }

    /// Returns the slots of a registration's members, in all its rooms.
    pub(super) fn slots_of(&self, serial: Serial) -> impl Iterator<Item = usize> {
        self.rooms_of(serial).filter_map(|room| self.rooms.get(room as usize)).flat_map(Room::slots)
    }

    /// Returns the hosts that listen.
    fn hosts_of(&self, serial: Serial) -> Vec<usize> {
        let room = self.by_serial.get(&serial).and_then(|room| self.rooms.get(*room as usize));
        room.into_iter().flat_map(Room::slots).collect()
    }

    /// Handles what a member that only receives has sent: the control messages of a host that listens. Returns whether
    /// it may go on.
    pub(super) fn control(&mut self, slot: usize, batch: &mut Batch, now: Moment) -> bool {
        let member = &self.members[slot];
        let serial = self.rooms[member.room as usize].serial;
        if member.role != Role::Host || member.decoder.held() > MAX_CONTROL_HELD {
            return false;
        }
        let frames = batch.pieces.iter().flat_map(|piece| Frames(bytes_of(piece, &self.scratch)));
        let rejects = frames.map(|frame| Rejection::parse(frame?)).collect::<Option<Vec<_>>>();
        let Some(rejects) = rejects else { return false };
        self.members[slot].count_batch(batch, &mut self.tally, now);
        self.recycle(batch);
        (batch.messages, batch.bytes, batch.payload) = (0, 0, 0);
        for rejection in rejects {
            self.reject(serial, rejection, now);
        }
        true
    }

    /// Closes a client that a host rejects; ignores the rejection of one that is gone.
    fn reject(&mut self, serial: Serial, Rejection { number, close }: Rejection, now: Moment) {
        let Some(listening) = self.listening.get_mut(&serial) else { return };
        let Some((room, waiting)) = listening.announced(number) else { return };
        let (client, end) = (waiting.client as usize, waiting.end as usize);
        if !self.members[client].is_present() {
            return;
        }
        if let Some(waiting) = listening.take_waiting(room) {
            self.tally.waiting_clients -= 1;
            self.tally.rejected += 1;
            self.notify_gone(serial, &waiting, now);
        }
        if let Some(close) = close {
            self.custom_closes.insert(client as u32, close);
        }
        self.mark(client, CloseReason::NotAccepted);
        self.mark(end, CloseReason::Lost);
    }

    /// Keeps the code and reason of a member's close frame, if they are to be passed on to the other end of its pair.
    pub(super) fn keep_close(&mut self, slot: usize, received: CloseFrame, reason: &[u8]) {
        let Some(code) = received.code.filter(|code| is_passed_on(*code)) else { return };
        let member = &self.members[slot];
        let serial = self.rooms[member.room as usize].serial;
        let is_paired = self.listening.get(&serial).is_some_and(|listening| listening.pairs.contains(&member.room));
        // The other end has to discard the part of a message.
        if is_paired && member.is_present() && !member.decoder.has_passed_part() {
            let reason = String::from_utf8_lossy(reason).into();
            self.custom_closes.insert(slot as u32, CustomClose { code, reason });
        }
    }

    /// Does what the departure of a member means for its pair: the other end is closed, too. `sent` is the code with
    /// which it left, if it is to be passed on.
    pub(super) fn on_departure(
        &mut self,
        slot: usize,
        room: u32,
        serial: Serial,
        reason: CloseReason,
        sent: Option<CustomClose>,
        now: Moment,
    ) {
        let Some(listening) = self.listening.get_mut(&serial) else { return };
        let (waiting, is_pair) = (listening.take_waiting(room), listening.pairs.contains(&room));
        if let Some(waiting) = &waiting {
            self.notify_gone(serial, waiting, now);
        }
        if let Some(waiting) = waiting.filter(|_| !is_pair) {
            self.tally.waiting_clients -= 1;
            if slot == waiting.client as usize {
                self.mark(waiting.end as usize, CloseReason::Lost);
            } else {
                self.tally.accept_timeouts += u64::from(reason == CloseReason::Lost);
                self.mark(waiting.client as usize, CloseReason::NotAccepted);
            }
        } else if is_pair {
            match self.rooms.get(room as usize).and_then(|room| room.slots().next()) {
                Some(other) => {
                    if let Some(sent) = sent.filter(|_| self.members[other].is_present()) {
                        self.custom_closes.insert(other as u32, sent);
                    }
                    let reason = if ends_all(reason) { reason } else { CloseReason::PeerDisconnected };
                    self.mark(other, reason);
                }
                None => {
                    self.listening.get_mut(&serial).map(|listening| listening.pairs.remove(&room));
                }
            }
        }
        if self.listening.get(&serial).is_some_and(Listening::is_idle) && !self.by_serial.contains_key(&serial) {
            self.listening.remove(&serial);
        }
    }

    /// Notifies the hosts that a client no longer waits, except the one that accepted it.
    fn notify_gone(&mut self, serial: Serial, waiting: &Waiting<L>, now: Moment) {
        if waiting.announcements.is_empty() {
            return;
        }
        let except = waiting.accept.as_ref().and_then(|accept| accept.host);
        for host in self.hosts_of(serial) {
            let id = self.members[host].id;
            for announcement in waiting.announcements.iter().filter(|it| it.host == id && except != Some(id)) {
                self.notify(host, &Notice::Gone { gone: hex(announcement.number) }.frame(), 1, now);
            }
        }
    }

    /// Sends control messages to a host that listens.
    fn notify(&mut self, slot: usize, frames: &[u8], messages: u64, now: Moment) {
        let member = &mut self.members[slot];
        if frames.is_empty() || !member.is_present() {
            return;
        }
        member.count_sent(messages, frames.len(), &mut self.tally);
        let slices = [IoSlice::new(frames)];
        let sent = if member.can_be_written_to() { member.link.send(&slices) } else { Ok(0) };
        match sent {
            Ok(sent) if sent == frames.len() => {}
            Ok(sent) => {
                let begun = rest_of_begun_frame(&slices, sent);
                let outbox = member.outbox.get_or_insert_with(|| self.pools.take_outbox(now));
                outbox.push(Rc::new(frames[sent..].to_vec()), 0..frames.len() - sent, begun);
                self.on_queued(slot, now);
            }
            Err(_) => self.mark(slot, Cause::from(CloseReason::Lost)),
        }
    }
}

/// The hand-over to a new process.
impl<L: Link> Shard<L> {
    /// Copies a member's place in a paired registration.
    pub(super) fn export_paired(&self, room: u32, serial: Serial, now: Moment) -> Option<Box<PairedState>> {
        let listening = self.listening.get(&serial)?;
        Some(Box::new(if let Some(waiting) = listening.waiting.get(&room) {
            let end = &self.members[waiting.end as usize];
            let accept_within_ms = match end.phase {
                Phase::Away(_) => waiting.accept_by.since(now).as_millis() as u64,
                _ => 0,
            };
            let halves = |it: &Announcement| ((it.number >> 64) as u64, it.number as u64, it.host);
            PairedState::Waiting(UnacceptedState {
                hello: waiting.hello.clone(),
                announcements: waiting.announcements.iter().map(halves).collect(),
                accept_within_ms,
                queued: end.outbox.as_deref().map(Outbox::state).unwrap_or_default().0,
                tally: end.tally,
            })
        } else if listening.pairs.contains(&room) {
            PairedState::Pair(room)
        } else {
            PairedState::Listening
        }))
    }

    /// Adds a member of a paired registration at its place.
    pub(super) fn restore_paired(
        &mut self,
        state: PairedState,
        newcomer: &Newcomer,
        link: L,
        end: impl FnOnce() -> L,
        now: Moment,
    ) -> usize {
        match state {
            PairedState::Listening => self.add_listening(newcomer, link, Phase::Open, now),
            PairedState::Pair(number) => {
                let listening = self.listening.entry(newcomer.serial).or_default();
                let rooms = &mut self.rooms;
                let room = *listening
                    .restored
                    .entry(number)
                    .or_insert_with(|| rooms.insert(Room::new(newcomer.serial)) as u32);
                listening.pairs.insert(room);
                let slot = self.add_to(room, newcomer, link, Phase::Open, now);
                self.members[slot].flags.is_special = true;
                slot
            }
            PairedState::Waiting(state) => {
                let accept_by = Moment(now.0.saturating_add(state.accept_within_ms));
                let arrival = Arrival { hello: state.hello, accept_by, end: end() };
                let (slot, room) = self.add_waiting(newcomer, link, arrival, Phase::Open, now);
                let Some(listening) = self.listening.get_mut(&newcomer.serial) else { return slot };
                let Some(waiting) = listening.waiting.get_mut(&room) else { return slot };
                for (high, low, host) in state.announcements {
                    let number = u128::from(high) << 64 | u128::from(low);
                    waiting.announcements.push(Announcement { number, host });
                    listening.numbers.insert(number, room);
                }
                let end = waiting.end as usize;
                let member = &mut self.members[end];
                (member.outbox, member.tally) = (restored_outbox(state.queued, 0, now), state.tally);
                self.account(end);
                slot
            }
        }
    }

    /// Closes the ends of pairs whose other end the old process couldn't hand over, and continues announcing clients.
    pub fn finish_restore(&mut self, now: Moment) {
        let serials: Vec<_> = self.listening.keys().copied().collect();
        for serial in serials {
            for host in self.hosts_of(serial) {
                self.start_catching_up(serial, host);
            }
        }
        let restored = self.listening.values_mut().flat_map(|listening| std::mem::take(&mut listening.restored));
        let rooms: Vec<_> = restored.map(|(_, room)| room as usize).collect();
        for room in rooms {
            let slots = self.rooms.get(room).map(|room| room.slots().collect::<Vec<_>>()).unwrap_or_default();
            if let [only] = slots[..] {
                self.mark(only, CloseReason::PeerDisconnected);
            }
        }
        self.reap(now);
    }
}

/// A client that a host rejects, and the code and reason for it, if the host gave any.
#[derive(Debug, PartialEq)]
struct Rejection {
    number: u128,
    close: Option<CustomClose>,
}

impl Rejection {
    /// Parses a text message; `None` if it isn't a valid control message.
    fn parse(frame: &[u8]) -> Option<Self> {
        let text = payload_of_text(frame).filter(|text| text.len() <= MAX_CONTROL)?;
        // Serde would read the fields from a list, too.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let Reject { reject, code, reason } = serde_json::from_slice(text).ok()?;
        let reason = reason.unwrap_or_default();
        if reason.len() > MAX_REASON {
            return None;
        }
        let close = match code {
            Some(code) if is_passed_on(code) => Some(CustomClose { code, reason: reason.into() }),
            None if !reason.is_empty() => {
                CloseReason::NotAccepted.code().map(|code| CustomClose { code, reason: reason.into() })
            }
            _ => None,
        };
        Some(Self { number: parse_number(&reject)?, close })
    }
}

/// The frames of a piece; `None` for one that can't be parsed.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let len = whole_frame_len(self.0).unwrap_or(usize::MAX);
        let (frame, rest) = self.0.split_at_checked(len).unzip();
        self.0 = rest.unwrap_or_default();
        Some(frame)
    }
}

/// Returns the payload of a server's text message.
fn payload_of_text(frame: &[u8]) -> Option<&[u8]> {
    if frame.first() == Some(&TEXT) { payload_of(frame) } else { None }
}

/// Parses the number of an announcement: 32 hex digits.
pub fn parse_number(text: &str) -> Option<u128> {
    let is_number = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

fn hex(number: u128) -> String {
    format!("{number:032x}")
}

/// Returns whether a code is passed on from one end of a pair to the other: those of applications, without the ones that
/// the router itself uses.
pub(super) fn is_passed_on(code: u16) -> bool {
    matches!(code, 3000..=3999 | 4100..=4399 | 4500..=4999)
}

/// Returns whether a reason holds for all members of a registration, so that both ends of a pair are closed with it.
fn ends_all(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Stopping
            | CloseReason::Restarting
            | CloseReason::Draining
            | CloseReason::Removed
            | CloseReason::RemovedByAdmin
    )
}

/// Id of the host's end of a pair before a host has accepted the client. No member has it.
pub(super) const NOBODY: MemberId = MemberId(u64::MAX);
/// First byte of a text message in one frame (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
/// Largest control message of a host, in bytes: a number and a reason of which each byte is escaped.
const MAX_CONTROL: usize = 2 << 10;
/// Most memory for a control message that has arrived in part.
const MAX_CONTROL_HELD: usize = 16 << 10;
/// Clients that are announced to a host in an iteration.
const ANNOUNCED_PER_ITERATION: usize = 64;
/// Bytes of announcements from which the next client has to wait for the next iteration.
const ANNOUNCED_BYTES: usize = 32 << 10;
/// Largest reason of a close frame, in bytes (RFC 6455 section 5.5).
const MAX_REASON: usize = 123;
/// Announcements of one client whose numbers are valid; beyond, the oldest become unknown. More are made only if hosts
/// come and go many times while the client waits.
const MAX_ANNOUNCEMENTS: usize = 1024;
