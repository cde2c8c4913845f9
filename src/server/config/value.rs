//! Values of the configuration: "30s", "64MiB", "auto", plain numbers and words.
//!
//! A [`Setting`] is read from a value of the document, and is shown such that reading gives the same value again. Errors
//! include the fix; the reader adds key and position. The checks at the end of the file reject values that are valid but
//! can't be meant, such as a heartbeat of zero seconds.

use std::borrow::Cow;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use nix::errno::Errno;
use toml::de::DeValue;
use ws_router_admin_api::{AddressError, ListenAddress};
use ws_router_core::rate::RateError;

use super::authorizer::AuthorizerError;
use super::reader::PathError;
use super::{ForwardedHeader, KernelTls, LogFormat, LogLevel, OptionalSocket, RateLimit, SlowReceiver};
use crate::peer::{Peers, Range, RangeError};

/// A type of values in the configuration.
pub(super) trait Setting: Sized {
    /// Reads a value.
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError>;

    /// Returns the value in the syntax of the configuration file.
    fn show(&self) -> String;
}

impl Setting for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        value.as_bool().ok_or_else(|| type_error(value, "true or false", "write it without quotes"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => return Err(ValueError::NoUnit(number.to_string())),
            _ => return Err(type_error(value, "a duration", "write, for example, \"30s\" or \"10m\"")),
        };
        humantime::parse_duration(text).map_err(|_| ValueError::Invalid {
            text: text.to_string(),
            expected: "a duration",
            fix: "write a number and a unit (us, ms, s, m, h, d), such as \"30s\" or \"10m\"".into(),
        })
    }

    fn show(&self) -> String {
        quoted(humantime::format_duration(*self))
    }
}

impl Setting for ByteSize {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value {
            DeValue::String(text) => text.parse().map_err(|_| ValueError::Invalid {
                text: text.to_string(),
                expected: "a size",
                fix: "write a number and a unit (B, KiB, MiB, GiB), such as \"64MiB\"".into(),
            }),
            DeValue::Integer(number) => whole(number).map(ByteSize::b),
            _ => Err(type_error(value, "a size", "write, for example, \"64MiB\"")),
        }
    }

    fn show(&self) -> String {
        let bytes = self.as_u64();
        let units = [(bytesize::GIB, "GiB"), (bytesize::MIB, "MiB"), (bytesize::KIB, "KiB")];
        let exact = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
        let (unit, name) = exact.unwrap_or((1, "B"));
        format!("\"{}{name}\"", bytes / unit)
    }
}

impl Setting for usize {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let DeValue::Integer(number) = value else {
            return Err(type_error(value, "a number", "write it without quotes and without a unit"));
        };
        // A number that is too large for this machine exceeds every maximum, and is reported there.
        whole(number).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for NonZeroUsize {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        Self::new(usize::read(value)?).ok_or_else(|| ValueError::TooLittle { value: "0".into(), minimum: "1".into() })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        value.as_str().map(Self::from).ok_or_else(|| type_error(value, "a string", "put it in double quotes"))
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        Ok(ws_router_admin_api::socket_path(&String::read(value)?)?)
    }

    fn show(&self) -> String {
        quoted(self.display())
    }
}

/// The path of a socket, or "off".
impl Setting for OptionalSocket {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value.as_str() {
            Some("off") => Ok(Self(None)),
            _ => PathBuf::read(value).map(|path| Self(Some(path))).map_err(|error| error.or("\"off\"")),
        }
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| quoted("off"), PathBuf::show)
    }
}

/// "20/s", "20/m burst 100" or "unlimited".
impl Setting for RateLimit {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let DeValue::String(text) = value else {
            return Err(type_error(value, "a rate", "write, for example, \"20/s burst 1000\", or \"unlimited\""));
        };
        match text.as_ref() {
            "unlimited" => Ok(Self(None)),
            text => text
                .parse()
                .map(|rate| Self(Some(rate)))
                .map_err(|error: RateError| ValueError::from(error).or("\"unlimited\"")),
        }
    }

    fn show(&self) -> String {
        quoted(self.0.map_or_else(|| "unlimited".into(), |rate| rate.to_string()))
    }
}

/// A list of networks, addresses and "unix".
impl Setting for Peers {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let fix = "write, for example, [\"127.0.0.1\", \"10.0.0.0/8\", \"unix\"]";
        let DeValue::Array(entries) = value else { return Err(type_error(value, "a list", fix)) };
        let range = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.parse::<Range>()?),
            other => Err(type_error(other, "a string", fix)),
        };
        entries.iter().map(|entry| range(entry.get_ref())).collect()
    }

    fn show(&self) -> String {
        let entries: Vec<_> = self.iter().map(quoted).collect();
        format!("[{}]", entries.join(", "))
    }
}

/// A list of strings.
impl Setting for Vec<String> {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let fix = "write, for example, [\"relay.example.com\"]";
        let DeValue::Array(entries) = value else { return Err(type_error(value, "a list", fix)) };
        let text = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(type_error(other, "a string", fix)),
        };
        entries.iter().map(|entry| text(entry.get_ref())).collect()
    }

    fn show(&self) -> String {
        let entries: Vec<_> = self.iter().map(quoted).collect();
        format!("[{}]", entries.join(", "))
    }
}

/// "auto" leaves the choice to the daemon.
impl<T: Setting> Setting for Option<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value.as_str() {
            Some("auto") => Ok(None),
            _ => T::read(value).map(Some).map_err(|error| error.or("\"auto\"")),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted("auto"), T::show)
    }
}

/// The address of a listener, or "off".
impl Setting for Option<ListenAddress> {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value.as_str() {
            Some("off") => Ok(None),
            Some(text) => match text.parse() {
                Ok(address) => Ok(Some(address)),
                Err(error) => Err(ValueError::Address(error).or("\"off\"")),
            },
            None => Err(type_error(value, "a string", "write an address such as \"127.0.0.1:9741\", or \"off\"")),
        }
    }

    fn show(&self) -> String {
        quoted(self.as_ref().map_or_else(|| "off".into(), ListenAddress::to_string))
    }
}

/// Reason why a value can't be used, with the fix.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The error texts explain the variants.
pub enum ValueError {
    #[error("expected {expected}, not {found}; {fix}")]
    Type { expected: &'static str, found: &'static str, fix: Cow<'static, str> },
    #[error("{text:?} is not {expected}; {fix}")]
    Invalid { text: String, expected: &'static str, fix: Cow<'static, str> },
    #[error("{0} has no unit; write \"{0}s\"")]
    NoUnit(String),
    #[error("{0} is negative; write a number of at least 0")]
    Negative(String),
    #[error("{value} is too little; the minimum is {minimum}")]
    TooLittle { value: String, minimum: String },
    #[error("{value} is too much; the maximum is {maximum}")]
    TooMuch { value: String, maximum: String },
    #[error("{text:?} contains {character:?}; a prefix consists of letters, digits and - . _ ~ /")]
    Character { text: String, character: char },
    #[error("{text:?} has its slashes in the wrong place; write {right:?}")]
    Slashes { text: String, right: String },
    /// A value that is valid in itself, but has no effect in this place.
    #[error("{0}")]
    Useless(&'static str),
    #[error("there is no group {0:?}; create it, or name one of /etc/group")]
    NoGroup(String),
    #[error("group {0:?} can't be looked up: {1}; check nsswitch.conf")]
    GroupLookup(String, Errno),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Rate(#[from] RateError),
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Authorizer(#[from] AuthorizerError),
    #[error("{error}, or {alternative}")]
    Or { error: Box<Self>, alternative: &'static str },
}

impl ValueError {
    /// Adds an alternative value to the text of the error.
    fn or(self, alternative: &'static str) -> Self {
        Self::Or { error: Box::new(self), alternative }
    }
}

/// Implements [`Setting`] for an enum whose variants are written as words.
macro_rules! words {
    ($type:ty { $($word:literal = $variant:ident),+ }) => {
        impl Setting for $type {
            fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    Some(other) => Err(unknown_word(other, &[$($word),+])),
                    None => Err(type_error(value, "a string", one_of(&[$($word),+]))),
                }
            }

            fn show(&self) -> String {
                quoted(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(KernelTls { "auto" = Auto, "off" = Off, "required" = Required });
words!(SlowReceiver { "close" = Close, "pace" = Pace });
words!(ForwardedHeader { "x-forwarded-for" = XForwardedFor, "forwarded" = Forwarded });
words!(LogLevel { "error" = Error, "warn" = Warn, "info" = Info, "debug" = Debug, "trace" = Trace });
words!(LogFormat { "auto" = Auto, "text" = Text, "json" = Json, "journal" = Journal });

/// Reads one of several words, each of which stands for a value.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, known: &[(&'static str, T)]) -> Result<T, ValueError> {
    let words = || known.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    let Some(text) = value.as_str() else { return Err(type_error(value, "a string", one_of(&words()))) };
    let found = known.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| unknown_word(text, &words()))
}

/// Returns the known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let tolerance = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(&word, name), name));
    distances.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, name)| name)
}

/// Returns the error for a value of the wrong type.
pub(super) fn type_error(value: &DeValue<'_>, expected: &'static str, fix: impl Into<Cow<'static, str>>) -> ValueError {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    ValueError::Type { expected, found, fix: fix.into() }
}

/// Returns a value as a quoted TOML string.
pub(super) fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Accepts every value.
pub(super) fn any<T>(_: &T) -> Result<(), ValueError> {
    Ok(())
}

/// Returns a check that accepts values from `minimum` to `maximum`.
pub(super) fn between<T: Setting + PartialOrd>(minimum: T, maximum: T) -> impl Fn(&T) -> Result<(), ValueError> {
    move |value| match value {
        value if *value < minimum => Err(ValueError::TooLittle { value: value.show(), minimum: minimum.show() }),
        value if *value > maximum => Err(ValueError::TooMuch { value: value.show(), maximum: maximum.show() }),
        _ => Ok(()),
    }
}

/// Returns a check that accepts "auto" and all values that `check` accepts.
pub(super) fn auto_or<T>(
    check: impl Fn(&T) -> Result<(), ValueError>,
) -> impl Fn(&Option<T>) -> Result<(), ValueError> {
    move |value| value.as_ref().map_or(Ok(()), &check)
}

/// Accepts a valid prefix of request paths.
pub(super) fn path_prefix(prefix: &str) -> Result<(), ValueError> {
    let trimmed = prefix.trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if let Some(odd) = trimmed.chars().find(|c| !plain(*c)) {
        return Err(ValueError::Character { text: prefix.to_owned(), character: odd });
    }
    let parts: Vec<&str> = trimmed.split('/').filter(|part| !part.is_empty()).collect();
    let right: String = parts.iter().flat_map(|part| ["/", part]).collect();
    if prefix == right { Ok(()) } else { Err(ValueError::Slashes { text: prefix.to_owned(), right }) }
}

/// Accepts an origin as browsers send it, `*`, or nothing.
pub(super) fn origin(origin: &str) -> Result<(), ValueError> {
    let is_origin = |text: &str| {
        let host = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        host.is_some_and(|(_, host)| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) && !host.contains(['/', ',', '?', '#', '@'])
        })
    };
    match origin {
        "" | "*" | "null" => Ok(()),
        text if is_origin(text) => Ok(()),
        _ => Err(ValueError::Invalid {
            text: origin.to_owned(),
            expected: "an origin",
            fix: "write \"*\", or one like \"https://example.com\" without a path".into(),
        }),
    }
}

/// Accepts a list whose members pass a check.
pub(super) fn each<T>(check: impl Fn(&T) -> Result<(), ValueError>) -> impl Fn(&Vec<T>) -> Result<(), ValueError> {
    move |values| values.iter().try_for_each(&check)
}

/// Accepts a host name, without a scheme or a port.
pub(super) fn host_name(name: &str) -> Result<(), ValueError> {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    let fix = "write one like \"relay.example.com\", without a port";
    Err(ValueError::Invalid { text: name.to_owned(), expected: "a host name", fix: fix.into() })
}

fn whole(number: &toml::de::DeInteger<'_>) -> Result<u64, ValueError> {
    let digits = number.as_str();
    if digits.starts_with('-') {
        return Err(ValueError::Negative(number.to_string()));
    }
    // A number with too many digits exceeds every maximum, and is reported there.
    Ok(u64::from_str_radix(digits.trim_start_matches('+'), number.radix()).unwrap_or(u64::MAX))
}

fn unknown_word(word: &str, known: &[&str]) -> ValueError {
    let fix = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => one_of(known),
    };
    ValueError::Invalid { text: word.to_owned(), expected: "a known value", fix: fix.into() }
}

fn one_of(known: &[&str]) -> String {
    let words: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
    format!("write one of {}", words.join(", "))
}
