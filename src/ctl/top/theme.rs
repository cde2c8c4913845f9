//! Colors and characters that the terminal supports. Colors only repeat what words and numbers say.

use std::ffi::OsString;

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

/// Colors and characters to draw with.
#[derive(Debug, Clone)]
pub(super) struct Theme {
    has_colors: bool,
    /// Characters of a sparkline, by height.
    pub(super) bars: bar::Set<'static>,
}

impl Theme {
    /// Reads the environment: `NO_COLOR`, and the locale, which says whether the terminal supports UTF-8.
    pub(super) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_lowercase();
        let is_unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { has_colors: set("NO_COLOR").is_none(), bars: if is_unicode { bar::NINE_LEVELS } else { PLAIN } }
    }

    /// Returns the style of headings and keys.
    pub(super) fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Returns the style of a table's headings.
    pub(super) fn heading(&self) -> Style {
        self.strong().add_modifier(Modifier::UNDERLINED)
    }

    /// Returns the style of the selected row, which also has a mark.
    pub(super) fn picked(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Returns the style of a line that should be read now.
    pub(super) fn notice(&self) -> Style {
        self.colored(self.strong().add_modifier(Modifier::REVERSED), Color::Yellow)
    }

    /// Returns the style of sparklines.
    pub(super) fn line(&self) -> Style {
        self.colored(Style::new(), Color::Cyan)
    }

    fn colored(&self, style: Style, color: Color) -> Style {
        if self.has_colors { style.fg(color) } else { style }
    }
}

/// ASCII characters, the darker the higher.
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

    fn theme(variables: &'static [(&str, &str)]) -> Theme {
        Theme::new(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn without_color_there_is_none() {
        for (variables, has_colors) in [(&[][..], true), (&[("NO_COLOR", "")], true), (&[("NO_COLOR", "1")], false)] {
            let theme = theme(variables);
            for style in [theme.strong(), theme.heading(), theme.picked(), theme.notice(), theme.line()] {
                assert!(has_colors || style.fg.is_none(), "{style:?}");
                assert_eq!(style.bg, None);
            }
            assert_eq!(theme.line().fg.is_some(), has_colors);
        }
    }

    #[test]
    fn block_characters_are_used_where_the_locale_has_them() {
        assert_eq!(theme(&[("LANG", "C.UTF-8")]).bars.full, "█");
        assert_eq!(theme(&[("LANG", "de_DE.utf8"), ("LC_ALL", "")]).bars.full, "█");
        assert_eq!(theme(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]).bars.full, "@");
        assert_eq!(theme(&[]).bars.full, "@");
    }
}
