//! How the terminal wants it: with colours or without, with block characters or plain ones.
//!
//! Colours only repeat what words and numbers say already, so that nothing is lost without them.

use std::ffi::OsString;

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

/// What may be used.
#[derive(Debug, Clone)]
pub(super) struct Look {
    has_colours: bool,
    /// How high a sparkline's columns are shown.
    pub(super) bars: bar::Set<'static>,
}

impl Look {
    /// Reads what the environment says: `NO_COLOR`, and the locale, by which a terminal knows characters beyond ASCII.
    pub(super) fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_lowercase();
        let is_unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { has_colours: set("NO_COLOR").is_none(), bars: if is_unicode { bar::NINE_LEVELS } else { PLAIN } }
    }

    /// What stands out.
    pub(super) fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The headings of a table.
    pub(super) fn heading(&self) -> Style {
        self.strong().add_modifier(Modifier::UNDERLINED)
    }

    /// The row that is picked, beside its mark.
    pub(super) fn picked(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A line that a person should read now.
    pub(super) fn notice(&self) -> Style {
        self.coloured(self.strong().add_modifier(Modifier::REVERSED), Color::Yellow)
    }

    /// The sparklines.
    pub(super) fn line(&self) -> Style {
        self.coloured(Style::new(), Color::Cyan)
    }

    fn coloured(&self, style: Style, colour: Color) -> Style {
        if self.has_colours { style.fg(colour) } else { style }
    }
}

/// Darker characters for higher columns.
const PLAIN: bar::Set<'static> = bar::Set {
    full: "@",
    seven_eighths: "%",
    three_quarters: "#",
    five_eighths: "*",
    half: "+",
    three_eighths: "=",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn look(variables: &'static [(&str, &str)]) -> Look {
        Look::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn without_colour_there_is_none() {
        for (variables, has_colours) in [(&[][..], true), (&[("NO_COLOR", "")], true), (&[("NO_COLOR", "1")], false)] {
            let look = look(variables);
            for style in [look.strong(), look.heading(), look.picked(), look.notice(), look.line()] {
                assert!(has_colours || style.fg.is_none(), "{style:?}");
                assert_eq!(style.bg, None);
            }
            assert_eq!(look.line().fg.is_some(), has_colours);
        }
    }

    #[test]
    fn block_characters_are_used_where_the_locale_has_them() {
        assert_eq!(look(&[("LANG", "C.UTF-8")]).bars.full, "█");
        assert_eq!(look(&[("LANG", "de_DE.utf8"), ("LC_ALL", "")]).bars.full, "█");
        assert_eq!(look(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]).bars.full, "@");
        assert_eq!(look(&[]).bars.full, "@");
    }
}
