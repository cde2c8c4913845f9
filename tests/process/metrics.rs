//! The metrics listener, across restarts.

use std::net::{SocketAddr, TcpListener};

use ws_router_server::log::messages;

use super::carried::each_way;
use super::client::{Member, ask, connect, register};
use super::harness::{Router, Setup};

/// Waits for the address of the metrics listener.
fn metrics_address(router: &mut Router) -> SocketAddr {
    router.logged(&[messages::SERVING_METRICS])["listener"].as_str().unwrap().parse().unwrap()
}

#[track_caller]
/// Asserts that the metrics contain a line.
fn assert_line(address: SocketAddr, line: &str) {
    let (status, body) = ask(connect(address), "/metrics");
    assert!(status == 200 && body.lines().any(|one| one == line), "{line}: {body}");
}

#[test]
fn a_restart_is_counted_with_its_connections_and_keeps_the_listener() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().config("[metrics]\nlisten = \"127.0.0.1:0\"\n").start().ready();
        let (address, metrics) = (router.address(), metrics_address(&mut router));
        let id = register(connect(address), "key");
        let _member = Member::join(connect(address), &id, "key");
        for restarts in 1..3 {
            restart(&mut router);
            assert_line(metrics, &format!("wsrouter_restarts_total {restarts}"));
            assert_line(metrics, &format!("wsrouter_restart_carried_connections_total {restarts}"));
            assert_line(metrics, "wsrouter_restart_lost_connections_total 0");
        }
    });
}

#[test]
fn an_inherited_socket_named_metrics_serves_metrics_only() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let _router = Setup::on_loopback().pass("metrics", socket).start().ready();
    assert_line(address, "wsrouter_members 0");
    assert_eq!(ask(connect(address), "/healthz").0, 404);
}
