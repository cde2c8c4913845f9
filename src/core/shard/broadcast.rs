//! Messages collected for one side of a room, in order, with their senders.

use std::cell::OnceCell;
use std::io::IoSlice;
use std::ops::Range;

use smallvec::SmallVec;

use super::outbox::{Chunk, Outbox, next_slice};
use super::sent::SMALL;
use crate::frame::{Batch, Buffers, Piece};

/// Messages for all members of a side but their senders.
#[derive(Debug, Default)]
pub(super) struct PendingBroadcast {
    small: Vec<u8>,
    parts: SmallVec<[Part; 2]>,
    /// Members that joined after the first part, by position; each receives what was sent after it joined.
    joins: SmallVec<[Join; 2]>,
    /// Bytes of all parts.
    pub(super) bytes: usize,
    /// Messages of all parts.
    pub(super) messages: u64,
    /// Memory of the large parts, in bytes.
    large: usize,
    /// A copy of the small parts that all lagging members share.
    kept: OnceCell<Chunk>,
}

/// Consecutive messages of one sender.
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

/// Members from a place in the side's list on receive the parts from `part` on.
#[derive(Debug, Clone, Copy)]
struct Join {
    place: usize,
    part: usize,
}

/// Slices for one write; one read results in up to 65.
pub(super) type Slices<'a> = SmallVec<[IoSlice<'a>; 96]>;

impl PendingBroadcast {
    /// Adds the messages of one read.
    pub(super) fn push(&mut self, sender: u32, batch: &mut Batch, scratch: &[u8], buffers: &mut Buffers) {
        if let Some(outdated) = self.kept.take() {
            buffers.give_shared(outdated);
        }
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
        let follows_join = self.joins.last().is_some_and(|join| join.part == self.parts.len());
        if let Some(Part { sender, place: Place::Small(last), messages }) = self.parts.last_mut()
            && let Place::Small(next) = &part.place
            && *sender == part.sender
            && last.end == next.start
            && !follows_join
        {
            last.end = next.end;
            *messages += part.messages;
        } else {
            self.parts.push(part);
        }
    }

    /// Returns whether its senders should wait until it is sent, so that many of them don't fill the memory.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > FULL
    }

    /// Records that a member has joined at a position.
    pub(super) fn note_join(&mut self, place: usize) {
        let part = self.parts.len();
        if self.joins.last().is_none_or(|join| join.part < part) {
            self.joins.push(Join { place, part });
        }
    }

    /// Returns whether places in the side's list stand for what their members receive.
    pub(super) fn depends_on_places(&self) -> bool {
        !self.joins.is_empty()
    }

    /// Adjusts positions to a list from which some are removed; `is_gone` says for each, in order, whether it is. Looks
    /// at each position once, however many members have joined.
    pub(super) fn close_holes(&mut self, is_gone: impl Iterator<Item = bool>) {
        let (mut is_gone, mut place, mut gone) = (is_gone, 0, 0);
        for join in &mut self.joins {
            gone += is_gone.by_ref().take(join.place - place).filter(|is_gone| *is_gone).count();
            place = join.place;
            join.place -= gone;
        }
    }

    /// Returns the first part that the member at a position receives.
    pub(super) fn first_part(&self, place: usize) -> usize {
        let after = self.joins.partition_point(|join| join.place <= place);
        after.checked_sub(1).and_then(|at| self.joins.get(at)).map_or(0, |join| join.part)
    }

    /// Returns the bytes and messages for a member from a part on.
    pub(super) fn size_for(&self, receiver: u32, first: usize) -> (usize, u64) {
        let parts = self.parts[first..].iter().filter(|part| part.sender != receiver);
        parts.fold((0, 0), |(bytes, messages), part| (bytes + part.range().len(), messages + part.messages))
    }

    /// Returns the members that sent something.
    pub(super) fn senders(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().map(|part| part.sender)
    }

    /// Returns the parts for a member from `first` on, without its own, and `at_most` bytes in all.
    pub(super) fn slices(&self, receiver: u32, first: usize, mut at_most: usize) -> Slices<'_> {
        let mut slices = Slices::new();
        let mut push = |bytes| slices.extend(next_slice(bytes, &mut at_most));
        let mut run = 0..0;
        for part in self.parts[first..].iter().filter(|part| part.sender != receiver) {
            match &part.place {
                Place::Small(range) if range.start == run.end => run.end = range.end,
                place => {
                    if !run.is_empty() {
                        push(&self.small[run.clone()]);
                    }
                    match place {
                        Place::Small(range) => run = range.clone(),
                        Place::Large(chunk, range) => {
                            push(&chunk[range.clone()]);
                            run = 0..0;
                        }
                    }
                }
            }
        }
        if !run.is_empty() {
            push(&self.small[run]);
        }
        slices
    }

    /// Returns the bytes of memory that it owns.
    pub(super) fn memory(&self) -> usize {
        let parts = if self.parts.spilled() { self.parts.capacity() * size_of::<Part>() } else { 0 };
        self.small.capacity() + self.large + parts
    }

    /// Queues what a member hasn't taken: its parts from `first` on, without the first `taken` bytes.
    pub(super) fn enqueue_rest(
        &self,
        receiver: u32,
        first: usize,
        mut taken: usize,
        outbox: &mut Outbox,
        buffers: &mut Buffers,
    ) {
        for part in self.parts[first..].iter().filter(|part| part.sender != receiver) {
            let (chunk, range) = match &part.place {
                Place::Small(range) if outbox.keeps_sent() && range.len() <= SMALL => {
                    outbox.push_small(&self.small[range.clone()]);
                    continue;
                }
                Place::Small(range) => (self.kept.get_or_init(|| self.copy_small(buffers)), range.clone()),
                Place::Large(chunk, range) => (chunk, range.clone()),
            };
            if taken >= range.len() {
                taken -= range.len();
            } else {
                outbox.push_rest(chunk, range, std::mem::take(&mut taken));
            }
        }
    }

    /// Copies the small parts, right-sized.
    fn copy_small(&self, buffers: &mut Buffers) -> Chunk {
        let len = self.small.len();
        let mut copy = buffers.take_for_copy(len);
        copy[..len].copy_from_slice(&self.small);
        buffers.share(copy)
    }

    /// Empties it for the next use, and returns chunks that nobody shares to the pool.
    pub(super) fn clear(&mut self, buffers: &mut Buffers) {
        for part in self.parts.drain(..) {
            if let Place::Large(chunk, _) = part.place {
                buffers.give_shared(chunk);
            }
        }
        if let Some(kept) = self.kept.take() {
            buffers.give_shared(kept);
        }
        self.small.clear();
        self.joins.clear();
        (self.bytes, self.messages, self.large) = (0, 0, 0);
    }
}

impl Part {
    fn range(&self) -> &Range<usize> {
        let (Place::Small(range) | Place::Large(_, range)) = &self.place;
        range
    }
}

/// Bytes above which a broadcast is full.
const FULL: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_counted_once_however_many_members_have_joined() {
        let places = [2, 3, 5, 5, 9];
        let joins = places.iter().enumerate().map(|(part, place)| Join { place: *place, part }).collect();
        let mut broadcast = PendingBroadcast { joins, ..PendingBroadcast::default() };
        let holes = [true, false, false, true, true, false, true, false, false, true];
        let mut looks = 0;
        broadcast.close_holes(holes.iter().inspect(|_| looks += 1).copied());
        assert_eq!(broadcast.joins.iter().map(|join| join.place).collect::<Vec<_>>(), [1, 2, 2, 2, 5]);
        assert_eq!(looks, 9);
    }
}
