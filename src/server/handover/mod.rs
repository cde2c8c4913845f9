//! Hand-over of a running router to the next process: the same program or a newer one, which goes on where this one
//! stops.
//!
//! There are two ways. In place: the program that is on the disk is tried out and then executed in this very process; if
//! that fails, the router goes on as if nothing had happened. Through the service manager: everything is put into its
//! descriptor store, where the next process finds it. In both, the listeners keep queueing connections, and the members'
//! bytes wait in the kernel meanwhile.
//!
//! [`export`] makes a [`HandoverBundle`] of a router: the sealed snapshot ([`crate::snapshot`]), and the descriptors of
//! listeners and members. [`exec`] finds, tries out and executes the new program; the trial has it decode a snapshot of the
//! running one, beside its check of the configuration. [`import`] is the new process's side. Each step of a restart has a
//! name, a [`HandoverPhase`], which administrators see in the status and in the log.
//!
//! Members with TLS can't move, since their keys are in this process's memory: they are asked to reconnect (1012)
//! beforehand, spread over some time so that they don't all reconnect at once.

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

/// A listening socket, kept so that it can be handed over, and accepted on again if the hand-over fails.
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
/// Name of the descriptors beside it.
const CONNECTIONS: &str = "connections";
/// Name of the opened program, which a script's interpreter reads.
const PROGRAM: &str = "program";
/// Name of the pipe on which a program that is tried out reports.
const REPORT: &str = "report";
