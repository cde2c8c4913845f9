use nix::sys::signal::Signal;
use ws_router_server::log::messages;

use super::client::{Member, ask, connect, register};
use super::harness::Setup;

#[test]
fn term_closes_every_member_with_1001_and_exits_0() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let members: Vec<_> = (0..3).map(|_| Member::join(connect(address), &id, "key")).collect();
    router.signal(Signal::SIGTERM);
    router.notified("STOPPING=1");
    for member in members {
        assert_eq!(member.closed(), (1001, "the router stops".into()));
    }
    router.ended().assert_exit(0, &[messages::STOPPED]);
}

#[test]
fn int_stops_as_term_does() {
    let mut router = Setup::on_loopback().start().ready();
    assert_eq!(ask(connect(router.address()), "/healthz").0, 200);
    router.signal(Signal::SIGINT);
    router.ended().assert_exit(0, &[messages::STOPPING, "interrupted"]);
}

#[test]
fn a_member_that_does_not_answer_delays_the_stop_by_the_close_timeout_at_most() {
    let mut router = Setup::on_loopback().config("[websocket]\nclose-timeout = \"200ms\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let _silent = Member::join(connect(address), &id, "key");
    assert_eq!(router.stopped().status.code(), Some(0));
}

#[test]
fn a_second_term_stops_at_once() {
    let mut router = Setup::on_loopback().config("[websocket]\nclose-timeout = \"1h\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let _silent = Member::join(connect(address), &id, "key");
    router.signal(Signal::SIGTERM);
    router.notified("STOPPING=1");
    router.stopped().assert_exit(0, &["exiting at once"]);
}

#[test]
fn a_daemon_exits_when_idle_if_configured() {
    let mut router = Setup::on_loopback().config("[service]\nexit-when-idle = \"1s\"\n").start().ready();
    router.notified("STOPPING=1");
    router.ended().assert_exit(0, &[messages::STOPPING, "idle"]);
}

#[test]
fn a_daemon_with_a_registration_is_not_idle() {
    let mut router = Setup::on_loopback()
        .config("[service]\nexit-when-idle = \"1s\"\n[registration]\nunclaimed-timeout = \"3s\"\n")
        .start()
        .ready();
    let address = router.address();
    register(connect(address), "key");
    router.notified("STATUS=1 registration, 0 members");
    router.notified("STATUS=0 registrations, 0 members");
    router.notified("STOPPING=1");
    assert_eq!(router.ended().status.code(), Some(0));
}
