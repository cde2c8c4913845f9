//! The screen: totals at the top, a table in the middle, and prompts and keys at the bottom.
//!
//! Everything is drawn from the state alone. The smaller the terminal, the less surrounds the table: 80x24 shows
//! everything, and 40x10 still shows the rates, the most important columns and some rows.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, HighlightSpacing, Paragraph, Row as TableRow, Sparkline, Table, TableState, Wrap};
use ws_router_admin_api::DrainPhase;

use super::columns::{Columns, GAP, MEMBERS, REGISTRATIONS};
use super::keys::Mode;
use super::listing::Listing;
use super::rates::{History, Rates, bytes, count, span};
use super::rows::Row;
use super::state::{Action, Detail, Dialog, State};
use super::theme::Theme;
use crate::output::{in_words, plural, progress, waiting};

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, theme: &Theme, now: Instant) {
    let area = frame.area();
    if let Dialog::Help(line) = state.dialog {
        return draw_help(frame, area, line, theme);
    }
    let parts = Parts::of(area, state, now);
    draw_header(frame, parts.header, state, theme, now);
    draw_table(frame, parts.title, parts.table, state, theme);
    if let Some((text, _)) = prompt(state, now) {
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).style(theme.notice()), parts.prompt);
    }
    frame.render_widget(footer(state, parts.footer.width, theme), parts.footer);
}

/// Sets how many rows of the table and lines of the help fit a screen of this size.
pub(super) fn fit(state: &mut State, area: Rect, now: Instant) {
    let parts = Parts::of(area, state, now);
    // The first line is the headings.
    state.fit(usize::from(parts.table.height.saturating_sub(1)), last_help_line(area));
}

/// Areas of the screen.
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
            Constraint::Length(header_height(area, state)),
            Constraint::Length(title_height(area, state)),
            Constraint::Fill(1),
            Constraint::Length(prompt.min(area.height / 2)),
            Constraint::Length(1),
        ];
        let [header, title, table, prompt, footer] = Layout::vertical(heights).areas(area);
        Self { header, title, table, prompt, footer }
    }
}

/// Returns the line for the user to read, and whether it waits for an answer.
fn prompt(state: &State, now: Instant) -> Option<(String, bool)> {
    match &state.dialog {
        Dialog::Question(action) => Some((question(action), true)),
        Dialog::Filter(_) => Some((format!("filter: {}_", state.filter()), true)),
        _ => state.note(now).map(|note| (note, false)),
    }
}

fn question(action: &Action) -> String {
    match action {
        Action::Disconnect(_, member) => format!("disconnect {member} (close code 4002)? y/n"),
        Action::Remove(id, 0) => format!("remove {id}, which has no members? y/n"),
        Action::Remove(id, 1) => format!("remove {id} and close its member (close code 4001)? y/n"),
        Action::Remove(id, members) => format!("remove {id} and close its {members} members (close code 4001)? y/n"),
    }
}

/// Returns the number of lines that a text takes when it is wrapped between words.
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

/// Returns the most useful keys that fit, and always those for help and for quitting.
fn footer(state: &State, width: u16, theme: &Theme) -> Line<'static> {
    let keys: &[(&str, &str)] = match state.mode() {
        Mode::Question => &[("y", "yes"), ("n", "no")],
        Mode::Filter => &[("Enter", "keep"), ("Esc", "cancel")],
        Mode::Help => &[("Esc", "back")],
        Mode::Registrations => &[
            ("q", "quit"),
            ("?", "help"),
            ("Enter", "open"),
            ("x", "remove"),
            ("/", "filter"),
            ("t b m o a i w c", "sort"),
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
            Span::styled((*key).to_owned(), theme.strong()),
            Span::raw(format!(" {what}")),
        ]);
    }
    Line::from(spans)
}

/// Returns the height of the header in lines.
fn header_height(area: Rect, state: &State) -> u16 {
    let counts = || counts(state, area.width).len() as u16;
    match area.height {
        0..9 => 1,
        9..18 => 3,
        18..24 => 3 + counts(),
        // With an empty line below it.
        _ => 4 + counts(),
    }
}

/// Draws as much of the header as fits.
fn draw_header(frame: &mut Frame<'_>, area: Rect, state: &State, theme: &Theme, now: Instant) {
    let lines: Vec<Rect> = area.rows().collect();
    let Some((first, rest)) = lines.split_first() else { return };
    title(frame, *first, state, theme, now);
    let counts = if rest.len() > 2 { counts(state, area.width) } else { Vec::new() };
    for (place, text) in rest.iter().zip(&counts) {
        frame.render_widget(text.as_str(), *place);
    }
    let rest = &rest[counts.len().min(rest.len())..];
    let directions: [(_, Of, Of); 2] = [
        ("in", |rates| rates.messages_in, |rates| rates.bytes_in),
        ("out", |rates| rates.messages_out, |rates| rates.bytes_out),
    ];
    for (place, (label, messages, size)) in rest.iter().zip(directions) {
        draw_rates(frame, *place, label, &state.totals, (messages, size), theme);
    }
}

type Of = fn(&Rates) -> f64;

/// Draws the version of the daemon, and whether it is in service.
fn title(frame: &mut Frame<'_>, area: Rect, state: &State, theme: &Theme, now: Instant) {
    let status = &state.status;
    let service = match (&state.away, status.drain.state) {
        (Some(_), _) => "AWAY".to_owned(),
        (None, DrainPhase::Serving) => "in service".into(),
        (None, DrainPhase::Draining) => format!("DRAINING, {}", progress(&status.drain)),
        (None, DrainPhase::Drained) => "DRAINED, new devices are refused".into(),
    };
    let text = format!("ws-router {}, up {}, {service}", status.version, span(status.uptime_ms));
    let every = match state.age(now) {
        Some(age) => format!("as of {} ago", span(age.as_millis() as u64)),
        None => format!("every {}", humantime::format_duration(state.interval)),
    };
    if text.len() + every.len() + 2 <= usize::from(area.width) {
        frame.render_widget(Line::from(every).right_aligned(), area);
    }
    let needs_a_look = state.away.is_some() || status.drain.state != DrainPhase::Serving;
    let style = if needs_a_look { theme.notice() } else { theme.strong() };
    let width = area.width.min(text.len() as u16);
    frame.render_widget(Line::from(text).style(style), Rect { width, ..area });
}

/// Returns the current counts, in as many lines as they need.
fn counts(state: &State, width: u16) -> Vec<String> {
    let status = &state.status;
    let relay = &status.relay;
    let size = |number: u64| bytes(number as f64);
    let mut counts = vec![
        format!("connections {}", status.connections),
        format!("registrations {}", status.registrations),
        format!("members {}", status.members),
        format!("outboxes {}", size(relay.outbox_bytes)),
    ];
    // Most routers have none of these two.
    counts.extend((relay.waiting_bytes > 0).then(|| format!("waiting {}", size(relay.waiting_bytes))));
    counts.extend((relay.waiting_clients > 0).then(|| format!("waiting clients {}", relay.waiting_clients)));
    counts.extend([
        format!("memory {}", size(status.memory.resident_bytes)),
        format!("buffered {} of {}", size(relay.buffered_bytes), size(relay.buffered_limit_bytes)),
        format!("descriptors {} of {}", status.descriptors.open, status.descriptors.limit),
    ]);
    let mut lines: Vec<String> = Vec::new();
    for text in counts {
        match lines.last_mut() {
            Some(line) if line.len() + 3 + text.len() <= usize::from(width) => *line += &format!("   {text}"),
            _ => lines.push(text),
        }
    }
    lines
}

/// Draws messages and bytes per second, each with its recent history if it fits.
fn draw_rates(
    frame: &mut Frame<'_>,
    area: Rect,
    label: &str,
    history: &History,
    (messages, size): (Of, Of),
    theme: &Theme,
) {
    let now = history.latest();
    let shown = |number: Option<String>| number.unwrap_or("-".into());
    let texts = [
        format!("{label:<4}{:>6} messages/s ", shown(now.map(|rates| count(messages(&rates))))),
        format!("{:>9}/s ", shown(now.map(|rates| bytes(size(&rates))))),
    ];
    let taken = texts.iter().map(|text| text.len() as u16).sum::<u16>();
    let room = area.width.saturating_sub(taken + 1) / 2;
    let width = if room < LEAST_SPARKLINE { 0 } else { room.min(MOST_SPARKLINE) };
    let places = [texts[0].len() as u16, width, texts[1].len() as u16, width].map(Constraint::Length);
    let [first, before, second, last] = Layout::horizontal(places).areas(area);
    for (text, place) in texts.into_iter().zip([first, second]) {
        frame.render_widget(Paragraph::new(text), place);
    }
    for (place, of) in [(before, messages), (last, size)] {
        let line = Sparkline::default().data(history.series(usize::from(place.width), of));
        frame.render_widget(line.bar_set(theme.bars.clone()).style(theme.line()), place);
    }
}

/// Width below which no sparkline is drawn.
const LEAST_SPARKLINE: u16 = 6;
/// Maximum width of a sparkline: two minutes at the default interval.
const MOST_SPARKLINE: u16 = 120;

/// Returns the number of lines above the headings.
fn title_height(area: Rect, state: &State) -> u16 {
    match (&state.detail, area.height) {
        (None, _) => 1,
        (Some(_), 0..9) => 1,
        (Some(_), 9..14) => 2,
        (Some(_), 14..24) => 3,
        (Some(_), _) => 4,
    }
}

/// Draws the title of the table, and the table.
fn draw_table(frame: &mut Frame<'_>, title: Rect, area: Rect, state: &State, theme: &Theme) {
    match &state.detail {
        None => {
            let words = sentence("Registrations", "registrations", &state.registrations);
            frame.render_widget(Line::from(words).style(theme.strong()), title);
            draw_rows(frame, area, &REGISTRATIONS, &state.registrations, theme);
        }
        Some(detail) => {
            let places: Vec<Rect> = title.rows().collect();
            let members = match &detail.known {
                _ if detail.has_ended => "Esc goes back".into(),
                None => "requesting its members".into(),
                Some(_) => sentence("Members", "members", &detail.members),
            };
            let mut strong = |text: String, place| frame.render_widget(Line::from(text).style(theme.strong()), place);
            if let [first, .., last] = places[..] {
                strong(about(detail), first);
                strong(members, last);
            } else if let [only] = places[..] {
                strong(about(detail), only);
            }
            if let [_, rates, .., _] = places[..] {
                frame.render_widget(passing(detail), rates);
            }
            if let [_, _, both, _] = places[..] {
                draw_rates(frame, both, "both", &detail.rates, (Rates::messages, Rates::bytes), theme);
            }
            draw_rows(frame, area, &MEMBERS, &detail.members, theme);
        }
    }
}

/// Describes the visible part of a table: `Registrations 1-15 of 567 by messages/s, most first`.
fn sentence<R: Row>(subject: &str, noun: &str, listing: &Listing<R>) -> String {
    let (all, shown, filter) = (listing.rows().len(), listing.len(), listing.filter());
    if shown == 0 {
        return if all == 0 { format!("No {noun}") } else { format!("None of {all} {noun} has \"{filter}\"") };
    }
    let (on_screen, _, top) = listing.window();
    let (first, last) = (top + 1, top + on_screen.count());
    let (column, is_reversed) = listing.order();
    let (name, order) = column.description();
    let order = order[usize::from(is_reversed)];
    let with = if filter.is_empty() { String::new() } else { format!(" with \"{filter}\" (of {all})") };
    format!("{subject} {first}-{last} of {shown}{with} by {name}, {order}")
}

/// Describes a registration: `living-room: hostclient, 3 members, 1h 2m old, made under rule home`.
fn about(detail: &Detail) -> String {
    let id = &detail.id;
    match &detail.known {
        _ if detail.has_ended => format!("{id} has ended; ws-routerctl why shows the reason"),
        None => id.clone(),
        Some(known) => {
            let (kind, members) = (known.kind.as_str(), plural(known.seats, "member"));
            let rule = known.rule.as_ref().map(|rule| format!(", made under rule {rule}")).unwrap_or_default();
            let ends = known
                .expires_in_ms
                .map(|left| format!(", ends in {} unless a device joins", span(left)))
                .unwrap_or_default();
            let terms: String = in_words(&known.terms()).iter().map(|term| format!(", {term}")).collect();
            let pairs = known.pairs.map(|pairs| format!(", {}", plural(pairs, "pair"))).unwrap_or_default();
            let waiting = waiting(known).map(|waiting| format!(", waiting: {waiting}")).unwrap_or_default();
            format!("{id}: {kind}, {members}{pairs}, {} old{rule}{ends}{terms}{waiting}", span(known.age_ms))
        }
    }
}

/// Describes the traffic of the open registration.
fn passing(detail: &Detail) -> String {
    let outbox = detail.known.as_ref().map_or(0, |known| known.outbox_bytes);
    let rates = match detail.rates.latest() {
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

fn draw_rows<R: Row>(frame: &mut Frame<'_>, area: Rect, columns: &Columns, listing: &Listing<R>, theme: &Theme) {
    let with_paired = listing.rows().iter().any(Row::is_of_paired);
    let fitting = columns.fitting(area.width.saturating_sub(MARK.len() as u16), listing.order().0, with_paired);
    let align = |text: String, width: u16, words: bool| {
        let line = Line::from(cut(text, usize::from(width)));
        Cell::from(if words { line } else { line.right_aligned() })
    };
    let headings = fitting.iter().map(|(spec, width)| align(spec.heading.into(), *width, spec.words));
    let (on_screen, picked, _) = listing.window();
    let body = on_screen
        .map(|row| TableRow::new(fitting.iter().map(|(spec, width)| align(row.cell(spec.column), *width, spec.words))));
    let table = Table::new(body, fitting.iter().map(|(_, width)| Constraint::Length(*width)))
        .header(TableRow::new(headings).style(theme.heading()))
        .column_spacing(GAP)
        .row_highlight_style(theme.picked())
        .highlight_symbol(MARK)
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(picked));
}

/// Shortens a text, with a mark at its end.
fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}

/// Mark before the selected row.
const MARK: &str = "> ";

/// Draws the help, from this line.
fn draw_help(frame: &mut Frame<'_>, area: Rect, line: usize, theme: &Theme) {
    let mut text = Text::from(HELP);
    for heading in text.lines.iter_mut().filter(|line| !line.to_string().starts_with(' ')) {
        *heading = std::mem::take(heading).style(theme.strong());
    }
    let page = Rect { height: area.height.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(text).scroll((line.min(last_help_line(area)) as u16, 0)), page);
    let foot = Rect { y: area.y + page.height, height: area.height - page.height, ..area };
    let more = if last_help_line(area) > 0 { "Up Down scroll  " } else { "" };
    frame.render_widget(Line::from(format!("{more}Esc back")).style(theme.strong()), foot);
}

/// Returns the first line from which the rest of the help fits the screen.
fn last_help_line(area: Rect) -> usize {
    HELP.lines().count().saturating_sub(usize::from(area.height.saturating_sub(1)))
}

const HELP: &str = "\
Keys
 Up Down k j        pick another row; it stays picked wherever it moves
 PgUp PgDn space    a page on
 Home g   End G     the first row, whichever that is; the last one
 Enter Right        open a registration into its members
 Esc Left           end a filter, or go back
 /                  show only rows that have a text
 r                  turn the order round; a sort key does so too, again
 d                  disconnect the picked member, after a question
 x Delete           remove the registration, after a question
 q Ctrl-C           quit           Ctrl-Z  stop, and come back by fg
 ? h                this help      Ctrl-L  draw everything anew
Sort registrations by
 t messages/s  b bytes/s  m members  o outbox  a age  i id  w waiting  c queue
Sort members by
 n number   p round trip   e resent   u unsent   o outbox   s silence
 t messages/s   b bytes/s   a age
Columns
 MSG/S BYTES/S of both directions; IN is received, OUT handed to receivers
 OUTBOX bytes that wait here, UNSENT bytes that wait in the kernel
 RTT round trip, RESENT segments sent again, as the kernel knows them
 QUEUE clients not accepted yet, PAIR the other end, WAITING for a receiver
 SILENT since the last sign of life   - isn't known, or not yet";

#[cfg(test)]
mod tests;
