//! The meaning of keys, which depends on what the screen shows.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::{Column, MEMBERS, REGISTRATIONS};
use super::listing::Step;

/// Part of the screen that receives the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The table of registrations.
    Registrations,
    /// The table of a registration's members.
    Members,
    /// The help.
    Help,
    /// A yes-or-no question.
    Question,
    /// A filter that is being typed.
    Filter,
}

/// Command of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Stop the program and return to the shell.
    Suspend,
    /// Redraw everything, since another program has written to the terminal.
    Redraw,
    Step(Step),
    Open,
    Back,
    SortBy(Column),
    Reverse,
    /// Close the connection of the selected member.
    Disconnect,
    /// Remove the registration.
    Remove,
    Help,
    Filter,
    Type(char),
    Erase,
    Yes,
    No,
}

/// Returns the command of a key, or `None` if it has none.
pub(super) fn command(key: KeyEvent, mode: Mode) -> Option<Command> {
    // Some terminals also report the release of a key.
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Command::Quit),
            KeyCode::Char('z') => Some(Command::Suspend),
            KeyCode::Char('l') => Some(Command::Redraw),
            _ => None,
        };
    }
    match mode {
        Mode::Registrations => table(key.code, REGISTRATIONS.for_key(letter(key.code))),
        Mode::Members if key.code == KeyCode::Char('d') => Some(Command::Disconnect),
        Mode::Members => table(key.code, MEMBERS.for_key(letter(key.code))),
        Mode::Help => help(key.code),
        Mode::Question => question(key.code),
        Mode::Filter => filter(key.code),
    }
}

fn table(key: KeyCode, column: Option<Column>) -> Option<Command> {
    let command = match key {
        KeyCode::Char('q') => Command::Quit,
        KeyCode::Char('r') => Command::Reverse,
        KeyCode::Char('x') | KeyCode::Delete => Command::Remove,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Command::Help,
        KeyCode::Char('/') => Command::Filter,
        KeyCode::Enter | KeyCode::Right => Command::Open,
        KeyCode::Esc | KeyCode::Left => Command::Back,
        other => match step(other) {
            Some(step) => Command::Step(step),
            None => Command::SortBy(column?),
        },
    };
    Some(command)
}

fn help(key: KeyCode) -> Option<Command> {
    match key {
        KeyCode::Char('q' | '?' | 'h') | KeyCode::Esc | KeyCode::Enter | KeyCode::F(1) => Some(Command::Back),
        other => step(other).map(Command::Step),
    }
}

/// Returns the answer to a question: only `y` means yes.
fn question(key: KeyCode) -> Option<Command> {
    match key {
        KeyCode::Char('y' | 'Y') => Some(Command::Yes),
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => Some(Command::No),
        _ => None,
    }
}

fn filter(key: KeyCode) -> Option<Command> {
    match key {
        KeyCode::Enter => Some(Command::Yes),
        KeyCode::Esc => Some(Command::No),
        KeyCode::Backspace => Some(Command::Erase),
        KeyCode::Char(letter) => Some(Command::Type(letter)),
        _ => None,
    }
}

fn step(key: KeyCode) -> Option<Step> {
    match key {
        KeyCode::Up | KeyCode::Char('k') => Some(Step::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Step::Down),
        KeyCode::PageUp => Some(Step::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Step::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Some(Step::First),
        KeyCode::End | KeyCode::Char('G') => Some(Step::Last),
        _ => None,
    }
}

fn letter(key: KeyCode) -> char {
    if let KeyCode::Char(letter) = key { letter } else { '\0' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, mode: Mode) -> Option<Command> {
        command(KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    fn typed(letter: char, mode: Mode) -> Option<Command> {
        press(KeyCode::Char(letter), mode)
    }

    const ALL: [Mode; 5] = [Mode::Registrations, Mode::Members, Mode::Help, Mode::Question, Mode::Filter];

    #[test]
    fn control_c_quits_everywhere() {
        for mode in ALL {
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(command(key, mode), Some(Command::Quit), "{mode:?}");
            // Control changes the meaning of a key.
            assert_eq!(command(KeyEvent::new(KeyCode::Char('x'), KeyModifiers::CONTROL), mode), None);
        }
    }

    #[test]
    fn a_key_sorts_by_a_column_of_the_table() {
        assert_eq!(typed('t', Mode::Registrations), Some(Command::SortBy(Column::Messages)));
        assert_eq!(typed('m', Mode::Registrations), Some(Command::SortBy(Column::Members)));
        assert_eq!(typed('p', Mode::Registrations), None);
        assert_eq!(typed('p', Mode::Members), Some(Command::SortBy(Column::RoundTrip)));
        assert_eq!(typed('m', Mode::Members), None);
        assert_eq!(typed('r', Mode::Members), Some(Command::Reverse));
    }

    #[test]
    fn no_key_of_a_column_has_another_meaning() {
        for (mode, columns) in [(Mode::Registrations, REGISTRATIONS), (Mode::Members, MEMBERS)] {
            for spec in columns.specs {
                let Some(key) = spec.key else { continue };
                assert_eq!(typed(key, mode), Some(Command::SortBy(spec.column)), "{key} in {mode:?}");
            }
        }
    }

    #[test]
    fn a_member_is_disconnected_only_where_members_are_shown() {
        assert_eq!(typed('d', Mode::Members), Some(Command::Disconnect));
        assert_eq!(typed('d', Mode::Registrations), None);
        for mode in [Mode::Registrations, Mode::Members] {
            assert_eq!(typed('x', mode), Some(Command::Remove));
        }
    }

    #[test]
    fn only_y_answers_yes() {
        assert_eq!((typed('y', Mode::Question), typed('Y', Mode::Question)), (Some(Command::Yes), Some(Command::Yes)));
        for no in [KeyCode::Char('n'), KeyCode::Esc, KeyCode::Char('q')] {
            assert_eq!(press(no, Mode::Question), Some(Command::No));
        }
        for nothing in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Char('x'), KeyCode::Down] {
            assert_eq!(press(nothing, Mode::Question), None);
        }
    }

    #[test]
    fn a_filter_accepts_letters_that_are_commands_elsewhere() {
        for letter in ['q', 'x', '?', 'y', '/'] {
            assert_eq!(typed(letter, Mode::Filter), Some(Command::Type(letter)));
        }
        let ends = [KeyCode::Enter, KeyCode::Esc, KeyCode::Backspace].map(|key| press(key, Mode::Filter));
        assert_eq!(ends, [Some(Command::Yes), Some(Command::No), Some(Command::Erase)]);
    }

    #[test]
    fn the_release_of_a_key_has_no_meaning() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        key.kind = KeyEventKind::Release;
        assert_eq!(command(key, Mode::Registrations), None);
    }
}
