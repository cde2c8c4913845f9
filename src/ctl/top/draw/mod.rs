//! Draws the screen: totals above, a table in the middle, what waits for an answer and the keys below.
//!
//! Everything is drawn from the state alone. The smaller the terminal, the less stands around the table: 80×24 has it
//! all, and 40×10 still has the rates, the most important columns and some rows.

mod header;
mod help;
mod table;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::keys::Mode;
use super::look::Look;
use super::state::{Deed, Dialog, State};

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, look: &Look, now: Instant) {
    let area = frame.area();
    if let Dialog::Help(line) = state.dialog {
        return help::draw(frame, area, line, look);
    }
    let parts = Parts::of(area, state, now);
    header::draw(frame, parts.header, state, look, now);
    table::draw(frame, parts.title, parts.table, state, look);
    if let Some((text, _)) = prompt(state, now) {
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).style(look.notice()), parts.prompt);
    }
    frame.render_widget(footer(state, parts.footer.width, look), parts.footer);
}

/// Has the state take note of how much fits a screen of this size.
pub(super) fn fit(state: &mut State, area: Rect, now: Instant) {
    let parts = Parts::of(area, state, now);
    // The first line is the headings.
    state.fit(usize::from(parts.table.height.saturating_sub(1)), help::last_line(area));
}

/// Where everything stands.
struct Parts {
    header: Rect,
    title: Rect,
    table: Rect,
    prompt: Rect,
    footer: Rect,
}

impl Parts {
    fn of(area: Rect, state: &State, now: Instant) -> Self {
        let prompt = prompt(state, now).map_or(0, |(text, _)| lines_of(&text, area.width));
        let heights = [
            Constraint::Length(header::height(area, state)),
            Constraint::Length(table::title_height(area, state)),
            Constraint::Fill(1),
            Constraint::Length(prompt.min(area.height / 2)),
            Constraint::Length(1),
        ];
        let [header, title, table, prompt, footer] = Layout::vertical(heights).areas(area);
        Self { header, title, table, prompt, footer }
    }
}

/// The line that a person should read, and whether it waits for an answer.
fn prompt(state: &State, now: Instant) -> Option<(String, bool)> {
    match &state.dialog {
        Dialog::Question(deed) => Some((question(deed), true)),
        Dialog::Filter(_) => Some((format!("filter: {}_", state.filter()), true)),
        _ => state.note(now).map(|note| (note, false)),
    }
}

fn question(deed: &Deed) -> String {
    match deed {
        Deed::Disconnect(_, called) => format!("disconnect {called} (close code 4002)? y/n"),
        Deed::Remove(id, 0) => format!("remove {id}, which has no members? y/n"),
        Deed::Remove(id, 1) => format!("remove {id} and close its member (close code 4001)? y/n"),
        Deed::Remove(id, members) => format!("remove {id} and close its {members} members (close code 4001)? y/n"),
    }
}

/// As many lines as a text takes at most, broken between words.
fn lines_of(text: &str, width: u16) -> u16 {
    let (width, mut lines, mut column) = (usize::from(width.max(1)), 1, 0);
    for word in text.split(' ').map(|word| word.chars().count()) {
        if column > 0 && column + 1 + word > width {
            (lines, column) = (lines + 1, 0);
        }
        column += word + usize::from(column > 0);
        while column > width {
            (lines, column) = (lines + 1, column - width);
        }
    }
    lines
}

/// The keys that matter now, as many as there is room for; how to get help and out always.
fn footer(state: &State, width: u16, look: &Look) -> Line<'static> {
    let keys: &[(&str, &str)] = match state.mode() {
        Mode::Question => &[("y", "yes"), ("n", "no")],
        Mode::Filter => &[("Enter", "keep"), ("Esc", "give up")],
        Mode::Help => &[("Esc", "back")],
        Mode::Registrations => &[
            ("q", "quit"),
            ("?", "help"),
            ("Enter", "open"),
            ("x", "remove"),
            ("/", "filter"),
            ("t b m o a i", "sort"),
            ("r", "reverse"),
        ],
        Mode::Members => &[
            ("q", "quit"),
            ("?", "help"),
            ("Esc", "back"),
            ("d", "disconnect"),
            ("x", "remove"),
            ("n p e u o s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("t b a", "sort"),
        ],
    };
    let (mut spans, mut taken) = (Vec::new(), 0);
    for (key, what) in keys {
        let gap = if taken == 0 { 0 } else { 2 };
        let more = gap + key.len() + 1 + what.len();
        if taken + more > usize::from(width) {
            break;
        }
        taken += more;
        spans.extend([
            Span::raw(" ".repeat(gap)),
            Span::styled((*key).to_owned(), look.strong()),
            Span::raw(format!(" {what}")),
        ]);
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests;
