//! Hand-over of a running router to the next process, which may run a newer version of the program.
//!
//! There are two ways. In place: the program that is on the disk is tried out and then executed in this process (execve);
//! if that fails, the router continues to run. Through the service manager: the descriptors are stored in its descriptor
//! store, and passed to the next process. Both ways, the kernel queues new connections to the listeners and received data
//! of the members until the next process reads them.
//!
//! [`export`] creates a [`HandoverBundle`]: the sealed snapshot ([`crate::snapshot`]), and the descriptors of listeners
//! and members. [`exec`] finds, tries out and executes the new program. In the trial, the new program checks the
//! configuration and decodes a snapshot of the running one. [`import`] is the new process's side. Each step of a restart is
//! a [`HandoverPhase`], which administrators see in the status and in the log.
//!
//! Members whose TLS is in the kernel are handed over like those without TLS. Those whose TLS is in this process can't be,
//! since their keys are in its memory. They are asked to reconnect (1012) before the hand-over, spread over some time so
//! that they don't all reconnect at once.

pub mod exec;
pub mod export;
pub mod import;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::watch;

pub use export::HandoverBundle;
pub use import::InheritedState;
pub use ws_router_admin_api::HandoverPhase;

use crate::net;

/// Handle of a listening socket, with which it can be handed over, or used again if the hand-over fails.
#[derive(Debug)]
pub struct ListenerHandle {
    /// Name of the socket, the same in the old and the new process.
    pub key: String,
    /// The socket.
    pub descriptor: OwnedFd,
    /// Kind of its connections.
    pub kind: ListenerKind,
}

/// Kind of the connections that a listening socket accepts.
#[derive(Debug)]
pub enum ListenerKind {
    /// Devices.
    Devices {
        /// Certificates of a listener with TLS.
        tls: Option<Arc<net::Certificates>>,
        /// Whether each connection begins with a PROXY header.
        proxy_protocol: bool,
    },
    /// Administrators.
    Admin {
        /// Whether only `GET` is allowed.
        is_read_only: bool,
    },
    /// Monitoring systems.
    Metrics,
}

/// The current phase, for the log and for administrators.
#[derive(Debug, Default)]
pub struct Phases(watch::Sender<HandoverPhase>);

impl Phases {
    /// Enters a phase, and logs it.
    pub fn enter(&self, phase: HandoverPhase) {
        tracing::info!(phase = phase.label(), "restart phase entered");
        self.0.send_replace(phase);
    }

    /// Returns the side that sees the current phase.
    pub fn subscribe(&self) -> watch::Receiver<HandoverPhase> {
        self.0.subscribe()
    }
}

/// Prefix of the key of a socket that was passed by name.
pub const INHERITED: &str = "inherited:";

/// Name of the snapshot in the service manager's store.
const STATE: &str = "state";
/// Name of the socket with the members' descriptors in the service manager's store.
const CONNECTIONS: &str = "connections";
/// Name of the descriptor of the opened program. It stays open for a script, whose interpreter reads it.
const PROGRAM: &str = "program";
/// Name of the pipe on which a program in a trial reports its result.
const REPORT: &str = "report";
