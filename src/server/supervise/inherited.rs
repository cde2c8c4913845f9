//! Descriptors that the service manager passed, with their names (sd_listen_fds(3)).
//!
//! Taken once, before any thread starts, because the variables that announce them are then removed from the
//! environment: a program started later must not believe that they are meant for it.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A descriptor and the name that the service manager gave it (`FileDescriptorName=`).
#[derive(Debug)]
pub struct Inherited {
    /// The name; `unknown` if there was none.
    pub name: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
    /// Who passed it.
    pub giver: Giver,
}

/// Who passes descriptors to a program that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// The service manager or inetd, which say anew at each start what there is.
    Supervisor,
    /// The program that was in this very process before.
    Predecessor,
}

/// Why the descriptors can't be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// They were taken already.
    #[error("inherited descriptors: taken over twice")]
    Taken,
    /// Other threads run, so that the environment can't be changed.
    #[error("inherited descriptors: to be taken over before any thread starts")]
    Threads,
    /// The variables contradict themselves, or a descriptor isn't open.
    #[error("inherited descriptors: {0}; look at LISTEN_FDS and LISTEN_FDNAMES")]
    Announcement(io::Error),
}

/// Takes over all descriptors that were passed to this very process (`LISTEN_PID`), in their order.
pub fn inherited() -> Result<Vec<Inherited>, InheritError> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(InheritError::Taken);
    }
    let passed = sd_notify::listen_fds_with_names().map_err(InheritError::Announcement)?;
    let mut announced: Vec<_> = passed.map(|(descriptor, name)| (descriptor, name, Giver::Supervisor)).collect();
    let left = of_predecessor().map_err(InheritError::Announcement)?;
    announced.extend(left.into_iter().map(|(descriptor, name)| (descriptor, name, Giver::Predecessor)));
    if VARIABLES.iter().any(|name| env::var_os(name).is_some()) {
        forget_announcement()?;
    }
    let owned = announced.into_iter().map(|(descriptor, name, giver)| (name, own(descriptor), giver));
    let owned = owned.map(|(name, descriptor, giver)| Inherited { name, descriptor, giver });
    owned.map(keep_from_children).collect::<io::Result<_>>().map_err(InheritError::Announcement)
}

/// What the program before this one left open in this very process ([`SUCCESSION`]: descriptors with their names).
fn of_predecessor() -> io::Result<Vec<(RawFd, String)>> {
    let text = env::var(SUCCESSION).unwrap_or_default();
    let parts = text.split(',').filter(|part| !part.is_empty());
    let parse = |part: &str| {
        let (number, name) = part.split_once('=').ok_or(ErrorKind::InvalidData)?;
        let descriptor: RawFd = number.parse().map_err(|_| ErrorKind::InvalidData)?;
        // Also tells whether it is open; one of the standard descriptors is never ours.
        let is_ours = descriptor > 2 && fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok();
        if is_ours { Ok((descriptor, name.to_owned())) } else { Err(ErrorKind::InvalidData.into()) }
    };
    parts.map(parse).collect()
}

fn keep_from_children(inherited: Inherited) -> io::Result<Inherited> {
    fcntl(&inherited.descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(inherited)
}

#[allow(unsafe_code)]
fn forget_announcement() -> Result<(), InheritError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(InheritError::Threads);
    }
    for name in VARIABLES {
        // SAFETY: no other thread runs that could read the environment meanwhile, as was checked above.
        unsafe { env::remove_var(name) };
    }
    Ok(())
}

#[allow(unsafe_code)]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the service manager opened it for this process (LISTEN_PID was compared, and the descriptor found open
    // when it was made close-on-exec), or the program before this one left it open; and it is taken once, as TAKEN sees
    // to; so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The variable by which a program that replaces itself announces descriptors to the next: `NUMBER=NAME,…`.
pub const SUCCESSION: &str = "WS_ROUTER_SUCCESSION";

const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", SUCCESSION];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_over_once() {
        assert!(inherited().unwrap().is_empty());
        assert!(matches!(inherited(), Err(InheritError::Taken)));
    }
}
