//! What the kernel knows of this process: memory and descriptors, read from /proc.
//!
//! A kernel that doesn't tell (no /proc in a bare container) leaves zeros; the status is worth having without them.

use nix::sys::resource::{Resource, getrlimit};
use ws_router_admin_api::{Descriptors, Memory};

/// Reads how much memory is in use. Blocks for some microseconds.
pub(super) fn memory() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Memory { resident_bytes: kibibytes(&status, "VmRSS:"), peak_bytes: kibibytes(&status, "VmHWM:") }
}

/// Counts the open descriptors. Blocks, for milliseconds when there are tens of thousands.
pub(super) fn descriptors() -> Descriptors {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    // The folder that is being read has a descriptor itself.
    Descriptors { open: open.saturating_sub(1), limit }
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().strip_suffix("kB").and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"), 12 * 1024);
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), 0);
        let now = memory();
        assert!(now.resident_bytes > 0 && now.peak_bytes >= now.resident_bytes);
    }

    #[test]
    fn descriptors_are_counted() {
        let descriptors = descriptors();
        assert!(descriptors.open >= 3 && descriptors.open <= descriptors.limit);
    }
}
