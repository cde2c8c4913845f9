//! Limits of memory and descriptors that the control group and the machine set for this process.
//!
//! The memory limit is the lowest of the limits of all control groups from the process's own up to the root, and of the
//! machine's memory. In cgroup version 2 the limit is `memory.max`, which the service manager's `MemoryMax=` sets; in
//! version 1 it is `memory.limit_in_bytes`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::sysinfo::sysinfo;

/// Returns how many bytes of memory this process may use, together with the others in its control group.
pub fn memory_limit() -> u64 {
    let machine = sysinfo().map_or(u64::MAX, |machine| machine.ram_total());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(group_folder).flat_map(|(root, folder, file)| {
        let folders: Vec<PathBuf> =
            folder.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect();
        folders.into_iter().filter_map(move |folder| limit(&fs::read_to_string(folder.join(file)).ok()?))
    });
    limits.min().map_or(machine, |group| group.min(machine))
}

/// Returns the hard limit of open descriptors, which the daemon raises its soft limit to.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}

/// Returns where the memory limit of a line of `/proc/self/cgroup` is found: the mount, the group's folder, the file.
fn group_folder(line: &str) -> Option<(&'static str, PathBuf, &'static str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
    match controllers {
        "" => Some((UNIFIED, Path::new(UNIFIED).join(path), "memory.max")),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            Some((MEMORY, Path::new(MEMORY).join(path), "memory.limit_in_bytes"))
        }
        _ => None,
    }
}

/// Parses a limit; `None` if there is none (`max`).
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_known() {
        let unified = group_folder("0::/system.slice/ws-router.service").unwrap();
        assert_eq!(unified.1, Path::new("/sys/fs/cgroup/system.slice/ws-router.service"));
        let old = group_folder("9:memory:/system.slice").unwrap();
        assert_eq!(
            (old.1.as_path(), old.2),
            (Path::new("/sys/fs/cgroup/memory/system.slice"), "memory.limit_in_bytes")
        );
        assert_eq!(group_folder("3:cpu,cpuacct:/"), None);
        assert_eq!(group_folder("nonsense"), None);
    }

    #[test]
    fn a_limit_may_be_none() {
        assert_eq!(limit("1073741824\n"), Some(1 << 30));
        assert_eq!(limit("max\n"), None);
    }

    #[test]
    fn this_process_has_some_memory_and_not_all_there_could_be() {
        let memory = memory_limit();
        assert!(memory > 1 << 20 && memory < u64::MAX, "{memory}");
    }
}
