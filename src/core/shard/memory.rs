//! The memory that the members' streams take.
//!
//! The sum of all outboxes and unfinished messages is kept up with every change, so that it can be asked each iteration.
//! It counts a chunk that several members wait for once for each of them, so it is too high for a large group that lags
//! behind the same; a measurement finds out by how much, and what comes after is added to that. So it is never too low.
//! What rooms have collected and not sent yet is counted beside it.

/// Bytes of memory, and how sure that is.
#[derive(Debug, Default)]
pub(super) struct MemoryAccount {
    /// All members' together, what they share counted for each.
    pub(super) sum: u64,
    /// What was there at the last measurement.
    measured: u64,
    /// What has come since, without what has gone.
    since: u64,
    /// What rooms have collected, the broadcast that is on its way included.
    pub(super) broadcasts: u64,
}

impl MemoryAccount {
    /// Bytes that are held, or somewhat more.
    pub(super) fn held(&self) -> u64 {
        self.sum.min(self.measured.saturating_add(self.since)) + self.broadcasts
    }

    /// Notes that a member's memory has changed.
    pub(super) fn change(&mut self, before: u32, now: u32) {
        self.sum = self.sum + u64::from(now) - u64::from(before);
        self.since += u64::from(now.saturating_sub(before));
    }

    /// Notes what all members hold together.
    pub(super) fn set_measured(&mut self, bytes: u64) {
        (self.measured, self.since) = (bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_lowers_what_is_held_and_growth_is_added_to_it() {
        let mut memory = MemoryAccount::default();
        memory.change(0, 1000);
        memory.change(0, 1000);
        assert_eq!(memory.held(), 2000);
        memory.set_measured(1000);
        assert_eq!(memory.held(), 1000);
        memory.change(1000, 1500);
        assert_eq!(memory.held(), 1500);
        memory.change(1500, 0);
        memory.change(1000, 0);
        assert_eq!(memory.held(), 0);
        memory.broadcasts += 10;
        assert_eq!(memory.held(), 10);
    }
}
