//! Requests on the admin socket: each is answered with a documented status and with JSON, or the connection ends.

use std::cell::OnceCell;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use ws_router_admin_api::Drain;
use ws_router_server::admin::{Command, ReloadReport};
use ws_router_server::config::Config;
use ws_router_server::handover::exec::TrialError;

use super::exchange::{Host, converse, status};
use super::support::admin::Admin;

thread_local! {
    static HOST: OnceCell<&'static Host<SocketAddr>> = const { OnceCell::new() };
}

pub fn run(bytes: &[u8]) {
    let host = HOST.with(|host| *host.get_or_init(|| Host::start(start)));
    let reply = host.run(async {
        let stream = UnixStream::connect_addr(&host.server).unwrap();
        stream.set_nonblocking(true).unwrap();
        converse(tokio::net::UnixStream::from_std(stream).unwrap(), bytes).await
    });
    let (status, shown) = (status(&reply), String::from_utf8_lossy(&reply));
    assert!(reply.is_empty() || STATUSES.contains(&status), "{shown}");
    if status >= 404 {
        let (head, body) = shown.split_once("\r\n\r\n").unwrap();
        let body = body.split("HTTP/1.").next().unwrap_or_default();
        let is_head_only = bytes.starts_with(b"HEAD ") || head.contains("content-length: 0") || body.is_empty();
        assert!(is_head_only || serde_json::from_str::<serde_json::Value>(body).is_ok(), "{shown}");
    }
}

/// On a socket without a file, with a life cycle that agrees to everything.
async fn start() -> SocketAddr {
    let name = format!("ws-router-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut admin = Admin::start_on(Config::default(), tokio::net::UnixListener::from_std(listener).unwrap()).await;
    tokio::spawn(async move {
        while let Some(command) = admin.life.recv().await {
            match command {
                Command::Reload(answer) => {
                    _ = answer.send(Ok(ReloadReport { changed: Vec::new(), need_restart: Vec::new() }))
                }
                Command::Drain(_, answer) | Command::Undrain(answer) => _ = answer.send(Drain::default()),
                Command::Upgrade(answer) => _ = answer.send(Err(TrialError::NoReport("ws-router".into()))),
                Command::Adopt(..) => {}
            }
        }
    });
    address
}

/// What may be answered.
const STATUSES: [u16; 13] = [100, 101, 200, 400, 404, 405, 408, 413, 414, 422, 426, 431, 503];
