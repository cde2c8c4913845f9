//! Whether what the configuration allows fits into what the machine and the unit leave to this process.
//!
//! The worst case is a sum of bounds, each of which has its key: descriptors for connections, and memory for what
//! peers make the router hold. `--check` shows it, and warns where it doesn't fit: such a router would refuse or be
//! killed earlier than its administrator thinks. Limits of the service's unit hold where it runs in it: in a shell they
//! are the shell's.

use std::thread;

use bytesize::ByteSize;

use crate::config::Config;
use crate::net;
use crate::relay::{CONNECTION, TLS_SESSION};
use crate::sys;

/// What this process may have at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    descriptors: u64,
    memory: u64,
}

/// The worst case in words: what there is to know, and what there is to mend.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WorstCase {
    /// Two lines.
    pub(super) facts: Vec<String>,
    /// None if all fits.
    pub(super) warnings: Vec<String>,
}

impl Room {
    /// Asks the system.
    pub(super) fn here() -> Self {
        Self { descriptors: sys::descriptor_limit(), memory: sys::memory_limit() }
    }

    /// Holds what a configuration allows against it.
    pub(super) fn hold(self, config: &Config) -> WorstCase {
        let limits = &config.limits;
        let possible = net::connections_within(self.descriptors);
        let connections = limits.connections.map_or(possible, |wanted| possible.min(wanted as u64));
        let budget = limits.memory.map_or(self.memory / 2, |memory| memory.as_u64());
        let own = own(config);
        let facts = vec![
            format!(
                "connections: at most {connections}, and {} other descriptors, of {} that this process may open",
                net::RESERVED_DESCRIPTORS,
                self.descriptors
            ),
            format!(
                "memory: at most {} for what peers make it hold, and {} for itself, of {}",
                size(budget),
                size(own),
                size(self.memory)
            ),
        ];
        let mut warnings = Vec::new();
        if let Some(wanted) = limits.connections.filter(|wanted| *wanted as u64 > possible) {
            warnings.push(format!(
                "limits.connections: {wanted} connections don't fit into {} descriptors; raise LimitNOFILE= of the \
                 service unit, or lower it to {possible}",
                self.descriptors
            ));
        }
        if budget.saturating_add(own) > self.memory {
            warnings.push(format!(
                "limits.memory: {} and {} for itself don't fit into {}; lower it, or raise MemoryMax= of the service unit",
                size(budget),
                size(own),
                size(self.memory)
            ));
        }
        let idle = cost_of_idle(config);
        if limits.connections.is_some() && connections.saturating_mul(idle) > budget {
            warnings.push(format!(
                "limits.connections: {connections} connections take {} before they say a word, and limits.memory is {}; \
                 about {} of them fit",
                size(connections.saturating_mul(idle)),
                size(budget),
                budget / idle
            ));
        }
        let websocket = &config.websocket;
        let one = websocket.max_message.as_u64().saturating_mul(2).saturating_add(websocket.outbox.as_u64());
        if one > budget {
            warnings.push(format!(
                "limits.memory: one member may hold {} by websocket.max-message and websocket.outbox, and all together \
                 {}; large messages will cost seats",
                size(one),
                size(budget)
            ));
        }
        WorstCase { facts, warnings }
    }
}

/// What a connection takes that does nothing.
fn cost_of_idle(config: &Config) -> u64 {
    if config.listeners.iter().any(|listener| listener.tls.is_some()) { CONNECTION + TLS_SESSION } else { CONNECTION }
}

/// What the router takes without any peer, and with what it keeps for their next messages; and what requests in progress
/// may take beyond what the budget counts for each.
fn own(config: &Config) -> u64 {
    let threads = config.relay.threads.or_else(|| thread::available_parallelism().ok());
    let threads = threads.map_or(1, std::num::NonZero::get) as u64;
    let request = config.http.max_head.as_u64().saturating_add(config.http.max_body.as_u64());
    PROGRAM + threads * THREAD + request.saturating_mul(config.limits.pending as u64)
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// The program, its event loops, and the tables of client networks.
const PROGRAM: u64 = 32 << 20;
/// A relay thread's buffers, with those that it keeps for the next messages.
const THREAD: u64 = 18 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { descriptors: 10_256, memory: 4 << 30 };

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.relay.threads = std::num::NonZero::new(2);
        change(&mut config);
        config
    }

    #[test]
    fn the_defaults_fit_and_the_worst_case_is_told() {
        let worst = ROOM.hold(&config(|_| {}));
        assert_eq!(
            worst.facts,
            [
                "connections: at most 10000, and 256 other descriptors, of 10256 that this process may open",
                "memory: at most 2.0 GiB for what peers make it hold, and 196.0 MiB for itself, of 4.0 GiB",
            ]
        );
        assert_eq!(worst.warnings, [""; 0]);
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_mend() {
        for (change, begin) in [
            (
                (|config| config.limits.connections = Some(20_000)) as fn(&mut Config),
                "limits.connections: 20000 connections don't fit into 10256 descriptors; raise LimitNOFILE=",
            ),
            (
                |config| config.limits.memory = Some(ByteSize::gib(4)),
                "limits.memory: 4.0 GiB and 196.0 MiB for itself don't fit into 4.0 GiB; lower it",
            ),
            (
                |config| {
                    config.limits.connections = Some(10_000);
                    config.limits.memory = Some(ByteSize::mib(200));
                    config.listeners[0].tls = Some(crate::config::Tls::new("/c", "/k"));
                },
                "limits.connections: 10000 connections take 322.3 MiB before they say a word",
            ),
            (|config| config.limits.memory = Some(ByteSize::mib(100)), "limits.memory: one member may hold 136.0 MiB"),
        ] {
            let config = config(|config| {
                config.listeners = config.effective_listeners();
                change(config);
            });
            let warnings = ROOM.hold(&config).warnings;
            assert!(warnings.len() == 1 && warnings[0].starts_with(begin), "{warnings:#?}");
        }
    }
}
