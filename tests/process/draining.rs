//! Drains, and their continuation after a restart.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::Value;
use ws_router_server::log::messages;

use super::carried::{each_way, until};
use super::client::{Member, ask, connect, connect_unix, register};
use super::harness::{Router, Setup};

/// Makes a request to the admin socket, and returns the document.
fn request(router: &Router, method: &str, path: &str) -> Value {
    let mut stream = connect_unix(&router.setup.admin());
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_drained_router_closes_its_members_with_1012_and_exits() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let members: Vec<_> = (0..2).map(|_| Member::join(connect(address), &id, "key")).collect();
    let drain = request(&router, "POST", "/v1/drain?over=0s");
    assert_eq!((&drain["state"], &drain["members_before"]), (&"draining".into(), &2.into()));
    for member in members {
        assert_eq!(member.closed(), (1012, "the router is taken out of service, please reconnect".into()));
    }
    router.notified("STOPPING=1");
    router.ended().assert_exit(0, &[messages::STOPPING, "\"drained\""]);
}

#[test]
fn a_draining_router_refuses_devices_until_the_drain_is_undone() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let (first, second) = (register(connect(address), "key"), register(connect(address), "key"));
    let leaving = Member::join(connect(address), &first, "key");
    let mut one = Member::join(connect(address), &second, "key");
    let mut other = Member::join(connect(address), &second, "key");
    request(&router, "POST", "/v1/drain?over=1h");
    for path in
        ["/healthz".into(), "/register?key=a&host_key=b&reg_type=lobby".into(), format!("/connect?id={second}&key=key")]
    {
        assert_eq!(ask(connect(address), &path).0, 503, "{path}");
    }
    assert_eq!(leaving.closed().0, 1012);
    router.notified("STATUS=draining, ");
    assert_eq!(router.admin("/v1/status")["drain"]["state"], "draining");
    assert_eq!(request(&router, "DELETE", "/v1/drain")["state"], "serving");
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    one.send_text("still here");
    assert_eq!(other.receive(), "still here");
    router.stopped();
}

#[test]
fn a_drained_router_on_inherited_sockets_keeps_running_and_refuses() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut router = Setup::new().pass("http", socket).config("[service]\nexit-when-idle = \"1ms\"\n").start().ready();
    let address = router.address();
    assert_eq!(request(&router, "POST", "/v1/drain")["stays"], true);
    router.notified("STATUS=drained, ");
    assert_eq!(ask(connect(address), "/healthz").0, 503);
    router.signal(Signal::SIGTERM);
    router.ended().assert_exit(0, &["\"stays\":true"]);
}

#[test]
fn a_drain_continues_after_a_restart() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let kept = register(connect(address), "key");
        let first = Member::join(connect(address), &id, "key");
        let _second = Member::join(connect(address), &kept, "key");
        request(&router, "POST", "/v1/drain?over=1h");
        assert_eq!(first.closed().0, 1012);
        restart(&mut router);
        assert_eq!(ask(connect(address), "/healthz").0, 503);
        until("the second member is counted", || router.admin("/v1/status")["members"] == 1);
        let drain = &router.admin("/v1/status")["drain"];
        assert_eq!((&drain["state"], &drain["members_before"]), (&"draining".into(), &2.into()));
        assert!(drain["left_ms"].as_u64() > Some(3_500_000));
    });
}
