//! How each type of value is written in the file: "30s", "64MiB", "auto", plain numbers and words.
//!
//! A [`Setting`] reads itself from a value of the document and writes itself back such that reading gives the same
//! again. What it can't read it explains with the mend: the reader puts key and place in front. The bounds at the
//! end of the file are for values that can be written but not meant, such as a heartbeat of zero seconds.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;
use ws_router_admin_api::ListenAddress;

use super::{Allow, ForwardedHeader, LogFormat, LogLevel, RateLimit, SlowReceiver};
use crate::peer::{Peers, Range};

/// A type that values of the configuration have.
pub(super) trait Setting: Sized {
    /// Takes a value, or says what is wrong with it, and the mend.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;

    /// Writes the value as it stands in a file.
    fn show(&self) -> String;
}

impl Setting for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| unexpected(value, "true or false", "write it without quotes"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => return Err(format!("{number} has no unit; write {:?}", format!("{number}s"))),
            _ => return Err(unexpected(value, "a duration", "write for instance \"30s\" or \"10m\"")),
        };
        humantime::parse_duration(text).map_err(|_| {
            format!(
                "{text:?} is no duration; write a number and a unit (us, ms, s, m, h, d), such as \"30s\" or \"10m\""
            )
        })
    }

    fn show(&self) -> String {
        quoted(humantime::format_duration(*self))
    }
}

impl Setting for ByteSize {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => text.parse().map_err(|_| {
                format!("{text:?} is no size; write a number and a unit (B, KiB, MiB, GiB), such as \"64MiB\"")
            }),
            DeValue::Integer(number) => whole(number).map(ByteSize::b),
            _ => Err(unexpected(value, "a size", "write for instance \"64MiB\"")),
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
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Integer(number) = value else {
            return Err(unexpected(value, "a number", "write it without quotes and without a unit"));
        };
        // A number too large for this machine is out of every bound, and is reported there.
        whole(number).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for NonZeroUsize {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::new(usize::read(value)?).ok_or_else(|| "0 is too little; the least is 1".into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(Self::from).ok_or_else(|| unexpected(value, "a text", "put it in double quotes"))
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        ws_router_admin_api::socket_path(&String::read(value)?)
    }

    fn show(&self) -> String {
        quoted(self.display())
    }
}

/// "20/s", "20/m burst 100" or "unlimited".
impl Setting for RateLimit {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::String(text) = value else {
            return Err(unexpected(value, "a rate", "write for instance \"20/s burst 1000\", or \"unlimited\""));
        };
        match text.as_ref() {
            "unlimited" => Ok(Self(None)),
            text => text.parse().map(|rate| Self(Some(rate))).map_err(|error| format!("{error}, or \"unlimited\"")),
        }
    }

    fn show(&self) -> String {
        quoted(self.0.map_or_else(|| "unlimited".into(), |rate| rate.to_string()))
    }
}

/// A list of networks, addresses and "unix".
impl Setting for Peers {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let mend = "write for instance [\"127.0.0.1\", \"10.0.0.0/8\", \"unix\"]";
        let DeValue::Array(entries) = value else { return Err(unexpected(value, "a list", mend)) };
        let range = |value: &DeValue<'_>| match value {
            DeValue::String(text) => text.parse::<Range>().map_err(|error| error.to_string()),
            other => Err(unexpected(other, "a text", mend)),
        };
        entries.iter().map(|entry| range(entry.get_ref())).collect()
    }

    fn show(&self) -> String {
        let entries: Vec<_> = self.iter().map(quoted).collect();
        format!("[{}]", entries.join(", "))
    }
}

/// A list of texts.
impl Setting for Vec<String> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let fix = "write for instance [\"relay.example.com\"]";
        let DeValue::Array(entries) = value else { return Err(unexpected(value, "a list", fix)) };
        let text = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(unexpected(other, "a text", fix)),
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
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str() {
            Some("auto") => Ok(None),
            _ => T::read(value).map(Some).map_err(|problem| format!("{problem}, or \"auto\"")),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted("auto"), T::show)
    }
}

/// A listener that may not be there, which "off" says.
impl Setting for Option<ListenAddress> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str() {
            Some("off") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|problem| format!("{problem}, or \"off\"")),
            None => Err(unexpected(value, "a text", "write an address such as \"127.0.0.1:9741\", or \"off\"")),
        }
    }

    fn show(&self) -> String {
        quoted(self.as_ref().map_or_else(|| "off".into(), ListenAddress::to_string))
    }
}

/// Reads and shows an enum by the words that stand for its variants.
macro_rules! words {
    ($type:ty { $($word:literal = $variant:ident),+ }) => {
        impl Setting for $type {
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    Some(other) => Err(unknown_word(other, &[$($word),+])),
                    None => Err(unexpected(value, "a text", &one_of(&[$($word),+]))),
                }
            }

            fn show(&self) -> String {
                quoted(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(SlowReceiver { "close" = Close, "pace" = Pace });
words!(Allow { "register" = Register, "connect" = Connect, "both" = Both, "none" = None });
words!(ForwardedHeader { "x-forwarded-for" = XForwardedFor, "forwarded" = Forwarded });
words!(LogLevel { "error" = Error, "warn" = Warn, "info" = Info, "debug" = Debug, "trace" = Trace });
words!(LogFormat { "auto" = Auto, "text" = Text, "json" = Json, "journal" = Journal });

/// Finds the word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let patience = (word.chars().count() / 3).max(1);
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(&word, name), name));
    distances.filter(|(distance, _)| *distance <= patience).min().map(|(_, name)| name)
}

/// Says that a value is of the wrong type.
pub(super) fn unexpected(value: &DeValue<'_>, wanted: &str, mend: &str) -> String {
    let kind = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, not {kind}; {mend}")
}

/// Puts a text into quotes as TOML has them.
pub(super) fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Lets every value pass.
pub(super) fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

/// Lets pass what is neither below nor above these.
pub(super) fn between<T: Setting + PartialOrd>(least: T, most: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| match value {
        value if *value < least => Err(format!("{} is too little; the least is {}", value.show(), least.show())),
        value if *value > most => Err(format!("{} is too much; the most is {}", value.show(), most.show())),
        _ => Ok(()),
    }
}

/// Lets "auto" pass, and what passes this check.
pub(super) fn auto_or<T>(check: impl Fn(&T) -> Result<(), String>) -> impl Fn(&Option<T>) -> Result<(), String> {
    move |value| value.as_ref().map_or(Ok(()), &check)
}

/// Lets a prefix of a path pass that requests can begin with.
pub(super) fn path_prefix(prefix: &String) -> Result<(), String> {
    let trimmed = prefix.trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if let Some(odd) = trimmed.chars().find(|c| !plain(*c)) {
        return Err(format!("{prefix:?} has a {odd:?}; a prefix is made of letters, digits and - . _ ~ /"));
    }
    let parts: Vec<&str> = trimmed.split('/').filter(|part| !part.is_empty()).collect();
    let right: String = parts.iter().flat_map(|part| ["/", part]).collect();
    if *prefix == right {
        Ok(())
    } else {
        Err(format!("{prefix:?} has its slashes in the wrong place; write {right:?}"))
    }
}

/// Lets an origin pass as browsers send them, `*`, or nothing.
pub(super) fn origin(origin: &String) -> Result<(), String> {
    let is_origin = |text: &str| {
        let host = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        host.is_some_and(|(_, host)| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) && !host.contains(['/', ',', '?', '#', '@'])
        })
    };
    match origin.as_str() {
        "" | "*" | "null" => Ok(()),
        text if is_origin(text) => Ok(()),
        _ => Err(format!("{origin:?} is no origin; write \"*\", or one like \"https://example.com\" without a path")),
    }
}

/// Accepts a list whose members pass a check.
pub(super) fn each<T>(check: impl Fn(&T) -> Result<(), String>) -> impl Fn(&Vec<T>) -> Result<(), String> {
    move |values| values.iter().try_for_each(&check)
}

/// Accepts the name of a host, without a scheme or a port.
pub(super) fn host_name(name: &String) -> Result<(), String> {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.len() <= 253 && name.split('.').all(is_label) {
        Ok(())
    } else {
        Err(format!("{name:?} is no host name; write one like \"relay.example.com\", without a port"))
    }
}

fn whole(number: &toml::de::DeInteger<'_>) -> Result<u64, String> {
    let digits = number.as_str();
    if digits.starts_with('-') {
        return Err(format!("{number} is below zero; write a number of at least 0"));
    }
    // More digits than fit are out of every bound, and are reported there.
    Ok(u64::from_str_radix(digits.trim_start_matches('+'), number.radix()).unwrap_or(u64::MAX))
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let mend = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => one_of(known),
    };
    format!("{word:?} is not known here; {mend}")
}

fn one_of(known: &[&str]) -> String {
    let words: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
    format!("write one of {}", words.join(", "))
}
