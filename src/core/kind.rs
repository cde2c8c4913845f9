//! What a registration is for, and what a member is in it: the two words that clients put into their URLs.

use serde::{Deserialize, Serialize};

/// The kind of a registration, which decides who receives from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Hosts receive from clients, and clients from hosts.
    HostClient,
    /// Everybody receives from everybody else.
    Lobby,
}

/// What a member is in its registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Heard by clients (hostclient).
    Host,
    /// Heard by hosts (hostclient).
    Client,
    /// Heard by all others (lobby).
    Peer,
}

impl Kind {
    /// Reads `reg_type`.
    pub fn from_param(text: &str) -> Option<Self> {
        match text {
            "hostclient" => Some(Self::HostClient),
            "lobby" => Some(Self::Lobby),
            _ => None,
        }
    }

    /// Shows the kind as `reg_type` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HostClient => "hostclient",
            Self::Lobby => "lobby",
        }
    }
}

impl Role {
    /// Reads `sock_type` of a hostclient registration; one trailing slash is tolerated, since an existing client's
    /// URL library appends it.
    pub fn from_param(text: &str) -> Option<Self> {
        match text.strip_suffix('/').unwrap_or(text) {
            "host" => Some(Self::Host),
            "client" => Some(Self::Client),
            _ => None,
        }
    }

    /// Shows the role as logs and the admin interface have it.
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
