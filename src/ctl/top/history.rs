//! What the rates were a while back, for the sparklines: the newest samples, with gaps where none could be taken.

use std::collections::VecDeque;

use super::numbers::Rates;

/// The rates of the last samples.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Option<Rates>>);

impl History {
    /// Adds the newest sample; `None` where there is none.
    pub(super) fn push(&mut self, rates: Option<Rates>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rates);
    }

    /// The newest rates, if the last sample gave some.
    pub(super) fn latest(&self) -> Option<Rates> {
        self.0.back().copied().flatten()
    }

    /// One of the rates over so many samples, the newest last, scaled for a sparkline; what is before the first sample
    /// is a gap too.
    pub(super) fn series(&self, width: usize, of: impl Fn(&Rates) -> f64) -> Vec<Option<u64>> {
        let known = self.0.iter().skip(self.0.len().saturating_sub(width));
        let known = known.map(|rates| rates.as_ref().map(|rates| (of(rates) * SCALE).round() as u64));
        let missing = width.saturating_sub(self.0.len());
        std::iter::repeat_n(None, missing).chain(known).collect()
    }
}

/// As many as the widest terminal shows.
const KEPT: usize = 512;
/// So that less than one in a second is seen as well.
const SCALE: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(messages_in: f64) -> Option<Rates> {
        Some(Rates { messages_in, ..Rates::default() })
    }

    #[test]
    fn a_series_ends_with_the_newest_and_begins_with_a_gap() {
        let mut history = History::default();
        assert_eq!((history.latest(), history.series(2, |rates| rates.messages_in)), (None, vec![None, None]));
        for sample in [rates(1.0), None, rates(0.5)] {
            history.push(sample);
        }
        assert_eq!(history.series(5, |rates| rates.messages_in), [None, None, Some(100), None, Some(50)]);
        assert_eq!(history.series(1, |rates| rates.messages_in), [Some(50)]);
        assert_eq!(history.latest(), rates(0.5));
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut history = History::default();
        for number in 0..2000 {
            history.push(rates(f64::from(number)));
        }
        assert_eq!(history.0.len(), KEPT);
        assert_eq!(history.series(1, |rates| rates.messages_in), [Some(199_900)]);
    }
}
