//! The relay threads go first: a front thread that is never out of requests makes way for them now and then.
//!
//! A scheduler that shares fairly lets a front thread run to the end of its turn, which is some milliseconds, even
//! when a relay thread has just been woken by a message and has run little lately. Giving way between two requests
//! costs nothing when nobody waits. Measured on one processor with 90,000 registrations a second beside a pair that
//! talks: the 99th percentile of its round trip is a sixth of what it is otherwise.

use std::cell::Cell;
use std::thread;

/// Takes note of a request, and gives way before every eighth.
pub(super) fn take() {
    TAKEN.set(TAKEN.get().wrapping_add(1));
    if TAKEN.get().is_multiple_of(REQUESTS_A_TURN) {
        thread::yield_now();
    }
}

thread_local! {
    static TAKEN: Cell<u32> = const { Cell::new(0) };
}

/// Some fifty microseconds of work.
const REQUESTS_A_TURN: u32 = 8;
