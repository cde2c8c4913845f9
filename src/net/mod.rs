//! Listeners and connections: bound or inherited, TCP or Unix, plain or TLS, up to the point where HTTP begins.

mod socket;

pub use socket::{Permit, Plain, Socket, Transport};

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{self, ListenAddress};
use crate::metrics::Front;
use crate::peer::Peer;

/// A certificate and key in use, replaced as a whole on reload.
#[derive(Debug)]
pub struct Certificates {}

/// Why a certificate or key can't be used; names the file and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(pub String);

impl Certificates {
    /// Reads and checks a chain and its key.
    pub fn load(_files: &config::Tls) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self {}))
    }

    /// Reads the files again; on an error the ones in use stay. Tells whether anything changed.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        Ok(false)
    }

    /// Tells whether the files look different (size, time, inode) from when they were read.
    pub fn are_stale(&self) -> bool {
        false
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {}

/// Why there is no listener; names the address and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ListenError(pub String);

impl Listener {
    /// Binds an address of this machine; an inherited one is refused here.
    pub fn bind(_address: &ListenAddress, _tls: Option<Arc<Certificates>>) -> Result<Self, ListenError> {
        Ok(Self {})
    }

    /// Takes over a listening stream socket, TCP or Unix; another kind of descriptor is refused.
    pub fn inherited(_descriptor: OwnedFd, _name: &str, _tls: Option<Arc<Certificates>>) -> Result<Self, ListenError> {
        Ok(Self {})
    }

    /// Shows where it listens, with the port that the kernel chose.
    pub fn address(&self) -> String {
        String::new()
    }

    /// The certificates in use, if it speaks TLS.
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        None
    }
}

/// An accepted connection with its TLS handshake done, as hyper reads and writes it.
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// Takes a connected stream socket that somebody else has accepted (inetd).
    pub fn adopt(_descriptor: OwnedFd, _front: &Arc<Front>) -> Result<Self, ListenError> {
        Ok(Self {})
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        Peer::Unix { uid: 0, pid: 0 }
    }

    /// Takes the connection from its event loop, for a relay thread.
    pub fn into_socket(self) -> std::io::Result<Socket> {
        Err(std::io::Error::other("not yet"))
    }
}

/// Accepts until `stop`, and runs `serve` for each connection in a task of `tasks`.
pub async fn accept<S, F>(
    _listener: Listener,
    _live: config::Live,
    _front: Arc<Front>,
    _tasks: tokio_util::task::TaskTracker,
    _stop: CancellationToken,
    _serve: S,
) where
    S: Fn(Connection) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
}
