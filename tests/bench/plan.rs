//! What traffic the generator makes.

use crate::frames::Shape;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talkers {
    /// One member of each lobby.
    One,
    /// All members.
    All,
    /// Two members, who answer each other.
    Turns,
}

/// What traffic to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Lobbies.
    pub(crate) lobbies: usize,
    /// Members of each, without the stalled one.
    pub(crate) members: usize,
    /// Who sends.
    pub(crate) talkers: Talkers,
    /// Messages of a sender in flight.
    pub(crate) window: u32,
    /// The most messages of a sender that are written at once: with fewer than the window, sender, server and receiver
    /// can all be busy at the same time instead of handing one large batch around.
    pub(crate) burst: u32,
    /// The messages.
    pub(crate) shape: Shape,
    /// Members of the first lobby who never read.
    pub(crate) stalled: usize,
}
