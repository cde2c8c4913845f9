//! Memory and descriptors in use, read from /proc.
//!
//! Numbers that the kernel doesn't report, as without /proc in a minimal container, are zero: a status is useful without
//! them.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::sysinfo::sysinfo;

/// Memory of this process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessMemory {
    /// Resident memory now.
    pub resident: u64,
    /// Largest resident memory since the start.
    pub peak: u64,
}

/// Memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SystemMemory {
    /// All memory.
    pub total: u64,
    /// Memory in use, without caches where the kernel reports them.
    pub used: u64,
}

/// Descriptors of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescriptorUsage {
    /// Descriptors open now.
    pub open: u64,
    /// Soft limit of open descriptors.
    pub limit: u64,
}

/// Returns the memory of this process. Blocks for some microseconds.
pub fn process_memory() -> ProcessMemory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ProcessMemory { resident: bytes_of(&status, "VmRSS:"), peak: bytes_of(&status, "VmHWM:") }
}

/// Returns the memory of the machine. Blocks for some microseconds.
pub fn system_memory() -> SystemMemory {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match bytes_of(&text, "MemTotal:") {
        // A sandbox may hide /proc/meminfo (`ProcSubset=pid`), but not sysinfo(2).
        0 => sysinfo().map_or(SystemMemory::default(), |system| {
            let total = system.ram_total();
            SystemMemory { total, used: total.saturating_sub(system.ram_unused()) }
        }),
        total => SystemMemory { total, used: total.saturating_sub(bytes_of(&text, "MemAvailable:")) },
    }
}

/// Counts the open descriptors of this process. Blocks, for milliseconds when there are tens of thousands.
pub fn descriptor_usage() -> DescriptorUsage {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    // The directory being read has a descriptor itself.
    DescriptorUsage { open: open.saturating_sub(1), limit }
}

/// Returns the bytes of a line such as `MemTotal:   16384 kB`, or zero.
fn bytes_of(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
    kib.unwrap_or(0_u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nHugePages_Total:       0\n";
        assert_eq!(bytes_of(text, "MemTotal:"), 16384 * 1024);
        assert_eq!(bytes_of(text, "HugePages_Total:"), 0);
        assert_eq!(bytes_of(text, "MemAvailable:"), 0);
    }

    #[test]
    fn this_process_uses_less_than_the_machine_has() {
        let (own, system) = (process_memory(), system_memory());
        assert!(own.resident > 0 && own.peak >= own.resident, "{own:?}");
        assert!(system.total > own.resident && system.used <= system.total, "{system:?}");
    }

    #[test]
    fn descriptors_are_counted() {
        let usage = descriptor_usage();
        assert!(usage.open >= 3 && usage.open <= usage.limit, "{usage:?}");
    }
}
