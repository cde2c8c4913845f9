//! Reads the configuration's files and reports all problems at once.
//!
//! The parser recovers from errors and keeps the position of each key and value, so an error in one line doesn't hide
//! errors in others. A configuration is used only if it has no problem at all.
//!
//! Beside the file at [`DEFAULT_PATH`], the files in the folder next to it are read ([`FRAGMENTS`]), in the order of their
//! names: `[[listener]]` and `[[access]]` tables are appended, and a key may be set in one file only.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::keys::{ACCESS, KEYS, LISTENER, METRICS, sections, unknown_key, unknown_section};
use super::listener::{self, PlacedListener};
use super::permissions::{self, GROUP, MODE};
use super::reader::{CREDENTIALS_DIRECTORY, Found, KeyIndex, Position, Surroundings};
use super::value::type_error;
use super::{Config, Problems, access};
use crate::files::{self, Accept, ReadError};

/// Path of the configuration if no other is specified.
pub const DEFAULT_PATH: &str = "/etc/ws-router/ws-router.toml";

/// Suffix of the folder with further files beside the one at [`DEFAULT_PATH`].
const FRAGMENTS: &str = ".d";

/// Origin of the configuration, the same at the start and at each reload.
#[derive(Debug, Clone)]
pub struct Source {
    path: Option<PathBuf>,
    credentials: Option<PathBuf>,
}

impl Source {
    /// Uses the named file, or the one at [`DEFAULT_PATH`] with the files in the folder next to it.
    pub fn new(named: Option<PathBuf>) -> Self {
        Self { path: named, credentials: None }
    }

    /// Takes this folder for that of the service's credentials, unless the service manager names one.
    #[must_use]
    pub fn with_credentials(self, folder: impl Into<PathBuf>) -> Self {
        Self { credentials: Some(folder.into()), ..self }
    }

    /// Reads the configuration. A named file must exist; without the file at [`DEFAULT_PATH`] the defaults apply.
    pub fn read(&self, accept: Accept) -> Result<Config, Problems> {
        self.load(accept).finish()
    }

    /// Reads the configuration, even if it has problems.
    pub fn load(&self, accept: Accept) -> Loaded {
        let credentials = |name: &str| (name == CREDENTIALS_DIRECTORY).then(|| self.credentials.clone()).flatten();
        let variable = |name: &str| environment(name).or_else(|| credentials(name).map(OsString::from));
        match &self.path {
            Some(path) => load_named(path, accept, &variable),
            None => load_default(Path::new(DEFAULT_PATH), accept, &variable),
        }
    }

    /// Returns the path of the (main) file.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }
}

/// A configuration as it was read, with its problems.
#[derive(Debug, Clone)]
pub struct Loaded {
    config: Config,
    found: Found,
    /// Position of each key that was set, and of each table of an array with its index.
    origins: HashMap<(String, usize), Position>,
}

impl Loaded {
    /// Returns the configuration, or all its problems.
    pub fn finish(self) -> Result<Config, Problems> {
        self.found.report().map_or(Ok(self.config), Err)
    }

    /// Returns the configuration. Invalid values are replaced by their defaults.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Adds a problem of a file that the configuration names.
    pub fn add_file_problem(&mut self, problem: &str) {
        self.found.file_problem(problem);
    }

    /// Adds a problem of an access rule.
    pub fn add_rule_problem(&mut self, index: usize, problem: String) {
        match self.origins.get(&(ACCESS.to_owned(), index)) {
            Some(at) => self.found.semantic_error_at(*at, problem),
            None => self.found.file_error(problem),
        }
    }

    /// Returns the configuration as a file with all keys, each with the position where it was set, or all problems.
    pub fn to_toml(&self) -> Result<String, Problems> {
        match self.found.report() {
            Some(problems) => Err(problems),
            None => Ok(self.config.to_annotated_toml(|key, index| {
                self.origins.get(&(key.to_owned(), index)).map(|at| self.found.line(*at))
            })),
        }
    }
}

/// Reads a configuration file, or returns all its problems.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_named(path, Accept::Any, &environment).finish()
}

/// Reads a configuration from a string. `path` is its name in problems, and relative paths are relative to its folder.
pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
    parse_in(text, path, &environment)
}

/// Reads a configuration with the given environment variables.
pub(super) fn parse_in(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, Problems> {
    let mut loader = Loader::new(path, variable);
    loader.parse(path, text.into());
    loader.finish().finish()
}

/// Returns a variable of the process's environment.
pub(super) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn load_named(path: &Path, accept: Accept, variable: &dyn Fn(&str) -> Option<OsString>) -> Loaded {
    let mut loader = Loader::new(path, variable);
    loader.read(path, accept);
    loader.finish()
}

/// Reads the file at a default path if it exists, and the files beside it.
pub(super) fn load_default(path: &Path, accept: Accept, variable: &dyn Fn(&str) -> Option<OsString>) -> Loaded {
    let mut loader = Loader::new(path, variable);
    if !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound) {
        loader.read(path, accept);
    }
    let mut folder = path.as_os_str().to_owned();
    folder.push(FRAGMENTS);
    loader.read_fragments(Path::new(&folder), accept);
    loader.finish()
}

/// A configuration that is being read.
struct Loader<'v> {
    variable: &'v dyn Fn(&str) -> Option<OsString>,
    /// Folder of the main file, to which relative paths are relative.
    folder: PathBuf,
    config: Config,
    found: Found,
    listeners: Vec<PlacedListener>,
    rules: Vec<(access::RulePositions, super::Rule)>,
    origins: HashMap<(String, usize), Position>,
}

impl<'v> Loader<'v> {
    fn new(path: &Path, variable: &'v dyn Fn(&str) -> Option<OsString>) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        Self {
            variable,
            folder: absolute.parent().unwrap_or(Path::new("/")).into(),
            config: Config::default(),
            found: Found::default(),
            listeners: Vec::new(),
            rules: Vec::new(),
            origins: HashMap::new(),
        }
    }

    fn read(&mut self, path: &Path, accept: Accept) {
        let bytes = match files::read(path, accept) {
            Ok(bytes) => bytes,
            Err(error) => {
                let problem = match error {
                    ReadError::NotFound => "no such file; create it, or name another with --config".into(),
                    ReadError::PermissionDenied => "permission denied; let the user that runs ws-router read it".into(),
                    error => error.to_string(),
                };
                return self.found.file_error(format!("{}: {problem}", path.display()));
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => self.parse(path, text.into()),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
                self.found.open(path, text.into());
                self.found.syntax_error(valid, "not UTF-8; save the file in that encoding".into());
            }
        }
    }

    /// Reads the files `*.toml` of a folder in the order of their names, without hidden ones.
    fn read_fragments(&mut self, folder: &Path, accept: Accept) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => {
                let problem = format!("{}: {error}; let the user that runs ws-router read it", folder.display());
                return self.found.file_error(problem);
            }
        };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let is_fragment = |name: &OsString| {
            let bytes = name.as_encoded_bytes();
            bytes.ends_with(b".toml") && !bytes.starts_with(b".")
        };
        let mut names: Vec<_> = names.filter(is_fragment).collect();
        names.sort();
        for name in names {
            self.read(&folder.join(name), accept);
        }
    }

    fn parse(&mut self, path: &Path, text: Arc<str>) {
        self.found.open(path, Arc::clone(&text));
        let (document, errors) = DeTable::parse_recoverable(&text);
        let mut index = None;
        for error in errors {
            if self.found.is_full() {
                break;
            }
            let span = error.span().unwrap_or(text.len()..text.len());
            let earlier = || index.get_or_insert_with(|| KeyIndex::new(&text)).earlier(span.start);
            let fix = syntax_fix(error.message(), text.get(span.clone()).unwrap_or_default(), earlier);
            self.found.syntax_error(span.start, format!("{}; {fix}", error.message()));
        }
        let sections = sections();
        for (name, value) in document.get_ref() {
            if self.found.is_full() {
                break;
            }
            let around = Surroundings { folder: &self.folder, variable: self.variable };
            match (name.get_ref().as_ref(), value.get_ref()) {
                (LISTENER, _) => {
                    listener::read_all(value, &around, &mut self.found, &mut self.listeners);
                }
                (ACCESS, DeValue::Array(tables)) if tables.is_empty() => {
                    self.config.open_access = true;
                    self.origins.insert((ACCESS.into(), 0), self.found.position(name.span().start));
                }
                (ACCESS, _) => access::read_all(value, &around, &mut self.found, &mut self.rules),
                (section, DeValue::Table(keys)) if sections.contains(&section) => self.read_section(section, keys),
                (section, other) if sections.contains(&section) => {
                    let fix = format!("write [{section}] on a line of its own, and the keys below it");
                    let problem = format!("{section}: {}", type_error(other, "a table", fix));
                    self.found.semantic_error(value.span().start, problem);
                }
                (other, DeValue::Table(_) | DeValue::Array(_)) => {
                    self.found.semantic_error(name.span().start, unknown_section(other));
                }
                (other, _) => self.found.semantic_error(name.span().start, unknown_key("", other)),
            }
        }
    }

    fn read_section(&mut self, section: &str, keys: &DeTable<'_>) {
        for (name, value) in keys {
            if self.found.is_full() {
                return;
            }
            let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name.get_ref().as_ref())
            else {
                self.found.semantic_error(name.span().start, unknown_key(section, name.get_ref()));
                continue;
            };
            let here = self.found.position(value.span().start);
            if let Some(first) = self.origins.insert((key.full_name(), 0), here) {
                let first = self.found.seen_from(first, here);
                let problem = format!("{}: set twice, first in {first}; keep one of them", key.full_name());
                self.found.semantic_error_at(here, problem);
            }
            if let Err(problem) = (key.read)(&mut self.config, value.get_ref()) {
                self.found.semantic_error_at(here, format!("{}: {problem}", key.full_name()));
            }
        }
    }

    /// Compares the parts of the configuration with each other, once all files are read.
    fn finish(mut self) -> Loaded {
        let metrics = self.config.metrics.listen.clone();
        for name in [MODE, GROUP] {
            let at = self.origins.get(&(format!("{METRICS}.{name}"), 0)).copied();
            if let (Some(at), Some(address)) = (at, &metrics) {
                permissions::check_use(METRICS, name, address, at, &mut self.found);
            }
        }
        let admin = &self.config.admin;
        if let Some(at) = self.origins.get(&("admin.read-only-socket".into(), 0))
            && admin.read_only_socket.0.is_some()
            && admin.read_only_socket.0 == admin.socket
        {
            let problem = "admin.read-only-socket: is the same as admin.socket; change one of them";
            self.found.semantic_error_at(*at, problem.into());
        }
        listener::report_conflicts(&self.listeners, &self.config, &mut self.found);
        for (index, (at, _)) in self.listeners.iter().enumerate() {
            self.origins.insert((LISTENER.into(), index), *at);
        }
        self.config.listeners = self.listeners.into_iter().map(|(_, listener)| listener).collect();
        access::report_conflicts(&self.rules, &self.config.listeners, &mut self.found);
        if let Some((positions, _)) = self.rules.first()
            && self.config.open_access
        {
            let open = self.origins.get(&(ACCESS.into(), 0)).copied().unwrap_or(positions.at);
            let rule = self.found.seen_from(positions.at, open);
            let problem = format!("{ACCESS}: an empty list, although {rule} has a rule; remove one of them");
            self.found.semantic_error_at(open, problem);
        }
        for (index, (positions, _)) in self.rules.iter().enumerate() {
            self.origins.insert((ACCESS.into(), index), positions.at);
        }
        self.config.access = self.rules.into_iter().map(|(_, rule)| rule).collect();
        Loaded { config: self.config, found: self.found, origins: self.origins }
    }
}

/// Returns the fix for a parser's message.
fn syntax_fix(message: &str, at: &str, earlier: impl FnOnce() -> Option<usize>) -> String {
    match message {
        m if m.contains("must be quoted") => format!("write {:?}", at.trim()),
        m if m.contains("duplicate key") => match earlier() {
            Some(line) => format!("the first one is in line {line}; keep one of them"),
            None => "keep one of them".into(),
        },
        m if m.contains("unclosed") || m.contains("basic string") => "close it on this line".into(),
        _ => "a line is a [section], a key = value, or a # comment".into(),
    }
}
