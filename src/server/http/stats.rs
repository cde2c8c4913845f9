//! `/stats`: the registrations and the machine's memory, if `http.public-stats` is set.
//!
//! Existing tools read these field names. A registration that ends disappears from the registry at once, so `destroy` is
//! always false.

use http::StatusCode;
use nix::sys::sysinfo::sysinfo;
use serde::Serialize;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;

use super::responses::{HttpError, Response, json};
use crate::metrics::Refusal;
use crate::registry::Summary;
use crate::server::Server;

#[derive(Serialize)]
struct Stats {
    registrations: Vec<Line>,
    system: Memory,
}

#[derive(Serialize)]
struct Line {
    id: RegistrationId,
    /// Seats, including those of members about to join.
    connections: usize,
    reg_type: &'static str,
    destroy: bool,
}

/// Memory in bytes; zero where the kernel doesn't report it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Memory {
    total_mem: u64,
    used_mem: u64,
    proc_mem: u64,
}

/// Returns the statistics. The caller has checked that they are public.
pub(super) fn stats(server: &Server) -> Result<Response, HttpError> {
    let line = |summary: Summary| Line {
        id: summary.registration.id.clone(),
        connections: summary.seats,
        reg_type: match summary.registration.kind {
            Kind::HostClient => "HostClient",
            Kind::Lobby => "Lobby",
        },
        destroy: false,
    };
    let stats = Stats { registrations: server.list().into_iter().map(line).collect(), system: memory() };
    serde_json::to_vec(&stats).map(json).map_err(|_| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, Refusal::Malformed, "the statistics can't be written as JSON")
    })
}

fn memory() -> Memory {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (system, own) = (read("/proc/meminfo"), read("/proc/self/status"));
    let proc_mem = bytes_of(&own, "VmRSS:");
    match bytes_of(&system, "MemTotal:") {
        // A sandbox may hide /proc/meminfo (`ProcSubset=pid`), but not sysinfo(2).
        0 => sysinfo().map_or(Memory { total_mem: 0, used_mem: 0, proc_mem }, |system| {
            let total_mem = system.ram_total();
            Memory { total_mem, used_mem: total_mem.saturating_sub(system.ram_unused()), proc_mem }
        }),
        total_mem => {
            Memory { total_mem, used_mem: total_mem.saturating_sub(bytes_of(&system, "MemAvailable:")), proc_mem }
        }
    }
}

/// Returns the bytes of a line such as `MemTotal:   16384 kB`.
fn bytes_of(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
    kib.unwrap_or(0_u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nHugePages_Total:       0\n";
        assert_eq!(bytes_of(text, "MemTotal:"), 16384 * 1024);
        assert_eq!(bytes_of(text, "HugePages_Total:"), 0);
        assert_eq!(bytes_of(text, "MemAvailable:"), 0);
        let now = memory();
        assert!(now.total_mem > now.proc_mem && now.proc_mem > 0);
    }
}
