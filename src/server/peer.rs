//! The other end of a connection, as the kernel or a trusted proxy reports it, and its network.
//!
//! The kernel reports the address of the other machine, or the process on this one. If it is a trusted proxy
//! ([`Peers`]), logs, limits and access rules use the client that the proxy names instead. If the proxy reports an
//! address without a port, the port is 0 and isn't shown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
pub use ws_router_admin_api::peer::Peer;

/// Identity from a client certificate that the listener's authorities have signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientIdentity {
    /// The names in the certificate: the subject's common name, and alternative names (DNS, e-mail and URI).
    pub names: Vec<String>,
}

/// Network of a client, to which limits apply: a client that has one address in a network can usually use all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address, which is what a household or a host is given (RFC 6177).
    V6(u64),
    /// Processes on this machine that connect to a Unix socket.
    Unix,
}

impl Network {
    /// Returns the network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }

    /// Returns the network of a peer, whether or not it is on this machine.
    pub fn of_peer(peer: &Peer) -> Self {
        peer.ip().map_or(Self::Unix, Self::of)
    }

    /// Returns a number that identifies the network, if it has an address. The numbers of IPv4 addresses are in a range that
    /// no IPv6 network uses.
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Unix => None,
            Self::V4(address) => Some(address.to_bits().into()),
            Self::V6(network) => Some(network),
        }
    }
}

/// Returns the maximum for one network of a shared resource with the given limit, while all other networks hold `others`:
/// half of the rest, and at least one. So no network can use up the resource.
pub fn network_share(limit: usize, others: usize) -> usize {
    (limit.saturating_sub(others) / 2).max(1)
}

/// A shared resource with a limit, of which no network may hold more than its share ([`network_share`]).
#[derive(Debug, Clone, Default)]
pub struct Shares(Arc<Mutex<Holders>>);

/// Numbers of a resource's units in use.
#[derive(Debug, Default)]
struct Holders {
    total: usize,
    by_network: HashMap<Network, usize>,
}

impl Shares {
    /// Takes a unit of the resource until the returned share is dropped. A client without a `network`, such as a process on
    /// this machine, counts only in the total.
    pub fn take(&self, network: Option<Network>, limit: usize) -> Result<Share, ShareError> {
        let mut holders = self.0.lock();
        if holders.total >= limit {
            return Err(ShareError::Limit(limit));
        }
        if let Some(network) = network {
            let held = holders.by_network.get(&network).copied().unwrap_or_default();
            if held >= network_share(limit, holders.total - held) {
                return Err(ShareError::Network(held));
            }
            holders.by_network.insert(network, held + 1);
        }
        holders.total += 1;
        Ok(Share { shares: self.clone(), network })
    }

    /// Returns the number of units in use.
    pub fn held(&self) -> usize {
        self.0.lock().total
    }
}

/// Reason why no unit of a shared resource can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// All units are in use.
    #[error("all {0} are in use already")]
    Limit(usize),
    /// The client's network holds its share.
    #[error("the client's network has {0} already")]
    Network(usize),
}

/// A unit of a shared resource, released when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    network: Option<Network>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut holders = self.shares.0.lock();
        holders.total -= 1;
        if let Some(network) = self.network
            && let Entry::Occupied(mut held) = holders.by_network.entry(network)
        {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// A set of peers: IP networks, and possibly all processes that connect to a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers(Vec<Range>);

/// An entry of [`Peers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// The addresses of an IP network, which may be a single one.
    Network(IpNet),
    /// All processes that connect to a Unix socket.
    Unix,
}

impl Peers {
    /// Returns whether the set contains a peer.
    pub fn contain(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Inet(address) => self.contain_ip(address.ip()),
            Peer::Unix { .. } => self.0.contains(&Range::Unix),
        }
    }

    /// Returns whether one of the networks contains an address.
    pub fn contain_ip(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| matches!(range, Range::Network(network) if network.contains(&address)))
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries.
    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        self.0.iter()
    }
}

impl FromIterator<Range> for Peers {
    fn from_iter<T: IntoIterator<Item = Range>>(ranges: T) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// The string is not a network, an address or "unix". The text of the error contains the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RangeError(String);

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        let Ok(network) = text.parse::<IpNet>() else {
            return Err(RangeError(format!(
                "{text:?} is not a network; write one like \"10.0.0.0/8\" or \"2001:db8::/32\", an address, or \"unix\""
            )));
        };
        let is_mapped = matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
        match network.trunc() {
            _ if is_mapped => {
                Err(RangeError(format!("{text:?} is an IPv4 network in IPv6 form; write it as IPv4, without ::ffff:")))
            }
            whole if whole != network => {
                Err(RangeError(format!("{text:?} is an address inside a network; write \"{whole}\" for all of it")))
            }
            whole => Ok(Self::Network(whole)),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(texts: &[&str]) -> Peers {
        texts.iter().map(|text| text.parse::<Range>().unwrap()).collect()
    }

    #[test]
    fn a_peer_is_found_by_its_network_whatever_its_port_and_form() {
        let some = peers(&["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]);
        for inside in ["127.0.0.1:1", "10.255.0.1:2", "[2001:db8:ffff::1]:3", "[::ffff:10.1.2.3]:4"] {
            assert!(some.contain(&Peer::Inet(inside.parse().unwrap())), "{inside}");
        }
        for outside in ["127.0.0.2:1", "11.0.0.1:2", "[2001:db9::1]:3", "[::1]:4"] {
            assert!(!some.contain(&Peer::Inet(outside.parse().unwrap())), "{outside}");
        }
        let unix = Peer::Unix { uid: 0, pid: 1 };
        assert!(!some.contain(&unix) && peers(&["unix"]).contain(&unix));
        assert!(peers(&[]).is_empty() && !peers(&[]).contain(&unix));
    }

    #[test]
    fn a_network_holds_at_most_half_of_what_the_others_leave_free() {
        let (shares, network) = (Shares::default(), |last| Some(Network::V4(Ipv4Addr::new(192, 0, 2, last))));
        let mut held: Vec<_> = (0..4).map(|_| shares.take(network(1), 8).unwrap()).collect();
        assert_eq!(shares.take(network(1), 8).unwrap_err(), ShareError::Network(4));
        held.extend((0..2).map(|_| shares.take(network(2), 8).unwrap()));
        assert_eq!(shares.take(network(2), 8).unwrap_err(), ShareError::Network(2));
        // A process on this machine has no share.
        held.extend((0..2).map(|_| shares.take(None, 8).unwrap()));
        assert_eq!(shares.take(network(3), 8).unwrap_err(), ShareError::Limit(8));
        assert_eq!(shares.held(), 8);
        drop(held);
        assert_eq!(shares.held(), 0);
        assert!(shares.0.lock().by_network.is_empty());
        let _only = shares.take(network(1), 1).unwrap();
    }

    #[test]
    fn a_range_is_shown_as_it_is_read_and_a_wrong_one_is_explained() {
        for text in ["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0", "unix"] {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), text);
        }
        for (text, fix) in [
            ("10.0.0.1/8", "\"10.0.0.0/8\" for all"),
            ("::ffff:10.0.0.0/104", "as IPv4"),
            ("example.com", "is not a network"),
            ("10.0.0.0/33", "is not a network"),
            ("", "is not a network"),
        ] {
            let error = text.parse::<Range>().unwrap_err().to_string();
            assert!(error.contains(fix), "{text}: {error}");
        }
    }
}
