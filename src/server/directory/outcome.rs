//! What can stand against a request, each operation with its own list, so that its caller answers every case.

/// Why there is no registration for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The wanted id is taken by somebody with other keys.
    #[error("the id is taken")]
    Taken,
    /// There are as many registrations as allowed.
    #[error("limits.registrations is reached")]
    Full,
    /// There are as many registrations as the access rule allows.
    #[error("the access rule allows no more registrations")]
    Quota,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// The key isn't the registration's.
    #[error("wrong key")]
    WrongKey,
    /// A hostclient registration wants to know whether host or client joins.
    #[error("the role is missing")]
    RoleRequired,
    /// The registration has as many members as allowed.
    #[error("the registration has as many members as allowed")]
    Full,
}

/// Why nothing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// One of the keys isn't the registration's.
    #[error("wrong key")]
    WrongKey,
}
