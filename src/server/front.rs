//! The tasks that accept and answer connections, and the periodic tasks.
//!
//! The front is opened at the start. A restart closes it in two steps, first for devices and last for administrators. If
//! the hand-over fails, the front is opened again on the same sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AdminAccess};
use crate::background;
use crate::exit::ExitError;
use crate::handover::{ListenerHandle, ListenerKind};
use crate::http;
use crate::net::{self, AdoptError};
use crate::server::Server;

/// The tasks of the front, and the sockets that they accept on.
#[derive(Debug)]
pub struct Front {
    server: Arc<Server>,
    admin: admin::Context,
    listeners: Vec<ListenerHandle>,
    /// Tasks that serve devices and monitoring, and periodic tasks.
    tasks: TaskTracker,
    /// Ends `tasks`.
    stop: CancellationToken,
    /// Tasks that serve administrators.
    admin_tasks: TaskTracker,
    /// Ends `admin_tasks`.
    admin_stop: CancellationToken,
}

impl Front {
    /// Creates a front that is not open yet.
    pub fn new(server: Arc<Server>, admin: admin::Context, listeners: Vec<ListenerHandle>) -> Self {
        Self {
            server,
            admin,
            listeners,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            admin_tasks: TaskTracker::new(),
            admin_stop: CancellationToken::new(),
        }
    }

    /// Returns the listening sockets.
    pub fn listeners(&self) -> &[ListenerHandle] {
        &self.listeners
    }

    /// Starts to accept on all sockets, and starts the periodic tasks.
    pub fn open(&self) -> Result<(), ExitError> {
        for ListenerHandle { key, descriptor, kind } in &self.listeners {
            let descriptor = descriptor.try_clone().map_err(|error| ExitError::system("listener", &error))?;
            match kind {
                ListenerKind::Devices { tls, proxy_protocol } => {
                    let listener = net::Listener::inherited(descriptor, key, tls.clone());
                    let listener = listener.map_err(ExitError::configuration)?.with_proxy_protocol(*proxy_protocol);
                    let (server, tasks) = (Arc::clone(&self.server), self.tasks.clone());
                    self.tasks.spawn(http::serve(server, listener, tasks, self.stop.clone()));
                }
                ListenerKind::Admin { is_read_only } => {
                    let access = if *is_read_only { AdminAccess::ReadOnly } else { AdminAccess::Full };
                    let listener = into_tokio(descriptor).map_err(|error| ExitError::system("admin socket", &error))?;
                    self.admin_tasks.spawn(admin::serve(listener, self.admin.clone(), access, self.admin_stop.clone()));
                }
                ListenerKind::Metrics => {
                    let listener = net::Listener::inherited(descriptor, key, None).map_err(ExitError::configuration)?;
                    self.tasks.spawn(admin::serve_metrics(listener, self.admin.clone(), self.stop.clone()));
                }
            }
        }
        let server = || Arc::clone(&self.server);
        self.tasks.spawn(background::sweep(server(), self.stop.clone()));
        self.tasks.spawn(background::trim_memory(server(), self.stop.clone()));
        self.tasks.spawn(background::watchdog(server(), self.stop.clone()));
        Ok(())
    }

    /// Opens the front again after it was closed.
    pub fn reopen(&mut self) -> Result<(), ExitError> {
        (self.stop, self.admin_stop) = (CancellationToken::new(), CancellationToken::new());
        self.tasks.reopen();
        self.admin_tasks.reopen();
        self.open()
    }

    /// Serves a connection that inetd accepted.
    pub fn adopt(&self, descriptor: OwnedFd) -> Result<(), AdoptError> {
        let connection = self.server.connection_gate().adopt(descriptor)?;
        let (server, stop) = (Arc::clone(&self.server), self.stop.clone());
        self.tasks.spawn(async move { http::serve_connection(&server, connection, stop).await });
        Ok(())
    }

    /// Stops accepting devices, and waits until their requests in progress are finished.
    pub async fn close(&self, patience: Duration) -> Result<(), Elapsed> {
        self.stop.cancel();
        self.tasks.close();
        timeout(patience, self.tasks.wait()).await
    }

    /// Stops accepting administrators, and waits until their requests in progress are finished.
    pub async fn close_admin(&self, patience: Duration) -> Result<(), Elapsed> {
        self.admin_stop.cancel();
        self.admin_tasks.close();
        timeout(patience, self.admin_tasks.wait()).await
    }
}

fn into_tokio(descriptor: OwnedFd) -> io::Result<tokio::net::UnixListener> {
    let listener = UnixListener::from(descriptor);
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}
