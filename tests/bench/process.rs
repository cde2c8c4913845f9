//! Processor time, memory and system calls of a process, from the kernel.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident memory.
    pub(crate) rss: u64,
    /// Proportional memory: shared pages are divided among the processes that map them.
    pub(crate) pss: u64,
}

/// Reads the memory of a process.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    field("Rss:")
        .zip(field("Pss:"))
        .map(|(rss, pss)| Memory { rss, pss })
        .ok_or_else(|| io::Error::other("smaps_rollup has no Rss or Pss"))
}

/// Returns the highest resident memory of a process, in bytes.
pub(crate) fn peak_memory(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| io::Error::other("status has no VmHWM"))
}

/// Returns the processor time of all living threads of a process, in nanoseconds from schedstat if the kernel provides it.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        nanos += thread_time(&task?.path()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

fn thread_time(task: &Path) -> Option<u64> {
    if let Ok(schedstat) = std::fs::read_to_string(task.join("schedstat")) {
        return schedstat.split_whitespace().next()?.parse().ok();
    }
    // After the name in parentheses, utime and stime are the 12th and 13th field, in ticks of 10 ms.
    let stat = std::fs::read_to_string(task.join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 10_000_000)
}

/// Binds the calling thread, and the processes that it starts, to these cores.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Number of calls per second of each system call.
pub(crate) type Calls = BTreeMap<String, f64>;

/// Count of the system calls of a running process by perf, whose tracepoints disturb it little.
#[derive(Debug)]
pub(crate) struct Counting {
    perf: Child,
    time: Duration,
}

const COUNTED: [&str; 12] = [
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "epoll_wait",
    "epoll_ctl",
    "futex",
    "accept4",
];

impl Counting {
    /// Starts to count for a time.
    pub(crate) fn start(pid: u32, time: Duration) -> io::Result<Self> {
        let events: Vec<_> = COUNTED.iter().map(|call| format!("syscalls:sys_enter_{call}")).collect();
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", &events.join(","), "-p", &pid.to_string(), "--"])
            .args(["sleep", &time.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("perf: {error}; install it, or leave out --syscalls")))?;
        Ok(Self { perf, time })
    }

    /// Waits until the time is over, and reads the counts.
    pub(crate) fn finish(self) -> io::Result<Calls> {
        let output = self.perf.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let counts = text.lines().filter_map(counted).filter(|(_, count)| *count > 0.0);
        let calls = counts.map(|(name, count)| (name, count / self.time.as_secs_f64())).collect();
        if !output.status.success() {
            return Err(io::Error::other(format!("perf: {text}; tracepoints need root or perf_event_paranoid = -1")));
        }
        Ok(calls)
    }
}

/// Reads a line `count,unit,event,…`.
fn counted(line: &str) -> Option<(String, f64)> {
    let mut fields = line.split(',');
    let count = fields.next()?.parse().ok()?;
    Some((fields.nth(1)?.strip_prefix("syscalls:sys_enter_")?.to_owned(), count))
}
