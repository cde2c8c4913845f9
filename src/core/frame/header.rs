//! Frame headers (RFC 6455 section 5.2): a client's are parsed, a server's are written.

use super::Violation;

/// Opcode of a frame (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message in progress.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Returns whether this is a control frame, which is never forwarded.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientHeader {
    pub(super) opcode: Opcode,
    /// Whether it is the last frame of its message.
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    /// Bytes of payload.
    pub(super) payload: u64,
    /// Bytes of this header, mask included.
    pub(super) len: usize,
}

impl ClientHeader {
    /// Parses the header at the start of `bytes`; `None` if it is incomplete. A violation in the first two bytes is
    /// reported without waiting for the others.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else {
            return match bytes {
                [first] => check_first(*first).map(|_| None),
                _ => Ok(None),
            };
        };
        let opcode = check_first(first)?;
        let is_final = first & FINAL != 0;
        let short = second & 0x7f;
        if second & MASKED == 0 || (opcode.is_control() && (!is_final || short > 125)) {
            return Err(Violation::Protocol);
        }
        let (payload, rest, len) = match short {
            126 => {
                let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
                let payload = u64::from(u16::from_be_bytes(*bytes));
                if payload < 126 {
                    return Err(Violation::Protocol);
                }
                (payload, rest, 8)
            }
            127 => {
                let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                let payload = u64::from_be_bytes(*bytes);
                if payload <= u64::from(u16::MAX) || payload > i64::MAX as u64 {
                    return Err(Violation::Protocol);
                }
                (payload, rest, 14)
            }
            _ => (u64::from(short), rest, 6),
        };
        let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
        Ok(Some(Self { opcode, is_final, mask: *mask, payload, len }))
    }
}

#[inline]
fn check_first(first: u8) -> Result<Opcode, Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::Protocol);
    }
    Opcode::from_bits(first & 0x0f).ok_or(Violation::Protocol)
}

/// The header of a frame from a server: a whole message, not masked.
#[derive(Debug, Clone, Copy)]
pub struct ServerHeader {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl ServerHeader {
    /// Length of the longest header.
    pub const MAX_LEN: usize = 10;

    /// Creates the header for `payload` bytes.
    #[inline]
    pub fn new(opcode: Opcode, payload: usize) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[0] = FINAL | opcode as u8;
        let len = if payload < 126 {
            bytes[1] = payload as u8;
            2
        } else if let Ok(payload) = u16::try_from(payload) {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&payload.to_be_bytes());
            4
        } else {
            bytes[1] = 127;
            bytes[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            Self::MAX_LEN
        };
        Self { bytes, len }
    }

    /// Returns the bytes to send.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the length of the server's frame at the start of `bytes`, header included; `None` if the header is
/// incomplete.
pub fn whole_frame_len(bytes: &[u8]) -> Option<usize> {
    let second = *bytes.get(1)?;
    Some(match second & 0x7f {
        126 => 4 + usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        127 => ServerHeader::MAX_LEN + u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize,
        short => 2 + usize::from(short),
    })
}

/// Returns the frames of a server at the start of `bytes` that are there as a whole.
pub fn whole_frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (frame, rest) = bytes.split_at_checked(whole_frame_len(bytes)?)?;
        bytes = rest;
        Some(frame)
    })
}

/// Returns the payload of a server's frame, which is there as a whole.
pub fn payload_of(frame: &[u8]) -> Option<&[u8]> {
    let header = match frame.get(1)? & 0x7f {
        126 => 4,
        127 => ServerHeader::MAX_LEN,
        _ => 2,
    };
    frame.get(header..)
}

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
