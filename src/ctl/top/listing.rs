//! One table's rows: sorted, filtered, with one of them picked, and the part of them that fits the screen.
//!
//! What a person has picked stays picked by its id while the rows around it change places. Before anybody has picked
//! something, the first row is, whichever that is, so that the busiest stay in sight.

use std::cmp::Ordering;

use super::columns::Column;
use super::rows::Row;

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Listing<R: Row> {
    /// All, in order.
    rows: Vec<R>,
    /// Those that the filter lets through.
    shown: Vec<usize>,
    column: Column,
    is_reversed: bool,
    filter: String,
    picked: Option<R::Id>,
    /// Where the picked one stands among those that are shown, and where the screen's part begins.
    at: usize,
    top: usize,
    /// How many rows the screen has room for.
    height: usize,
}

/// A way through the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl<R: Row> Listing<R> {
    /// Begins without rows.
    pub(super) fn new(column: Column) -> Self {
        let (rows, shown, filter) = (Vec::new(), Vec::new(), String::new());
        Self { rows, shown, column, is_reversed: false, filter, picked: None, at: 0, top: 0, height: 1 }
    }

    /// Takes the rows of a new sample.
    pub(super) fn replace(&mut self, rows: Vec<R>) {
        self.rows = rows;
        self.arrange();
    }

    /// All rows, in order.
    pub(super) fn rows(&self) -> &[R] {
        &self.rows
    }

    /// How many rows the filter lets through.
    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// What the rows are sorted by, and whether the other way round.
    pub(super) fn order(&self) -> (Column, bool) {
        (self.column, self.is_reversed)
    }

    /// The text that rows must have; empty for all.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Sorts by a column; by the one that it is sorted by already, the other way round.
    pub(super) fn sort_by(&mut self, column: Column) {
        self.is_reversed = self.column == column && !self.is_reversed;
        self.column = column;
        self.arrange();
    }

    /// Turns the order round.
    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.arrange();
    }

    /// Shows only rows that have this text.
    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    /// Goes to another row, which is picked then; the first one stays first whichever it is.
    pub(super) fn step(&mut self, step: Step) {
        let last = self.shown.len().saturating_sub(1);
        let page = self.height.saturating_sub(1).max(1);
        self.at = match step {
            Step::Up => self.at.saturating_sub(1),
            Step::Down => self.at + 1,
            Step::PageUp => self.at.saturating_sub(page),
            Step::PageDown => self.at + page,
            Step::First => 0,
            Step::Last => last,
        }
        .min(last);
        self.picked = if step == Step::First { None } else { self.picked_row().map(|row| row.id().clone()) };
        self.scroll();
    }

    /// Takes note of how many rows the screen has room for.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        self.scroll();
    }

    /// The row that is picked, if there is any row.
    pub(super) fn picked_row(&self) -> Option<&R> {
        self.shown.get(self.at).and_then(|index| self.rows.get(*index))
    }

    /// The rows on the screen, which of them is picked, and the place of the first one among all that are shown.
    pub(super) fn window(&self) -> (impl Iterator<Item = &R>, Option<usize>, usize) {
        let on_screen = self.shown.iter().skip(self.top).take(self.height).filter_map(|index| self.rows.get(*index));
        let picked = self.picked_row().map(|_| self.at - self.top);
        (on_screen, picked, self.top)
    }

    fn arrange(&mut self) {
        let (column, is_reversed) = (self.column, self.is_reversed);
        self.rows.sort_unstable_by(|one, two| compare(one, two, column, is_reversed));
        let wanted = self.filter.to_lowercase();
        let rows = self.rows.iter().enumerate();
        self.shown = rows.filter(|(_, row)| wanted.is_empty() || row.contains(&wanted)).map(|(at, _)| at).collect();
        if let Some(picked) = &self.picked {
            match self.shown.iter().position(|index| self.rows[*index].id() == picked) {
                Some(at) => self.at = at,
                // It has gone; whichever stands in its place now is picked.
                None => {
                    self.at = self.at.min(self.shown.len().saturating_sub(1));
                    self.picked = self.picked_row().map(|row| row.id().clone());
                }
            }
        } else {
            self.at = 0;
        }
        self.scroll();
    }

    /// Keeps the picked row on the screen, and the screen full.
    fn scroll(&mut self) {
        self.top = self.top.clamp((self.at + 1).saturating_sub(self.height), self.at);
        self.top = self.top.min(self.shown.len().saturating_sub(self.height));
    }
}

fn compare<R: Row>(one: &R, two: &R, column: Column, is_reversed: bool) -> Ordering {
    let (by_id, ordered) = (one.id().cmp(two.id()), one.compare(two, column));
    // Between equal numbers the larger registration comes first, and the id keeps rows in their places.
    let by_members = two.members().cmp(&one.members()).then(by_id);
    match (column.falls(), is_reversed) {
        (true, false) => ordered.reverse().then(by_members),
        (true, true) => ordered.then(by_members),
        (false, false) => ordered.then(by_id),
        (false, true) => ordered.then(by_id).reverse(),
    }
}

#[cfg(test)]
mod tests;
