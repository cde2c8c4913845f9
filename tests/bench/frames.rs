//! The generator's messages: prebuilt masked frames to send, and the reader that checks what comes back.
//!
//! Every payload starts with a stamp (its sender and its number) and continues with a pattern that follows from the
//! stamp. All bytes are below 128, so that the same payload may travel as text. In a timing run only the stamp, the
//! length and the order are checked and only the stamp is rewritten between messages; a thorough run writes and
//! compares every byte.

use std::io;
use std::ops::Range;

use ws_router_core::frame::client_header;

const MASK: u32 = 0x9e17_c35a;
const SEVEN_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// Number of a message that only proves that a receiver has joined; no sender reaches it in a run.
pub(crate) const HELLO: u32 = (1 << 28) - 1;
/// Length of a stamp, and thus of the smallest payload.
pub(crate) const STAMP: usize = 8;
/// Masked empty pong.
pub(crate) const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// Shape of a sender's messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Length of the payload, at least [`STAMP`].
    pub(crate) size: usize,
    /// Whether they are text.
    pub(crate) text: bool,
    /// Whether every byte is written and compared.
    pub(crate) thorough: bool,
}

/// Frames of a sender, ready to be written in one call.
#[derive(Debug)]
pub(crate) struct Tape {
    bytes: Vec<u8>,
    frame: usize,
    payload_at: usize,
    sender: u32,
    shape: Shape,
    unsent: Range<usize>,
}

impl Tape {
    /// Builds frames for as many messages as can be in flight.
    pub(crate) fn new(sender: u32, shape: Shape, window: u32) -> Self {
        let mut frame = client_head(shape);
        let payload_at = frame.len();
        let stamp = stamp(sender, 0);
        let mut payload = vec![0; shape.size];
        fill(&mut payload, stamp);
        mask(&mut payload);
        frame.extend_from_slice(&payload);
        let len = frame.len();
        Self { bytes: frame.repeat(window as usize), frame: len, payload_at, sender, shape, unsent: 0..0 }
    }

    /// Puts `count` messages, numbered from `first`, on the tape; the earlier ones must have been written.
    pub(crate) fn load(&mut self, first: u32, count: u32) {
        for (frame, step) in self.bytes.chunks_exact_mut(self.frame).zip(0..count) {
            let stamp = stamp(self.sender, first + step);
            let payload = &mut frame[self.payload_at..];
            if self.shape.thorough {
                fill(payload, stamp);
                mask(payload);
            } else {
                payload[..STAMP].copy_from_slice(&(stamp ^ wide_mask()).to_le_bytes());
            }
        }
        self.unsent = 0..self.frame * count as usize;
    }

    /// Returns the bytes still to be written.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.unsent.clone()]
    }

    /// Records that the first `len` bytes have been written.
    pub(crate) fn wrote(&mut self, len: usize) {
        self.unsent.start += len;
    }
}

/// Frame from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Complete message.
    Message {
        /// Number of its sender.
        sender: u32,
        /// Number of the message.
        number: u32,
    },
    /// Ping to answer.
    Ping,
    /// Close frame, with its code.
    Close(u16),
}

/// Reader of a server's stream in pieces of any length, which keeps no payload. A message may come in fragments.
#[derive(Debug)]
pub(crate) struct Reader {
    shape: Shape,
    stash: Vec<u8>,
    left: usize,
    position: usize,
    stamp: u64,
    is_control: bool,
    seen: Option<Seen>,
}

impl Reader {
    /// Creates a reader of messages of this shape.
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, stash: Vec::new(), left: 0, position: 0, stamp: 0, is_control: false, seen: None }
    }

    /// Reads the next piece, and calls `each` with what has become complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Seen) -> io::Result<()>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                self.payload(now)?;
                bytes = later;
            } else if self.stash.is_empty() {
                match self.head(bytes)? {
                    Some(taken) => bytes = &bytes[taken..],
                    None => {
                        self.stash.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            } else {
                self.stash.push(bytes[0]);
                bytes = &bytes[1..];
                let stash = std::mem::take(&mut self.stash);
                if self.head(&stash)?.is_none() {
                    self.stash = stash;
                }
            }
            if self.left == 0
                && let Some(seen) = self.seen.take()
            {
                each(seen)?;
            }
        }
        Ok(())
    }

    /// Reads a head with the first bytes of its payload; returns `None` if that is incomplete.
    fn head(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Some((head, len)) = lengths(bytes) else { return Ok(None) };
        let first = len.min(STAMP);
        let Some(start) = bytes.get(head..head + first) else { return Ok(None) };
        let fin = bytes[0] & 0x80 != 0;
        if bytes[0] & 0x70 != 0 || bytes[1] & 0x80 != 0 {
            return Err(wrong(format_args!("a frame begins with {:#04x} {:#04x}", bytes[0], bytes[1])));
        }
        self.left = len - first;
        self.is_control = bytes[0] & 0x08 != 0;
        match bytes[0] & 0x0f {
            8 => self.seen = Some(Seen::Close(u16::from_be_bytes(start.first_chunk().copied().unwrap_or([0, 0])))),
            9 => self.seen = Some(Seen::Ping),
            10 => {}
            opcode => {
                let (left, expected) = (self.left, if self.shape.text { 1 } else { 2 });
                if opcode != 0 {
                    if opcode != expected {
                        return Err(wrong(format_args!("a message of kind {expected} came as {opcode}")));
                    }
                    (self.position, self.stamp) = (0, 0);
                }
                self.payload(start)?;
                self.left = left;
                if fin {
                    self.finish()?;
                }
            }
        }
        Ok(Some(head + first))
    }

    fn finish(&mut self) -> io::Result<()> {
        let size = self.position + self.left;
        let (sender, number) = (gather(self.stamp as u32), gather((self.stamp >> 32) as u32));
        if size != self.shape.size {
            return Err(wrong(format_args!("message {number} of sender {sender} has {size} bytes")));
        }
        self.seen = Some(Seen::Message { sender, number });
        Ok(())
    }

    fn payload(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.saturating_sub(bytes.len());
        if self.is_control {
            return Ok(());
        }
        if self.position < STAMP {
            match (self.position, bytes.first_chunk()) {
                (0, Some(stamp)) => self.stamp = u64::from_le_bytes(*stamp),
                // The first fragments may be shorter than the stamp.
                (position, _) => {
                    for (at, byte) in (position..STAMP).zip(bytes) {
                        self.stamp |= u64::from(*byte) << (8 * at);
                    }
                }
            }
        }
        if self.shape.thorough {
            for (at, byte) in (self.position..).zip(bytes) {
                if *byte != pattern(self.stamp, at / 8).to_le_bytes()[at % 8] {
                    return Err(wrong(format_args!("byte {at} of a message differs from what was sent")));
                }
            }
        }
        self.position += bytes.len();
        Ok(())
    }
}

/// Returns the length of a frame's head without its mask, and of its payload, or `None` if the head is incomplete.
pub(crate) fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?)),
        len => Some((2, len.into())),
    }
}

fn client_head(shape: Shape) -> Vec<u8> {
    client_header(if shape.text { 0x81 } else { 0x82 }, MASK.to_le_bytes(), shape.size as u64)
}

fn wide_mask() -> u64 {
    u64::from(MASK) << 32 | u64::from(MASK)
}

fn mask(payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(MASK.to_le_bytes().into_iter().cycle()) {
        *byte ^= key;
    }
}

fn fill(payload: &mut [u8], stamp: u64) {
    for (index, chunk) in payload.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&pattern(stamp, index).to_le_bytes()[..chunk.len()]);
    }
}

/// Returns the word of the payload at `index`: first the stamp itself, then a mix of it.
fn pattern(stamp: u64, index: usize) -> u64 {
    if index == 0 {
        return stamp;
    }
    let mixed = (stamp ^ (index as u64).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29) & SEVEN_BITS
}

fn stamp(sender: u32, number: u32) -> u64 {
    u64::from(spread(number)) << 32 | u64::from(spread(sender))
}

/// Spreads 28 bits over four bytes below 128.
fn spread(value: u32) -> u32 {
    value & 0x7f | (value & 0x3f80) << 1 | (value & 0x001f_c000) << 2 | (value & 0x0fe0_0000) << 3
}

fn gather(value: u32) -> u32 {
    value & 0x7f | (value & 0x7f00) >> 1 | (value & 0x007f_0000) >> 2 | (value & 0x7f00_0000) >> 3
}

/// Returns an error that names a server's mistake.
pub(crate) fn wrong(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
