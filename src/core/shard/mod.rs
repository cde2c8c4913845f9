//! What one relay thread does, without the I/O: members, who hears whom, outboxes, flow control, heartbeat, goodbyes.
//!
//! A registration lives on one shard as a *room*. A round is: [`Shard::begin_round`], [`Shard::readable`] and
//! [`Shard::writable`] for each member whose connection is ready, [`Shard::resume`], then [`Shard::flush_some`], which
//! writes what a room's senders sent within the round to each receiver at once. A room with one receiver is served at
//! once instead.
//!
//! Flow control: a sender isn't read from while every receiver of it has more than the high-water mark in its outbox,
//! so that the fastest receiver sets the pace; one that falls further behind than its outbox allows, or takes nothing
//! for the stall timeout, is closed. A stream between two is thereby paced by TCP from end to end. A member may also have
//! a rate of its own ([`Rates`]), above which it isn't read from for a while.
//!
//! Connections are behind [`Link`], time comes as an argument, and nothing is random: so a history of joins, sends and
//! leaves can be run as a simulation and gives the same each time.

mod deliver;
mod ending;
mod flight;
mod heartbeat;
mod link;
mod member;
mod memory;
mod outbox;
mod pace;
mod read;
mod room;
mod spares;
mod succession;
mod traffic;
mod transit;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use slab::Slab;

pub use link::{Link, Parting, Received, TcpTransit};
pub use member::{Glimpse, MemberTally, Newcomer, ShardTally};
pub use pace::Rates;
pub use succession::MemberState;
pub use traffic::Traffic;

use crate::close::CloseReason;
use crate::frame::{Batch, Buffers};
use crate::ids::{MemberId, Serial};
use flight::Flight;
use heartbeat::{Heartbeat, Signs, Verdict};
use member::{Member, Phase};
use memory::Held;
use room::{Room, heard_by, side_of};
use spares::Spares;

/// A point in time: milliseconds since a begin that all moments of a shard share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The time from `earlier` to this moment; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and some time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_millis() as u64))
    }
}

/// What members may do and must do.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The largest message, in bytes of payload.
    pub max_message: u64,
    /// Bytes that a receiver may be behind, with what it takes to keep them; a message more is let in.
    pub outbox: usize,
    /// Whether the slowest receiver sets the pace instead of the fastest.
    pub pace: bool,
    /// Silence after which a ping is sent.
    pub ping_interval: Duration,
    /// Silence after a ping that ends the connection.
    pub pong_timeout: Duration,
    /// How long a member may take nothing while something waits for it.
    pub stall_timeout: Duration,
    /// How long a peer has to end the connection after the close frame.
    pub close_timeout: Duration,
}

/// The members of some registrations and their connections.
#[derive(Debug)]
pub struct Shard<L> {
    rules: Rules,
    members: Slab<Member<L>>,
    rooms: Slab<Room>,
    by_serial: HashMap<Serial, u32>,
    /// What is read goes here; what a member left incomplete is put in front of it.
    scratch: Vec<u8>,
    batch: Batch,
    buffers: Buffers,
    spares: Spares,
    /// Sides with a round to flush.
    dirty: VecDeque<(u32, usize)>,
    /// The one that is being flushed.
    flight: Option<Flight>,
    /// Bytes that are read from each member in this round.
    share: usize,
    /// Members to read from again without waiting.
    hot: Vec<u32>,
    /// The list that was worked off last, kept for its memory; likewise the one of those who lagged in a round.
    cold: Vec<u32>,
    lagging: Vec<(u32, usize)>,
    /// Members that sent more than they may, with when they are read from again, the next one first.
    resting: BinaryHeap<Reverse<(Moment, u32)>>,
    tally: ShardTally,
    held: Held,
}

impl<L: Link> Shard<L> {
    /// Makes a shard without members.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            members: Slab::new(),
            rooms: Slab::new(),
            by_serial: HashMap::new(),
            scratch: vec![0; SCRATCH],
            batch: Batch::default(),
            buffers: Buffers::default(),
            spares: Spares::default(),
            dirty: VecDeque::new(),
            flight: None,
            share: READ,
            hot: Vec::new(),
            cold: Vec::new(),
            lagging: Vec::new(),
            resting: BinaryHeap::new(),
            tally: ShardTally::default(),
            held: Held::default(),
        }
    }

    /// Lets a member in. Returns its slot, which stands for it until its connection is dropped.
    pub fn join(&mut self, newcomer: &Newcomer, link: L, now: Moment) -> usize {
        // A newcomer hears what is sent from now on.
        self.flush_room(newcomer.serial, now);
        let room = self.room(newcomer);
        let slot = self.members.insert(Member::new(newcomer, link, now));
        let side = &mut self.rooms[room as usize].sides[side_of(newcomer.role)];
        let member = &mut self.members[slot];
        (member.room, member.place) = (room, side.members.len() as u32);
        side.members.push(slot as u32);
        self.tally.members += u64::from(newcomer.counts);
        self.wake_senders(room, side_of(newcomer.role));
        slot
    }

    /// Takes note that a member's link is there now, with the bytes that it sent right behind its handshake.
    pub fn arrived(&mut self, slot: usize, early: &[u8], now: Moment) {
        self.read_early(slot, early, now);
        self.rest(slot, now);
        if self.members.get(slot).is_some_and(|member| member.link.has_unread()) {
            self.heat(slot);
        }
    }

    /// Reaches the connection in a slot, as for an event loop that registers it.
    pub fn link_mut(&mut self, slot: usize) -> Option<&mut L> {
        self.members.get_mut(slot).map(|member| &mut member.link)
    }

    /// Tells whether there is work that no readiness will announce.
    pub fn has_work(&self) -> bool {
        !self.hot.is_empty() || self.flight.is_some() || !self.dirty.is_empty()
    }

    /// Tells whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Takes new rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What the shard has done in all.
    pub fn tally(&self) -> &ShardTally {
        &self.tally
    }

    /// Looks at the members of a registration.
    pub fn members_of(&self, serial: Serial) -> impl Iterator<Item = Glimpse<'_, L>> {
        let room = self.by_serial.get(&serial).and_then(|room| self.rooms.get(*room as usize));
        let slots = room.into_iter().flat_map(|room| room.sides.iter().flat_map(|side| side.members.iter()));
        slots.filter_map(|slot| self.members.get(*slot as usize)).map(Member::glimpse)
    }

    /// Looks at a member; a search through all, for the rare question of an administrator.
    pub fn find(&self, id: MemberId) -> Option<(usize, Glimpse<'_, L>)> {
        let found = self.members.iter().find(|(_, member)| member.id == id && member.is_open());
        found.map(|(slot, member)| (slot, member.glimpse()))
    }

    /// Asks the silent for a sign of life, gives up the dead and the stalled, and ends goodbyes that take too long.
    /// To be called about once a second.
    pub fn sweep(&mut self, now: Moment) {
        let heartbeat = Heartbeat {
            ping_interval: self.rules.ping_interval,
            pong_timeout: self.rules.pong_timeout,
            stall_timeout: self.rules.stall_timeout,
        };
        let (mut silent, mut over) = (Vec::new(), Vec::new());
        for (slot, member) in &mut self.members {
            match member.phase {
                Phase::Closing(deadline) | Phase::Finished(deadline) if deadline <= now => over.push(slot),
                Phase::Open => {
                    if member.flags.paused || member.flags.resting {
                        // Its pong may be there and isn't read, so its time to answer begins when it is read again.
                        member.pinged = member.pinged.map(|_| now);
                    }
                    member.watch(now);
                    let owed_since = member.outbox.as_deref().map(outbox::Outbox::progress);
                    let signs = Signs { heard: member.heard, pinged: member.pinged, owed_since };
                    let verdict = heartbeat.judge(signs, now);
                    if verdict != Verdict::Alive {
                        silent.push((slot, verdict));
                    }
                }
                _ => {}
            }
        }
        for slot in over {
            self.tally.overdue += u64::from(self.members[slot].counts);
            self.drop_connection(slot);
        }
        for (slot, verdict) in silent {
            match verdict {
                Verdict::Alive => {}
                Verdict::Ask => self.ping(slot, now),
                Verdict::NoPong => self.close(slot, CloseReason::NoPong, None, now),
                Verdict::Stalled => self.close(slot, CloseReason::TooSlow, None, now),
            }
        }
    }

    fn room(&mut self, newcomer: &Newcomer) -> u32 {
        *self.by_serial.entry(newcomer.serial).or_insert_with(|| self.rooms.insert(Room::new(newcomer.serial)) as u32)
    }

    /// Has a member read from again without waiting for readiness.
    fn heat(&mut self, slot: usize) {
        let flags = &mut self.members[slot].flags;
        if !flags.hot {
            flags.hot = true;
            self.hot.push(slot as u32);
        }
    }

    /// Reads again from all who were paused because of a side that takes more now.
    fn wake_senders(&mut self, room: u32, side: usize) {
        let Some(found) = self.rooms.get_mut(room as usize) else { return };
        let mut paused = std::mem::take(&mut found.sides[side].paused);
        for slot in paused.drain(..) {
            if let Some(member) = self.members.get_mut(slot as usize)
                && member.flags.paused
            {
                member.flags.paused = false;
                self.heat(slot as usize);
            }
        }
        self.rooms[room as usize].sides[side].paused = paused;
    }
}

/// What is read at once: small enough to stay in a core's own cache.
const READ: usize = 256 << 10;
/// What is read at once of one of many.
const LEAST_SHARE: usize = 16 << 10;
/// A read, and what a member may have left incomplete.
const SCRATCH: usize = READ + (20 << 10);
/// Weight of an outbox above which a receiver no longer has its senders read from.
const HIGH_WATER: usize = 256 << 10;
/// Weight below which it has again.
const LOW_WATER: usize = 64 << 10;

#[cfg(test)]
mod tests;
