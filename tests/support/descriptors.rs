//! File descriptors for tests that open many: the hard limit, or the test is skipped.

#![allow(dead_code)] // Not every test needs everything.

use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's soft limit to the hard one, once, and returns it.
pub(crate) fn raise_limit() -> usize {
    static LIMIT: LazyLock<usize> = LazyLock::new(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        usize::try_from(hard).unwrap_or(usize::MAX)
    });
    *LIMIT
}

/// Permission to open many descriptors. One test of a process holds it at a time, since the limit is the process's.
pub(crate) struct Descriptors {
    /// Number of descriptors that the process may have open.
    pub(crate) limit: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Descriptors {
    /// Waits for the other tests that open many. Returns `None` if the process may not open as many, and reports on
    /// standard error that the test is skipped: the test harness would hide it.
    pub(crate) fn at_least(needed: usize) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = raise_limit();
        if limit < needed {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = writeln!(io::stderr(), "skipped {name}: needs {needed} descriptors; the hard limit is {limit}");
            return None;
        }
        Some(Self { limit, _turn: turn })
    }
}
