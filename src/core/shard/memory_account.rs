//! The memory that the members' streams hold.
//!
//! The sum of all outboxes and unfinished messages is updated with every change, so that it is available in each
//! iteration. A chunk that several members wait for is counted once for each of them, so the sum is too high for a
//! large group that lags behind; a measurement corrects it, and later growth is added to the measured value. So the sum
//! is never too low. Pending broadcasts are counted separately.

/// Bytes of memory, with the last measurement and the growth since.
#[derive(Debug, Default)]
pub(super) struct MemoryAccount {
    /// Bytes of all members, with shared chunks counted for each.
    pub(super) sum: u64,
    /// Bytes at the last measurement.
    measured: u64,
    /// Growth since the last measurement, without what was released.
    since: u64,
    /// Bytes of pending broadcasts, including the one in progress.
    pub(super) broadcasts: u64,
}

impl MemoryAccount {
    /// Returns the bytes that are held, or somewhat more.
    pub(super) fn held(&self) -> u64 {
        self.sum.min(self.measured.saturating_add(self.since)) + self.broadcasts
    }

    /// Records a change of a member's memory.
    pub(super) fn change(&mut self, before: u32, now: u32) {
        self.sum = self.sum + u64::from(now) - u64::from(before);
        self.since += u64::from(now.saturating_sub(before));
    }

    /// Records a measurement of what all members hold together.
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
