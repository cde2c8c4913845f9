//! Addresses of listeners, as in the configuration and in `--listen`: "[::]:8741", "unix:/path", "systemd:NAME".
//!
//! Host names are rejected: the address of a name may change between two starts, and a listener that silently moves is
//! worse than an address to look up. Each error says what to write instead.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `[::]:8741`; an unspecified IPv6 address accepts IPv4 too.
    Inet(std::net::SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `systemd:NAME`, a descriptor that the service manager passes by that name.
    Inherited(String),
}

/// Reason why a string is not a valid listen address, with the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The texts say it.
pub enum AddressError {
    #[error("the address is missing; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\"")]
    Missing,
    #[error("{0:?} is not an address; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\"")]
    Invalid(String),
    #[error("{0:?} is a path; write \"unix:{0}\" for a Unix socket")]
    BarePath(String),
    #[error("{0:?} is a URL; write only an address and a port, such as \"[::]:8741\"")]
    Url(String),
    #[error("{0:?} has no port; write \"{1}\"")]
    NoPort(String, SocketAddr),
    #[error("{0} is not a port; the maximum is 65535")]
    Port(String),
    #[error("{0:?} has no address; write \"[::]:{1}\" for every address")]
    NoHost(String, String),
    #[error("{0:?} is a host name; write \"127.0.0.1:{1}\" or \"[::1]:{1}\"")]
    Localhost(String, String),
    #[error("{0:?} lacks brackets; write \"[{1}]:{2}\"")]
    NoBrackets(String, String, String),
    #[error("{0:?} is not an IP address; write an address of this machine, or \"[::]:{1}\"")]
    HostName(String, String),
    #[error("{0:?} is not an absolute path; begin it with a slash, such as \"/run/ws-router/http.sock\"")]
    Relative(String),
    #[error("{0:?} is a folder; name a socket in it")]
    Folder(String),
    #[error("{0:?} contains a zero byte; remove it")]
    ZeroByte(String),
    #[error("the path of the socket has {0} bytes; the maximum is {LONGEST_SOCKET_PATH}")]
    LongPath(usize),
    #[error("\"systemd:admin\" is the admin socket, which needs no listener; remove this one")]
    AdminDescriptor,
    #[error("{0:?} is not a descriptor name; write the socket unit's FileDescriptorName=, such as \"http\"")]
    DescriptorName(String),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("unix", path)) => socket_path(path).map(Self::Unix),
            Some(("systemd", name)) => descriptor_name(name).map(Self::Inherited),
            _ => text.parse().map(Self::Inet).map_err(|_| why_invalid(text)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl ListenAddress {
    /// Returns whether the kernel would reject one of the two addresses because of the other: they are equal, or one is an
    /// unspecified address that includes the other. Port 0 never conflicts, since it stands for a free port.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inet(one), Self::Inet(two)) => {
                one.port() != 0
                    && one.port() == two.port()
                    && (one.ip() == two.ip() || covers(one.ip(), two.ip()) || covers(two.ip(), one.ip()))
            }
            _ => self == other,
        }
    }
}

/// Parses the path of a Unix socket. It must be absolute, since a daemon has no working directory of its own.
pub fn socket_path(path: &str) -> Result<PathBuf, AddressError> {
    if !path.starts_with('/') {
        return Err(AddressError::Relative(path.into()));
    }
    if path.ends_with('/') {
        return Err(AddressError::Folder(path.into()));
    }
    if path.contains('\0') {
        return Err(AddressError::ZeroByte(path.into()));
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(AddressError::LongPath(path.len()));
    }
    Ok(path.into())
}

fn descriptor_name(name: &str) -> Result<String, AddressError> {
    let is_valid = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    match name {
        "admin" => Err(AddressError::AdminDescriptor),
        _ if is_valid => Ok(name.into()),
        _ => Err(AddressError::DescriptorName(name.into())),
    }
}

/// Returns the reason why a string isn't an IP address with a port.
fn why_invalid(text: &str) -> AddressError {
    let whole = || text.to_owned();
    if text.is_empty() {
        return AddressError::Missing;
    }
    if text.starts_with('/') {
        return AddressError::BarePath(whole());
    }
    if text.contains("://") {
        return AddressError::Url(whole());
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return AddressError::NoPort(whole(), SocketAddr::new(address, 8741));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return AddressError::Invalid(whole());
    }
    if port.parse::<u16>().is_err() {
        return AddressError::Port(port.into());
    }
    match host {
        "" | "*" => AddressError::NoHost(whole(), port.into()),
        "localhost" => AddressError::Localhost(whole(), port.into()),
        host if host.parse::<Ipv6Addr>().is_ok() => AddressError::NoBrackets(whole(), host.into(), port.into()),
        _ => AddressError::HostName(host.into(), port.into()),
    }
}

/// Returns whether a socket on `wide` also accepts connections to `narrow`. The unspecified IPv6 address accepts IPv4, too.
fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

/// `sun_path` has 108 bytes, and the last is zero.
const LONGEST_SOCKET_PATH: usize = 107;
