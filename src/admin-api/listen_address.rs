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
    /// `[::]:8741`; an unspecified IPv6 address takes IPv4 too.
    Inet(std::net::SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `systemd:NAME`, a descriptor that the service manager passes by that name.
    Inherited(String),
}

/// Why a text is no address to listen at, and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = match text.split_once(':') {
            Some(("unix", path)) => socket_path(path).map(Self::Unix),
            Some(("systemd", name)) => descriptor_name(name).map(Self::Inherited),
            _ => text.parse().map(Self::Inet).map_err(|_| not_an_address(text)),
        };
        read.map_err(AddressError)
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
    /// Tells whether the kernel would refuse one of the two because of the other: the same place, or an unspecified
    /// address that takes the other in. Port 0 is a fresh port each time.
    pub fn clashes(&self, other: &Self) -> bool {
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

/// Takes the path of a Unix socket: absolute, since a daemon has no folder of its own, and not longer than the
/// kernel's field for it.
pub fn socket_path(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(format!(
            "{path:?} is no absolute path; begin it with a slash, such as \"/run/ws-router/http.sock\""
        ));
    }
    if path.ends_with('/') {
        return Err(format!("{path:?} is a folder; name a socket in it"));
    }
    if path.contains('\0') {
        return Err(format!("{path:?} has a zero byte; remove it"));
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(format!("a socket's path of {} bytes is too long; the most is {LONGEST_SOCKET_PATH}", path.len()));
    }
    Ok(path.into())
}

fn descriptor_name(name: &str) -> Result<String, String> {
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    match name {
        "admin" => Err("\"systemd:admin\" is the admin socket's, which needs no listener; remove this one".into()),
        _ if fits => Ok(name.into()),
        _ => {
            Err(format!("{name:?} names no descriptor; write the socket unit's FileDescriptorName=, such as \"http\""))
        }
    }
}

fn not_an_address(text: &str) -> String {
    if text.is_empty() {
        return "an address is missing; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\"".into();
    }
    if text.starts_with('/') {
        return format!("{text:?} is a path; write {:?} for a Unix socket there", format!("unix:{text}"));
    }
    if text.contains("://") {
        return format!("{text:?} is a URL; write only an address and a port, such as \"[::]:8741\"");
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return format!("{text:?} has no port; write {:?}", SocketAddr::new(address, 8741).to_string());
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let number = port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty();
    let every = || format!("[::]:{port}");
    match host {
        _ if number && port.parse::<u16>().is_err() => format!("{port} is no port; the most is 65535"),
        "" | "*" if number => format!("{text:?} has no address; write {:?} for every address", every()),
        "localhost" if number => format!("{text:?} names a host; write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        host if host.parse::<Ipv6Addr>().is_ok() && number => {
            format!("{text:?} lacks brackets; write \"[{host}]:{port}\"")
        }
        _ if number => {
            format!("{host:?} is no IP address; write the address of one of this machine's, or {:?}", every())
        }
        _ => format!("{text:?} is no address; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\""),
    }
}

/// Tells whether a socket on `wide` takes connections to `narrow` too; the unspecified IPv6 address takes IPv4.
fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

/// `sun_path` has 108 bytes, and the last is zero.
const LONGEST_SOCKET_PATH: usize = 107;
