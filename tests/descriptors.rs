//! Running out of descriptors; in a process of its own, since the limit is the process's.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{Server, exchange, until};
use tokio::net::TcpSocket;
use ws_router_server::config::Config;

#[tokio::test]
async fn accepting_continues_when_descriptors_are_available_again() {
    let server = Server::start(Config::default()).await;
    let caller = TcpSocket::new_v4().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 128, hard).unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let caller = caller.connect(server.http).await.unwrap();
    until("accepting fails", || server.metrics.accept_errors.value() > 1).await;
    drop(hoard);
    let answer = exchange(caller, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.body, "ok");
}
