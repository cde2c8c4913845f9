//! The parameters of a request, from its query or a form body (application/x-www-form-urlencoded).
//!
//! Nothing is decoded but what is asked for, so unknown parameters are free to be anything. What is asked for is taken
//! strictly: `+` is a space, an escape has two hex digits, and the result is UTF-8. Both ends of a pair must come to
//! the same key from the same text, so nothing is guessed. No error repeats a value, since it may be a key.

use std::borrow::Cow;

/// The parameters of a request, still escaped; has no `Debug`, since keys are among them.
#[derive(Clone, Copy)]
pub struct Form<'a>(&'a [u8]);

/// Why a parameter can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    #[error("parameter {0} is there more than once; give it once")]
    Repeated(&'static str),
    #[error("parameter {0} is empty; give it a value")]
    Empty(&'static str),
    #[error("parameter {0} is too long; {MAX_VALUE} bytes are allowed")]
    TooLong(&'static str),
    #[error("parameter {0} has a broken escape; write a percent sign as %25")]
    Escape(&'static str),
    #[error("parameter {0} is not UTF-8; escape the bytes of its UTF-8 form")]
    NotUtf8(&'static str),
}

impl<'a> Form<'a> {
    /// Takes a query, or a form's body.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Decodes a parameter that must be there once and not be empty.
    pub fn required(self, name: &'static str) -> Result<Cow<'a, str>, Unfit> {
        self.optional(name)?.ok_or(Unfit::Missing(name))
    }

    /// Decodes a parameter that may be missing; what is there must be there once and not be empty.
    pub fn optional(self, name: &'static str) -> Result<Option<Cow<'a, str>>, Unfit> {
        let mut values = self.fields().filter(|(found, _)| is_name(found, name)).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Unfit::Repeated(name));
        }
        let value = match decode(value) {
            Ok(bytes) if bytes.is_empty() => return Err(Unfit::Empty(name)),
            Ok(bytes) if bytes.len() > MAX_VALUE => return Err(Unfit::TooLong(name)),
            Ok(bytes) => into_text(bytes).ok_or(Unfit::NotUtf8(name))?,
            Err(BrokenEscape) => return Err(Unfit::Escape(name)),
        };
        Ok(Some(value))
    }

    fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.0.split(|byte| *byte == b'&').map(|field| match field.iter().position(|byte| *byte == b'=') {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &b""[..]),
        })
    }
}

/// Compares a name as it stands in the form; almost always it has no escape.
fn is_name(found: &[u8], name: &str) -> bool {
    found == name.as_bytes() || (found.contains(&b'%') && decode(found).is_ok_and(|found| *found == *name.as_bytes()))
}

struct BrokenEscape;

fn decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, BrokenEscape> {
    let Some(plain) = raw.iter().position(|byte| matches!(byte, b'%' | b'+')) else { return Ok(Cow::Borrowed(raw)) };
    let (plain, mut rest) = raw.split_at(plain);
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend_from_slice(plain);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let ([high, low], behind) = rest.split_first_chunk().ok_or(BrokenEscape)?;
                rest = behind;
                (digit(*high)? << 4) | digit(*low)?
            }
            other => *other,
        });
    }
    Ok(Cow::Owned(decoded))
}

fn digit(byte: u8) -> Result<u8, BrokenEscape> {
    // A hex digit's value is below 16.
    char::from(byte).to_digit(16).map(|value| value as u8).ok_or(BrokenEscape)
}

fn into_text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Bytes of a decoded value: far above any password, far below what would burden the hash of keys.
pub(super) const MAX_VALUE: usize = 1024;

#[cfg(test)]
mod tests;
