//! What is wrong with a file: every problem with its place, in the order in which a reader meets them.
//!
//! Readers of values only say what is wrong; here that gets its line and column. A value that isn't TOML at all is
//! reported as that alone, since whatever the parser made of it would only be reported a second time.

use std::fmt;
use std::path::Path;

/// All problems of a configuration file, each with its place; shown a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Problems while they are being found.
#[derive(Debug, Default)]
pub(super) struct Found {
    syntax: Vec<(usize, String)>,
    meaning: Vec<(usize, String)>,
}

impl Found {
    /// Notes that the text at this byte isn't TOML.
    pub(super) fn syntax(&mut self, offset: usize, text: String) {
        self.syntax.push((offset, text));
    }

    /// Notes that what stands at this byte makes no sense.
    pub(super) fn meaning(&mut self, offset: usize, text: String) {
        self.meaning.push((offset, text));
    }

    /// Shows all as `PATH:LINE:COLUMN: problem; mend`, or `None` if there are none.
    pub(super) fn report(self, path: &Path, text: &str) -> Option<Problems> {
        let broken: Vec<usize> = self.syntax.iter().map(|(offset, _)| place(text, *offset).0).collect();
        let meaning = self.meaning.into_iter().filter(|(offset, _)| !broken.contains(&place(text, *offset).0));
        let mut all: Vec<_> = self.syntax.into_iter().chain(meaning).collect();
        all.sort();
        all.dedup();
        let lines = all.into_iter().map(|(offset, problem)| {
            let (line, column) = place(text, offset);
            format!("{}:{line}:{column}: {problem}", path.display())
        });
        Some(Problems(lines.collect())).filter(|problems| !problems.0.is_empty())
    }
}

/// Tells line and column (in characters), both from 1, of a byte; a place past the end is the end.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}
