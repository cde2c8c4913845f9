//! Who can read the daemon's memory.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use ws_router_server::log::messages;

use super::harness::{Router, Setup};

/// Starts a daemon without privileges: a process with fewer privileges than the daemon can't trace it in any case.
fn setup() -> Setup {
    let drop = "if [ \"$(id -u)\" = 0 ]; then exec setpriv --bounding-set -all --inh-caps -all \"$0\" \"$@\"; fi;";
    Setup::on_loopback().prelude(drop)
}

/// Returns whether another process of the daemon's user, without privileges, may trace it.
fn can_be_traced(router: &Router) -> bool {
    // Needs the same permission as its memory (proc_pid_environ(5)).
    let file = format!("/proc/{}/environ", router.pid());
    let mut command = Command::new(if geteuid().is_root() { "setpriv" } else { "cat" });
    if geteuid().is_root() {
        command.args(["--bounding-set", "-all", "--inh-caps", "-all", "cat"]);
    }
    command.arg(file).output().unwrap().status.success()
}

#[test]
fn no_process_of_the_same_user_can_trace_the_daemon_not_even_after_it_replaced_itself() {
    let mut router = setup().start().ready();
    assert!(!can_be_traced(&router));
    router.replace();
    assert!(!can_be_traced(&router));
}

#[test]
fn the_configuration_can_allow_it_and_forbid_it_again() {
    let mut router = setup().config("[service]\ndebuggable = true\n").start().ready();
    assert!(can_be_traced(&router));
    router.replace();
    assert!(can_be_traced(&router));
    let text = fs::read_to_string(router.setup.file()).unwrap();
    fs::write(router.setup.file(), text.replace("debuggable = true", "debuggable = false")).unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::RELOADED, "service.debuggable"]);
    assert!(!can_be_traced(&router));
}
