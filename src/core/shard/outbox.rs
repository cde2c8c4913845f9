//! A member's outbox: bytes accepted for it and not yet taken by its socket.
//!
//! It is bounded in bytes, so that a slow reader loses its own connection and doesn't use up the memory. It holds
//! slices of chunks that all members that lag share, so that a broadcast which a hundred members couldn't take is kept
//! once. A member without an outbox is up to date; most never have one.
//!
//! A member with a session has one all the time: everything goes through it, and what the socket has taken is kept for a
//! while ([`Sent`]), so that it can be sent again over the next connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use smallvec::SmallVec;

use super::Moment;
use super::sent::{Gap, Sent, complete_messages};
use crate::frame::{Buffers, whole_frame_len, whole_frames};

/// Bytes that several outboxes may share.
pub(super) type Chunk = Rc<Vec<u8>>;

/// Bytes that wait for one member.
#[derive(Debug)]
pub(super) struct Outbox {
    slices: VecDeque<Slice>,
    queued: usize,
    /// Bytes that the socket has taken since the outbox was empty.
    taken: usize,
    /// Memory of the slices' chunks; a chunk counts for each slice of it.
    kept: usize,
    /// Time of the last progress: the socket took something, the peer's machine acknowledged something, or the outbox
    /// was empty before.
    progress: Moment,
    /// Whether the newest slice is a pong that a newer one may replace.
    ends_with_pong: bool,
    /// What the socket has taken, if it is kept for a session.
    sent: Option<Box<Sent>>,
}

/// A part of a chunk: whole frames, of which the first may have been sent in part.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) chunk: Chunk,
    pub(super) range: Range<usize>,
    /// Start of the first whole frame in the chunk; the range before it is the rest of a frame partly sent.
    pub(super) boundary: usize,
}

impl Outbox {
    /// Creates an empty outbox.
    pub(super) fn new(now: Moment) -> Self {
        Self { slices: VecDeque::new(), queued: 0, taken: 0, kept: 0, progress: now, ends_with_pong: false, sent: None }
    }

    /// Keeps what the socket takes from now on, so many bytes at most, so that it can be sent again.
    pub(super) fn keep_sent(&mut self, at_most: usize) {
        self.sent = Some(Box::new(Sent::new(at_most)));
    }

    /// Creates the outbox of a session that an old process has handed over, with the bytes that were sent and are kept,
    /// and those that follow them; `None` if they don't make up frames.
    pub(super) fn of_session(mut sent: Sent, kept: &[u8], queued: &[u8], now: Moment) -> Option<Self> {
        let mut outbox = Self::new(now);
        let chunk = Rc::new([kept, queued].concat());
        let boundary = whole_frames(kept).map(<[u8]>::len).sum();
        let range = kept.len()..chunk.len();
        if range.is_empty() && boundary < range.start {
            return None;
        }
        if boundary > 0 {
            sent.add(Slice { chunk: Rc::clone(&chunk), range: 0..boundary, boundary: 0 });
        }
        if !range.is_empty() {
            outbox.queued = range.len();
            outbox.kept = chunk.capacity();
            outbox.slices.push_back(Slice { chunk, range, boundary });
        }
        outbox.kept += sent.kept();
        outbox.sent = Some(Box::new(sent));
        Some(outbox)
    }

    /// Returns what is kept of what the socket has taken; `None` without a session.
    pub(super) fn sent(&self) -> Option<&Sent> {
        self.sent.as_deref()
    }

    /// Returns whether it belongs to a session: then it stays even when it is empty.
    pub(super) fn keeps_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Discards what was kept for a session, and keeps nothing from now on.
    pub(super) fn stop_keeping(&mut self, buffers: &mut Buffers) {
        self.forget_sent(buffers);
        self.sent = None;
    }

    /// Discards what was kept for a session so far; returns the number of bytes.
    pub(super) fn forget_sent(&mut self, buffers: &mut Buffers) -> usize {
        let Some(sent) = self.sent.as_deref_mut() else { return 0 };
        let kept = sent.kept();
        sent.forget(buffers);
        self.kept -= kept;
        kept
    }

    /// Puts everything after so many messages back in front of what waits, since the connection that took it is lost;
    /// returns the number of messages that are sent again. Fails if the socket hasn't taken so many messages, or what
    /// follows isn't kept any more.
    pub(super) fn rewind(&mut self, received: u64, buffers: &mut Buffers) -> Result<u64, Gap> {
        let Some(sent) = self.sent.as_deref_mut() else { return Err(Gap) };
        let kept = sent.messages();
        let [handed_over, with_rest] = self.slices.front().map_or([kept; 2], |front| {
            // The rest of a frame of which a part was sent went over the old connection, too, before its close frame.
            let with_rest = front.chunk.get(front.boundary..front.next_boundary()).unwrap_or_default();
            [front.begun(), with_rest].map(|frames| kept + complete_messages(frames))
        });
        if received > with_rest || !sent.reaches_back_to(received) {
            return Err(Gap);
        }
        if let Some(front) = self.slices.front_mut() {
            let begun = front.range.start - front.boundary;
            (front.range.start, self.queued) = (front.boundary, self.queued + begun);
            sent.again += begun;
        }
        while let Some(slice) = sent.take_last() {
            self.queued += slice.range.len();
            sent.again += slice.range.len();
            self.slices.push_front(slice);
        }
        while sent.before < received
            && let Some(front) = self.slices.front_mut()
        {
            let len = sent.pass_frame(front);
            self.queued -= len;
            sent.again = sent.again.saturating_sub(len);
            if front.range.is_empty()
                && let Some(front) = self.slices.pop_front()
            {
                self.kept -= front.chunk.capacity();
                buffers.give_shared(front.chunk);
            }
        }
        Ok(handed_over.saturating_sub(received))
    }

    /// Returns the rest of a frame of which a part has been sent, if there is one.
    pub(super) fn rest_of_begun(&self) -> Option<(Chunk, Range<usize>)> {
        let front = self.slices.front()?;
        let range = front.range.start..front.next_boundary();
        (!range.is_empty()).then(|| (Rc::clone(&front.chunk), range))
    }

    /// Returns whether the socket took less than it was offered, and hasn't announced since that it takes more.
    pub(super) fn is_blocked(&self) -> bool {
        self.sent.as_deref().is_some_and(|sent| sent.is_blocked)
    }

    /// Records whether the socket took less than it was offered.
    pub(super) fn set_blocked(&mut self, is_blocked: bool) {
        if let Some(sent) = &mut self.sent {
            sent.is_blocked = is_blocked;
        }
    }

    /// Returns the number of bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Returns the number of bytes that wait, with the overhead of keeping them: tiny messages take far more memory
    /// than their length.
    pub(super) fn weight(&self) -> usize {
        self.queued + self.slices.len() * SLICE_WEIGHT
    }

    /// Returns the memory that its bytes take, with shared chunks counted in full.
    pub(super) fn kept(&self) -> usize {
        self.kept + (self.slices.len() + self.sent.as_deref().map_or(0, Sent::len)) * SLICE_WEIGHT
    }

    /// Returns the bytes that wait to be sent again.
    pub(super) fn again(&self) -> usize {
        self.sent.as_deref().map_or(0, |sent| sent.again)
    }

    /// Returns the memory that its bytes take, with its part of shared chunks.
    pub(super) fn share(&self) -> usize {
        let part = |slice: &Slice| slice.chunk.capacity() / Rc::strong_count(&slice.chunk).max(1) + SLICE_WEIGHT;
        self.slices.iter().chain(self.sent.iter().flat_map(|sent| sent.slices())).map(part).sum()
    }

    /// Returns the number of bytes that the socket has taken since the outbox was empty.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns the time of the last progress.
    pub(super) fn progress(&self) -> Moment {
        self.progress
    }

    /// Records that the peer's machine has acknowledged bytes, or that the outbox is no longer empty.
    pub(super) fn note_progress(&mut self, now: Moment) {
        self.progress = now;
    }

    /// Adds a part of a chunk whose first `begun` bytes are the rest of a frame partly sent.
    pub(super) fn push(&mut self, chunk: Chunk, range: Range<usize>, begun: usize) {
        self.ends_with_pong = false;
        self.queued += range.len();
        self.kept += chunk.capacity();
        let boundary = range.start + begun;
        self.slices.push_back(Slice { chunk, range, boundary });
    }

    /// Adds a part of a chunk, without its first `taken` bytes, which have been sent.
    pub(super) fn push_rest(&mut self, chunk: &Chunk, range: Range<usize>, taken: usize) {
        self.ends_with_pong = false;
        self.queued += range.len() - taken;
        self.kept += chunk.capacity();
        let boundary = range.start;
        self.slices.push_back(Slice { chunk: Rc::clone(chunk), range: range.start + taken..range.end, boundary });
    }

    /// Adds whole frames to an outbox that belongs to a session. Small ones are copied behind each other, so that keeping
    /// many doesn't take far more memory than their length.
    pub(super) fn push_small(&mut self, frames: &[u8]) {
        self.ends_with_pong = false;
        let Some(sent) = self.sent.as_deref_mut() else { return };
        if self.slices.is_empty() {
            // The chunk of the last frames that were sent may have room.
            self.slices.extend(sent.reopen(frames.len()));
        }
        self.queued += frames.len();
        if !self.slices.back_mut().is_some_and(|last| last.append(frames)) {
            let slice = sent.new_slice(frames);
            self.kept += slice.chunk.capacity();
            self.slices.push_back(slice);
        }
    }

    /// Adds everything that another outbox holds.
    pub(super) fn append(&mut self, other: Self) {
        self.ends_with_pong = other.ends_with_pong;
        self.queued += other.queued;
        self.kept += other.kept;
        self.slices.extend(other.slices);
    }

    /// Adds the last of some pongs, which replaces a waiting pong at the end of the outbox (RFC 6455 section 5.5.3).
    pub(super) fn push_pong(&mut self, pongs: &[u8], last: usize) {
        if self.ends_with_pong
            && self.slices.len() > 1
            && let Some(old) = self.slices.pop_back()
        {
            self.queued -= old.range.len();
            self.kept -= old.chunk.capacity();
        }
        let pong = &pongs[last..];
        self.push(Rc::new(pong.to_vec()), 0..pong.len(), 0);
        self.ends_with_pong = true;
    }

    /// Returns the bytes to send next, `at_most` in all.
    pub(super) fn front(&self, mut at_most: usize) -> SmallVec<[IoSlice<'_>; SLICES_A_WRITE]> {
        let slices = self.slices.iter().take(SLICES_A_WRITE);
        slices.map_while(|slice| next_slice(&slice.chunk[slice.range.clone()], &mut at_most)).collect()
    }

    /// Removes bytes that have been sent.
    pub(super) fn consume(&mut self, bytes: usize, now: Moment, buffers: &mut Buffers) {
        if bytes > 0 {
            self.progress = now;
            self.queued -= bytes;
            self.taken += bytes;
        }
        if let Some(sent) = self.sent.as_deref_mut() {
            sent.again = sent.again.saturating_sub(bytes);
            if self.queued == 0 {
                self.taken = 0;
            }
        }
        self.remove_front(bytes, buffers);
    }

    /// Discards frames at the front of which nothing has been sent, so many bytes.
    pub(super) fn discard_front(&mut self, bytes: usize, buffers: &mut Buffers) {
        self.queued -= bytes;
        self.remove_front(bytes, buffers);
    }

    fn remove_front(&mut self, mut bytes: usize, buffers: &mut Buffers) {
        while let Some(slice) = self.slices.front_mut() {
            if slice.range.len() > bytes {
                slice.range.start += bytes;
                return;
            }
            bytes -= slice.range.len();
            let Some(mut slice) = self.slices.pop_front() else { return };
            if let Some(sent) = self.sent.as_deref_mut() {
                slice.range.start = slice.boundary;
                self.kept -= sent.keep(slice, buffers);
            } else {
                self.kept -= slice.chunk.capacity();
                buffers.give_shared(slice.chunk);
            }
        }
    }

    /// Copies the bytes that were sent and are kept, and the part that was sent of the first frame that waits.
    pub(super) fn sent_state(&self) -> Vec<u8> {
        let sent = self.sent.iter().flat_map(|sent| sent.slices()).flat_map(|slice| &slice.chunk[slice.range.clone()]);
        sent.chain(self.slices.front().map_or(&[][..], Slice::begun)).copied().collect()
    }

    /// Copies the bytes, and returns how many of them at the start complete a frame partly sent.
    pub(super) fn state(&self) -> (Vec<u8>, usize) {
        let bytes = self.slices.iter().flat_map(|slice| &slice.chunk[slice.range.clone()]).copied().collect();
        let begun = self.slices.front().map_or(0, |slice| slice.next_boundary() - slice.range.start);
        (bytes, begun)
    }

    /// Drops all frames of which nothing has been sent; the rest of a frame partly sent remains.
    pub(super) fn keep_begun_frame(&mut self, buffers: &mut Buffers) {
        for dropped in self.slices.drain(self.slices.len().min(1)..) {
            buffers.give_shared(dropped.chunk);
        }
        if let Some(slice) = self.slices.front_mut() {
            let end = slice.next_boundary();
            slice.range.end = slice.range.end.min(end);
        }
        self.slices.retain(|slice| !slice.range.is_empty());
        self.queued = self.slices.iter().map(|slice| slice.range.len()).sum();
        self.kept = self.slices.iter().map(|slice| slice.chunk.capacity()).sum();
    }

    /// Clears the outbox for its next use.
    pub(super) fn clear(&mut self, buffers: &mut Buffers) {
        for slice in self.slices.drain(..) {
            buffers.give_shared(slice.chunk);
        }
        (self.queued, self.taken, self.kept, self.ends_with_pong, self.sent) = (0, 0, 0, false, None);
        self.slices.shrink_to(SLICES_A_WRITE);
    }
}

impl Slice {
    /// Returns what was sent of a slice that starts with whole frames, as those of a session do.
    fn begun(&self) -> &[u8] {
        self.chunk.get(self.boundary..self.range.start).unwrap_or_default()
    }

    /// Adds frames behind the slice, if its chunk has room for them and belongs to it alone; returns whether it has.
    fn append(&mut self, frames: &[u8]) -> bool {
        if !self.has_room_for(frames.len()) {
            return false;
        }
        let Some(chunk) = Rc::get_mut(&mut self.chunk) else { return false };
        chunk.extend_from_slice(frames);
        self.range.end = chunk.len();
        true
    }

    /// Returns whether so many bytes can be added without copying what is there.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let chunk = &self.chunk;
        self.range.end == chunk.len() && chunk.capacity() - chunk.len() >= bytes && Rc::strong_count(chunk) == 1
    }

    /// Returns the start of the first frame of which nothing has been sent.
    fn next_boundary(&self) -> usize {
        let mut boundary = self.boundary;
        while boundary < self.range.start {
            match whole_frame_len(&self.chunk[boundary..]) {
                Some(len) => boundary += len,
                None => return self.range.end,
            }
        }
        boundary
    }
}

/// Returns the next slice of a write that is `at_most` bytes long from there on; `None` if it is long enough.
pub(super) fn next_slice<'a>(bytes: &'a [u8], at_most: &mut usize) -> Option<IoSlice<'a>> {
    let len = bytes.len().min(*at_most);
    *at_most -= len;
    (len > 0).then(|| IoSlice::new(&bytes[..len]))
}

/// Returns how many bytes complete the current frame after `sent` bytes of `slices`, which start with a frame.
pub(super) fn rest_of_begun_frame(slices: &[IoSlice<'_>], mut sent: usize) -> usize {
    for slice in slices {
        if sent >= slice.len() {
            sent -= slice.len();
            continue;
        }
        let mut boundary = 0;
        while boundary < sent {
            match whole_frame_len(&slice[boundary..]) {
                Some(len) => boundary += len,
                None => return slice.len() - sent,
            }
        }
        return boundary - sent;
    }
    0
}

/// Overhead of a slice: the slice itself, and the two allocations of its chunk, which may be used by this slice alone.
const SLICE_WEIGHT: usize = 128;
/// Slices in one system call; the kernel takes 1,024 at most (IOV_MAX).
const SLICES_A_WRITE: usize = 64;
