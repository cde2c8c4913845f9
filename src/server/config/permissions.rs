//! Modes and groups of Unix sockets, such as "0660" and "www-data".

use std::fmt;
use std::str::FromStr;

use nix::unistd::Group;
use toml::de::{DeTable, DeValue};
use ws_router_admin_api::ListenAddress;

use super::SocketPermissions;
use super::reader::{Found, Position};
use super::value::{Setting, ValueError, quoted, type_error};

/// The permission bits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Read and write permission for the owner and the group; connecting requires write permission (unix(7)).
    pub const OWNER_AND_GROUP: Self = Self(0o660);

    /// Returns the bits, at most 0777.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self::OWNER_AND_GROUP
    }
}

impl FromStr for FileMode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| is_octal && *bits <= 0o777);
        bits.map(Self).ok_or_else(|| ValueError::Invalid {
            text: text.into(),
            expected: "a file mode",
            fix: "write octal digits, such as \"0660\"".into(),
        })
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Setting for FileMode {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let text = value.as_str().ok_or_else(|| type_error(value, "a string", "write, for example, \"0660\""))?;
        text.parse()
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

/// The name of an existing group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName(String);

impl GroupName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        match Group::from_name(name) {
            Ok(Some(_)) => Ok(Self(name.into())),
            Ok(None) => Err(ValueError::NoGroup(name.into())),
            Err(error) => Err(ValueError::GroupLookup(name.into(), error)),
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An empty string stands for the group of the process.
impl Setting for Option<GroupName> {
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value.as_str() {
            Some("") => Ok(None),
            Some(name) => name.parse().map(Some),
            None => Err(type_error(value, "a string", "write the name of a group, such as \"www-data\"")),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), quoted)
    }
}

/// Reads the permissions of a listener.
pub(super) fn read(section: &str, keys: &DeTable<'_>, found: &mut Found) -> SocketPermissions {
    SocketPermissions { mode: one(section, MODE, keys, found), group: one(section, GROUP, keys, found) }
}

fn one<T: Setting + Default>(section: &str, name: &str, keys: &DeTable<'_>, found: &mut Found) -> T {
    let Some(value) = keys.get(name) else { return T::default() };
    T::read(value.get_ref()).unwrap_or_else(|problem| {
        found.semantic_error(value.span().start, format!("{section}.{name}: {problem}"));
        T::default()
    })
}

/// Reports a mode or group that has no effect, because the address isn't a Unix socket bound by the router.
pub(super) fn check_use(section: &str, name: &str, address: &ListenAddress, at: Position, found: &mut Found) {
    let fix = match address {
        ListenAddress::Unix(_) => return,
        ListenAddress::Inet(_) => "only a Unix socket has one; remove this key",
        ListenAddress::Inherited(_) if name == MODE => "the socket unit decides; set SocketMode= there",
        ListenAddress::Inherited(_) => "the socket unit decides; set SocketGroup= there",
    };
    found.semantic_error_at(at, format!("{section}.{name}: has no effect on {address}: {fix}"));
}

/// The key of a socket file's mode.
pub(super) const MODE: &str = "mode";
/// The key of a socket file's group.
pub(super) const GROUP: &str = "group";
