//! Whether the service manager stops this service or restarts it: TERM looks the same for both.
//!
//! systemd knows by the job that it runs for the unit, and tells everybody who asks (systemctl(1), `list-jobs`), also
//! from within a sandbox, as long as its bus can be reached.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// What the service manager is about to do with this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// It is stopped, or was told to stop by somebody else.
    Stop,
    /// It is started again right afterwards.
    Restart,
}

/// Asks the service manager what the TERM is for; `None` if it can't be known.
pub async fn job() -> Option<Job> {
    timeout(PATIENCE, ask()).await.ok()?
}

async fn ask() -> Option<Job> {
    for _ in 0..ATTEMPTS {
        let asked = Command::new("systemctl")
            .args(["--no-legend", "--plain", "--no-pager", "list-jobs"])
            .env("SYSTEMD_IGNORE_CHROOT", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let answer = asked.await.ok()?;
        if answer.status.success() {
            return Some(job_of(&unit(), &String::from_utf8_lossy(&answer.stdout)));
        }
        // Without KillMode=mixed the TERM goes to all processes of the unit, and may reach this one too.
        answer.status.signal()?;
    }
    None
}

/// Tells whether the machine's service manager is systemd (sd_booted(3)).
pub fn is_systemd() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Finds the unit's job in lines of number, unit, type and state.
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

/// The unit that this process belongs to, by its control group (systemd.unit(5)).
fn unit() -> String {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let units = groups.lines().flat_map(|line| line.rsplit('/'));
    units.into_iter().find(|name| name.ends_with(".service")).unwrap_or("ws-router.service").to_owned()
}

const PATIENCE: Duration = Duration::from_secs(3);
/// The signal is sent once; the rest is for whoever sends more.
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
