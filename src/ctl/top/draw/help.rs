//! What the keys do and what the columns mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use super::super::look::Look;

/// Draws the help from a line on.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, line: usize, look: &Look) {
    let mut text = Text::from(HELP);
    for heading in text.lines.iter_mut().filter(|line| !line.to_string().starts_with(' ')) {
        *heading = std::mem::take(heading).style(look.strong());
    }
    let page = Rect { height: area.height.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(text).scroll((line.min(last_line(area)) as u16, 0)), page);
    let foot = Rect { y: area.y + page.height, height: area.height - page.height, ..area };
    let more = if last_line(area) > 0 { "Up Down scroll  " } else { "" };
    frame.render_widget(Line::from(format!("{more}Esc back")).style(look.strong()), foot);
}

/// The line from which on the rest of the help fits the screen.
pub(super) fn last_line(area: Rect) -> usize {
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
 t messages/s   b bytes/s   m members   o outbox   a age   i id
Sort members by
 n number   p round trip   e resent   u unsent   o outbox   s silence
 t messages/s   b bytes/s   a age
Columns
 MSG/S BYTES/S of both directions; IN is received, OUT handed to receivers
 OUTBOX bytes that wait here, UNSENT bytes that wait in the kernel
 RTT round trip, RESENT segments sent again, as the kernel knows them
 SILENT since the last sign of life   - isn't known, or not yet";
