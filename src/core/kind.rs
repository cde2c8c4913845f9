//! The kind of a registration and the role of a member, which clients specify in request parameters.

use serde::{Deserialize, Serialize};

/// The kind of a registration, which determines the receivers of each member's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Hosts receive from clients, and clients from hosts.
    HostClient,
    /// Each member receives from all others.
    Lobby,
    /// Each client has a connection of its own to the host.
    Paired,
}

/// The role of a member in its registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends to clients, and receives from them (hostclient), or listens for clients and accepts them (paired).
    Host,
    /// Sends to hosts, and receives from them (hostclient), or connects to a host (paired).
    Client,
    /// Sends to all others, and receives from them (lobby).
    Peer,
}

impl Kind {
    /// Parses `reg_type`.
    pub fn from_param(text: &str) -> Option<Self> {
        match text {
            "hostclient" => Some(Self::HostClient),
            "lobby" => Some(Self::Lobby),
            "paired" => Some(Self::Paired),
            _ => None,
        }
    }

    /// Returns the kind as a value of `reg_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostClient => "hostclient",
            Self::Lobby => "lobby",
            Self::Paired => "paired",
        }
    }
}

impl Role {
    /// Parses `sock_type` of a hostclient or paired registration; one trailing slash is tolerated, since an existing client's
    /// URL library appends it.
    pub fn from_param(text: &str) -> Option<Self> {
        match text.strip_suffix('/').unwrap_or(text) {
            "host" => Some(Self::Host),
            "client" => Some(Self::Client),
            _ => None,
        }
    }

    /// Returns the name of the role in logs and the admin interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Client => "client",
            Self::Peer => "peer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_carry_one_trailing_slash() {
        assert_eq!(Role::from_param("client/"), Some(Role::Client));
        assert_eq!(Role::from_param("host/"), Some(Role::Host));
        assert_eq!(Role::from_param("host"), Some(Role::Host));
        for bad in ["", "/", "host//", "Host", "peer"] {
            assert_eq!(Role::from_param(bad), None);
        }
    }
}
