//! By which rules registrations live, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The rules by which registrations live.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether a registration ends when its last member has left.
    pub auto_remove: bool,
    /// How long an emptied registration is kept.
    pub linger: Duration,
    /// How long a registration that nobody joined is kept.
    pub unclaimed_timeout: Duration,
    /// Registrations in all.
    pub max_registrations: usize,
    /// Members of one registration.
    pub max_members: usize,
    /// What access rules bound further, by their names.
    pub quotas: HashMap<Arc<str>, Quota>,
}

/// What an access rule bounds of the registrations that were made under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Registrations at a time.
    pub registrations: Option<usize>,
    /// Members of each.
    pub members: Option<usize>,
}
