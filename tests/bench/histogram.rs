//! A histogram of latencies: 32 buckets for each doubling, so that a quantile is right to about three per cent.

use std::time::Duration;

const STEPS: u64 = 32;

/// Counts of latencies by their magnitude.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Creates an empty histogram.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }

    /// Adds one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.counts[bucket(latency.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    /// Removes all latencies.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Returns the latency in microseconds that a share of all doesn't exceed, or `None` if nothing was recorded.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Some(middle(index) / 1000.0);
            }
        }
        None
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let magnitude = nanos.ilog2() - STEPS.ilog2();
    (u64::from(magnitude + 1) * STEPS + (nanos >> magnitude) - STEPS) as usize
}

fn middle(index: usize) -> f64 {
    let (row, step) = (index as u64 / STEPS, index as u64 % STEPS);
    if row == 0 {
        return step as f64;
    }
    (STEPS + step) as f64 * 2f64.powi(row as i32 - 1) + 2f64.powi(row as i32 - 1) / 2.0
}
