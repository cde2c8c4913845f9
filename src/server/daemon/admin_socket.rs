//! The admin socket: its path, and who may connect to it.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use ws_router_admin_api::admin_socket::{DirectoryError, SocketLocator};

use super::exit::{ExitError, Status};
use crate::config::{self, FileMode, SocketPermissions};
use crate::handover::{INHERITED, InheritedState};
use crate::net::{self, SocketFile, UnixSocketError};

/// The admin socket, bound by us; its file goes away with it.
#[derive(Debug)]
pub(super) struct AdminSocket {
    /// Names it, the same in the old and the new process.
    pub(super) key: String,
    /// What to accept on.
    pub(super) listener: UnixListener,
    /// Where it stands; `None` if the service manager knows.
    pub(super) file: Option<SocketFile>,
}

impl AdminSocket {
    /// Takes over a descriptor that the service manager passed.
    pub(super) fn inherited(descriptor: OwnedFd) -> Result<Self, ExitError> {
        let socket = Socket::from(descriptor);
        let is_unix = socket.domain().is_ok_and(|domain| domain == Domain::UNIX);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !(is_unix && is_stream && getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false)) {
            return Err(ExitError::configuration(
                "inherited descriptor admin: not a listening Unix stream socket; \
                 use ListenStream= with a path in its socket unit, and Accept=no",
            ));
        }
        let key = format!("{INHERITED}{ADMIN}");
        Ok(Self { key, listener: UnixListener::from(OwnedFd::from(socket)), file: None })
    }

    /// Binds the path that the configuration names, or else the usual one of this user; `None` if there is no
    /// directory for it, as in a container without `/tmp`. One that the old process left there is taken over.
    pub(super) fn bind(
        config: &config::Admin,
        inherited_state: &mut InheritedState,
    ) -> Result<Option<Self>, ExitError> {
        let path = match config.socket.clone().map_or_else(|| SocketLocator::from_process().to_bind(), Ok) {
            Ok(path) => path,
            Err(error @ DirectoryError::NoRuntimeDirectory { .. }) => {
                tracing::warn!(%error, "no admin socket: set admin.socket or XDG_RUNTIME_DIR");
                return Ok(None);
            }
            Err(error) => return Err(no_directory(&error)),
        };
        let key = format!("bound-admin:{}", path.display());
        let (socket, file) = bind(&path, inherited_state.listener(&key)).map_err(|error| unbound(&path, &error))?;
        Ok(Some(Self { key, listener: socket.into(), file: Some(file) }))
    }
}

/// The name of its descriptor in socket units.
const ADMIN: &str = "admin";

/// Lists where a running daemon's admin socket may be, the likeliest first.
pub(super) fn candidates(config: &config::Admin) -> Vec<PathBuf> {
    match &config.socket {
        Some(path) => vec![path.clone()],
        None => SocketLocator::from_process().candidates(),
    }
}

/// The socket belongs to the group `ws-router`, whose members are administrators, if there is such a group and this user
/// may give the socket to it.
fn bind(path: &Path, left: Option<OwnedFd>) -> Result<(OwnedFd, SocketFile), UnixSocketError> {
    let permissions = SocketPermissions { mode: FileMode::OWNER_AND_GROUP, group: ADMINISTRATORS.parse().ok() };
    let open = |permissions: &SocketPermissions, left: Option<OwnedFd>| match left {
        Some(left) => net::rebind_unix(left, path, permissions, BACKLOG),
        None => net::bind_unix(path, permissions, BACKLOG),
    };
    let spare = left.as_ref().map(OwnedFd::try_clone).transpose()?;
    open(&permissions, left).or_else(|error| match error {
        UnixSocketError::Group { error, .. } => {
            tracing::debug!(%error, "the admin socket isn't given to the group ws-router");
            open(&SocketPermissions { group: None, ..permissions }, spare)
        }
        error => Err(error),
    })
}

fn unbound(path: &Path, error: &UnixSocketError) -> ExitError {
    let status = if error.is_forbidden() { Status::NoPermission } else { Status::Unavailable };
    ExitError::new(status, format_args!("admin socket {}: {error}, or set admin.socket", path.display()))
}

fn no_directory(error: &DirectoryError) -> ExitError {
    let is_forbidden = matches!(error, DirectoryError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied);
    let status = if is_forbidden { Status::NoPermission } else { Status::Unavailable };
    ExitError::new(status, format_args!("directory of the admin socket {error}, or set admin.socket"))
}

/// The group of administrators.
const ADMINISTRATORS: &str = "ws-router";

/// Administrators that may wait to be accepted: they are few.
const BACKLOG: i32 = 128;
