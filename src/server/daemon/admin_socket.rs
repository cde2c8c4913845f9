//! The admin socket's place in the file system: where it stands, who may connect, and that there is one owner.
//!
//! A socket file that nobody answers on any more is replaced; one that is answered on belongs to another daemon, which
//! is an error. The file is born with mode 0600, given to the group `ws-router` if there is such a group and we may,
//! and only then opened to it (0660): there is no moment at which somebody else can connect.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{AccessFlags, Group, access, chown, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::fault::{Fault, Status};
use super::heritage::{Heritage, INHERITED};
use crate::config;

/// The admin socket, bound by us; its file goes away with it.
#[derive(Debug)]
pub(super) struct AdminSocket {
    /// Names it, the same in predecessor and successor.
    pub(super) key: String,
    /// What to accept on.
    pub(super) listener: UnixListener,
    /// Where it stands; `None` if the service manager knows.
    pub(super) file: Option<SocketFile>,
}

/// A socket's file, removed when dropped, unless it has become another's meanwhile.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl AdminSocket {
    /// Takes over a descriptor that the service manager passed.
    pub(super) fn inherited(descriptor: OwnedFd) -> Result<Self, Fault> {
        let socket = Socket::from(descriptor);
        let is_unix = socket.domain().is_ok_and(|domain| domain == Domain::UNIX);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !(is_unix && is_stream && getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false)) {
            return Err(Fault::configuration(
                "inherited descriptor admin: not a listening Unix stream socket; \
                 use ListenStream= with a path in its socket unit, and Accept=no",
            ));
        }
        let key = format!("{INHERITED}{ADMIN}");
        Ok(Self { key, listener: UnixListener::from(OwnedFd::from(socket)), file: None })
    }

    /// Binds the place that the configuration names, or else the usual one; `None` if there is no usual place.
    /// One that a predecessor left there is taken over.
    pub(super) fn bind(config: &config::Admin, heritage: &mut Heritage) -> Result<Option<Self>, Fault> {
        let Some(path) = place(config)? else { return Ok(None) };
        let key = format!("bound-admin:{}", path.display());
        let listener = match heritage.listener(&key) {
            Some(left) => UnixListener::from(left),
            None => {
                clear(&path)?;
                bind(&path).map_err(|error| fault(&path, &error))?
            }
        };
        let inode = inode(&path).map_err(|error| fault(&path, &error))?;
        Ok(Some(Self { key, listener, file: Some(SocketFile { path, inode }) }))
    }
}

/// The name of its descriptor in socket units.
const ADMIN: &str = "admin";

impl SocketFile {
    /// Where it stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // If it can't be removed, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lists where a running daemon's admin socket may be, the likeliest first.
pub(super) fn candidates(config: &config::Admin) -> Vec<PathBuf> {
    match &config.socket {
        Some(path) => vec![path.clone()],
        None => [Some(PathBuf::from(SYSTEM_SOCKET)), user_socket()].into_iter().flatten().collect(),
    }
}

fn place(config: &config::Admin) -> Result<Option<PathBuf>, Fault> {
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
        made.map_err(|error| fault(directory, &error))?;
    }
    Ok(Some(path))
}

fn user_socket() -> Option<PathBuf> {
    let directory = env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(directory).join("ws-router/admin.sock"))
}

/// Makes room for the socket, if what stands there is the rest of a daemon that has ended.
fn clear(path: &Path) -> Result<(), Fault> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        let text = format!("admin socket {}: there is something else; remove it or set admin.socket", path.display());
        return Err(Fault::new(Status::Unavailable, text));
    }
    match is_answered(path) {
        Ok(false) => fs::remove_file(path).map_err(|error| fault(path, &error)),
        Ok(true) => {
            let text = format!(
                "admin socket {}: another ws-router runs here; stop it or set admin.socket to another path",
                path.display()
            );
            Err(Fault::new(Status::Unavailable, text))
        }
        Err(error) => Err(fault(path, &error)),
    }
}

fn is_answered(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A daemon that hangs with a full backlog must not make us hang too.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(false),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(true),
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file gets the mode of the socket's own inode, as far as the umask lets it.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Ok(Some(group)) = Group::from_name("ws-router")
        && let Err(error) = chown(path, None, Some(group.gid))
    {
        tracing::debug!(%error, "the admin socket isn't given to the group ws-router");
    }
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn fault(path: &Path, error: &io::Error) -> Fault {
    let mend = match error.kind() {
        ErrorKind::NotFound => "; make the directory or set admin.socket",
        ErrorKind::PermissionDenied => "; run as a user who may write there or set admin.socket",
        _ => "",
    };
    let status = if error.kind() == ErrorKind::PermissionDenied { Status::NoPermission } else { Status::Unavailable };
    Fault::new(status, format_args!("admin socket {}: {error}{mend}", path.display()))
}

const SYSTEM_SOCKET: &str = "/run/ws-router/admin.sock";

/// Administrators that may wait to be accepted: they are few.
const BACKLOG: i32 = 128;
