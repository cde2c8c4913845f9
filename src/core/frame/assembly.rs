//! A message that doesn't lie whole in the read buffer: a large frame in progress, or fragments.
//!
//! Memory grows as bytes arrive, not as a header announces. Room for the server's header is left in front of the
//! payload, so that the finished message is sent from where it was put together.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::header::ClientHeader;
use super::mask::rotate;
use super::{Buffers, Opcode, ServerHeader, Utf8, Violation, unmask};

/// A message being assembled.
#[derive(Debug)]
pub(super) struct Assembly {
    opcode: Opcode,
    /// [`HEADROOM`], then the payload so far, unmasked, then room.
    buffer: Vec<u8>,
    filled: usize,
    text: Utf8,
    frame: Option<Unfinished>,
}

/// The frame whose payload is still coming in.
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
}

impl Assembly {
    /// Starts with the header of a message's first frame. `arrived` says how many bytes justify memory: those behind
    /// the header, or those of the message before it, since a member that sends large messages is likely to go on.
    pub(super) fn begin(header: &ClientHeader, arrived: usize, buffers: &mut Buffers) -> Self {
        let whole = HEADROOM + header.payload as usize;
        let justified = (HEADROOM + arrived).max(FIRST);
        let buffer = buffers.take(whole.min(justified), whole.min(justified * WISH));
        let mut assembly = Self { opcode: header.opcode, buffer, filled: HEADROOM, text: Utf8::default(), frame: None };
        assembly.go_on(header);
        assembly
    }

    /// Continues with the header of the first or of a further frame.
    pub(super) fn go_on(&mut self, header: &ClientHeader) {
        let remaining = header.payload as usize;
        self.frame = Some(Unfinished { remaining, mask: header.mask, is_final: header.is_final });
    }

    /// Copies what a new process needs to go on.
    pub(super) fn state(&self) -> AssemblyState {
        AssemblyState {
            is_text: self.opcode == Opcode::Text,
            payload: self.buffer[HEADROOM..self.filled].to_vec(),
            text: self.text,
            frame: self.frame.clone(),
        }
    }

    /// Continues where an old process stopped; `None` if the state is invalid.
    pub(super) fn resume(state: AssemblyState, max_message: u64) -> Option<Self> {
        let remaining = state.frame.as_ref().map_or(0, |frame| frame.remaining);
        let fits = (state.payload.len() as u64).checked_add(remaining as u64).is_some_and(|whole| whole <= max_message);
        if !fits || !state.text.is_sound() || state.frame.as_ref().is_some_and(|frame| frame.remaining == 0) {
            return None;
        }
        let mut buffer = vec![0; HEADROOM + state.payload.len()];
        buffer[HEADROOM..].copy_from_slice(&state.payload);
        let opcode = if state.is_text { Opcode::Text } else { Opcode::Binary };
        Some(Self { opcode, filled: buffer.len(), buffer, text: state.text, frame: state.frame })
    }

    /// Returns the number of payload bytes of the frame that are still to come.
    pub(super) fn remaining(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.remaining)
    }

    /// Returns whether the message is going to be that large, as far as is known.
    pub(super) fn is_larger_than(&self, bytes: usize) -> bool {
        self.filled - HEADROOM + self.remaining() > bytes
    }

    /// Returns whether the next bytes are a frame's payload.
    pub(super) fn is_in_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Returns the number of payload bytes so far.
    pub(super) fn payload(&self) -> u64 {
        (self.filled - HEADROOM) as u64
    }

    /// Returns the bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the buffer for the next payload bytes, as far as there is room; empty outside of a frame.
    pub(super) fn spare_capacity(&mut self, at_most: usize, buffers: &mut Buffers) -> &mut [u8] {
        let want = self.remaining().min(at_most);
        if self.buffer.len() - self.filled < want.min(LEAST_ROOM) {
            self.grow(buffers);
        }
        let end = self.buffer.len().min(self.filled + want);
        &mut self.buffer[self.filled..end]
    }

    /// Counts bytes that were read into the spare_capacity; unmasks and checks them.
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

    /// Takes payload bytes from the begin of `bytes`; returns how many.
    pub(super) fn take(&mut self, bytes: &[u8], buffers: &mut Buffers) -> Result<usize, Violation> {
        let mut taken = 0;
        loop {
            let spare_capacity = self.spare_capacity(bytes.len() - taken, buffers);
            if spare_capacity.is_empty() {
                return Ok(taken);
            }
            let len = spare_capacity.len();
            spare_capacity.copy_from_slice(&bytes[taken..taken + len]);
            self.advance(len)?;
            taken += len;
        }
    }

    /// Ends a frame whose payload is complete; returns whether the message is complete, too.
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

    /// Turns the complete message into a server's frame.
    pub(super) fn finish(self) -> (Vec<u8>, Range<usize>) {
        let Self { opcode, mut buffer, filled, .. } = self;
        let header = ServerHeader::new(opcode, filled - HEADROOM);
        let start = HEADROOM - header.as_bytes().len();
        buffer[start..HEADROOM].copy_from_slice(header.as_bytes());
        (buffer, start..filled)
    }

    /// Returns the memory to the pool.
    pub(super) fn abandon(self, buffers: &mut Buffers) {
        buffers.give(self.buffer);
    }

    /// Makes room for what the frame announces, in steps that what has arrived justifies. If more fragments are to
    /// come, the room at least doubles, so that many small ones don't each move all that is there. A large message
    /// grows where it is, by a step that is short for those who wait meanwhile: the allocator moves its pages and
    /// copies nothing.
    fn grow(&mut self, buffers: &mut Buffers) {
        let whole = self.filled + self.remaining();
        let is_final = self.frame.as_ref().is_none_or(|frame| frame.is_final);
        if self.buffer.len() >= STEP {
            let room = if is_final { self.remaining().min(STEP) } else { STEP };
            self.buffer.truncate(self.filled);
            self.buffer.reserve_exact(room);
            self.buffer.resize(self.filled + room, 0);
            return;
        }
        let most = if is_final { whole } else { whole.max(self.filled * 2) };
        let justified = (self.filled * 2).max(FIRST);
        let mut larger = buffers.take(most.min(justified), most.min(justified * WISH));
        larger[HEADROOM..self.filled].copy_from_slice(&self.buffer[HEADROOM..self.filled]);
        buffers.give(std::mem::replace(&mut self.buffer, larger));
    }
}

/// Progress of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More payload of the frame is to come.
    InFrame,
    /// A further fragment is to come.
    BetweenFrames,
    /// The message is complete.
    Complete,
}

const HEADROOM: usize = ServerHeader::MAX_LEN;
/// Bytes allocated for a header's announcement alone: thousands of members may announce much and send nothing.
const FIRST: usize = 16 << 10;
/// Factor by which an existing buffer may exceed what the received bytes justify.
const WISH: usize = 4;
/// Step by which a large message grows, and the size from which a message is large.
const STEP: usize = 1 << 20;
/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 4 << 10;
