//! The other end of a connection, as logs and the admin interface show it.

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

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) if address.port() == 0 => address.ip().fmt(f),
            Self::Inet(address) => address.fmt(f),
            Self::Unix { uid, pid } => write!(f, "unix:uid={uid},pid={pid}"),
        }
    }
}

/// Reads and writes a peer as it is shown, for those who read events.
pub mod shown {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Peer;

    /// Writes it.
    pub fn serialize<S: Serializer>(peer: &Peer, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Peer, D::Error> {
        let text = String::deserialize(deserializer)?;
        let unix = text.strip_prefix("unix:uid=").and_then(|rest| rest.split_once(",pid="));
        let peer = match unix {
            Some((uid, pid)) => uid.parse().ok().zip(pid.parse().ok()).map(|(uid, pid)| Peer::Unix { uid, pid }),
            None => text.parse().ok().map(Peer::Inet),
        };
        peer.ok_or_else(|| de::Error::custom("not a peer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Shown(#[serde(with = "shown")] Peer);
        for peer in [Peer::inet("[::1]:5".parse().unwrap()), Peer::Unix { uid: 1000, pid: 7 }] {
            let text = serde_json::to_string(&Shown(peer)).unwrap();
            assert_eq!(text, format!("\"{peer}\""));
            assert_eq!(serde_json::from_str::<Shown>(&text).unwrap(), Shown(peer));
        }
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let peer = Peer::inet("[::ffff:127.0.0.1]:5".parse().unwrap());
        assert_eq!(peer.to_string(), "127.0.0.1:5");
        assert_eq!(Peer::Unix { uid: 1000, pid: 7 }.to_string(), "unix:uid=1000,pid=7");
    }

    #[test]
    fn an_address_that_came_without_a_port_is_shown_without_one() {
        assert_eq!(Peer::inet("[2001:db8::1]:0".parse().unwrap()).to_string(), "2001:db8::1");
        assert_eq!(Peer::inet("192.0.2.1:0".parse().unwrap()).to_string(), "192.0.2.1");
    }
}
