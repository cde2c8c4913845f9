//! Websocket frames (RFC 6455 section 5): a client's frames are checked, unmasked and converted to a server's.
//!
//! Nothing here touches a socket or a clock. A whole message that lies in the read buffer is converted where it
//! lies, in one pass and without an allocation; only what is incomplete at the end of a read is kept, right-sized,
//! and a large or fragmented message is assembled in a buffer of its own that the socket is read straight into.
//! A message leaves as one frame, whole, whether it came in one frame or in fragments.

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
pub use header::{Opcode, ServerHeader, whole_frame_len};
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
