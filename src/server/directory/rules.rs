//! By which rules registrations live, and how many there may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};

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

impl Rules {
    /// Returns the rules that a configuration sets.
    pub fn of(config: &Config) -> Self {
        Self {
            auto_remove: config.registration.auto_remove,
            linger: config.registration.linger,
            unclaimed_timeout: config.registration.unclaimed_timeout,
            max_registrations: config.limits.registrations,
            max_members: config.limits.members,
            quotas: config.access.iter().enumerate().filter_map(|(index, rule)| Quota::of(index, rule)).collect(),
        }
    }
}

/// What an access rule bounds of the registrations that were made under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Registrations at a time.
    pub registrations: Option<usize>,
    /// Members of each.
    pub members: Option<usize>,
}

impl Quota {
    /// Returns what a rule bounds, with its name, if it bounds anything.
    fn of(index: usize, rule: &config::Rule) -> Option<(Arc<str>, Self)> {
        let quota = Self { registrations: rule.registrations, members: rule.members };
        (quota != Self::default()).then(|| (rule.title(index).into(), quota))
    }
}
