//! The socket that inetd passes on descriptors 0, 1 and 2: a listening one (`wait`) or a connection (`nowait`).
//!
//! Output to standard output or standard error would reach the peer, so the socket is moved to another descriptor and
//! replaced by `/dev/null` before anything is written.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// File on descriptor 0.
#[derive(Debug)]
pub enum Input {
    /// A listening socket.
    Listening(OwnedFd),
    /// A connection, or another socket that isn't listening.
    Connected(OwnedFd),
    /// Not a socket; nothing was changed.
    Other,
}

/// Takes the socket from descriptor 0, and replaces it by `/dev/null` on 0, 1 and 2.
pub fn standard_input() -> io::Result<Input> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let listens = match getsockopt(&input, sockopt::AcceptConn) {
        Ok(listens) => listens,
        Err(Errno::ENOTSOCK | Errno::EBADF) => return Ok(Input::Other),
        Err(error) => return Err(error.into()),
    };
    let socket = input.as_fd().try_clone_to_owned()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    if is_same(socket.as_fd(), output.as_fd()) {
        dup2_stdout(&null)?;
    }
    if is_same(socket.as_fd(), errors.as_fd()) {
        dup2_stderr(&null)?;
    }
    dup2_stdin(&null)?;
    Ok(if listens { Input::Listening(socket) } else { Input::Connected(socket) })
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
