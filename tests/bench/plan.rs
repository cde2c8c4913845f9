//! The traffic that the generator makes.

use crate::frames::Shape;

/// Senders of a lobby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talkers {
    /// One member sends.
    One,
    /// All members send.
    All,
    /// Two members answer each other.
    Turns,
}

/// Traffic of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Number of lobbies.
    pub(crate) lobbies: usize,
    /// Number of members of each lobby, without stalled ones.
    pub(crate) members: usize,
    /// Senders of a lobby.
    pub(crate) talkers: Talkers,
    /// Number of messages that a sender has in flight.
    pub(crate) window: u32,
    /// Highest number of messages of a sender that are written at once: with fewer than the window, sender, server and
    /// receiver are all busy at the same time instead of passing one large batch around.
    pub(crate) burst: u32,
    /// Shape of the messages.
    pub(crate) shape: Shape,
    /// Number of members of the first lobby that never read.
    pub(crate) stalled: usize,
}
