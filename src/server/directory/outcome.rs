//! What can stand against a request, each operation with its own list, so that its caller answers every case.

/// Why there is no registration for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterError {
    /// The wanted id is taken by somebody with other keys.
    Taken,
    /// There are as many registrations as allowed.
    Full,
    /// There are as many registrations as the access rule allows.
    Quota,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatError {
    /// No registration has this id.
    Unknown,
    /// The key isn't the registration's.
    WrongKey,
    /// A hostclient registration wants to know whether host or client joins.
    RoleRequired,
    /// The registration has as many members as allowed.
    Full,
}

/// Why nothing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveError {
    /// No registration has this id.
    Unknown,
    /// One of the keys isn't the registration's.
    WrongKey,
}
