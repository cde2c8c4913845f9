//! The reasons for which a member's connection ends, each with its close code, its text, and its name in logs and metrics.
//!
//! A test compares them with ws-router-protocol(7).

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// Reason why a member's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumCount, IntoStaticStr, VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum CloseReason {
    /// The member sent its close frame.
    Left,
    /// The member's connection broke without a close frame.
    Lost,
    /// The router is stopping.
    Stopping,
    /// The member broke the protocol (RFC 6455).
    Protocol,
    /// The member sent a text message that isn't valid UTF-8.
    InvalidUtf8,
    /// The member sent a message above `websocket.max-message`.
    TooBig,
    /// The router is restarting and can't hand over this connection.
    Restarting,
    /// The router is being taken out of service, and the member should reconnect elsewhere.
    Draining,
    /// The registration was removed by a request.
    Removed,
    /// The registration was removed by an administrator.
    RemovedByAdmin,
    /// The connection was closed by an administrator.
    ClosedByAdmin,
    /// The member's outbox exceeded its limit, or the member read nothing for the stall timeout.
    TooSlow,
    /// The member sent nothing within the pong timeout.
    NoPong,
    /// The member may only receive, and sent a message.
    NotPermitted,
    /// No host accepted the client in time, or one rejected it.
    NotAccepted,
    /// The other end of an accepted connection has left.
    PeerDisconnected,
    /// The connection's TLS is in the kernel and can't go on there: the peer sent an alert or new keys, or the keys have
    /// protected as much as they may.
    TlsEnded,
    /// The device took its own session over with another connection, or began it anew.
    TakenOver,
    /// Messages of the session that the device hasn't received can't be sent again.
    SessionLost,
}

impl CloseReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the close code (RFC 6455 section 7.4) sent to the member, or `None` if nothing can be sent any more.
    pub const fn code(self) -> Option<u16> {
        Some(match self {
            Self::Left => 1000,
            Self::Lost => return None,
            Self::Stopping => 1001,
            Self::Protocol => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            // Not 1001, after which many libraries don't reconnect.
            Self::Restarting | Self::Draining | Self::TlsEnded => 1012,
            Self::Removed => 4000,
            Self::RemovedByAdmin => 4001,
            Self::ClosedByAdmin => 4002,
            Self::TooSlow => 4003,
            Self::NoPong => 4004,
            Self::NotPermitted => 4005,
            Self::NotAccepted => 4006,
            Self::PeerDisconnected => 4007,
            Self::TakenOver => 4008,
            Self::SessionLost => 4009,
        })
    }

    /// Returns the text sent with the code; at most 123 bytes (RFC 6455 section 5.5).
    pub const fn text(self) -> &'static str {
        match self {
            Self::Left => "closed",
            Self::Lost => "connection lost",
            Self::Stopping => "the router stops",
            Self::Protocol => "websocket protocol error",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::TooBig => "message too big",
            Self::Restarting => "the router restarts, please reconnect",
            Self::Draining => "the router is taken out of service, please reconnect",
            Self::Removed => "registration removed",
            Self::RemovedByAdmin => "registration removed by an administrator",
            Self::ClosedByAdmin => "closed by an administrator",
            Self::TooSlow => "too slow",
            Self::NoPong => "no pong",
            Self::NotPermitted => "not permitted to send",
            Self::NotAccepted => "not accepted",
            Self::PeerDisconnected => "peer disconnected",
            Self::TlsEnded => "TLS needs new keys, please reconnect",
            Self::TakenOver => "the session is taken over",
            Self::SessionLost => "the session is lost",
        }
    }

    /// Returns the name in logs, events and metric labels.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_listed_once_with_texts_that_fit_a_control_frame() {
        for (at, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            assert!(reason.text().len() <= 123);
            let serialized = serde_json::to_string(reason).unwrap();
            assert_eq!(serialized, format!("\"{}\"", reason.label()));
        }
    }
}
