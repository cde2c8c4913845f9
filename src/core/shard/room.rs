//! The members of one registration, by who hears whom, and what was sent to them within the round.
//!
//! A lobby has one side, whose members hear each other. A hostclient registration has two, and each hears the other.
//! Messages for a side are collected while the round lasts and written once to each of its members at the end.

use std::io::IoSlice;
use std::ops::Range;

use smallvec::SmallVec;

use super::member::MemberTally;
use super::outbox::{Chunk, Outbox};
use crate::frame::{Batch, Buffers, Piece};
use crate::ids::Serial;
use crate::kind::Role;

/// A registration's members on this thread.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) serial: Serial,
    pub(super) sides: [Side; 2],
    /// What those had sent and been sent who have left; only where some have.
    pub(super) departed: Option<Box<MemberTally>>,
}

/// Members that hear the same.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Their slots, in no order.
    pub(super) members: SmallVec<[u32; 4]>,
    /// How many of them are above the high-water mark.
    pub(super) above: u32,
    /// Senders that aren't read from until this side has taken more.
    pub(super) paused: Vec<u32>,
    /// Whether a round is on its way to them, and some have had it.
    pub(super) in_flight: bool,
    /// What they are to be sent at the end of the round; most rooms are quiet most of the time.
    pub(super) round: Option<Box<Round>>,
}

impl Room {
    pub(super) fn new(serial: Serial) -> Self {
        Self { serial, sides: Default::default(), departed: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sides.iter().all(|side| side.members.is_empty())
    }
}

/// The side that a role belongs to.
pub(super) fn side_of(role: Role) -> usize {
    match role {
        Role::Host | Role::Peer => 0,
        Role::Client => 1,
    }
}

/// The rule of delivery: the side that hears a role.
pub(super) fn heard_by(role: Role) -> usize {
    match role {
        Role::Client | Role::Peer => 0,
        Role::Host => 1,
    }
}

/// What was sent to a side within a round, in order, with who sent it.
#[derive(Debug, Default)]
pub(super) struct Round {
    small: Vec<u8>,
    parts: SmallVec<[Part; 2]>,
    /// Bytes in all.
    pub(super) bytes: usize,
    /// Messages in all.
    pub(super) messages: u64,
    /// Memory of the large parts.
    large: usize,
}

/// What one member sent, as far as it lies together.
#[derive(Debug)]
struct Part {
    sender: u32,
    place: Place,
    messages: u64,
}

#[derive(Debug)]
enum Place {
    Small(Range<usize>),
    Large(Chunk, Range<usize>),
}

/// Slices for one write; a read of messages that aren't worth moving together gives up to 65.
pub(super) type Slices<'a> = SmallVec<[IoSlice<'a>; 96]>;

impl Round {
    /// Adds what one read of a sender gave.
    pub(super) fn push(&mut self, sender: u32, batch: &mut Batch, scratch: &[u8], buffers: &mut Buffers) {
        let mut messages = batch.messages;
        for piece in batch.pieces.drain(..) {
            let place = match piece {
                Piece::InPlace(range) => {
                    let start = self.small.len();
                    self.small.extend_from_slice(&scratch[range]);
                    Place::Small(start..self.small.len())
                }
                Piece::Assembled(buffer, range) => {
                    self.large += buffer.capacity();
                    Place::Large(buffers.share(buffer), range)
                }
            };
            // The whole read's messages stand with its first part: they are only ever asked for by sender.
            self.push_part(Part { sender, place, messages: std::mem::take(&mut messages) });
        }
        self.bytes += batch.bytes;
        self.messages += batch.messages;
    }

    fn push_part(&mut self, part: Part) {
        if let Some(Part { sender, place: Place::Small(last), messages }) = self.parts.last_mut()
            && let Place::Small(next) = &part.place
            && *sender == part.sender
            && last.end == next.start
        {
            last.end = next.end;
            *messages += part.messages;
        } else {
            self.parts.push(part);
        }
    }

    /// Bytes and messages that a member sent itself.
    pub(super) fn own(&self, sender: u32) -> (usize, u64) {
        let own = self.parts.iter().filter(|part| part.sender == sender);
        own.fold((0, 0), |(bytes, messages), part| (bytes + part.range().len(), messages + part.messages))
    }

    /// The members that sent something.
    pub(super) fn senders(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().map(|part| part.sender)
    }

    /// All parts for a member, save its own if it `spoke`.
    pub(super) fn slices(&self, receiver: u32, spoke: bool) -> Slices<'_> {
        let mut slices = Slices::new();
        let mut run = 0..0;
        for part in self.parts.iter().filter(|part| !spoke || part.sender != receiver) {
            match &part.place {
                Place::Small(range) if range.start == run.end => run.end = range.end,
                place => {
                    if !run.is_empty() {
                        slices.push(IoSlice::new(&self.small[run.clone()]));
                    }
                    match place {
                        Place::Small(range) => run = range.clone(),
                        Place::Large(chunk, range) => {
                            slices.push(IoSlice::new(&chunk[range.clone()]));
                            run = 0..0;
                        }
                    }
                }
            }
        }
        if !run.is_empty() {
            slices.push(IoSlice::new(&self.small[run]));
        }
        slices
    }

    /// Bytes of memory beside itself.
    pub(super) fn memory(&self) -> usize {
        let parts = if self.parts.spilled() { self.parts.capacity() * size_of::<Part>() } else { 0 };
        self.small.capacity() + self.large + parts
    }

    /// Copies what lagging members are to share of the small parts, right-sized.
    pub(super) fn keep(&self, buffers: &mut Buffers) -> Chunk {
        let len = self.small.len();
        let mut copy = buffers.take_for_copy(len);
        copy[..len].copy_from_slice(&self.small);
        buffers.share(copy)
    }

    /// Puts into a member's outbox what it hasn't taken: all parts for it but the first `taken` bytes.
    pub(super) fn owe(&self, small: &Chunk, receiver: u32, mut taken: usize, outbox: &mut Outbox) {
        for part in self.parts.iter().filter(|part| part.sender != receiver) {
            let (chunk, range) = match &part.place {
                Place::Small(range) => (small, range.clone()),
                Place::Large(chunk, range) => (chunk, range.clone()),
            };
            if taken >= range.len() {
                taken -= range.len();
            } else {
                outbox.push_rest(chunk, range, std::mem::take(&mut taken));
            }
        }
    }

    /// Ends the round for the next one; gives chunks back that nobody shares.
    pub(super) fn clear(&mut self, buffers: &mut Buffers) {
        for part in self.parts.drain(..) {
            if let Place::Large(chunk, _) = part.place {
                buffers.give_shared(chunk);
            }
        }
        self.small.clear();
        (self.bytes, self.messages, self.large) = (0, 0, 0);
    }
}

impl Part {
    fn range(&self) -> &Range<usize> {
        let (Place::Small(range) | Place::Large(_, range)) = &self.place;
        range
    }
}
