//! Listening Unix sockets in the file system: their permissions, their replacement and their removal.
//!
//! A socket file is created with mode 0600, then gets its group, and then its mode, so that the umask has no effect and
//! no other user can connect in between. A socket file on which no process listens is left over from a process that was
//! killed, and is replaced. One on which a process listens is never replaced.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, chown};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::SocketPermissions;

/// A socket's file, removed when dropped unless another process has replaced it meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Reason why a Unix socket can't be bound. The text of the error contains the fix.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// The path names a file of another kind.
    #[error("a file that is not a socket is in the way; remove it or choose another path")]
    NotASocket,
    /// A process listens on the path.
    #[error("another program listens there; stop it or choose another path")]
    InUse,
    /// The directory doesn't exist.
    #[error("no such directory; create it or choose another path")]
    NoDirectory(#[source] io::Error),
    /// This user may not create the file.
    #[error("permission denied; make the directory writable for the user that runs ws-router")]
    Forbidden(#[source] io::Error),
    /// The file can't be assigned to the group.
    #[error("the socket can't be given to group {group}: {error}; make the user that runs ws-router a member of it")]
    Group {
        /// The group's name.
        group: String,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// Any other failure of the system.
    #[error("{0}")]
    Other(#[source] io::Error),
}

impl UnixSocketError {
    /// Returns whether another user could bind the socket.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::Group { .. })
    }
}

impl From<io::Error> for UnixSocketError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Forbidden(error),
            ErrorKind::NotFound => Self::NoDirectory(error),
            ErrorKind::AddrInUse => Self::InUse,
            _ => Self::Other(error),
        }
    }
}

impl SocketFile {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: inode(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // If the file can't be removed, the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a Unix stream socket and listens on it.
pub fn bind_unix(
    path: &Path,
    permissions: &SocketPermissions,
    backlog: i32,
) -> Result<(OwnedFd, SocketFile), UnixSocketError> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file gets the mode of the socket's inode, without the bits in the umask.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(io::Error::from)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path)?;
    set_permissions(path, permissions)?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

/// Takes over a socket that the old process bound to `path`, and sets the permissions that are configured now. A socket
/// whose file was removed is unreachable, so a new one is bound.
pub fn rebind_unix(
    socket: OwnedFd,
    path: &Path,
    permissions: &SocketPermissions,
    backlog: i32,
) -> Result<(OwnedFd, SocketFile), UnixSocketError> {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return bind_unix(path, permissions, backlog);
    }
    let file = SocketFile::at(path)?;
    set_permissions(path, permissions)?;
    Ok((socket, file))
}

fn set_permissions(path: &Path, permissions: &SocketPermissions) -> Result<(), UnixSocketError> {
    if let Some(name) = &permissions.group {
        let failed = |error| UnixSocketError::Group { group: name.to_string(), error };
        let group = group_id(name.as_str()).map_err(failed)?;
        chown(path, None, Some(group)).map_err(|error| failed(error.into()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(permissions.mode.bits()))?;
    Ok(())
}

fn group_id(name: &str) -> io::Result<Gid> {
    let group = Group::from_name(name)?.ok_or_else(|| io::Error::other("no such group"))?;
    Ok(group.gid)
}

/// Removes the socket file of a process that is gone.
fn remove_stale(path: &Path) -> Result<(), UnixSocketError> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        return Err(UnixSocketError::NotASocket);
    }
    let connected = (|| {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A process that hangs with a full backlog must not make this one hang too.
        probe.set_nonblocking(true)?;
        probe.connect(&SockAddr::unix(path)?)
    })();
    match connected {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error.into()),
        _ => Err(UnixSocketError::InUse),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests;
