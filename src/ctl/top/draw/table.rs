//! The table: registrations, or the members of the one that is opened, as many rows as the screen has.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Cell, HighlightSpacing, Row as Drawn, Table, TableState};

use super::super::columns::{Columns, GAP, MEMBERS, REGISTRATIONS};
use super::super::listing::Listing;
use super::super::look::Look;
use super::super::numbers::{Rates, bytes, count, span};
use super::super::opened::Opened;
use super::super::rows::Row;
use super::super::state::State;
use super::header;

/// How many lines stand above the headings.
pub(super) fn title_height(area: Rect, state: &State) -> u16 {
    match (&state.opened, area.height) {
        (None, _) => 1,
        (Some(_), 0..9) => 1,
        (Some(_), 9..14) => 2,
        (Some(_), 14..24) => 3,
        (Some(_), _) => 4,
    }
}

/// Draws what the table is of, and the table.
pub(super) fn draw(frame: &mut Frame<'_>, title: Rect, area: Rect, state: &State, look: &Look) {
    match &state.opened {
        None => {
            let words = sentence("Registrations", "registrations", &state.registrations);
            frame.render_widget(Line::from(words).style(look.strong()), title);
            rows(frame, area, &REGISTRATIONS, &state.registrations, look);
        }
        Some(opened) => {
            let places: Vec<Rect> = title.rows().collect();
            let members = match &opened.known {
                _ if opened.has_ended => "Esc goes back".into(),
                None => "asking for its members".into(),
                Some(_) => sentence("Members", "members", &opened.members),
            };
            let mut strong = |text: String, place| frame.render_widget(Line::from(text).style(look.strong()), place);
            if let [first, .., last] = places[..] {
                strong(about(opened), first);
                strong(members, last);
            } else if let [only] = places[..] {
                strong(about(opened), only);
            }
            if let [_, rates, .., _] = places[..] {
                frame.render_widget(passing(opened), rates);
            }
            if let [_, _, both, _] = places[..] {
                header::rates(frame, both, "both", &opened.rates, (Rates::messages, Rates::bytes), look);
            }
            rows(frame, area, &MEMBERS, &opened.members, look);
        }
    }
}

/// `Registrations 1-15 of 567 by messages/s, most first`
fn sentence<R: Row>(subject: &str, noun: &str, listing: &Listing<R>) -> String {
    let (all, shown, filter) = (listing.rows().len(), listing.len(), listing.filter());
    if shown == 0 {
        return if all == 0 { format!("No {noun}") } else { format!("None of {all} {noun} has \"{filter}\"") };
    }
    let (on_screen, _, top) = listing.window();
    let (first, last) = (top + 1, top + on_screen.count());
    let (column, is_reversed) = listing.order();
    let (name, order) = column.told();
    let order = order[usize::from(is_reversed)];
    let with = if filter.is_empty() { String::new() } else { format!(" with \"{filter}\" (of {all})") };
    format!("{subject} {first}-{last} of {shown}{with} by {name}, {order}")
}

/// `living-room: hostclient, 3 members, 1h 2m old, made under rule home`
fn about(opened: &Opened) -> String {
    let id = &opened.id;
    match &opened.known {
        _ if opened.has_ended => format!("{id} has ended; ws-routerctl why tells why"),
        None => id.clone(),
        Some(known) => {
            let (kind, plural) = (known.kind.as_str(), if known.seats == 1 { "" } else { "s" });
            let rule = known.rule.as_ref().map(|rule| format!(", made under rule {rule}")).unwrap_or_default();
            let ends = known.expires_in_ms.map(|left| format!(", ends in {}", span(left))).unwrap_or_default();
            format!("{id}: {kind}, {} member{plural}, {} old{rule}{ends}", known.seats, span(known.age_ms))
        }
    }
}

/// What the opened registration passes on.
fn passing(opened: &Opened) -> String {
    let outbox = opened.known.as_ref().map_or(0, |known| known.outbox_bytes);
    let rates = match opened.rates.latest() {
        Some(rates) => format!(
            "in {} messages/s, {}/s; out {} messages/s, {}/s",
            count(rates.messages_in),
            bytes(rates.bytes_in),
            count(rates.messages_out),
            bytes(rates.bytes_out),
        ),
        None => "in -, out -".into(),
    };
    format!("{rates}; outbox {}", bytes(outbox as f64))
}

fn rows<R: Row>(frame: &mut Frame<'_>, area: Rect, columns: &Columns, listing: &Listing<R>, look: &Look) {
    let fitting = columns.fitting(area.width.saturating_sub(MARK.len() as u16), listing.order().0);
    let align = |text: String, width: u16, words: bool| {
        let line = Line::from(cut(text, usize::from(width)));
        Cell::from(if words { line } else { line.right_aligned() })
    };
    let headings = fitting.iter().map(|(spec, width)| align(spec.heading.into(), *width, spec.words));
    let (on_screen, picked, _) = listing.window();
    let body = on_screen
        .map(|row| Drawn::new(fitting.iter().map(|(spec, width)| align(row.cell(spec.column), *width, spec.words))));
    let table = Table::new(body, fitting.iter().map(|(_, width)| Constraint::Length(*width)))
        .header(Drawn::new(headings).style(look.heading()))
        .column_spacing(GAP)
        .row_highlight_style(look.picked())
        .highlight_symbol(MARK)
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(picked));
}

/// Shortens a text, and shows that it is.
fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}

/// Before the row that is picked.
const MARK: &str = "> ";
