//! Problems of the configuration's files, each with its file, line and column, in the order of the files.
//!
//! The readers of sections report byte offsets in the current file, which are converted to lines and columns at the end.
//! For a line with a syntax error, only that error is reported, since the parser guesses the rest of the line and further
//! problems would be misleading. At most [`MAX_PROBLEMS`] problems are listed, and long ones are shortened, so that the
//! time is linear for any file.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All problems of a configuration, one per line, each with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// A byte of one of the configuration's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    file: usize,
    offset: usize,
}

/// A file of the configuration.
#[derive(Debug, Clone)]
struct SourceFile {
    path: PathBuf,
    text: Arc<str>,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

/// A file that the configuration names, such as a certificate.
#[derive(Debug, Clone)]
struct NamedFile {
    path: PathBuf,
    position: Position,
}

/// The files that have been read so far, and the problems found in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    files: Vec<SourceFile>,
    named: Vec<NamedFile>,
    syntax: Vec<(Position, String)>,
    semantic: Vec<(Position, String)>,
    /// Problems of whole files, such as one that can't be read.
    general: Vec<String>,
}

impl Found {
    /// Adds a file, which becomes the current one: offsets refer to it from now on.
    pub(super) fn open(&mut self, path: &Path, text: Arc<str>) {
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.files.push(SourceFile { path: path.into(), text, lines });
    }

    /// Returns the position of a byte of the current file.
    pub(super) fn position(&self, offset: usize) -> Position {
        Position { file: self.files.len().saturating_sub(1), offset }
    }

    /// Reports a syntax error in the current file.
    pub(super) fn syntax_error(&mut self, offset: usize, problem: String) {
        let at = self.position(offset);
        self.syntax.push((at, problem));
    }

    /// Reports an invalid key or value in the current file.
    pub(super) fn semantic_error(&mut self, offset: usize, problem: String) {
        self.semantic_error_at(self.position(offset), problem);
    }

    /// Reports an invalid key or value in any file.
    pub(super) fn semantic_error_at(&mut self, at: Position, problem: String) {
        self.semantic.push((at, problem));
    }

    /// Reports a problem of a whole file.
    pub(super) fn file_error(&mut self, problem: String) {
        self.general.push(problem);
    }

    /// Records that a value in the current file names another file.
    pub(super) fn named_file(&mut self, offset: usize, path: &Path) {
        self.named.push(NamedFile { path: path.into(), position: self.position(offset) });
    }

    /// Reports a problem of a file that the configuration names. Its position is that of the path in the configuration, if
    /// the problem contains the path.
    pub(super) fn file_problem(&mut self, problem: &str) {
        let named = self.named.iter().filter(|file| problem.contains(&*file.path.to_string_lossy()));
        match named.max_by_key(|file| file.path.as_os_str().len()).map(|file| file.position) {
            Some(at) => self.semantic_error_at(at, problem.to_owned()),
            None => self.file_error(problem.to_owned()),
        }
    }

    /// Returns whether the maximum number of problems has been exceeded, so that further ones need not be found.
    pub(super) fn is_full(&self) -> bool {
        self.syntax.len() + self.semantic.len() > MAX_PROBLEMS
    }

    /// Returns `FILE:LINE:COLUMN`.
    pub(super) fn place(&self, at: Position) -> String {
        let Some(file) = self.files.get(at.file) else { return String::new() };
        let (line, column) = file.place(at.offset);
        format!("{}:{line}:{column}", file.path.display())
    }

    /// Returns `FILE:LINE`.
    pub(super) fn line(&self, at: Position) -> String {
        let Some(file) = self.files.get(at.file) else { return String::new() };
        format!("{}:{}", file.path.display(), file.place(at.offset).0)
    }

    /// Returns the line of a position as it is written in a problem at another position, with the file only if it differs.
    pub(super) fn seen_from(&self, at: Position, here: Position) -> String {
        match self.files.get(at.file) {
            Some(file) if at.file == here.file => format!("line {}", file.place(at.offset).0),
            _ => self.line(at),
        }
    }

    /// Returns all problems as `FILE:LINE:COLUMN: problem; fix`, or `None` if there are none.
    pub(super) fn report(&self) -> Option<Problems> {
        let line_of = |at: &Position| (at.file, self.files.get(at.file).map_or(0, |file| file.line_index(at.offset)));
        let broken: HashSet<_> = self.syntax.iter().map(|(at, _)| line_of(at)).collect();
        let semantic = self.semantic.iter().filter(|(at, _)| !broken.contains(&line_of(at)));
        let mut all: Vec<_> = self.syntax.iter().chain(semantic).collect();
        all.sort();
        all.dedup();
        let total = all.len();
        let mut lines: Vec<String> = self.general.clone();
        lines.extend(
            all.into_iter()
                .take(MAX_PROBLEMS)
                .map(|(at, problem)| format!("{}: {}", self.place(*at), shortened(problem))),
        );
        if total > MAX_PROBLEMS {
            lines.push(format!("only the first {MAX_PROBLEMS} problems are listed; fix them, and check again"));
        }
        Some(Problems(lines)).filter(|problems| !problems.0.is_empty())
    }
}

impl SourceFile {
    fn line_index(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Returns the line and the column (in characters), both counted from 1. An offset past the end counts as the end.
    fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.line_index(offset);
        let start = self.lines.get(line).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line + 1, column + 1)
    }
}

/// Context in which paths in the configuration are resolved.
pub(super) struct Surroundings<'a> {
    /// Folder to which relative paths are relative.
    pub(super) folder: &'a Path,
    /// Lookup of environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// Reason why a path can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The error texts explain the variants.
pub enum PathError {
    #[error("{0:?} is not a path; name {1}")]
    Invalid(String, &'static str),
    #[error("CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the service unit, or write the whole path")]
    NoCredentials,
    #[error("{0:?} has an unknown variable; only {CREDENTIALS} at the beginning is replaced")]
    UnknownVariable(String),
}

impl Surroundings<'_> {
    /// Returns the absolute path of a file. `kind` names the kind of file, such as "a PEM file".
    pub(super) fn file(&self, text: &str, kind: &'static str) -> Result<PathBuf, PathError> {
        if text.is_empty() || text.contains('\0') {
            return Err(PathError::Invalid(text.into(), kind));
        }
        let path = match text.strip_prefix(CREDENTIALS) {
            Some(rest) => {
                let folder = (self.variable)(CREDENTIALS_DIRECTORY).filter(|folder| !folder.is_empty());
                let mut path = folder.ok_or(PathError::NoCredentials)?;
                path.push(rest);
                path
            }
            None => text.into(),
        };
        if path.to_string_lossy().contains("${") {
            return Err(PathError::UnknownVariable(text.into()));
        }
        Ok(self.folder.join(path))
    }
}

/// Variable with the folder of the service's credentials (systemd.exec(5)).
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Prefix of the paths of files that the service manager passes only to the daemon.
const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}";

/// Index for finding the first of two equal keys or headers, since the parser reports only the second.
pub(super) struct KeyIndex<'t> {
    /// Name of the key or header in each line, and the first line that has it.
    first: HashMap<(usize, &'t str), usize>,
    lines: Vec<Option<(usize, &'t str)>>,
    starts: Vec<usize>,
}

impl<'t> KeyIndex<'t> {
    /// Indexes the keys and headers of a file by their lines.
    pub(super) fn new(text: &'t str) -> Self {
        let (mut first, mut lines, mut starts) = (HashMap::new(), Vec::new(), Vec::new());
        let (mut sections, mut section, mut start) = (HashMap::new(), 0, 0);
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let code = line.trim();
            let name = if code.starts_with("[[") {
                // Each of these tables is a section of its own.
                section = index + 1;
                None
            } else if let Some(header) = code.strip_prefix('[') {
                let header = header.split(']').next().unwrap_or_default().trim();
                section = *sections.entry(header).or_insert(index + 1);
                Some((usize::MAX, header))
            } else {
                code.split_once('=').map(|(key, _)| (section, key.trim())).filter(|(_, key)| !key.starts_with('#'))
            };
            if let Some(name) = name {
                first.entry(name).or_insert(index);
            }
            lines.push(name);
            starts.push(start);
            start += line.len();
        }
        Self { first, lines, starts }
    }

    /// Returns the line, from 1, of an earlier key or header that equals the one at this byte.
    pub(super) fn earlier(&self, offset: usize) -> Option<usize> {
        let line = self.starts.partition_point(|start| *start <= offset).checked_sub(1)?;
        let first = *self.first.get(&(*self.lines.get(line)?)?)?;
        (first < line).then_some(first + 1)
    }
}

/// Shortens a long problem in the middle, since its end contains the fix.
fn shortened(problem: &str) -> String {
    if problem.chars().count() <= MAX_LENGTH {
        return problem.to_owned();
    }
    let start: String = problem.chars().take(MAX_LENGTH / 2).collect();
    let end: Vec<char> = problem.chars().rev().take(MAX_LENGTH / 4).collect();
    format!("{start} … {}", end.into_iter().rev().collect::<String>())
}

/// Maximum number of problems that are listed: more than an administrator fixes before the next check.
const MAX_PROBLEMS: usize = 100;

/// Maximum length of a problem in characters, which takes a few lines of a terminal.
const MAX_LENGTH: usize = 400;
