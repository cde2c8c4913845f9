//! Rows of a table: sorted and filtered, with one of them selected, and the part of them that fits the screen.
//!
//! The selected row stays selected by its id while the order changes. Until the user selects a row, the first one is
//! selected, whichever that is, so that the busiest rows stay visible.

use std::cmp::Ordering;

use super::columns::Column;
use super::rows::Row;

/// Rows of a table.
#[derive(Debug)]
pub(super) struct Listing<R: Row> {
    /// All rows, in order.
    rows: Vec<R>,
    /// Positions of the rows that match the filter.
    shown: Vec<usize>,
    column: Column,
    is_reversed: bool,
    filter: String,
    picked: Option<R::Id>,
    /// Position of the selected row among those that match.
    at: usize,
    /// Position of the first row on the screen.
    top: usize,
    /// Number of rows that fit the screen.
    height: usize,
}

/// Movement of the selection.
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
    /// Creates a table without rows.
    pub(super) fn new(column: Column) -> Self {
        let (rows, shown, filter) = (Vec::new(), Vec::new(), String::new());
        Self { rows, shown, column, is_reversed: false, filter, picked: None, at: 0, top: 0, height: 1 }
    }

    /// Replaces the rows by those of a new sample.
    pub(super) fn replace(&mut self, rows: Vec<R>) {
        self.rows = rows;
        self.arrange();
    }

    /// Returns all rows, in order.
    pub(super) fn rows(&self) -> &[R] {
        &self.rows
    }

    /// Returns the number of rows that match the filter.
    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// Returns the column that the rows are sorted by, and whether in reverse.
    pub(super) fn order(&self) -> (Column, bool) {
        (self.column, self.is_reversed)
    }

    /// Returns the text that rows must contain; empty for all.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Sorts by a column, or reverses the order if it is sorted by this one already.
    pub(super) fn sort_by(&mut self, column: Column) {
        self.is_reversed = self.column == column && !self.is_reversed;
        self.column = column;
        self.arrange();
    }

    /// Reverses the order.
    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.arrange();
    }

    /// Shows only rows that contain this text.
    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    /// Selects another row. The first row is selected by its position, the others by their id.
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

    /// Sets the number of rows that fit the screen.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        self.scroll();
    }

    /// Returns the selected row, if there is any row.
    pub(super) fn picked_row(&self) -> Option<&R> {
        self.shown.get(self.at).and_then(|index| self.rows.get(*index))
    }

    /// Returns the rows on the screen, the position of the selected one among them, and the position of the first one among
    /// all rows that match.
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
                // The selected row is gone; the one in its place is selected.
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

    /// Keeps the selected row on the screen, and the screen full.
    fn scroll(&mut self) {
        self.top = self.top.clamp((self.at + 1).saturating_sub(self.height), self.at);
        self.top = self.top.min(self.shown.len().saturating_sub(self.height));
    }
}

fn compare<R: Row>(one: &R, two: &R, column: Column, is_reversed: bool) -> Ordering {
    let (by_id, ordered) = (one.id().cmp(two.id()), one.compare(two, column));
    // Among equal numbers the registration with more members comes first, and the id keeps the order stable.
    let by_members = two.members().cmp(&one.members()).then(by_id);
    match (column.is_descending(), is_reversed) {
        (true, false) => ordered.reverse().then(by_members),
        (true, true) => ordered.then(by_members),
        (false, false) => ordered.then(by_id),
        (false, true) => ordered.then(by_id).reverse(),
    }
}

#[cfg(test)]
mod tests;
