//! Walks a configuration file and finds everything that is wrong with it in one go.
//!
//! The parser recovers from mistakes and keeps where each key and value stands, so one bad line hides no other. A
//! file is taken whole or not at all: whoever gets a [`Config`] has one without a problem.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access;
use super::keys::{ACCESS, KEYS, LISTENER, METRICS, names, sections};
use super::listener::{self, Surroundings};
use super::problems::Found;
use super::units::{nearest, unexpected};
use super::{Config, Problems, permissions};

/// Where the configuration is looked for when none is named.
pub const DEFAULT_PATH: &str = "/etc/ws-router/ws-router.toml";

/// Origin of the configuration, the same at the start and at each reload.
#[derive(Debug, Clone)]
pub struct Source(Option<PathBuf>);

impl Source {
    /// Takes the named file, or else the one at [`DEFAULT_PATH`].
    pub fn new(named: Option<PathBuf>) -> Self {
        Self(named)
    }

    /// Reads the file. A named file must exist; without the file at [`DEFAULT_PATH`] the defaults apply.
    pub fn read(&self) -> Result<Config, Problems> {
        self.0.as_deref().map_or_else(|| load_if_there(Path::new(DEFAULT_PATH)), load)
    }
}

/// Reads a configuration file, or tells everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let bytes = std::fs::read(path).map_err(|error| {
        let mend = match error.kind() {
            ErrorKind::NotFound => "no such file; create it, or name another with --config",
            ErrorKind::PermissionDenied => "permission denied; let the user that runs ws-router read it",
            ErrorKind::IsADirectory => "this is a folder; name the file in it",
            _ => return Problems(vec![format!("{}: {error}; the file must be readable", path.display())]),
        };
        Problems(vec![format!("{}: {mend}", path.display())])
    })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, path),
        Err(error) => {
            let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let mut found = Found::default();
            found.syntax(text.len(), "this is not UTF-8; save the file in that encoding".into());
            Err(found.report(path, &text).unwrap_or(Problems(Vec::new())))
        }
    }
}

/// Reads a configuration from a text; `path` stands in the problems, and relative paths begin in its folder.
pub fn parse(text: &str, path: &Path) -> Result<Config, Problems> {
    parse_in(text, path, &|name| std::env::var_os(name))
}

/// Reads a configuration in an environment of the caller's choice.
pub(super) fn parse_in(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, Problems> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let around = Surroundings { folder: absolute.parent().unwrap_or(Path::new("/")), variable };
    let mut config = Config::default();
    let mut found = Found::default();

    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let mend = syntax_mend(error.message(), text.get(span.clone()).unwrap_or_default());
        found.syntax(span.start, format!("{}; {mend}", error.message()));
    }

    let (mut listeners, mut rules) = (Vec::new(), Vec::new());
    for (name, value) in document.get_ref() {
        match (name.get_ref().as_ref(), value.get_ref()) {
            (LISTENER, _) => listeners = listener::read_all(value, &around, &mut found),
            (ACCESS, _) => rules = access::read_all(value, &around, &mut found),
            (section, DeValue::Table(keys)) if sections().contains(&section) => {
                read_section(section, keys, &mut config, &mut found);
            }
            (section, other) if sections().contains(&section) => {
                let mend = format!("write [{section}] on a line of its own, and the keys below it");
                found.meaning(value.span().start, format!("{section}: {}", unexpected(other, "a table", &mend)));
            }
            (other, DeValue::Table(_) | DeValue::Array(_)) => {
                found.meaning(name.span().start, unknown_section(other));
            }
            (other, _) => found.meaning(name.span().start, unknown_key("", other)),
        }
    }

    if let Some(address) = &config.metrics.listen
        && let Some(DeValue::Table(keys)) = document.get_ref().get(METRICS).map(Spanned::get_ref)
    {
        permissions::misplaced(METRICS, address, keys, &mut found);
    }
    listener::contradictions(&listeners, &config, text, &mut found);
    config.listeners = listeners.into_iter().map(|(_, listener)| listener).collect();
    access::contradictions(&rules, &config.listeners, text, &mut found);
    config.access = rules.into_iter().map(|(_, rule)| rule).collect();
    found.report(path, text).map_or(Ok(config), Err)
}

fn read_section(section: &str, keys: &DeTable<'_>, config: &mut Config, found: &mut Found) {
    for (name, value) in keys {
        match KEYS.iter().find(|key| key.section == section && key.name == name.get_ref().as_ref()) {
            Some(key) => {
                if let Err(problem) = (key.read)(config, value.get_ref()) {
                    found.meaning(value.span().start, format!("{}: {problem}", key.full_name()));
                }
            }
            None => found.meaning(name.span().start, unknown_key(section, name.get_ref())),
        }
    }
}

/// Says that a section (none: the top of the file) has no such key, and which was probably meant.
pub(super) fn unknown_key(section: &str, name: &str) -> String {
    let problem = match section {
        "" => format!("unknown key {name:?} outside of any section"),
        _ => format!("unknown key {name:?} in {}", heading(section)),
    };
    let here = || names().filter(|(place, _)| *place == section).map(|(_, known)| known);
    let elsewhere = |wanted: &str| names().find(|(_, known)| *known == wanted).map(|(place, _)| heading(place));
    if let Some(place) = elsewhere(name) {
        return format!("{problem}; it belongs in {place}");
    }
    if let Some(meant) = nearest(name, here()) {
        return format!("{problem}; did you mean {meant:?}?");
    }
    if let Some(meant) = nearest(name, names().map(|(_, known)| known)) {
        return format!("{problem}; did you mean {meant:?} in {}?", elsewhere(meant).unwrap_or_default());
    }
    let known: Vec<&str> = here().collect();
    match known.as_slice() {
        [] => format!("{problem}; ws-router.toml(5) lists the keys"),
        known => format!("{problem}; there are {}", known.join(", ")),
    }
}

fn unknown_section(name: &str) -> String {
    let mend = match nearest(name, sections()) {
        Some(meant) => format!("did you mean {}?", heading(meant)),
        None => format!("there are {}", sections().into_iter().map(heading).collect::<Vec<_>>().join(", ")),
    };
    format!("unknown section [{name}]; {mend}")
}

/// Shows a section as a file has it.
fn heading(section: &str) -> String {
    match section {
        LISTENER | ACCESS => format!("[[{section}]]"),
        "listener.tls" => "a listener's tls".into(),
        _ => format!("[{section}]"),
    }
}

/// Gives a mend for what the parser says.
fn syntax_mend(message: &str, at: &str) -> String {
    match message {
        m if m.contains("must be quoted") => format!("write {:?}", at.trim()),
        m if m.contains("duplicate key") => "keep one of them".into(),
        m if m.contains("unclosed") || m.contains("basic string") => "close it on this line".into(),
        _ => "a line is a [section], a key = value, or a # comment".into(),
    }
}

/// Reads the file, or gives the defaults if there is none.
pub(super) fn load_if_there(path: &Path) -> Result<Config, Problems> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Config::default()),
        _ => load(path),
    }
}
