//! Descriptors and environment variables from the program that started this one.

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use parking_lot::Mutex;

use super::threads::{OtherThreads, require_single};

/// Takes ownership of a descriptor that was open when this program was executed, and closes it in programs executed
/// later.
///
/// Fails with `InvalidInput` for the standard descriptors, and for descriptors that this program has opened or taken
/// before: these are close-on-exec, and an inherited one is not.
pub fn take_inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number <= LAST_STANDARD {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("descriptor {number}: a standard descriptor")));
    }
    let _one_at_a_time = TAKING.lock();
    // SAFETY: the number isn't -1, and the borrow is used for fcntl(2) alone, which reports a closed descriptor.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD)?);
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("descriptor {number}: not inherited")));
    }
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: the descriptor is open, and it came through execve(2), since it wasn't close-on-exec and everything that
    // this program opens is. So nothing here owns it, and the flag and the lock keep it from being taken twice.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Removes variables from the environment; fails if other threads run, which might be reading it.
pub fn remove_variables(names: &[&str]) -> Result<(), OtherThreads> {
    require_single()?;
    for name in names {
        // SAFETY: no other thread runs that could read the environment meanwhile, as was checked above.
        unsafe { env::remove_var(name) };
    }
    Ok(())
}

/// Standard error.
const LAST_STANDARD: RawFd = 2;

/// Lock that is held between reading a descriptor's flag and setting it.
static TAKING: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::thread;

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_taken_once_and_then_close_on_exec() {
        let number = File::open("/dev/null").unwrap().into_raw_fd();
        let refused = take_inherited_fd(number).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
        // SAFETY: nobody owns the number any more, and the descriptor stays open.
        fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let taken = take_inherited_fd(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(take_inherited_fd(number).is_err(), "taken twice");
    }

    #[test]
    fn closed_and_standard_descriptors_are_refused() {
        assert!(take_inherited_fd(RawFd::MAX).is_err());
        assert!((-1..=2).all(|number| take_inherited_fd(number).is_err()));
    }

    #[test]
    fn the_environment_is_not_changed_while_other_threads_run() {
        // The test harness waits in a thread of its own, and this one is another.
        let removed = thread::spawn(|| remove_variables(&["PATH"])).join().unwrap();
        assert_eq!(removed, Err(OtherThreads));
        assert!(env::var_os("PATH").is_some());
    }
}
