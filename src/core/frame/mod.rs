//! Websocket frames (RFC 6455 section 5): a client's frames are checked, unmasked and converted to a server's.
//!
//! Nothing here uses a socket or a clock. A message that is in the read buffer as a whole is converted in place, in one
//! pass and without an allocation. Only the incomplete end of a read is copied, to memory of its size. A large or
//! fragmented message is assembled in a buffer of its own, into which the socket is read directly. Each message leaves as
//! one frame, even if it arrived in fragments; only between two devices that are a pair, what has arrived of a large one
//! leaves as a fragment ([`Decoder::take_fragment`]).

mod assembly;
mod buffers;
#[cfg(any(test, feature = "test-util"))]
mod client;
mod closing;
mod decoder;
mod header;
mod mask;
mod utf8;

pub use buffers::Buffers;
#[cfg(any(test, feature = "test-util"))]
pub use client::{client_frame, client_header};
pub use closing::{CloseFrame, close_frame};
pub use decoder::{Batch, Decoder, DecoderState, Discarded, Piece, ReadPlan};
pub use header::{Opcode, ServerHeader, payload_of, whole_frame_len, whole_frames};
pub use mask::unmask;
pub use utf8::Utf8;

use crate::close::CloseReason;

/// A violation of the protocol by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Reserved bits or opcodes, a missing mask, a bad length, fragments out of order, a malformed close.
    Protocol,
    /// A text, or the reason of a close, isn't UTF-8 (RFC 6455 section 8.1).
    InvalidUtf8,
    /// A message is larger than allowed.
    TooBig,
}

impl From<Violation> for CloseReason {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Protocol => Self::Protocol,
            Violation::InvalidUtf8 => Self::InvalidUtf8,
            Violation::TooBig => Self::TooBig,
        }
    }
}

#[cfg(test)]
mod tests;
