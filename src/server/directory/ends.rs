//! Why registrations have ended: a mark that those see who hold a seat in one, and how many there were.

use ws_router_admin_api::event::EndReason;

use crate::metrics::Count;
use crate::sync::{AtomicU8, Ordering};

/// The mark of a registration's end; set once, and seen without a lock.
#[derive(Debug)]
pub(super) struct End(AtomicU8);

impl End {
    /// Makes the mark of a registration that lives.
    pub(super) fn none() -> Self {
        Self(AtomicU8::new(ALIVE))
    }

    /// Tells why it ended, if it did.
    pub(super) fn reason(&self) -> Option<EndReason> {
        let mark = self.0.load(Ordering::Acquire);
        ENDS.iter().find(|(code, _)| *code == mark).map(|(_, reason)| *reason)
    }

    /// Marks it as ended.
    pub(super) fn set(&self, reason: EndReason) {
        let code = ENDS.iter().find(|(_, known)| *known == reason).map_or(ALIVE, |(code, _)| *code);
        self.0.store(code, Ordering::Release);
    }
}

/// How many registrations have ended in this process.
#[derive(Debug, Default)]
pub(super) struct Ended([Count; ENDS.len()]);

impl Ended {
    /// Counts one.
    pub(super) fn up(&self, reason: EndReason) {
        if let Some(at) = ENDS.iter().position(|(_, known)| *known == reason) {
            self.0[at].up();
        }
    }

    /// Tells how many there were for each reason.
    pub(super) fn all(&self) -> impl Iterator<Item = (EndReason, u64)> {
        ENDS.iter().zip(&self.0).map(|((_, reason), count)| (*reason, count.value()))
    }
}

const ALIVE: u8 = 0;
const ENDS: [(u8, EndReason); 5] = [
    (1, EndReason::Removed),
    (2, EndReason::RemovedByAdmin),
    (3, EndReason::Emptied),
    (4, EndReason::Lingered),
    (5, EndReason::Unclaimed),
];
