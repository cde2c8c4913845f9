//! Assembly of a message that isn't in the read buffer as a whole: a large frame, or fragments.
//!
//! Memory grows with the bytes that arrive, not with the length that a header announces. The buffer has room for the
//! server's header in front of the payload, so that the complete message is sent without another copy.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::header::ClientHeader;
use super::mask::rotate;
use super::{Buffers, Opcode, ServerHeader, Utf8, Violation, unmask};

/// A message being assembled.
#[derive(Debug)]
pub(super) struct Assembly {
    opcode: Opcode,
    /// [`HEADROOM`] bytes for the header, the unmasked payload so far, and spare capacity.
    buffer: Vec<u8>,
    /// End of the payload so far.
    filled: usize,
    /// Payload bytes that have been passed on as fragments, and aren't in the buffer any more.
    passed: u64,
    text: Utf8,
    frame: Option<Unfinished>,
}

/// The frame whose payload is being received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unfinished {
    remaining: usize,
    mask: [u8; 4],
    is_final: bool,
}

/// A message being assembled, as it is handed over to a new process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AssemblyState {
    is_text: bool,
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    text: Utf8,
    frame: Option<Unfinished>,
    /// Missing in snapshots of versions that assembled all messages.
    #[serde(default, skip_serializing_if = "is_zero")]
    passed: u64,
}

pub(super) fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Assembly {
    /// Starts a message with the header of its first frame. The buffer is in proportion to `arrived`: the bytes that
    /// followed the header, or the length of the previous message if that is larger, since a member that sends large
    /// messages is likely to send more of them.
    pub(super) fn new(header: &ClientHeader, arrived: usize, buffers: &mut Buffers) -> Self {
        let whole = HEADROOM + header.payload as usize;
        let justified = (HEADROOM + arrived).max(INITIAL_CAPACITY);
        let buffer = buffers.take(whole.min(justified), whole.min(justified * POOLED_FACTOR));
        let (opcode, text) = (header.opcode, Utf8::default());
        let mut assembly = Self { opcode, buffer, filled: HEADROOM, passed: 0, text, frame: None };
        assembly.start_frame(header);
        assembly
    }

    /// Starts a frame of the message, the first or a continuation.
    pub(super) fn start_frame(&mut self, header: &ClientHeader) {
        let remaining = header.payload as usize;
        self.frame = Some(Unfinished { remaining, mask: header.mask, is_final: header.is_final });
    }

    /// Copies the state that a new process needs to continue.
    pub(super) fn state(&self) -> AssemblyState {
        AssemblyState {
            is_text: self.opcode == Opcode::Text,
            payload: self.buffer[HEADROOM..self.filled].to_vec(),
            text: self.text,
            frame: self.frame.clone(),
            passed: self.passed,
        }
    }

    /// Restores a message from the state of an old process; `None` if that is invalid.
    pub(super) fn resume(state: AssemblyState, max_message: u64) -> Option<Self> {
        let remaining = state.frame.as_ref().map_or(0, |frame| frame.remaining);
        let so_far = (state.payload.len() as u64).checked_add(state.passed);
        let whole = so_far.and_then(|so_far| so_far.checked_add(remaining as u64));
        let fits = whole.is_some_and(|whole| whole <= max_message);
        if !fits || !state.text.is_sound() || state.frame.as_ref().is_some_and(|frame| frame.remaining == 0) {
            return None;
        }
        let mut buffer = vec![0; HEADROOM + state.payload.len()];
        buffer[HEADROOM..].copy_from_slice(&state.payload);
        let opcode = if state.is_text { Opcode::Text } else { Opcode::Binary };
        Some(Self { opcode, filled: buffer.len(), passed: state.passed, buffer, text: state.text, frame: state.frame })
    }

    /// Returns the number of payload bytes of the frame that are still to come.
    pub(super) fn remaining(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.remaining)
    }

    /// Returns whether the payload so far and the rest of the current frame exceed `bytes`.
    pub(super) fn is_larger_than(&self, bytes: usize) -> bool {
        self.filled - HEADROOM + self.remaining() > bytes
    }

    /// Returns whether the next bytes are a frame's payload.
    pub(super) fn is_in_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Returns the number of payload bytes so far.
    pub(super) fn payload_len(&self) -> u64 {
        self.passed + (self.filled - HEADROOM) as u64
    }

    /// Returns whether a part of the message has been passed on.
    pub(super) fn is_passed_on(&self) -> bool {
        self.passed > 0
    }

    /// Removes the payload so far, if it is at least `least` bytes. Returns it as a fragment that others follow: its buffer,
    /// and the range of the frame in it.
    pub(super) fn take_fragment(&mut self, least: usize, buffers: &mut Buffers) -> Option<(Vec<u8>, Range<usize>)> {
        let len = self.filled - HEADROOM;
        if len < least {
            return None;
        }
        let next = buffers.take(HEADROOM + self.remaining().min(len), self.filled);
        let fragment = std::mem::replace(&mut self.buffer, next);
        let (buffer, range) = with_header(fragment, self.filled, self.next_opcode(), false);
        self.passed += len as u64;
        self.filled = HEADROOM;
        Some((buffer, range))
    }

    /// Returns the opcode of the next frame that is passed on.
    fn next_opcode(&self) -> Opcode {
        if self.is_passed_on() { Opcode::Continuation } else { self.opcode }
    }

    /// Returns the size of the buffer, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the part of the buffer for the next payload bytes of the frame, `at_most` bytes or fewer; empty outside of
    /// a frame. Grows the buffer if too little is left.
    pub(super) fn spare_capacity(&mut self, at_most: usize, buffers: &mut Buffers) -> &mut [u8] {
        let want = self.remaining().min(at_most);
        if self.buffer.len() - self.filled < want.min(MIN_READ) {
            self.grow(want, buffers);
        }
        let end = self.buffer.len().min(self.filled + want);
        &mut self.buffer[self.filled..end]
    }

    /// Accepts bytes that were read into the spare capacity: unmasks them, and validates text.
    pub(super) fn advance(&mut self, bytes: usize) -> Result<(), Violation> {
        let Some(frame) = &mut self.frame else { return Ok(()) };
        let fresh = &mut self.buffer[self.filled..self.filled + bytes];
        unmask(fresh, frame.mask);
        if self.opcode == Opcode::Text {
            self.text.push(fresh)?;
        }
        frame.mask = rotate(frame.mask, bytes);
        frame.remaining -= bytes;
        self.filled += bytes;
        Ok(())
    }

    /// Copies payload from the start of `bytes`; returns the number of bytes copied.
    pub(super) fn take(&mut self, bytes: &[u8], buffers: &mut Buffers) -> Result<usize, Violation> {
        let mut taken = 0;
        loop {
            let spare = self.spare_capacity(bytes.len() - taken, buffers);
            if spare.is_empty() {
                return Ok(taken);
            }
            let len = spare.len();
            spare.copy_from_slice(&bytes[taken..taken + len]);
            self.advance(len)?;
            taken += len;
        }
    }

    /// Ends the frame if its payload is complete; returns the progress of the message.
    pub(super) fn end_frame(&mut self) -> Result<Progress, Violation> {
        match &self.frame {
            Some(frame) if frame.remaining > 0 => Ok(Progress::InFrame),
            Some(frame) if frame.is_final => {
                self.text.finish()?;
                Ok(Progress::Complete)
            }
            _ => {
                self.frame = None;
                Ok(Progress::BetweenFrames)
            }
        }
    }

    /// Converts the complete message, or what is left of it, to a server's frame. Returns the buffer and the range of the frame in it.
    pub(super) fn finish(self) -> (Vec<u8>, Range<usize>) {
        let opcode = self.next_opcode();
        with_header(self.buffer, self.filled, opcode, true)
    }

    /// Returns the buffer to the pool.
    pub(super) fn abandon(self, buffers: &mut Buffers) {
        buffers.give(self.buffer);
    }

    /// Grows the buffer towards the announced length of the frame, in proportion to the bytes that have arrived. If more
    /// fragments follow, the size at least doubles, so that small fragments don't each cause a copy of the message. A
    /// buffer of [`STEP`] bytes or more is reallocated in place: the allocator remaps its pages (mremap(2)) instead of
    /// copying them. Only what the next `want` bytes need is touched, since the kernel takes long to provide pages.
    fn grow(&mut self, want: usize, buffers: &mut Buffers) {
        let whole = self.filled + self.remaining();
        let is_final = self.frame.as_ref().is_none_or(|frame| frame.is_final);
        if self.buffer.len() >= STEP {
            let room = if is_final { self.remaining().min(STEP) } else { STEP };
            self.buffer.truncate(self.filled);
            if self.buffer.capacity() - self.filled < room.min(want) {
                self.buffer.reserve_exact(room);
            }
            self.buffer.resize(self.filled + room.min(want), 0);
            return;
        }
        let most = if is_final { whole } else { whole.max(self.filled * 2) };
        let justified = (self.filled * 2).max(INITIAL_CAPACITY);
        let mut larger = buffers.take(most.min(justified), most.min(justified * POOLED_FACTOR));
        larger[HEADROOM..self.filled].copy_from_slice(&self.buffer[HEADROOM..self.filled]);
        buffers.give(std::mem::replace(&mut self.buffer, larger));
    }
}

/// Puts a server's header in front of the payload in a buffer; returns the range of the frame.
fn with_header(mut buffer: Vec<u8>, filled: usize, opcode: Opcode, is_final: bool) -> (Vec<u8>, Range<usize>) {
    let header = ServerHeader::new(opcode, filled - HEADROOM);
    let start = HEADROOM - header.as_bytes().len();
    buffer[start..HEADROOM].copy_from_slice(header.as_bytes());
    if !is_final {
        buffer[start] &= !FINAL;
    }
    (buffer, start..filled)
}

/// Progress of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The rest of a frame's payload is expected.
    InFrame,
    /// Another fragment is expected.
    BetweenFrames,
    /// The message is complete.
    Complete,
}

/// Bit of a frame's first byte that marks the last one of a message (RFC 6455 section 5.2).
const FINAL: u8 = 0x80;
/// Room for the server's header, whose length isn't known until the message is complete.
const HEADROOM: usize = ServerHeader::MAX_LEN;
/// Bytes allocated for a header alone, whatever length it announces: thousands of members may announce large messages
/// and send nothing.
const INITIAL_CAPACITY: usize = 16 << 10;
/// Factor by which a buffer from the pool may exceed the size that the received bytes justify.
const POOLED_FACTOR: usize = 4;
/// Step by which a large buffer grows, and the size from which a buffer is large.
const STEP: usize = 1 << 20;
/// Smallest spare capacity that is worth a read.
const MIN_READ: usize = 4 << 10;
