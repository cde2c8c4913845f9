//! How much is done for one registration before the others have their turn.
//!
//! A registration that is alone on its thread is served in large pieces, which take the fewest system calls. As soon as
//! another one is active, too, the pieces become small, so that the members of each wait for some ten microseconds
//! instead of some hundred. Work is counted in bytes and calls, not in time, so that it can be simulated.

use std::time::Duration;

use super::Moment;

/// Sizes of the pieces in which members are served.
#[derive(Debug, Default)]
pub(super) struct Quantum {
    /// The room that was read from last.
    room: u32,
    /// Until when several rooms count as active; `None` if they don't.
    shared_until: Option<Moment>,
    /// Bytes read and written in this iteration.
    moved: usize,
}

impl Quantum {
    /// Starts an iteration.
    pub(super) fn start_iteration(&mut self) {
        self.moved = 0;
    }

    /// Records the time.
    pub(super) fn note_time(&mut self, now: Moment) {
        self.shared_until = self.shared_until.filter(|until| *until > now);
    }

    /// Records that a member of a room is read from.
    pub(super) fn note_read(&mut self, room: u32, now: Moment) {
        if self.room != room {
            self.room = room;
            self.shared_until = Some(now.after(SHARED_FOR));
        }
    }

    /// Records bytes that were read or written.
    pub(super) fn note_moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Returns whether members of several registrations have been active lately.
    pub(super) fn is_shared(&self) -> bool {
        self.shared_until.is_some()
    }

    /// Returns the bytes that a member of a large room is sent at once of its outbox.
    pub(super) fn write_filling(&self) -> usize {
        if self.is_shared() { WRITE_SHARED } else { WRITE }
    }

    /// Returns the bytes that a member is sent at once of a broadcast of so many bytes.
    pub(super) fn first_write(&self, of: usize) -> usize {
        if of <= WHOLE { of } else { self.write_filling() }
    }

    /// Returns the bytes that any other member is sent at once.
    pub(super) fn write_usual(&self) -> usize {
        if self.is_shared() { WRITE_USUAL_SHARED } else { LARGEST_WRITE }
    }

    /// Returns whether so much has been moved in this iteration that the rest should wait.
    pub(super) fn is_used_up(&self) -> bool {
        self.moved >= PER_ITERATION
    }

    /// Returns the calls of an iteration, of which there are `alone` in one for a single registration.
    pub(super) fn calls(&self, alone: usize) -> usize {
        if self.is_shared() { alone / 8 } else { alone }
    }
}

/// Bytes read at once: few enough to stay in a core's own cache.
pub(super) const READ: usize = 256 << 10;
/// Bytes written at once to a member of a large room.
const WRITE: usize = 256 << 10;
/// The same while others wait. The kernel takes far longer to copy into memory that it hasn't used lately, as for
/// thousands of members that don't read.
const WRITE_SHARED: usize = 16 << 10;
/// Bytes up to which a broadcast isn't divided.
const WHOLE: usize = 64 << 10;
/// Most bytes of a write to any other member: a message of 1 MiB is sent at once.
const LARGEST_WRITE: usize = 2 << 20;
/// The same while others wait: more than a read, so that the messages of one read are sent at once.
const WRITE_USUAL_SHARED: usize = 2 * READ;
/// Bytes after which what can wait is left to the next iteration.
const PER_ITERATION: usize = 512 << 10;
/// Time for which a registration that was active is expected to be so again.
const SHARED_FOR: Duration = Duration::from_secs(1);
