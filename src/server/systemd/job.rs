//! Detection of whether the service manager is stopping or restarting this service, which SIGTERM alone doesn't show.
//!
//! While systemd stops or restarts a unit, `systemctl list-jobs` shows the job (systemctl(1)). This also works in a sandbox
//! from which the bus can be reached.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Job of the service manager for this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// A stop, or no job, as when another process has sent the signal.
    Stop,
    /// A restart: the service is started again right afterwards.
    Restart,
}

/// Queries the service manager for the current job. Returns `None` if it can't be determined.
pub async fn job() -> Option<Job> {
    timeout(TIMEOUT, list_jobs()).await.ok()?
}

async fn list_jobs() -> Option<Job> {
    for _ in 0..ATTEMPTS {
        let listed = Command::new("systemctl")
            .args(["--no-legend", "--plain", "--no-pager", "list-jobs"])
            .env("SYSTEMD_IGNORE_CHROOT", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let answer = listed.await.ok()?;
        if answer.status.success() {
            return Some(job_of(&unit(), &String::from_utf8_lossy(&answer.stdout)));
        }
        // Without KillMode=mixed, TERM goes to all processes of the unit, and may have reached systemctl, too.
        answer.status.signal()?;
    }
    None
}

/// Returns whether the machine's service manager is systemd (sd_booted(3)).
pub fn is_systemd() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Finds the unit's job in lines of id, unit, type and state.
fn job_of(unit: &str, jobs: &str) -> Job {
    let of_unit = jobs.lines().map(|line| line.split_whitespace()).find_map(|mut words| {
        words.by_ref().find(|word| *word == unit)?;
        words.next()
    });
    match of_unit {
        Some("restart" | "try-restart" | "reload-or-start" | "start") => Job::Restart,
        _ => Job::Stop,
    }
}

/// Returns the unit of this process, from its control group (systemd.unit(5)).
fn unit() -> String {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let units = groups.lines().flat_map(|line| line.rsplit('/'));
    units.into_iter().find(|name| name.ends_with(".service")).unwrap_or("ws-router.service").to_owned()
}

/// Time limit for a query. systemd answers within milliseconds unless it is overloaded.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of queries. A TERM may end one of them, and further signals others.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_the_own_unit_counts() {
        let jobs = "  811 other.service        stop    waiting\n  812 ws-router.service restart running\n";
        assert_eq!(job_of("ws-router.service", jobs), Job::Restart);
        assert_eq!(job_of("other.service", jobs), Job::Stop);
        assert_eq!(job_of("ws-router@a.service", jobs), Job::Stop);
        assert_eq!(job_of("ws-router.service", ""), Job::Stop);
    }
}
