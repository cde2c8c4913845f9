//! Who is at the other end of a connection, as far as the kernel can tell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// An address of the internet protocol; an IPv4 address that was mapped into IPv6 is shown as IPv4.
    Inet(SocketAddr),
    /// A process on this machine.
    Unix {
        /// The peer's user.
        uid: u32,
        /// The peer's process, 0 if it isn't known.
        pid: i32,
    },
}

impl Peer {
    /// Takes an address as `accept` gave it.
    pub fn inet(address: SocketAddr) -> Self {
        Self::Inet(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Tells the address that rate limits and access rules go by.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

/// What a client has proved to be by a certificate that the listener's authorities have signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certified {
    /// The names in it: its subject's common name, and alternative names (DNS, e-mail and URI).
    pub names: Vec<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix { uid, pid } => write!(f, "unix:uid={uid},pid={pid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let peer = Peer::inet("[::ffff:127.0.0.1]:5".parse().unwrap());
        assert_eq!(peer.to_string(), "127.0.0.1:5");
        assert_eq!(Peer::Unix { uid: 1000, pid: 7 }.to_string(), "unix:uid=1000,pid=7");
    }
}
