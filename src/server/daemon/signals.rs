//! Which thread receives the process's signals, and from when on.
//!
//! Signals whose default action would end the process are blocked until the life cycle listens to them. Threads inherit
//! the mask of the one that starts them, so after [`receive`] only the main thread receives any: blocking them there
//! again holds them back for the whole process, as a hand-over needs it.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// Blocks the signals that ask a running daemon for something, until it can do that; to be called first in `main`.
///
/// TERM and INT stay as they are for now: they end a start that hangs.
pub fn block_requests() {
    // Fails only for a set that isn't one.
    let _ = set(&[Signal::SIGHUP, Signal::SIGUSR2]).thread_block();
}

/// Blocks all signals that the life cycle listens to, in this thread and in those that it starts from now on.
pub(super) fn block() -> io::Result<()> {
    Ok(set(&HANDLED).thread_block()?)
}

/// Lets this thread receive them.
pub(super) fn receive() {
    if let Err(error) = set(&HANDLED).thread_unblock() {
        tracing::warn!(%error, "signals can't be received");
    }
}

fn set(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}

/// Signals that the life cycle listens to.
const HANDLED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT];
