//! What a member with a session was sent lately, to be sent again over its next connection.
//!
//! Bytes that the socket has taken may be lost with it. The device counts the messages that it receives; when it comes
//! back it says how many, and what follows is sent again. Messages are counted by their frames when they are discarded
//! or looked for, not when they are sent.

use std::collections::VecDeque;
use std::rc::Rc;

use super::outbox::Slice;
use crate::frame::{Buffers, whole_frame_len, whole_frames};

/// Frames that the socket has taken, the latest ones.
#[derive(Debug)]
pub(super) struct Sent {
    /// Whole frames, the oldest first.
    slices: VecDeque<Slice>,
    bytes: usize,
    /// Most bytes to keep.
    at_most: usize,
    /// Number of messages that were sent before the first slice and are no longer kept.
    pub(super) before: u64,
    /// Whether the first slice continues a message whose start is no longer kept.
    starts_within_message: bool,
    /// Bytes of the outbox that were sent before, over a connection that was lost.
    pub(super) again: usize,
    /// Whether the socket took less than it was offered.
    pub(super) is_blocked: bool,
    /// Capacity of the next chunk for small frames.
    capacity: usize,
}

/// Messages that a device has missed can't be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap;

impl Sent {
    /// Creates the record of a session in which nothing has been sent.
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            slices: VecDeque::new(),
            bytes: 0,
            at_most,
            before: 0,
            starts_within_message: false,
            again: 0,
            is_blocked: false,
            capacity: FIRST_CHUNK,
        }
    }

    /// Restores the record of an old process, in which `before` messages are no longer kept.
    pub(super) fn restored(before: u64, starts_within_message: bool, at_most: usize) -> Self {
        Self { before, starts_within_message, ..Self::new(at_most) }
    }

    /// Returns whether the first slice continues a message whose start is no longer kept.
    pub(super) fn starts_within_message(&self) -> bool {
        self.starts_within_message
    }

    /// Returns the number of slices.
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    pub(super) fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter()
    }

    /// Adds a slice of whole frames without discarding others.
    pub(super) fn add(&mut self, slice: Slice) {
        self.bytes += slice.range.len();
        self.slices.push_back(slice);
    }

    /// Returns the memory of the slices' chunks, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.slices.iter().map(|slice| slice.chunk.capacity()).sum()
    }

    /// Returns the number of messages that were sent as a whole since the session began, by all whole slices.
    pub(super) fn messages(&self) -> u64 {
        let kept = self.slices.iter().map(|slice| complete_messages(&slice.chunk[slice.range.clone()]));
        self.before + kept.sum::<u64>()
    }

    /// Returns whether all is kept that follows the first `received` messages.
    pub(super) fn reaches_back_to(&self, received: u64) -> bool {
        received > self.before || (received == self.before && !self.starts_within_message)
    }

    /// Adds a slice of whole frames, and discards the oldest frames beyond the limit; returns the memory of the chunks
    /// that were released.
    pub(super) fn keep(&mut self, slice: Slice, buffers: &mut Buffers) -> usize {
        self.add(slice);
        let mut released = 0;
        while self.bytes > self.at_most
            && let Some(mut front) = self.slices.pop_front()
        {
            self.bytes -= self.pass_frame(&mut front);
            if front.range.is_empty() {
                released += front.chunk.capacity();
                buffers.give_shared(front.chunk);
            } else {
                self.slices.push_front(front);
            }
        }
        released
    }

    /// Discards everything.
    pub(super) fn forget(&mut self, buffers: &mut Buffers) {
        while let Some(mut front) = self.slices.pop_front() {
            while !front.range.is_empty() {
                self.pass_frame(&mut front);
            }
            buffers.give_shared(front.chunk);
        }
        self.bytes = 0;
    }

    /// Removes the first frame of the first slice, and counts its message; returns the length of the frame.
    pub(super) fn pass_frame(&mut self, slice: &mut Slice) -> usize {
        let bytes = &slice.chunk[slice.range.clone()];
        let len = whole_frame_len(bytes).unwrap_or(usize::MAX).min(bytes.len());
        if let Some(ends_message) = bytes.first().and_then(|first| ends_message(*first)) {
            self.before += u64::from(ends_message);
            self.starts_within_message = !ends_message;
        }
        slice.range.start += len;
        slice.boundary = slice.range.start;
        len
    }

    /// Removes the last slice.
    pub(super) fn take_last(&mut self) -> Option<Slice> {
        let last = self.slices.pop_back()?;
        self.bytes -= last.range.len();
        Some(last)
    }

    /// Removes the last slice if so many bytes fit behind it; nothing of it waits to be sent.
    pub(super) fn reopen(&mut self, bytes: usize) -> Option<Slice> {
        self.slices.back().filter(|slice| slice.has_room_for(bytes))?;
        let mut last = self.take_last()?;
        last.range.start = last.range.end;
        Some(last)
    }

    /// Copies frames into a chunk that has room for more.
    pub(super) fn new_slice(&mut self, frames: &[u8]) -> Slice {
        let mut chunk = Vec::with_capacity(self.capacity.max(frames.len()));
        chunk.extend_from_slice(frames);
        self.capacity = (2 * self.capacity).min(LARGEST_CHUNK);
        Slice { chunk: Rc::new(chunk), range: 0..frames.len(), boundary: 0 }
    }
}

/// Returns the number of messages whose last frame is in `bytes` as a whole; these start with a frame.
pub(super) fn complete_messages(bytes: &[u8]) -> u64 {
    whole_frames(bytes).filter(|frame| ends_message(frame[0]) == Some(true)).count() as u64
}

/// Returns whether a frame that begins with this byte is the last one of a message; `None` for a control frame (RFC 6455
/// section 5.2).
fn ends_message(first: u8) -> Option<bool> {
    (first & CONTROL == 0).then_some(first & FINAL != 0)
}

const FINAL: u8 = 0x80;
/// The bit that only the opcodes of control frames have.
const CONTROL: u8 = 0x08;
/// Length of frames up to which they are copied behind each other.
pub(super) const SMALL: usize = 1 << 10;
/// Capacity of a session's first chunk for small frames, in bytes; each further one has twice that of the one before.
const FIRST_CHUNK: usize = 256;
/// Capacity of the largest chunk for small frames.
const LARGEST_CHUNK: usize = 16 << 10;
