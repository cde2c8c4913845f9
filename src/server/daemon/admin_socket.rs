//! The admin socket: its path, and who may connect to it.

use std::env;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{AccessFlags, access, geteuid};
use socket2::{Domain, Socket, Type};

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

    /// Binds the place that the configuration names, or else the usual one; `None` if there is no usual place.
    /// One that the old process left there is taken over.
    pub(super) fn bind(
        config: &config::Admin,
        inherited_state: &mut InheritedState,
    ) -> Result<Option<Self>, ExitError> {
        let Some(path) = place(config)? else { return Ok(None) };
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
        None => [Some(PathBuf::from(SYSTEM_SOCKET)), user_socket()].into_iter().flatten().collect(),
    }
}

fn place(config: &config::Admin) -> Result<Option<PathBuf>, ExitError> {
    if let Some(path) = &config.socket {
        return Ok(Some(path.clone()));
    }
    let system = Path::new(SYSTEM_SOCKET);
    let directory = system.parent().unwrap_or(system);
    let (path, mode) = if geteuid().is_root() || access(directory, AccessFlags::W_OK).is_ok() {
        (system.to_owned(), 0o755)
    } else {
        let Some(path) = user_socket() else { return Ok(None) };
        (path, 0o700)
    };
    if let Some(directory) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
        made.map_err(|error| no_directory(directory, &error))?;
    }
    Ok(Some(path))
}

fn user_socket() -> Option<PathBuf> {
    let directory = env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(directory).join("ws-router/admin.sock"))
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

fn no_directory(path: &Path, error: &io::Error) -> ExitError {
    let is_forbidden = error.kind() == ErrorKind::PermissionDenied;
    let status = if is_forbidden { Status::NoPermission } else { Status::Unavailable };
    let fix = "run as a user that may create it, or set admin.socket";
    ExitError::new(status, format_args!("directory of the admin socket {}: {error}; {fix}", path.display()))
}

/// The group of administrators.
const ADMINISTRATORS: &str = "ws-router";

const SYSTEM_SOCKET: &str = "/run/ws-router/admin.sock";

/// Administrators that may wait to be accepted: they are few.
const BACKLOG: i32 = 128;
