//! The phases of a restart, in the log and in the status.

use nix::sys::signal::Signal;

use super::carried::{both_addresses, until};
use super::client::{Member, connect, connect_tls, register};
use super::harness::{Router, Setup, certificate};

/// Asserts that the log names these phases next, in this order.
fn assert_phases(router: &mut Router, expected: &[&str]) {
    for phase in expected {
        let line = router.logged(&["\"restart phase entered\""]);
        assert_eq!((&line["phase"], &line["level"]), (&(*phase).into(), &"INFO".into()), "{line}");
    }
}

#[test]
fn a_program_that_replaces_itself_logs_each_phase() {
    let mut router = Setup::on_loopback().start().ready();
    router.replace();
    let old = ["trying", "finishing-requests", "releasing-members", "exporting", "executing"];
    assert_phases(&mut router, &old);
    assert_phases(&mut router, &["importing", "serving"]);
    assert_eq!(router.admin("/v1/status")["handover"], "serving");
}

#[test]
fn a_restart_by_the_service_manager_logs_each_phase() {
    let mut router = Setup::on_loopback().start().ready();
    router.job("restart");
    router.signal(Signal::SIGTERM);
    assert_phases(&mut router, &["finishing-requests", "releasing-members", "exporting", "storing"]);
    router.left();
    router.start_again();
    assert_phases(&mut router, &["importing", "serving"]);
}

#[test]
fn a_program_that_can_not_be_executed_is_followed_by_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    router.setup.replace_program(b"#!/bin/sh\nexit 1\n");
    router.signal(Signal::SIGUSR2);
    assert_phases(&mut router, &["trying", "serving"]);
}

#[test]
fn the_status_shows_the_trial_and_the_members_that_have_to_reconnect() {
    let setup = Setup::on_loopback().with_own_program().config("[websocket]\nclose-timeout = \"20s\"\n");
    certificate(setup.folder.path(), "own");
    let crt = setup.folder.path().join("own.crt");
    let mut router = setup.tls("own.crt", "own.key").start();
    let (plain, secure) = both_addresses(&mut router);
    let id = register(connect(plain), "key");
    // It answers the close frame only in `closed` below.
    let silent = Member::join(connect_tls(secure, &crt), &id, "key");
    // A trial that waits for the test.
    let proceed = router.setup.folder.path().join("proceed");
    nix::unistd::mkfifo(&proceed, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let real = env!("CARGO_BIN_EXE_ws-router");
    let script = format!("#!/bin/sh\ncase \"$*\" in *--check*) read line <{proceed:?} ;; esac\nexec {real:?} \"$@\"\n");
    router.setup.replace_program(script.as_bytes());
    router.signal(Signal::SIGUSR2);
    let phase = |router: &Router| router.admin("/v1/status")["handover"].as_str().unwrap().to_owned();
    until("the trial has started", || phase(&router) == "trying");
    std::fs::write(&proceed, "now\n").unwrap();
    until("a member has to reconnect", || phase(&router) == "releasing-members");
    assert_eq!(silent.closed().0, 1012);
    router.notified("READY=1");
    assert_eq!(phase(&router), "serving");
}
