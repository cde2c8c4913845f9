//! Decodes a client's byte stream, a read at a time, into messages, replies and the close frame.
//!
//! Between two reads, the decoder of an idle connection is one null pointer. For each read, the caller gets the buffers
//! from [`Decoder::plan_read`], reads into them, and passes the bytes to [`Decoder::decode`].

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::assembly::{Assembly, AssemblyState, Progress, is_zero};
use super::header::ClientHeader;
use super::{Buffers, CloseFrame, Opcode, ServerHeader, Utf8, Violation, unmask};

/// Decoder of one client's stream.
#[derive(Debug, Default)]
pub struct Decoder {
    incomplete: Option<Box<Incomplete>>,
}

/// State after a read that ended in the middle of a frame or message.
#[derive(Debug, Default)]
pub(super) struct Incomplete {
    /// Bytes of an incomplete header, control frame or small frame, as received.
    tail: Vec<u8>,
    message: Option<Assembly>,
    /// Payload bytes of the frame being discarded that haven't arrived yet.
    skip: u64,
    /// Whether the frame being discarded is the close frame.
    is_close: bool,
    growth: Option<Growth>,
}

/// Growth of an incomplete message, as of the last call of [`Decoder::stalled`]. Times are in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Growth {
    bytes: usize,
    checked_at: u64,
    /// Time for which the message hasn't grown, not counting the time in which the stream wasn't read.
    stalled: u64,
}

/// State of a stream that is handed over to a new process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DecoderState {
    #[serde(with = "serde_bytes")]
    tail: Vec<u8>,
    message: Option<AssemblyState>,
    /// Missing in snapshots of versions that didn't hand over closing connections, like the next field.
    #[serde(default, skip_serializing_if = "is_zero")]
    skip: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_close: bool,
}

/// Buffers for the next read.
#[derive(Debug)]
pub struct ReadPlan<'a> {
    /// Buffer to fill first, that of the message being assembled; empty if there is none.
    pub direct: &'a mut [u8],
    /// Number of earlier bytes at the start of the read buffer, after which the read continues. Zero if `direct` isn't
    /// empty.
    pub staged: usize,
    /// Maximum number of bytes to read into the read buffer after the staged ones. Zero if `direct` ends before its
    /// frame, and small if the frame is large: the next frame is likely to be as large, and belongs in its own buffer.
    pub overflow: usize,
}

/// Result of decoding one read; reused from read to read.
#[derive(Debug, Default)]
pub struct Batch {
    /// Messages as a server's frames, in order.
    pub pieces: Vec<Piece>,
    /// Number of messages in the pieces.
    pub messages: u64,
    /// Number of bytes in the pieces, headers included.
    pub bytes: usize,
    /// Number of payload bytes in the pieces.
    pub payload: u64,
    /// Pong frames to send back.
    pub replies: Vec<u8>,
    /// Offset of the last pong in `replies`.
    pub last_reply: usize,
    /// The client's close frame, after which nothing is decoded.
    pub close: Option<CloseFrame>,
    /// Reason in the close frame; only valid if there is one.
    pub close_reason: Vec<u8>,
}

/// One or more messages that are adjacent in memory.
#[derive(Debug)]
pub enum Piece {
    /// A range of the read buffer.
    InPlace(Range<usize>),
    /// A single message, as a range of its own buffer.
    Assembled(Vec<u8>, Range<usize>),
}

impl Incomplete {
    /// Returns how many bytes of the incomplete message have arrived; `None` if there is none, or only a control frame.
    fn message_bytes(&self) -> Option<usize> {
        let tail = self.tail.first().filter(|first| *first & CONTROL == 0).map(|_| self.tail.len());
        match &self.message {
            Some(message) => Some(message.payload_len() as usize + tail.unwrap_or(0)),
            None => tail,
        }
    }

    /// Prepares an idle state for another stream. Its other fields are empty already.
    pub(super) fn reset(&mut self) {
        self.growth = None;
    }

    /// Starts to discard the next frame if its header is complete; returns whether it is.
    fn skip_frame(&mut self) -> Result<bool, Violation> {
        let Some(header) = ClientHeader::parse(&self.tail)? else { return Ok(false) };
        let here = (self.tail.len() - header.len) as u64;
        self.skip = header.payload.saturating_sub(here);
        self.is_close = header.opcode == Opcode::Close;
        self.tail.clear();
        Ok(true)
    }
}

/// Result of discarding bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// Frames that are ignored.
    Frames,
    /// The whole close frame.
    CloseFrame,
}

impl Batch {
    /// Clears the results for the next read.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.replies.clear();
        (self.messages, self.bytes, self.payload, self.last_reply, self.close) = (0, 0, 0, 0, None);
    }

    fn message(&mut self, piece: Piece, messages: u64, payload: u64) {
        let (Piece::InPlace(range) | Piece::Assembled(_, range)) = &piece;
        self.bytes += range.len();
        self.messages += messages;
        self.payload += payload;
        self.pieces.push(piece);
    }

    /// Returns the length of the last message if it was assembled, else zero.
    fn last_assembled(&self) -> usize {
        match self.pieces.last() {
            Some(Piece::Assembled(_, range)) => range.len(),
            _ => 0,
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        self.last_reply = self.replies.len();
        self.replies.extend_from_slice(ServerHeader::new(Opcode::Pong, payload.len()).as_bytes());
        self.replies.extend_from_slice(payload);
    }
}

/// Converted messages that are adjacent in the read buffer.
#[derive(Debug, Default)]
struct Run {
    range: Range<usize>,
    messages: u64,
    payload: u64,
}

impl Run {
    fn end(&mut self, batch: &mut Batch) {
        if self.messages > 0 {
            let Self { range, messages, payload } = std::mem::take(self);
            batch.message(Piece::InPlace(range), messages, payload);
        }
    }

    /// Converts the client's frame with this payload to a server's. A small message is moved next to the previous one of
    /// the run; a large one starts a new run where it is.
    #[inline]
    fn add(
        &mut self,
        buffer: &mut [u8],
        header: &ClientHeader,
        payload: Range<usize>,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        let len = payload.len();
        let head = ServerHeader::new(header.opcode, len);
        let head_len = head.as_bytes().len();
        if self.messages > 0 && len > MAX_MOVED {
            self.end(batch);
        }
        if self.messages == 0 {
            self.range = payload.start - head_len..payload.start - head_len;
        }
        let body = self.range.end + head_len;
        if body != payload.start {
            buffer.copy_within(payload, body);
        }
        buffer[self.range.end..body].copy_from_slice(head.as_bytes());
        let body = &mut buffer[body..body + len];
        unmask(body, header.mask);
        if header.opcode == Opcode::Text {
            simdutf8::compat::from_utf8(body).map_err(|_| Violation::InvalidUtf8)?;
        }
        self.range.end += head_len + len;
        self.messages += 1;
        self.payload += len as u64;
        Ok(())
    }
}

impl Decoder {
    /// Returns the buffers for the next read, which takes at most `at_most` bytes into the buffer of the message being
    /// assembled, and at most as many into `scratch`.
    pub fn plan_read<'a>(&'a mut self, scratch: &mut [u8], at_most: usize, buffers: &mut Buffers) -> ReadPlan<'a> {
        let Some(incomplete) = self.incomplete.as_deref_mut() else {
            return ReadPlan { direct: &mut [], staged: 0, overflow: at_most };
        };
        let staged = incomplete.tail.len();
        scratch[..staged].copy_from_slice(&incomplete.tail);
        let (direct, remaining, is_large) = match &mut incomplete.message {
            Some(message) if message.is_in_frame() => {
                let (remaining, is_large) = (message.remaining(), message.is_larger_than(at_most));
                (message.spare_capacity(at_most, buffers), remaining, is_large)
            }
            _ => (&mut [][..], 0, false),
        };
        let overflow = match direct.len() {
            room if room < remaining => 0,
            _ if is_large => at_most.min(OVERFLOW_OF_LARGE),
            _ => at_most,
        };
        ReadPlan { direct, staged, overflow }
    }

    /// Decodes a read: `direct` bytes in the buffer of the message being assembled, and then `scratch`, which holds the
    /// staged bytes and those read after them. Appends the results to `batch`, up to the point of a violation.
    pub fn decode(
        &mut self,
        direct: usize,
        scratch: &mut [u8],
        max_message: u64,
        buffers: &mut Buffers,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        if let Some(incomplete) = self.incomplete.as_deref_mut() {
            incomplete.tail.clear();
            if direct > 0
                && let Some(message) = &mut incomplete.message
            {
                message.advance(direct)?;
                self.end_frame(batch)?;
            }
        }
        let mut run = Run::default();
        let outcome = self.decode_scratch(scratch, max_message, buffers, batch, &mut run);
        run.end(batch);
        if batch.messages > 0
            && let Some(incomplete) = self.incomplete.as_deref_mut()
        {
            // What is incomplete now is another message.
            incomplete.growth = None;
        }
        self.release_if_idle(buffers);
        outcome
    }

    /// Returns the milliseconds for which the incomplete message hasn't grown, to the precision of the calls of this
    /// function; `None` if there is none. Time in which the stream isn't read (`is_read`) doesn't count.
    pub fn stalled(&mut self, is_read: bool, now_ms: u64) -> Option<u64> {
        let incomplete = self.incomplete.as_deref_mut()?;
        let bytes = incomplete.message_bytes()?;
        let last = incomplete.growth.filter(|growth| growth.bytes == bytes);
        let stalled =
            last.map_or(0, |last| last.stalled + if is_read { now_ms.saturating_sub(last.checked_at) } else { 0 });
        incomplete.growth = Some(Growth { bytes, checked_at: now_ms, stalled });
        Some(stalled)
    }

    /// Copies the state that a new process needs to continue.
    pub fn state(&self) -> DecoderState {
        let Some(incomplete) = self.incomplete.as_deref() else { return DecoderState::default() };
        let Incomplete { tail, message, skip, is_close, .. } = incomplete;
        let message = message.as_ref().map(Assembly::state);
        DecoderState { tail: tail.clone(), message, skip: *skip, is_close: *is_close }
    }

    /// Restores a decoder from the state of an old process; `None` if that is invalid.
    pub fn resume(state: DecoderState, max_message: u64) -> Option<Self> {
        let message = match state.message {
            Some(message) => Some(Assembly::resume(message, max_message)?),
            None => None,
        };
        let DecoderState { tail, skip, is_close, .. } = state;
        if tail.len() > MAX_TAIL || (!tail.is_empty() && message.as_ref().is_some_and(Assembly::is_in_frame)) {
            return None;
        }
        let is_idle = tail.is_empty() && message.is_none() && skip == 0 && !is_close;
        let incomplete = Incomplete { tail, message, skip, is_close, growth: None };
        Some(Self { incomplete: (!is_idle).then(|| Box::new(incomplete)) })
    }

    /// Drops the message in progress; further bytes go to [`Decoder::discard`].
    pub fn start_discarding(&mut self, buffers: &mut Buffers) {
        if let Some(incomplete) = self.incomplete.as_deref_mut()
            && let Some(message) = incomplete.message.take()
        {
            incomplete.skip = message.remaining() as u64;
            message.abandon(buffers);
        }
        if self.incomplete.as_deref().is_some_and(|incomplete| incomplete.skip == 0) {
            self.release_if_idle(buffers);
        }
    }

    /// Discards frames up to the end of the client's close frame. Bytes after that are ignored.
    pub fn discard(&mut self, mut bytes: &[u8]) -> Result<Discarded, Violation> {
        let incomplete = self.incomplete.get_or_insert_default();
        loop {
            if incomplete.skip > 0 {
                let skipped = incomplete.skip.min(bytes.len() as u64);
                incomplete.skip -= skipped;
                bytes = &bytes[skipped as usize..];
                if incomplete.skip > 0 {
                    return Ok(Discarded::Frames);
                }
            }
            if incomplete.is_close {
                return Ok(Discarded::CloseFrame);
            }
            if !incomplete.skip_frame()? {
                let Some((next, rest)) = bytes.split_first() else { return Ok(Discarded::Frames) };
                incomplete.tail.push(*next);
                bytes = rest;
            }
        }
    }

    /// Clears the state, and returns its memory to the pool.
    pub fn abandon(&mut self, buffers: &mut Buffers) {
        if let Some(message) = self.incomplete.take().and_then(|incomplete| incomplete.message) {
            message.abandon(buffers);
        }
    }

    /// Returns whether a message has begun and isn't complete.
    pub fn is_within_message(&self) -> bool {
        self.incomplete.as_deref().and_then(Incomplete::message_bytes).is_some()
    }

    /// Returns whether a part of the incomplete message has been passed on.
    pub fn has_passed_part(&self) -> bool {
        let message = self.incomplete.as_deref().and_then(|incomplete| incomplete.message.as_ref());
        message.is_some_and(Assembly::is_passed_on)
    }

    /// Removes what has arrived of the incomplete message, if that is at least `least` bytes of payload, as a frame that
    /// further fragments follow.
    pub fn take_fragment(&mut self, least: usize, buffers: &mut Buffers) -> Option<Piece> {
        let message = self.incomplete.as_deref_mut()?.message.as_mut()?;
        message.take_fragment(least, buffers).map(|(buffer, range)| Piece::Assembled(buffer, range))
    }

    /// Returns whether nothing is incomplete.
    pub fn is_idle(&self) -> bool {
        self.incomplete.is_none()
    }

    /// Returns how many bytes of memory this stream occupies.
    pub fn held(&self) -> usize {
        self.incomplete.as_deref().map_or(0, |incomplete| {
            size_of::<Incomplete>()
                + incomplete.tail.capacity()
                + incomplete.message.as_ref().map_or(0, Assembly::capacity)
        })
    }

    fn decode_scratch(
        &mut self,
        scratch: &mut [u8],
        max_message: u64,
        buffers: &mut Buffers,
        batch: &mut Batch,
        run: &mut Run,
    ) -> Result<(), Violation> {
        let mut at = 0;
        while at < scratch.len() {
            if let Some(message) = self.message_in_frame() {
                at += message.take(&scratch[at..], buffers)?;
                run.end(batch);
                self.end_frame(batch)?;
                continue;
            }
            let Some(header) = ClientHeader::parse(&scratch[at..])? else { break };
            let body = at + header.len;
            let here = scratch.len() - body;
            let is_here = header.payload <= here as u64;
            if header.opcode.is_control() {
                if !is_here {
                    break;
                }
                at = body + header.payload as usize;
                unmask(&mut scratch[body..at], header.mask);
                match header.opcode {
                    Opcode::Close => {
                        let payload = &scratch[body..at];
                        batch.close = Some(CloseFrame::parse(payload)?);
                        batch.close_reason.clear();
                        batch.close_reason.extend(payload.iter().skip(2));
                        return Ok(());
                    }
                    Opcode::Ping => batch.pong(&scratch[body..at]),
                    _ => {}
                }
                continue;
            }
            let so_far = self.check_order(&header)?;
            if so_far.saturating_add(header.payload) > max_message {
                return Err(Violation::TooBig);
            }
            let is_whole = header.is_final && header.opcode != Opcode::Continuation;
            if is_whole && is_here {
                at = body + header.payload as usize;
                run.add(scratch, &header, body..at, batch)?;
            } else if is_whole && header.payload <= MAX_TAIL_PAYLOAD {
                check_partial_text(&header, &mut scratch[body..])?;
                break;
            } else {
                at = body;
                self.assemble(&header, here.max(batch.last_assembled()), buffers);
                if header.payload == 0 {
                    run.end(batch);
                    self.end_frame(batch)?;
                }
            }
        }
        if at < scratch.len() {
            self.incomplete(buffers).tail.extend_from_slice(&scratch[at..]);
        }
        Ok(())
    }

    /// Checks that the frame is allowed at this point (RFC 6455 section 5.4); returns the payload bytes of its message so
    /// far.
    fn check_order(&self, header: &ClientHeader) -> Result<u64, Violation> {
        let message = self.incomplete.as_deref().and_then(|incomplete| incomplete.message.as_ref());
        match (message, header.opcode) {
            (Some(message), Opcode::Continuation) => Ok(message.payload_len()),
            (None, Opcode::Text | Opcode::Binary) => Ok(0),
            _ => Err(Violation::Protocol),
        }
    }

    fn message_in_frame(&mut self) -> Option<&mut Assembly> {
        self.incomplete.as_deref_mut()?.message.as_mut().filter(|message| message.is_in_frame())
    }

    fn assemble(&mut self, header: &ClientHeader, arrived: usize, buffers: &mut Buffers) {
        match &mut self.incomplete(buffers).message {
            Some(message) => message.start_frame(header),
            none => *none = Some(Assembly::new(header, arrived, buffers)),
        }
    }

    fn incomplete(&mut self, buffers: &mut Buffers) -> &mut Incomplete {
        self.incomplete.get_or_insert_with(|| buffers.take_incomplete())
    }

    fn end_frame(&mut self, batch: &mut Batch) -> Result<(), Violation> {
        let Some(incomplete) = self.incomplete.as_deref_mut() else { return Ok(()) };
        let Some(message) = &mut incomplete.message else { return Ok(()) };
        if message.end_frame()? == Progress::Complete
            && let Some(message) = incomplete.message.take()
        {
            let payload = message.payload_len();
            let (buffer, range) = message.finish();
            batch.message(Piece::Assembled(buffer, range), 1, payload);
        }
        Ok(())
    }

    /// Returns the state to the pool if nothing is incomplete.
    fn release_if_idle(&mut self, buffers: &mut Buffers) {
        if let Some(incomplete) =
            self.incomplete.take_if(|incomplete| incomplete.tail.is_empty() && incomplete.message.is_none())
        {
            buffers.give_incomplete(incomplete);
        }
    }
}

/// Checks the part of a text that has arrived, so that invalid UTF-8 is rejected at once. The bytes remain masked.
fn check_partial_text(header: &ClientHeader, part: &mut [u8]) -> Result<(), Violation> {
    if header.opcode != Opcode::Text {
        return Ok(());
    }
    unmask(part, header.mask);
    let result = Utf8::default().push(part);
    unmask(part, header.mask);
    result
}

/// Payload of the largest message that is moved next to the previous one. Moving a larger one costs more than a further
/// part of a vectored write.
const MAX_MOVED: usize = 4 << 10;
/// Payload of the largest incomplete frame that is kept as received, and put in front of the next read. A larger one is
/// assembled in its own buffer.
const MAX_TAIL_PAYLOAD: u64 = 16 << 10;
/// Bytes to read after a large frame: enough for the next header, and for small messages.
const OVERFLOW_OF_LARGE: usize = 4 << 10;
/// Bit of a frame's first byte that marks control frames (RFC 6455 section 5.5).
const CONTROL: u8 = 0x8;
/// Longest incomplete frame that is kept as received: its payload, and the longest header.
const MAX_TAIL: usize = MAX_TAIL_PAYLOAD as usize + 14;
