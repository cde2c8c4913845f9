//! Taking the router out of service, and a successor that goes on with it.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::carried::{each_way, until};
use super::client::{Member, ask, connect, connect_unix, register};
use super::harness::{Router, Setup};

/// Asks on the admin socket with another method than GET, and gives the document.
fn order(router: &Router, method: &str, path: &str) -> Value {
    let mut stream = connect_unix(&router.setup.admin());
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_drained_router_closes_its_members_with_1012_and_ends() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let members: Vec<_> = (0..2).map(|_| Member::join(connect(address), &id, "key")).collect();
    let begun = order(&router, "POST", "/v1/drain?over=0s");
    assert_eq!((&begun["state"], &begun["members_before"]), (&"draining".into(), &2.into()));
    for member in members {
        assert_eq!(member.closed(), (1012, "the router is taken out of service, please reconnect".into()));
    }
    router.notified("STOPPING=1");
    router.ended().says(0, &["\"stopping\"", "\"drained\""]);
}

#[test]
fn while_it_drains_nobody_is_let_in_and_an_undo_lets_in_again() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let (first, second) = (register(connect(address), "key"), register(connect(address), "key"));
    let leaving = Member::join(connect(address), &first, "key");
    let mut one = Member::join(connect(address), &second, "key");
    let mut other = Member::join(connect(address), &second, "key");
    order(&router, "POST", "/v1/drain?over=1h");
    for path in
        ["/healthz".into(), "/register?key=a&host_key=b&reg_type=lobby".into(), format!("/connect?id={second}&key=key")]
    {
        assert_eq!(ask(connect(address), &path).0, 503, "{path}");
    }
    assert_eq!(leaving.closed().0, 1012);
    router.notified("STATUS=draining, ");
    assert_eq!(router.admin("/v1/status")["drain"]["state"], "draining");
    assert_eq!(order(&router, "DELETE", "/v1/drain")["state"], "serving");
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    one.say("still here");
    assert_eq!(other.receive(), "still here");
    router.stopped();
}

#[test]
fn a_router_on_sockets_of_its_manager_stays_and_refuses_when_it_is_drained() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut router = Setup::new().pass("http", socket).config("[service]\nexit-when-idle = \"1ms\"\n").start().ready();
    let address = router.address();
    assert_eq!(order(&router, "POST", "/v1/drain")["stays"], true);
    router.notified("STATUS=drained, ");
    assert_eq!(ask(connect(address), "/healthz").0, 503);
    router.signal(Signal::SIGTERM);
    router.ended().says(0, &["\"stays\":true"]);
}

#[test]
fn a_successor_goes_on_with_the_drain() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let kept = register(connect(address), "key");
        let first = Member::join(connect(address), &id, "key");
        let _second = Member::join(connect(address), &kept, "key");
        order(&router, "POST", "/v1/drain?over=1h");
        assert_eq!(first.closed().0, 1012);
        renew(&mut router);
        assert_eq!(ask(connect(address), "/healthz").0, 503);
        until("the second is there", || router.admin("/v1/status")["members"] == 1);
        let drain = &router.admin("/v1/status")["drain"];
        assert_eq!((&drain["state"], &drain["members_before"]), (&"draining".into(), &2.into()));
        assert!(drain["left_ms"].as_u64() > Some(3_500_000));
    });
}
