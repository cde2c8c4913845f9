//! Close frames (RFC 6455 section 5.5.1): parses those of clients, and builds those of the router.

use super::{Opcode, ServerHeader, Violation};
use crate::close::CloseReason;

/// A client's close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame {
    /// Its close code, if it has one.
    pub code: Option<u16>,
}

impl CloseFrame {
    /// Parses the unmasked payload of a close frame.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Violation> {
        match payload {
            [] => Ok(Self { code: None }),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !is_valid_code(code) {
                    return Err(Violation::Protocol);
                }
                std::str::from_utf8(reason).map_err(|_| Violation::InvalidUtf8)?;
                Ok(Self { code: Some(code) })
            }
            [_] => Err(Violation::Protocol),
        }
    }
}

/// Returns whether an endpoint may send this code (RFC 6455 section 7.4, and IANA's registry of close codes).
fn is_valid_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Builds the close frame for a reason; a received close frame is answered with its own code. Returns `None` for reasons
/// without a code, such as a lost connection.
pub fn close_frame(reason: CloseReason, received: Option<CloseFrame>) -> Option<Vec<u8>> {
    let code = received.and_then(|received| received.code).or(reason.code())?;
    let text = reason.text().as_bytes();
    let mut frame = ServerHeader::new(Opcode::Close, 2 + text.len()).as_bytes().to_vec();
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(text);
    Some(frame)
}
