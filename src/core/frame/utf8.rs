//! Incremental validation of UTF-8, across reads and fragments (RFC 6455 section 8.1).

use serde::{Deserialize, Serialize};

use super::Violation;

/// Validator of a text in pieces. Its state is the incomplete character at the end of the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Utf8 {
    begun: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Checks the next piece of the text; fails at the first invalid byte.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while self.len > 0 {
            let Some((next, rest)) = bytes.split_first() else { return Ok(()) };
            self.begun[usize::from(self.len)] = *next;
            self.len += 1;
            bytes = rest;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(Violation::InvalidUtf8),
            }
        }
        let Err(error) = simdutf8::compat::from_utf8(bytes) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(Violation::InvalidUtf8);
        }
        let begun = &bytes[error.valid_up_to()..];
        self.begun[..begun.len()].copy_from_slice(begun);
        self.len = begun.len() as u8;
        Ok(())
    }

    /// Returns whether a valid text can lead to this state, which may have been handed over by another process.
    pub(super) fn is_sound(&self) -> bool {
        usize::from(self.len) < self.begun.len()
            && std::str::from_utf8(&self.begun[..usize::from(self.len)])
                .map_or_else(|error| error.error_len().is_none(), |_| self.len == 0)
    }

    /// Checks that the text doesn't end in the middle of a character.
    pub fn finish(&self) -> Result<(), Violation> {
        if self.len == 0 { Ok(()) } else { Err(Violation::InvalidUtf8) }
    }
}
