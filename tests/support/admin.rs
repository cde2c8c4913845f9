//! An admin server beside a running front, and requests on its socket.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ws_router_server::admin::{self, AdminAccess, Command, Context};
use ws_router_server::config::Config;

use super::{Answer, Server, exchange};

/// A router with its admin socket.
pub struct Admin {
    pub server: Server,
    pub socket: PathBuf,
    pub context: Context,
    /// Phase of a drain, as the admin interface reports it.
    pub drain: watch::Sender<ws_router_admin_api::Drain>,
    /// Commands of the interface to the lifecycle.
    pub life: mpsc::Receiver<Command>,
    pub stop: CancellationToken,
    pub serving: JoinHandle<()>,
    _folder: Option<TempDir>,
}

impl Admin {
    pub async fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Self { socket, _folder: Some(folder), ..Self::start_on(config, listener).await }
    }

    /// Serves a listener of the caller's, which needs no file.
    pub async fn start_on(config: Config, listener: UnixListener) -> Self {
        let server = Server::start(config).await;
        let (sender, life) = mpsc::channel(1);
        let drain = watch::Sender::default();
        let context = Context {
            server: server.router.clone(),
            listening: Vec::new(),
            certificates: server.certificates.clone(),
            listeners: vec![server.http.to_string()],
            drain: drain.subscribe(),
            handover: watch::channel(Default::default()).1,
            lifecycle: sender,
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(admin::serve(listener, context.clone(), AdminAccess::Full, stop.clone()));
        Self { server, socket: PathBuf::new(), context, drain, life, stop, serving, _folder: None }
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Makes a request on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await
    }

    /// Makes a request that must succeed, and reads the document.
    pub async fn document(&self, method: &str, path: &str) -> serde_json::Value {
        let answer = self.ask(method, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Sends bytes as they are, and reads until the daemon closes.
    pub async fn raw(&self, bytes: &str) -> Answer {
        exchange(self.connect().await, bytes.as_bytes()).await
    }
}
