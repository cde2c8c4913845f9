//! The path of the admin socket, for the daemon that binds it and the programs that connect to it.
//!
//! The system's socket is `/run/ws-router/admin.sock`. A daemon that may not create it there uses a socket of its user, in
//! the first of these directories that applies:
//!
//! 1. `$XDG_RUNTIME_DIR/ws-router`, if `$XDG_RUNTIME_DIR` is an absolute path of a directory that belongs to the user;
//! 2. `/run/user/UID/ws-router`, if `/run/user/UID` is a directory that belongs to the user;
//! 3. `/tmp/ws-router-UID`.
//!
//! Any user may create the last one first, so it is used only if it is a directory, not a symbolic link, belongs to the
//! user and is closed to all others. In a `/tmp` with the sticky bit, others can't replace it afterwards.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

/// Inputs from which the path of the admin socket is determined.
#[derive(Debug, Clone)]
pub struct SocketLocator {
    uid: u32,
    /// The directory of the system's socket.
    system: PathBuf,
    /// Whether a daemon binds the system's socket.
    binds_system: bool,
    /// `$XDG_RUNTIME_DIR`.
    runtime: Option<PathBuf>,
    /// The parent of the users' runtime directories.
    users: PathBuf,
    /// The directory that all users share.
    temporary: PathBuf,
}

/// Reason why the directory of the admin socket can't be used. The text ends with a fix, to which the program adds its own
/// way of setting another path.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory can't be created or examined.
    #[error("{}: {error}; let this user create it", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system reported.
        #[source]
        error: io::Error,
    },
    /// The user has no runtime directory, and the directory in `/tmp` can't be created or examined.
    #[error("{}: {error}; set XDG_RUNTIME_DIR", directory.display())]
    NoRuntimeDirectory {
        /// The directory.
        directory: PathBuf,
        /// What the system reported.
        #[source]
        error: io::Error,
    },
    /// The path is not a directory, or is a symbolic link to one.
    #[error("{}: is a symbolic link or not a directory; remove it, set XDG_RUNTIME_DIR", directory.display())]
    NotDirectory {
        /// The path.
        directory: PathBuf,
    },
    /// The directory belongs to another user, who could put a socket into it.
    #[error("{}: belongs to another user (uid {owner}); remove it, set XDG_RUNTIME_DIR", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users may open the directory.
    #[error("{}: is open to other users (mode {mode:04o}); run chmod 700, set XDG_RUNTIME_DIR", directory.display())]
    Open {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl SocketLocator {
    /// Takes the user and the environment of this process.
    pub fn from_process() -> Self {
        let system = Path::new("/run/ws-router");
        let uid = geteuid();
        Self {
            uid: uid.as_raw(),
            system: system.into(),
            binds_system: uid.is_root() || access(system, AccessFlags::W_OK).is_ok(),
            runtime: absolute(std::env::var_os("XDG_RUNTIME_DIR")),
            users: "/run/user".into(),
            temporary: "/tmp".into(),
        }
    }

    /// Returns the path that a daemon binds, and creates its directory.
    pub fn to_bind(&self) -> Result<PathBuf, DirectoryError> {
        if self.binds_system {
            create(DirBuilder::new().recursive(true).mode(0o755), &self.system)?;
            return Ok(self.system.join(FILE));
        }
        let directory = match self.runtime_directories().next() {
            Some(directory) => {
                create(DirBuilder::new().recursive(true).mode(0o700), &directory)?;
                directory
            }
            None => {
                let directory = self.temporary_directory();
                match DirBuilder::new().mode(0o700).create(&directory) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(DirectoryError::NoRuntimeDirectory { directory, error });
                    }
                    _ => self.check_private(&directory)?,
                }
                directory
            }
        };
        Ok(directory.join(FILE))
    }

    /// Returns the path at which to find a running daemon: the system's socket if this user may use it, or else the
    /// user's. Where there is neither, it is the path that a daemon of this user would bind.
    pub fn to_connect(&self) -> Result<PathBuf, DirectoryError> {
        let system = self.system.join(FILE);
        if self.binds_system || access(&system, AccessFlags::R_OK | AccessFlags::W_OK).is_ok() {
            return Ok(system);
        }
        if let Some(own) = self.user_sockets().into_iter().find(|socket| socket.exists()) {
            return Ok(own);
        }
        // The reason why the system's socket can't be used helps more than the fact that the user has none.
        if system.exists() {
            return Ok(system);
        }
        let directory = match self.runtime_directories().next() {
            Some(directory) => directory,
            None => {
                let directory = self.temporary_directory();
                match self.check_private(&directory) {
                    Err(DirectoryError::NoRuntimeDirectory { error, .. }) if error.kind() == ErrorKind::NotFound => {}
                    checked => checked?,
                }
                directory
            }
        };
        Ok(directory.join(FILE))
    }

    /// Returns all paths at which the socket of a running daemon may be, in the order in which to try them.
    pub fn candidates(&self) -> Vec<PathBuf> {
        let mut candidates = vec![self.system.join(FILE)];
        candidates.extend(self.user_sockets());
        candidates
    }

    /// Returns the paths of the user's sockets, in directories that can be trusted.
    fn user_sockets(&self) -> Vec<PathBuf> {
        let temporary = Some(self.temporary_directory()).filter(|directory| self.check_private(directory).is_ok());
        self.runtime_directories().chain(temporary).map(|directory| directory.join(FILE)).collect()
    }

    fn runtime_directories(&self) -> impl Iterator<Item = PathBuf> {
        let of_system = self.users.join(self.uid.to_string());
        let all = self.runtime.iter().cloned().chain([of_system]);
        all.filter(|parent| self.is_own(parent)).map(|parent| parent.join("ws-router"))
    }

    fn is_own(&self, directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|found| found.is_dir() && found.uid() == self.uid)
    }

    fn temporary_directory(&self) -> PathBuf {
        self.temporary.join(format!("ws-router-{}", self.uid))
    }

    fn check_private(&self, directory: &Path) -> Result<(), DirectoryError> {
        let found = fs::symlink_metadata(directory);
        let found = found.map_err(|error| DirectoryError::NoRuntimeDirectory { directory: directory.into(), error })?;
        let mode = found.permissions().mode() & 0o7777;
        if !found.is_dir() {
            Err(DirectoryError::NotDirectory { directory: directory.into() })
        } else if found.uid() != self.uid {
            Err(DirectoryError::Foreign { directory: directory.into(), owner: found.uid() })
        } else if mode & 0o077 != 0 {
            Err(DirectoryError::Open { directory: directory.into(), mode })
        } else {
            Ok(())
        }
    }
}

/// The XDG Base Directory Specification requires relative paths to be ignored.
fn absolute(path: Option<OsString>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

fn create(builder: &DirBuilder, directory: &Path) -> Result<(), DirectoryError> {
    builder.create(directory).map_err(|error| DirectoryError::Io { directory: directory.into(), error })
}

const FILE: &str = "admin.sock";

#[cfg(test)]
mod tests;
