//! The router and its public listeners in the test's process, and plain clients for it.
//!
//! [`Server::start`] binds the configured listeners, or one plain listener on a port that the kernel chooses, and gives
//! access to everything behind them. Dropping it stops it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

pub mod admin;
pub mod descriptors;
pub mod device;
pub mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use ws_router_admin_api::ListenAddress;
use ws_router_server::access::Access;
use ws_router_server::config::Config;
use ws_router_server::events::Events;
use ws_router_server::files::Accept;
use ws_router_server::metrics::FrontendMetrics;
use ws_router_server::net::{Certificates, Listener};
use ws_router_server::server;

/// A running router with its listeners.
pub struct Server {
    /// The first plain TCP listener.
    pub http: SocketAddr,
    /// The first TLS listener.
    pub https: Option<SocketAddr>,
    /// The router itself.
    pub router: Arc<server::Server>,
    pub metrics: Arc<FrontendMetrics>,
    pub events: Events,
    pub certificates: Vec<Arc<Certificates>>,
    pub tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Server {
    pub async fn start(mut config: Config) -> Self {
        descriptors::raise_limit();
        let wanted = listeners(&config);
        config.relay.threads.get_or_insert(NonZeroUsize::MIN);
        let router = server::Server::start(config, None).unwrap();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (mut http, mut https, mut certificates) = (None, None, Vec::new());
        for wanted in wanted {
            let tls = wanted.tls.as_ref().map(|files| Certificates::load(files, Accept::Any).unwrap());
            certificates.extend(tls.clone());
            let place = if tls.is_some() { &mut https } else { &mut http };
            let listener = Listener::bind(&wanted.address, &wanted.permissions, tls).unwrap();
            let listener = listener.with_proxy_protocol(wanted.proxy_protocol);
            if let Ok(address) = listener.address().parse() {
                place.get_or_insert(address);
            }
            tasks.spawn(ws_router_server::http::serve(router.clone(), listener, tasks.clone(), stop.clone()));
        }
        let http = http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let _stop_on_drop = stop.clone().drop_guard();
        Self {
            http,
            https,
            metrics: router.metrics().clone(),
            events: router.events().clone(),
            router,
            certificates,
            tasks,
            stop,
            _stop_on_drop,
        }
    }

    /// Applies another configuration.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(&self.router.config());
        change(&mut config);
        let access = Access::load(&config.access, Accept::Any).unwrap();
        self.router.apply(config, access);
    }

    /// Stops, and waits until every HTTP connection has ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.http).await.unwrap()
    }

    /// Makes a request on a connection of its own.
    pub async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, "", "").await
    }

    /// Sends a form.
    pub async fn post(&self, target: &str, form: &str) -> Answer {
        self.request("POST", target, "Content-Type: application/x-www-form-urlencoded\r\n", form).await
    }

    /// Makes a request with more headers (each with its line end) and a body.
    pub async fn request(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{length}\r\n");
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    /// Sends bytes as they are, and reads until the router closes.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        exchange(self.connect().await, bytes).await
    }

    /// Registers, and returns the id.
    pub async fn register(&self, query: &str) -> String {
        let answer = self.get(&format!("/register?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Joins as an ordinary websocket client does.
    pub async fn websocket(&self, target: &str) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
        let url = format!("ws://{}{target}", self.http);
        tokio_tungstenite::client_async(url, self.connect().await).await.map(|(socket, _)| socket)
    }
}

/// Response as it was received.
#[derive(Debug)]
pub struct Answer {
    /// 0 if there was none.
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// Sends bytes as they are, and reads until the other end closes.
pub async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Answer {
    // A peer that rejects early may close before everything is written; only its answer matters.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    Answer::parse(&read)
}

/// Reads the head of a response from a connection that stays open.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    Answer::parse(&read)
}

/// Waits until a condition that another task changes is true; fails the test after ten seconds.
pub async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// A plain listener on loopback.
pub fn plain() -> ws_router_server::config::Listener {
    let address = ListenAddress::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
    ws_router_server::config::Listener::new(address, None)
}

fn listeners(config: &Config) -> Vec<ws_router_server::config::Listener> {
    if config.listeners.is_empty() { vec![plain()] } else { config.listeners.clone() }
}
