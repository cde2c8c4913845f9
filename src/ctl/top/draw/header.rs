//! The totals: how the daemon is, how many there are, and what passes through in a second.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use ws_router_admin_api::DrainPhase;

use super::super::history::History;
use super::super::look::Look;
use super::super::numbers::{Rates, bytes, count, span};
use super::super::state::State;
use crate::human::progress;

/// How many lines there are.
pub(super) fn height(area: Rect, state: &State) -> u16 {
    let counts = || counts(state, area.width).len() as u16;
    match area.height {
        0..9 => 1,
        9..18 => 3,
        18..24 => 3 + counts(),
        // An empty one behind it.
        _ => 4 + counts(),
    }
}

/// Draws as much as there is room for.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, look: &Look, now: Instant) {
    let lines: Vec<Rect> = area.rows().collect();
    let Some((first, rest)) = lines.split_first() else { return };
    title(frame, *first, state, look, now);
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
        rates(frame, *place, label, &state.totals, (messages, size), look);
    }
}

type Of = fn(&Rates) -> f64;

/// Which daemon it is, and whether it is in service.
fn title(frame: &mut Frame<'_>, area: Rect, state: &State, look: &Look, now: Instant) {
    let status = &state.status;
    let service = match (&state.away, status.drain.state) {
        (Some(_), _) => "AWAY".to_owned(),
        (None, DrainPhase::Serving) => "in service".into(),
        (None, DrainPhase::Draining) => format!("DRAINING, {}", progress(&status.drain)),
        (None, DrainPhase::Drained) => "DRAINED, nobody is let in".into(),
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
    let style = if needs_a_look { look.notice() } else { look.strong() };
    let width = area.width.min(text.len() as u16);
    frame.render_widget(Line::from(text).style(style), Rect { width, ..area });
}

/// What there is now, in as many lines as it takes.
fn counts(state: &State, width: u16) -> Vec<String> {
    let status = &state.status;
    let relay = &status.relay;
    let size = |number: u64| bytes(number as f64);
    let counts = [
        format!("connections {}", status.connections),
        format!("registrations {}", status.registrations),
        format!("members {}", status.members),
        format!("outboxes {}", size(relay.outbox_bytes)),
        format!("memory {}", size(status.memory.resident_bytes)),
        format!("buffered {} of {}", size(relay.buffered_bytes), size(relay.buffered_limit_bytes)),
        format!("descriptors {} of {}", status.descriptors.open, status.descriptors.limit),
    ];
    let mut lines: Vec<String> = Vec::new();
    for text in counts {
        match lines.last_mut() {
            Some(line) if line.len() + 3 + text.len() <= usize::from(width) => *line += &format!("   {text}"),
            _ => lines.push(text),
        }
    }
    lines
}

/// Messages and bytes in a second, each with how they were before where there is room.
pub(super) fn rates(
    frame: &mut Frame<'_>,
    area: Rect,
    label: &str,
    history: &History,
    (messages, size): (Of, Of),
    look: &Look,
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
        frame.render_widget(line.bar_set(look.bars.clone()).style(look.line()), place);
    }
}

/// Below this a sparkline says nothing.
const LEAST_SPARKLINE: u16 = 6;
/// Two minutes at the usual interval.
const MOST_SPARKLINE: u16 = 120;
