//! The numbers on a listener of their own, over a restart.

use std::net::{SocketAddr, TcpListener};

use super::carried::each_way;
use super::client::{Member, ask, connect, register};
use super::harness::{Router, Setup};

fn monitoring(router: &mut Router) -> SocketAddr {
    router.logged(&["\"serving metrics\""])["listener"].as_str().unwrap().parse().unwrap()
}

#[track_caller]
fn counts(address: SocketAddr, line: &str) {
    let (status, body) = ask(connect(address), "/metrics");
    assert!(status == 200 && body.lines().any(|one| one == line), "{line}: {body}");
}

#[test]
fn a_restart_is_counted_with_what_it_carried_and_keeps_the_listener() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().config("[metrics]\nlisten = \"127.0.0.1:0\"\n").start().ready();
        let (address, monitoring) = (router.address(), monitoring(&mut router));
        let id = register(connect(address), "key");
        let _member = Member::join(connect(address), &id, "key");
        for restarts in 1..3 {
            renew(&mut router);
            counts(monitoring, &format!("wsrouter_restarts_total {restarts}"));
            counts(monitoring, &format!("wsrouter_restart_carried_connections_total {restarts}"));
            counts(monitoring, "wsrouter_restart_lost_connections_total 0");
        }
    });
}

#[test]
fn an_inherited_socket_is_for_monitoring_by_its_name() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let _router = Setup::on_loopback().pass("metrics", socket).start().ready();
    counts(address, "wsrouter_members 0");
    assert_eq!(ask(connect(address), "/healthz").0, 404);
}
