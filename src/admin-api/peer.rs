//! Peer of a connection, in the form of logs and of the admin interface.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Peer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// An IP address; an IPv4 address mapped into IPv6 is shown as IPv4.
    Inet(SocketAddr),
    /// A process on this machine.
    Unix {
        /// The peer's user.
        uid: u32,
        /// The peer's process, 0 if unknown.
        pid: i32,
    },
}

impl Peer {
    /// Converts an address from `accept`.
    pub fn inet(address: SocketAddr) -> Self {
        Self::Inet(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Returns the address for rate limits and access rules.
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

/// Serialization of a peer in its displayed form.
pub mod shown {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Peer;

    /// Serializes a peer.
    pub fn serialize<S: Serializer>(peer: &Peer, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    /// Deserializes a peer.
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

/// Serialization of a peer in its displayed form, for fields that are left out if there is none.
pub mod shown_if_known {
    use serde::{Deserializer, Serializer};

    use super::{Peer, shown};

    /// Serializes a peer.
    pub fn serialize<S: Serializer>(peer: &Option<Peer>, serializer: S) -> Result<S::Ok, S::Error> {
        match peer {
            Some(peer) => shown::serialize(peer, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Deserializes a peer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Peer>, D::Error> {
        shown::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_peer_parses_to_the_same_peer() {
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
