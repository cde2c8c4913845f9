//! Parameters of a request, from its query or a form body (application/x-www-form-urlencoded).
//!
//! Only parameters that a route uses are decoded, so unknown ones may be malformed. Decoding is strict: `+` is a space, an
//! escape has two hex digits, and the result is UTF-8. Two devices must get the same key from the same text, so nothing
//! is guessed. Errors never contain a value, since it may be a key.

use std::borrow::Cow;

use http::Uri;

/// Parameters of a request, still escaped. It has no `Debug`, since keys are among them.
#[derive(Clone, Copy)]
pub struct Form<'a>(&'a [u8]);

/// Error in the parameter of the contained name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// A required parameter is missing.
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter is present more than once.
    #[error("parameter {0} is repeated; send it once")]
    Repeated(&'static str),
    /// A parameter has no value.
    #[error("parameter {0} is empty; give it a value")]
    Empty(&'static str),
    /// A decoded value is longer than 1,024 bytes.
    #[error("parameter {0} is too long; the limit is {MAX_VALUE} bytes")]
    TooLong(&'static str),
    /// A percent sign isn't followed by two hex digits.
    #[error("parameter {0} has an invalid percent escape; write a percent sign as %25")]
    Escape(&'static str),
    /// A decoded value isn't UTF-8.
    #[error("parameter {0} is not UTF-8; percent-encode its UTF-8 form")]
    NotUtf8(&'static str),
}

impl<'a> Form<'a> {
    /// Wraps a query, or the body of a form.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Wraps the query of a request.
    pub fn of_query(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default().as_bytes())
    }

    /// Decodes a parameter that must be present once and not be empty.
    pub fn required(self, name: &'static str) -> Result<Cow<'a, str>, ParamError> {
        self.optional(name)?.ok_or(ParamError::Missing(name))
    }

    /// Decodes a parameter that may be missing, but not repeated or empty.
    pub fn optional(self, name: &'static str) -> Result<Option<Cow<'a, str>>, ParamError> {
        let mut values = self.fields().filter(|(found, _)| is_name(found, name)).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(ParamError::Repeated(name));
        }
        let value = match decode(value) {
            Ok(bytes) if bytes.is_empty() => return Err(ParamError::Empty(name)),
            Ok(bytes) if bytes.len() > MAX_VALUE => return Err(ParamError::TooLong(name)),
            Ok(bytes) => into_text(bytes).ok_or(ParamError::NotUtf8(name))?,
            Err(BrokenEscape) => return Err(ParamError::Escape(name)),
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

/// Returns whether a name of the form is `name`. It is decoded only if it contains an escape.
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

/// Maximum length of a decoded value, in bytes: far longer than any password, and cheap to hash.
pub(super) const MAX_VALUE: usize = 1024;

#[cfg(test)]
mod tests;
