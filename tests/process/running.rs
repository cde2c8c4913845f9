use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ws_router_admin_api::finding::{Area, Finding, Severity};

use super::client::{Member, connect, register};
use super::harness::Setup;

#[test]
fn the_status_counts_registrations_and_members() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let _one = Member::join(connect(address), &id, "key");
    let _other = Member::join(connect(address), &id, "key");
    router.notified(&format!("STATUS=1 registration, 2 members; listening on {address}"));
}

#[test]
fn the_watchdog_is_notified_until_the_process_stops_running() {
    let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "400000").start().ready();
    for _ in 0..3 {
        router.notified("WATCHDOG=1");
    }
    router.signal(Signal::SIGSTOP);
    router.patience(Duration::from_millis(1000));
    // Notifications sent before the signal may still be queued; no more follow.
    while router.next_message().is_some() {}
    router.signal(Signal::SIGCONT);
    router.notified("WATCHDOG=1");
}

#[test]
fn the_watchdog_of_another_process_is_not_notified() {
    let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "20000").variable("WATCHDOG_PID", "1").start();
    router.notified("READY=1");
    router.patience(Duration::from_millis(300));
    while let Some(message) = router.next_message() {
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
}

#[test]
fn commands_time_out_after_ten_seconds_when_the_process_is_stopped() {
    let router = Setup::on_loopback().start().ready();
    router.signal(Signal::SIGSTOP);
    let start = Instant::now();
    let commands = ["status", "list", "reload", "version"].map(|command| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
        program.arg("--socket").arg(router.setup.admin()).arg(command);
        program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for command in commands {
        let output = command.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{stderr}");
        assert!(
            stderr.ends_with("accepts connections but does not answer; see systemctl status ws-router\n"),
            "{stderr}"
        );
    }
    assert!(start.elapsed() >= Duration::from_secs(10));
    router.signal(Signal::SIGCONT);
}

#[test]
fn the_doctor_reports_the_daemons_findings_and_a_daemon_that_is_down() {
    let doctor = |socket: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
        let output = command.arg("--socket").arg(socket).args(["--json", "doctor"]).output().unwrap();
        let findings: Vec<Finding> = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), findings)
    };
    let is_about = |area| move |finding: &Finding| finding.severity == Severity::Error && finding.area == area;
    let router = Setup::new().config("[[listener]]\naddress = \"[::]:0\"\n").start().ready();
    let socket = router.setup.admin();
    let (_, findings) = doctor(&socket);
    assert!(findings.iter().any(|finding| finding.area == Area::Access && finding.text.contains("can register")));
    assert!(!findings.iter().any(is_about(Area::Daemon)), "{findings:?}");
    let _end = router.stopped();
    let (status, findings) = doctor(&socket);
    assert_eq!(status, Some(1));
    assert!(findings.first().is_some_and(is_about(Area::Daemon)), "{findings:?}");
}
