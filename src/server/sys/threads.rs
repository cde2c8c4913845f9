//! The check that this process has one thread.

use std::fs;

/// The process has more than one thread, or their number is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("other threads are running; this has to be done before the first one starts")]
pub struct OtherThreads;

/// Returns an error unless the calling thread is the only one of this process.
///
/// A single thread can't become two while it runs this code, so the answer holds until the caller starts a thread. If
/// `/proc` can't be read the answer is not known, which is an error as well.
pub(super) fn require_single() -> Result<(), OtherThreads> {
    let threads = fs::read_dir("/proc/self/task").map_err(|_| OtherThreads)?;
    if threads.count() == 1 { Ok(()) } else { Err(OtherThreads) }
}
