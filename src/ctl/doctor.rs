//! `doctor`: problems of the daemon and its machine, the most severe first, each with its fix.
//!
//! A running daemon reports its own findings. Without one, the installed program checks the configuration. Units, the
//! clock and sockets are examined by this program, since the daemon's sandbox hides them from the daemon.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use ws_router_admin_api::finding::{self, Area, Finding, Severity};

use super::client::Client;
use super::error::Error;
use super::output::{Colors, Format};

/// Reports all findings; exits 1 if one is an error.
pub(super) async fn doctor(client: Result<Client, Error>, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut findings = match client {
        Ok(client) => of_daemon(&client).await,
        Err(error) => vec![no_daemon(&error)],
    };
    findings.extend(units().await);
    findings.extend(clock().await);
    finding::sort(&mut findings);
    if format.is_json() {
        writeln!(out, "{}", serde_json::to_string(&findings)?)?;
    } else {
        print(&findings, format.colors(), out)?;
    }
    let is_sick = findings.iter().any(|finding| finding.severity == Severity::Error);
    if is_sick { Err(Error::Reported) } else { Ok(()) }
}

/// Prints findings, a line for each and another for its fix.
pub(super) fn print(findings: &[Finding], colors: Colors, out: &mut impl Write) -> Result<(), Error> {
    if findings.is_empty() {
        writeln!(out, "{}", colors.good("nothing to report"))?;
    }
    for finding in findings {
        let label = match finding.severity {
            Severity::Error => colors.bad(finding.severity.label()),
            Severity::Warning | Severity::Notice => colors.notice(finding.severity.label()),
        };
        writeln!(out, "{label}: {}: {}", finding.area.label(), finding.text)?;
        if !finding.fix.is_empty() {
            writeln!(out, "    {}", finding.fix)?;
        }
    }
    Ok(())
}

/// Asks the daemon, or checks the configuration in its place.
async fn of_daemon(client: &Client) -> Vec<Finding> {
    match client.read::<Vec<Finding>>("/v1/findings").await {
        Ok((findings, _)) => findings,
        Err(error) => {
            let mut findings = vec![no_daemon(&error)];
            findings.extend(of_configuration().await);
            findings
        }
    }
}

fn no_daemon(error: &Error) -> Finding {
    let text = error.message().unwrap_or_else(|| "the daemon can't be asked".into());
    Finding::error(Area::Daemon, text, "systemctl status ws-router; systemctl start ws-router")
}

/// Has the daemon's program check the configuration.
async fn of_configuration() -> Vec<Finding> {
    let Some(text) = output(Command::new(router()).args(["--check", "--json"])).await else {
        return vec![Finding::notice(Area::Configuration, "not checked: ws-router can't be run", "install it")];
    };
    serde_json::from_str(&text).unwrap_or_else(|_| {
        vec![Finding::notice(Area::Configuration, "not checked: ws-router is of another version", "install both anew")]
    })
}

/// Returns the daemon's program: the one beside this one, or else the one in the path.
fn router() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(ROUTER));
    beside.filter(|path| path.exists()).unwrap_or_else(|| Path::new(ROUTER).into())
}

/// Examines the units, if systemd is running.
async fn units() -> Vec<Finding> {
    let properties = "Id,LoadState,ActiveState,Result,NeedDaemonReload,NRestarts";
    let mut command = Command::new("systemctl");
    let shown = output(command.args(["show", "--no-pager", "--property", properties]).args(UNITS)).await;
    shown.iter().flat_map(|text| text.split("\n\n")).flat_map(unit).collect()
}

/// Judges a unit by its properties (systemctl(1), show).
fn unit(text: &str) -> Vec<Finding> {
    let get = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let (id, mut findings) = (get("Id"), Vec::new());
    if get("LoadState") != "loaded" {
        return findings;
    }
    if get("ActiveState") == "failed" {
        let text = format!("{id} has failed ({})", get("Result"));
        findings.push(Finding::error(
            Area::Units,
            text,
            format!("journalctl -u {id} -n 20; systemctl reset-failed {id}"),
        ));
    } else if id.ends_with(".socket") && get("ActiveState") == "inactive" {
        let text = format!("{id} is not active: no device starts or reaches the router through it");
        findings.push(Finding::notice(Area::Units, text, format!("systemctl enable --now {id}, if it is wanted")));
    }
    if get("NRestarts").parse().is_ok_and(|restarts: u64| restarts >= RESTARTS) {
        let text = format!("{id} was restarted {} times after failures", get("NRestarts"));
        findings.push(Finding::warning(Area::Units, text, format!("journalctl -u {id} -p warning")));
    }
    if get("NeedDaemonReload") == "yes" {
        let text = format!("{id} has changed on the disk, and the old one is in use");
        findings.push(Finding::warning(Area::Units, text, "systemctl daemon-reload"));
    }
    findings
}

/// Examines the clock, on which the validity of certificates depends.
async fn clock() -> Option<Finding> {
    let shown = output(Command::new("timedatectl").args(["show", "--property", "NTPSynchronized"])).await?;
    (shown.trim() == "NTPSynchronized=no").then(|| {
        let text = "the clock is not synchronized: certificates are judged by it";
        Finding::notice(Area::Clock, text, "timedatectl set-ntp true, unless something else sets it")
    })
}

/// Runs a program that may be missing, and returns what it prints, whatever its exit status.
async fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned()).filter(|text| !text.trim().is_empty())
}

const ROUTER: &str = "ws-router";
const UNITS: [&str; 3] = ["ws-router.service", "ws-router.socket", "ws-router-admin.socket"];
/// Restarts after failures from which something is wrong.
const RESTARTS: u64 = 3;
/// Time for each program.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> Vec<String> {
        unit(text).iter().map(|finding| format!("{}: {finding}", finding.severity.label())).collect()
    }

    #[test]
    fn a_unit_that_has_failed_changed_or_restarted_is_reported_with_the_command() {
        let service = "Id=ws-router.service\nLoadState=loaded\nActiveState=failed\nResult=exit-code\nNRestarts=7\n";
        assert_eq!(
            judged(service),
            [
                "error: units: ws-router.service has failed (exit-code); journalctl -u ws-router.service -n 20; systemctl \
                 reset-failed ws-router.service",
                "warning: units: ws-router.service was restarted 7 times after failures; journalctl -u ws-router.service -p \
                 warning",
            ]
        );
        let socket = "Id=ws-router.socket\nLoadState=loaded\nActiveState=inactive\nNeedDaemonReload=yes\n";
        assert_eq!(judged(socket).len(), 2);
        assert_eq!(judged("Id=ws-router.service\nLoadState=loaded\nActiveState=active\nNRestarts=0\n"), [""; 0]);
        assert_eq!(judged("Id=ws-router.socket\nLoadState=not-found\nActiveState=inactive\n"), [""; 0]);
    }

    #[test]
    fn each_finding_is_printed_with_its_fix_below() {
        let mut out = Vec::new();
        print(&[Finding::error(Area::Files, "/k: others can read it", "chmod o-r /k")], Colors::Off, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "error: files: /k: others can read it\n    chmod o-r /k\n");
    }
}
