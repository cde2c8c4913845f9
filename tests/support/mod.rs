//! A whole front in the test's process, and plain clients for it.
//!
//! [`Server::start`] binds what the configuration says (one plain listener on a port of the kernel's choice if it says
//! nothing) and gives hands on everything behind it. Dropping it stops it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

pub mod admin;
pub mod device;
pub mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use ws_router_admin_api::ListenAddress;
use ws_router_core::secret::KeyHasher;
use ws_router_server::access::Access;
use ws_router_server::config::{Config, Rule};
use ws_router_server::directory::{Directory, Quota, Rules};
use ws_router_server::events::Events;
use ws_router_server::http::Service;
use ws_router_server::metrics::Front;
use ws_router_server::net::{self, Certificates, Clients, Listener};
use ws_router_server::relay::Relay;

/// A running router.
pub struct Server {
    /// The first plain TCP listener.
    pub http: SocketAddr,
    /// The first TLS listener.
    pub https: Option<SocketAddr>,
    pub service: Service,
    pub directory: Arc<Directory>,
    pub relay: Relay,
    pub front: Arc<Front>,
    pub events: Events,
    pub draining: Arc<AtomicBool>,
    pub live: tokio::sync::watch::Sender<Arc<Config>>,
    pub access: tokio::sync::watch::Sender<Arc<Access>>,
    pub certificates: Vec<Arc<Certificates>>,
    pub tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Server {
    pub async fn start(config: Config) -> Self {
        let events = Events::new();
        let rules = Rules {
            auto_remove: config.registration.auto_remove,
            linger: config.registration.linger,
            unclaimed_timeout: config.registration.unclaimed_timeout,
            max_registrations: config.limits.registrations,
            max_members: config.limits.members,
            quotas: quotas(&config),
        };
        let directory = Directory::new(KeyHasher::new([7; 32]), rules, events.clone());
        let (front, draining) = (Arc::new(Front::default()), Arc::new(AtomicBool::new(false)));
        let relay = Relay::start(1, &config.websocket, Duration::ZERO, events.clone(), &front).unwrap();
        if let Some(memory) = config.limits.memory {
            relay.budget().set_limit(memory.as_u64());
        }
        let clients = Arc::new(Clients::default());
        let access = tokio::sync::watch::Sender::new(Arc::new(Access::load(&config.access).unwrap()));
        let (sender, live) = tokio::sync::watch::channel(Arc::new(config.clone()));
        let service = Service {
            directory: Arc::clone(&directory),
            relay: relay.clone(),
            live: live.clone(),
            access: access.subscribe(),
            front: Arc::clone(&front),
            clients: Arc::clone(&clients),
            draining: Arc::clone(&draining),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (mut http, mut https, mut certificates) = (None, None, Vec::new());
        for wanted in listeners(&config) {
            let tls = wanted.tls.as_ref().map(|files| Certificates::load(files).unwrap());
            certificates.extend(tls.clone());
            let place = if tls.is_some() { &mut https } else { &mut http };
            let listener = Listener::bind(&wanted.address, &wanted.permissions, tls).unwrap();
            let listener = listener.with_proxy_protocol(wanted.proxy_protocol);
            if let Ok(address) = listener.address().parse() {
                place.get_or_insert(address);
            }
            let (door, service, until) = (service.door(), service.clone(), stop.clone());
            let serve = move |connection| {
                let (service, until) = (service.clone(), until.clone());
                async move { service.serve(connection, until).await }
            };
            let accept = net::accept(listener, door, tasks.clone(), stop.clone(), serve);
            tasks.spawn(accept);
        }
        let http = http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let _stop_on_drop = stop.clone().drop_guard();
        Self {
            http,
            https,
            service,
            directory,
            relay,
            front,
            events,
            draining,
            live: sender,
            access,
            certificates,
            tasks,
            stop,
            _stop_on_drop,
        }
    }

    /// Changes the running configuration.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        self.live.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// Stops, and waits until every connection of the front has ended.
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

    /// Registers and gives the id.
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

/// An answer as it came over the wire.
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
    // One who refuses early may close before all is written; what it said is what counts.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    Answer::parse(&read)
}

/// Reads one answer's head from a connection that stays open.
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

/// Waits until something that another task does has come true; fails the test when it doesn't within ten seconds.
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

fn quotas(config: &Config) -> HashMap<Arc<str>, Quota> {
    let quota = |rule: &Rule| Quota { registrations: rule.registrations, members: rule.members };
    config.access.iter().enumerate().map(|(index, rule)| (rule.title(index).into(), quota(rule))).collect()
}

fn listeners(config: &Config) -> Vec<ws_router_server::config::Listener> {
    if config.listeners.is_empty() { vec![plain()] } else { config.listeners.clone() }
}
