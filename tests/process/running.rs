use std::time::Duration;

use nix::sys::signal::Signal;

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
fn the_watchdog_is_fed_while_messages_pass_and_not_while_the_process_stands() {
    let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "400000").start().ready();
    for _ in 0..3 {
        router.notified("WATCHDOG=1");
    }
    router.signal(Signal::SIGSTOP);
    router.patience(Duration::from_millis(1000));
    // What was sent before the signal may still be there, and then nothing comes any more.
    while router.next_message().is_some() {}
    router.signal(Signal::SIGCONT);
    router.notified("WATCHDOG=1");
}

#[test]
fn another_process_s_watchdog_is_left_alone() {
    let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "20000").variable("WATCHDOG_PID", "1").start();
    router.notified("READY=1");
    router.patience(Duration::from_millis(300));
    while let Some(message) = router.next_message() {
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
}
