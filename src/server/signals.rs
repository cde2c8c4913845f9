//! Blocking of signals, and the thread that receives them.
//!
//! Signals whose default action would end the process are blocked until the life cycle handles them. Threads inherit the
//! mask of the thread that starts them, so after [`unblock`] only the main thread receives signals; blocking them there
//! again keeps them pending for the whole process, as a hand-over needs it.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// Blocks HUP and USR2 until the daemon can handle them. Call it first in `main`.
///
/// TERM and INT are not blocked yet, so that they can end a start that hangs.
pub fn block_requests() {
    // Fails only for an invalid set.
    let _ = set(&[Signal::SIGHUP, Signal::SIGUSR2]).thread_block();
}

/// Blocks all signals that the life cycle handles, in this thread and in those that it starts from now on.
pub fn block() -> io::Result<()> {
    Ok(set(&HANDLED).thread_block()?)
}

/// Unblocks these signals in this thread.
pub fn unblock() {
    if let Err(error) = set(&HANDLED).thread_unblock() {
        tracing::warn!(%error, "signals can't be unblocked");
    }
}

fn set(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}

/// Signals that the life cycle handles.
const HANDLED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT];
