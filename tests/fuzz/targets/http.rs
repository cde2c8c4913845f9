//! Requests of a stranger on the public routes: each is answered with a documented status, or the connection ends; a
//! refusal never repeats a key; and a registration stays as it was, unless somebody has its keys.

use std::cell::OnceCell;
use std::os::fd::OwnedFd;

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use ws_router_server::config::Config;
use ws_router_server::http;

use super::exchange::{Host, converse, status};
use super::support::Server;

thread_local! {
    static HOST: OnceCell<&'static Host<Server>> = const { OnceCell::new() };
}

pub fn run(bytes: &[u8]) {
    let host = HOST.with(|host| *host.get_or_init(|| Host::start(start)));
    host.run(async {
        let registered = answer(&host.server, REGISTER).await;
        assert_eq!(status(&registered), 200, "{}", String::from_utf8_lossy(&registered));
        let reply = answer(&host.server, bytes).await;
        let status = status(&reply);
        let shown = String::from_utf8_lossy(&reply);
        assert!(reply.is_empty() || STATUSES.contains(&status), "{shown}");
        assert!(status < 400 || !shown.contains("sesame"), "{shown}");
        let has_keys = contains(bytes, b"sesame") || contains(bytes, b"%");
        assert!(has_keys || answer(&host.server, REGISTER).await.ends_with(b"\r\n\r\nmy-device"));
    });
}

async fn start() -> Server {
    let mut config = Config::default();
    config.http.public_stats = true;
    config.http.path_prefix = "/relay".into();
    config.limits.registrations = 100;
    Server::start(config).await
}

async fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let (here, there) = UnixStream::pair().unwrap();
    let there: OwnedFd = there.into_std().unwrap().into();
    let connection = server.router.connection_gate().adopt(there).unwrap();
    let serving = http::serve_connection(&server.router, connection, CancellationToken::new());
    let ((), answer) = tokio::join!(serving, converse(here, bytes));
    answer
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

const REGISTER: &[u8] = b"GET /register?key=sesame&host_key=sesame-host&reg_type=lobby&id_req=my-device HTTP/1.1\r\n\
    Host: h\r\nConnection: close\r\n\r\n";
/// What may be answered.
const STATUSES: [u16; 19] =
    [100, 101, 200, 204, 400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 426, 429, 431, 500, 503];
