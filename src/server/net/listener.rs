//! Listening sockets: bound by this process, inherited from the service manager, or taken over from an old process.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use ws_router_admin_api::ListenAddress;

use super::certificates::Certificates;
use super::stream::Stream;
use super::unix_socket::{SocketFile, UnixSocketError, bind_unix, rebind_unix};
use crate::config::SocketPermissions;
use crate::sys::kernel_tls;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    address: String,
    certificates: Option<Arc<Certificates>>,
    proxy_protocol: bool,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Reason why a listener can't be opened. The text of the error contains the address and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address of this machine can't be bound.
    #[error("listen {address}: {}", explain_inet(error))]
    Inet {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// A Unix socket can't be bound.
    #[error("listen unix:{}: {error}", path.display())]
    Unix {
        /// The path of the socket.
        path: PathBuf,
        /// The cause.
        #[source]
        error: UnixSocketError,
    },
    /// The service manager passed no descriptor of this name.
    #[error(
        "listen systemd:{0}: no such descriptor was passed; start through a socket unit with FileDescriptorName={0}"
    )]
    NotPassed(String),
    /// An inherited descriptor isn't a usable listening socket.
    #[error("descriptor {name}: {error}")]
    Descriptor {
        /// The descriptor's name.
        name: String,
        /// The cause.
        #[source]
        error: DescriptorError,
    },
}

/// Reason why an inherited descriptor can't be used as a listener.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// The socket is of another type, such as a datagram socket.
    #[error("not a stream socket; use ListenStream= in the socket unit")]
    NotStream,
    /// The descriptor isn't a socket.
    #[error("not a socket; pass a listening stream socket")]
    NotSocket,
    /// The socket has another address family, such as vsock.
    #[error("neither a TCP nor a Unix socket; give ListenStream= a port, an address or a path")]
    Family,
    /// The socket is connected or idle.
    #[error("a socket that doesn't listen; set Accept=no in the socket unit")]
    NotListening,
    /// Any other failure of the system.
    #[error("{0}")]
    Other(#[source] io::Error),
}

impl ListenError {
    /// Returns whether the cause is a missing permission of this user.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Inet { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            Self::Unix { error, .. } => error.is_forbidden(),
            Self::NotPassed(_) | Self::Descriptor { .. } => false,
        }
    }
}

impl Listener {
    /// Binds an address of this machine; an inherited one is an error. A Unix socket gets the permissions, and its file
    /// is removed with the listener. Needs a running event loop.
    pub fn bind(
        address: &ListenAddress,
        permissions: &SocketPermissions,
        tls: Option<Arc<Certificates>>,
    ) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Inet(address) => bind_inet(*address)
                .and_then(|socket| Self::of_socket(socket, tls))
                .map_err(|error| ListenError::Inet { address: *address, error }),
            ListenAddress::Unix(path) => Self::of_unix(path, bind_unix(path, permissions, BACKLOG), tls),
            ListenAddress::Inherited(name) => Err(ListenError::NotPassed(name.clone())),
        }
    }

    /// Takes over a socket that the old process bound to the address. Needs a running event loop.
    pub fn rebind(
        socket: OwnedFd,
        address: &ListenAddress,
        permissions: &SocketPermissions,
        tls: Option<Arc<Certificates>>,
    ) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Unix(path) => Self::of_unix(path, rebind_unix(socket, path, permissions, BACKLOG), tls),
            ListenAddress::Inet(_) | ListenAddress::Inherited(_) => Self::inherited(socket, "of the old process", tls),
        }
    }

    /// Takes over a listening stream socket, TCP or Unix; fails for other descriptors. Needs a running event loop.
    pub fn inherited(descriptor: OwnedFd, name: &str, tls: Option<Arc<Certificates>>) -> Result<Self, ListenError> {
        check_listens(&descriptor)
            .and_then(|()| Self::of_socket(Socket::from(descriptor), tls).map_err(DescriptorError::Other))
            .map_err(|error| ListenError::Descriptor { name: name.to_owned(), error })
    }

    /// Sets whether each connection starts with a PROXY header.
    #[must_use]
    pub fn with_proxy_protocol(self, proxy_protocol: bool) -> Self {
        Self { proxy_protocol, ..self }
    }

    /// Returns whether each connection starts with a PROXY header.
    pub fn proxy_protocol(&self) -> bool {
        self.proxy_protocol
    }

    /// Returns the address, with the port that the kernel chose.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Returns the certificates, if the listener uses TLS.
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.as_ref()
    }

    /// Takes the guard that removes the file of a Unix socket, if the socket was bound by this process or an old one.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Duplicates the descriptor of the socket.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Listening::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Listening::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Waits for a connection and accepts it, without any limit or handshake.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Listening::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Listening::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    fn of_unix(
        path: &Path,
        bound: Result<(OwnedFd, SocketFile), UnixSocketError>,
        tls: Option<Arc<Certificates>>,
    ) -> Result<Self, ListenError> {
        let listener = bound.and_then(|(socket, file)| {
            let listener = Self::of_socket(socket.into(), tls).map_err(UnixSocketError::Other)?;
            Ok(Self { file: Some(file), ..listener })
        });
        listener.map_err(|error| ListenError::Unix { path: path.to_owned(), error })
    }

    fn of_socket(socket: Socket, certificates: Option<Arc<Certificates>>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (socket, address) = if socket.domain()? == Domain::UNIX {
            let listener = UnixListener::from_std(socket.into())?;
            let address = listener.local_addr()?;
            // An address in the abstract namespace has no path; ss(8) shows it in this form, too.
            let shown = address.as_pathname().map_or("@".into(), |path| path.display().to_string());
            (Listening::Unix(listener), format!("unix:{shown}"))
        } else {
            if let Some(certificates) = &certificates
                && !kernel_tls::is_available(socket.as_fd())
            {
                certificates.note_no_module();
                if certificates.needs_kernel() {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, NO_MODULE));
                }
            }
            let listener = TcpListener::from_std(socket.into())?;
            let address = listener.local_addr()?.to_string();
            (Listening::Tcp(listener), address)
        };
        Ok(Self { socket, address, certificates, proxy_protocol: false, file: None })
    }
}

fn bind_inet(address: SocketAddr) -> io::Result<Socket> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, None) {
        // On a machine without IPv6, all addresses are the IPv4 addresses.
        Err(error) if is_ipv6_missing(&error) && address.is_ipv6() && address.ip().is_unspecified() => {
            return bind_inet(SocketAddr::from(([0, 0, 0, 0], address.port())));
        }
        socket => socket?,
    };
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Without SO_REUSEADDR, a restarted daemon would have to wait for old connections in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Checks that a descriptor is a listening stream socket, TCP or Unix.
fn check_listens(descriptor: &OwnedFd) -> Result<(), DescriptorError> {
    let socket = SockRef::from(descriptor);
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(_) => return Err(DescriptorError::NotStream),
        Err(_) => return Err(DescriptorError::NotSocket),
    }
    if !matches!(socket.domain(), Ok(Domain::IPV4 | Domain::IPV6 | Domain::UNIX)) {
        return Err(DescriptorError::Family);
    }
    if socket.is_listener().unwrap_or(false) { Ok(()) } else { Err(DescriptorError::NotListening) }
}

fn is_ipv6_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn explain_inet(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "permission denied; use the socket unit or grant CAP_NET_BIND_SERVICE".into()
        }
        io::ErrorKind::AddrInUse => "another program listens there; stop it or choose another port".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; correct it or use [::]".into(),
        _ => error.to_string(),
    }
}

/// Text for a listener whose `tls.kernel` can't be met.
const NO_MODULE: &str = "tls.kernel is \"required\", and the kernel has no tls module for this socket; load it \
    (modprobe tls), or write \"auto\"";

/// Length of the kernel's queue of connections that have not been accepted yet, capped by `net.core.somaxconn`. In a mass
/// reconnect, thousands arrive at once.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests;
