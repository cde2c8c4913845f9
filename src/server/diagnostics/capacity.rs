//! Comparison of what the configuration allows with what the machine and the unit allow this process.
//!
//! The worst case is a sum of limits, each of which has its key: descriptors for connections, and memory that peers can
//! make the router hold. Where it exceeds the system's limits, the router would reject connections or be killed earlier
//! than its administrator expects. The limits of the service's unit apply only inside it; in a shell the limits are the
//! shell's.

use std::thread;

use bytesize::ByteSize;
use ws_router_admin_api::finding::{Area, Finding};

use crate::config::Config;
use crate::net;
use crate::relay::{CONNECTION, TLS_SESSION};
use crate::sys;

/// The system's limits of this process.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    descriptors: u64,
    memory: u64,
}

impl Capacity {
    /// Reads the limits of this process.
    pub fn of_process() -> Self {
        Self { descriptors: sys::descriptor_limit(), memory: sys::memory_limit() }
    }

    /// Returns what a configuration allows at most, in two lines.
    pub fn worst_case(self, config: &Config) -> [String; 2] {
        [
            format!(
                "connections: at most {}, and {} other descriptors, of {} that this process may open",
                self.connections(config),
                net::RESERVED_DESCRIPTORS,
                self.descriptors
            ),
            format!(
                "memory: at most {} held for peers, and {} for itself, of {}",
                size(self.budget(config)),
                size(own_memory(config)),
                size(self.memory)
            ),
        ]
    }

    /// Reports limits of a configuration that exceed the system's or each other.
    pub(super) fn findings(self, config: &Config) -> Vec<Finding> {
        let limits = &config.limits;
        let possible = net::connections_within(self.descriptors);
        let (connections, budget, own) = (self.connections(config), self.budget(config), own_memory(config));
        let mut findings = Vec::new();
        if let Some(wanted) = limits.connections.filter(|wanted| *wanted as u64 > possible) {
            findings.push(Finding::warning(
                Area::Descriptors,
                format!("limits.connections: {wanted} connections exceed {} descriptors", self.descriptors),
                format!("raise LimitNOFILE= of the service unit, or lower it to {possible}"),
            ));
        }
        if budget.saturating_add(own) > self.memory {
            findings.push(Finding::warning(
                Area::Memory,
                format!("limits.memory: {} and {} for itself exceed {}", size(budget), size(own), size(self.memory)),
                "lower it, or raise MemoryMax= of the service unit",
            ));
        }
        let idle = idle_connection_memory(config);
        if limits.connections.is_some() && connections.saturating_mul(idle) > budget {
            findings.push(Finding::warning(
                Area::Memory,
                format!(
                    "limits.connections: {connections} connections take {} when idle, and limits.memory is {}",
                    size(connections.saturating_mul(idle)),
                    size(budget)
                ),
                format!("raise limits.memory, or lower it to {}", budget / idle),
            ));
        }
        let websocket = &config.websocket;
        let one = websocket.max_message.as_u64().saturating_mul(2).saturating_add(websocket.outbox.as_u64());
        if one > budget {
            findings.push(Finding::warning(
                Area::Memory,
                format!(
                    "limits.memory: one member may hold {} by websocket.max-message and websocket.outbox, and all \
                     together {}",
                    size(one),
                    size(budget)
                ),
                "raise it, or lower one of the others; members with large messages will be closed",
            ));
        }
        findings
    }

    fn connections(self, config: &Config) -> u64 {
        let possible = net::connections_within(self.descriptors);
        config.limits.connections.map_or(possible, |wanted| possible.min(wanted as u64))
    }

    fn budget(self, config: &Config) -> u64 {
        config.limits.memory.map_or(self.memory / 2, |memory| memory.as_u64())
    }
}

/// Returns the memory of an idle connection.
fn idle_connection_memory(config: &Config) -> u64 {
    if config.listeners.iter().any(|listener| listener.tls.is_some()) { CONNECTION + TLS_SESSION } else { CONNECTION }
}

/// Returns the memory that the router needs besides the budget for peers: for itself, for the buffers that relay threads
/// keep, and for requests in progress.
fn own_memory(config: &Config) -> u64 {
    let threads = config.relay.threads.or_else(|| thread::available_parallelism().ok());
    let threads = threads.map_or(1, std::num::NonZero::get) as u64;
    let request = config.http.max_head.as_u64().saturating_add(config.http.max_body.as_u64());
    PROGRAM + threads * THREAD + request.saturating_mul(config.limits.pending as u64)
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Memory of the program, its event loops, and the tables of client networks.
const PROGRAM: u64 = 32 << 20;
/// Memory of a relay thread's buffers, including those that it keeps for the next messages.
const THREAD: u64 = 18 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { descriptors: 10_256, memory: 4 << 30 };

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.relay.threads = std::num::NonZero::new(2);
        change(&mut config);
        config
    }

    #[test]
    fn the_defaults_fit_and_the_worst_case_is_reported() {
        let config = config(|_| {});
        assert_eq!(
            CAPACITY.worst_case(&config),
            [
                "connections: at most 10000, and 256 other descriptors, of 10256 that this process may open",
                "memory: at most 2.0 GiB held for peers, and 196.0 MiB for itself, of 4.0 GiB",
            ]
        );
        assert_eq!(CAPACITY.findings(&config), []);
    }

    #[test]
    fn a_limit_that_does_not_fit_is_reported_with_the_fix() {
        for (change, begin) in [
            (
                (|config| config.limits.connections = Some(20_000)) as fn(&mut Config),
                "limits.connections: 20000 connections exceed 10256 descriptors; raise LimitNOFILE=",
            ),
            (
                |config| config.limits.memory = Some(ByteSize::gib(4)),
                "limits.memory: 4.0 GiB and 196.0 MiB for itself exceed 4.0 GiB; lower it",
            ),
            (
                |config| {
                    config.limits.connections = Some(10_000);
                    config.limits.memory = Some(ByteSize::mib(200));
                    config.listeners[0].tls = Some(crate::config::Tls::new("/c", "/k"));
                },
                "limits.connections: 10000 connections take 322.3 MiB when idle",
            ),
            (|config| config.limits.memory = Some(ByteSize::mib(100)), "limits.memory: one member may hold 136.0 MiB"),
        ] {
            let config = config(|config| {
                config.listeners = config.effective_listeners();
                change(config);
            });
            let findings = CAPACITY.findings(&config);
            let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
            assert!(shown.len() == 1 && shown[0].contains(begin), "{shown:#?}");
        }
    }
}
