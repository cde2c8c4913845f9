//! Token files: a line `NAME:HASH` for each token, as `ws-routerctl token NAME` makes it.
//!
//! The file holds no token, so reading it doesn't grant access. A token is looked up by its hash: the time that takes
//! depends on the hash alone, which a client can't choose, and two hashes are compared in constant time.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ws_router_core::secret::{Token, TokenHash};

/// Tokens of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    path: PathBuf,
    names: HashMap<TokenHash, String>,
}

impl Tokens {
    /// Reads a file, and appends its problems to `problems`, each with its line.
    pub(super) fn read(path: &Path, problems: &mut Vec<String>) -> Self {
        let mut tokens = Self { path: path.to_owned(), names: HashMap::new() };
        match std::fs::read_to_string(path) {
            Ok(text) => tokens.parse(&text, problems),
            Err(error) => problems.push(format!("tokens {}: {}", path.display(), read_error(&error))),
        }
        tokens
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of a token that the file has.
    pub(super) fn name(&self, token: &Token) -> Option<&str> {
        self.names.get(&token.hash()).map(String::as_str)
    }

    fn parse(&mut self, text: &str, problems: &mut Vec<String>) {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(problem) = self.parse_line(line) {
                problems.push(format!("tokens {}:{}: {problem}", self.path.display(), index + 1));
            }
        }
    }

    /// Parses a line. No error repeats it: it may be a token that was written there by mistake.
    fn parse_line(&mut self, line: &str) -> Result<(), &'static str> {
        let (name, hash) = line.split_once(':').ok_or("not NAME:HASH; \"ws-routerctl token NAME\" makes one")?;
        if !Token::is_name(name) {
            return Err("the name is not valid; use 1 to 64 letters, digits and - _ . @");
        }
        let hash =
            hash.trim().parse().map_err(|_| "the hash is not 64 hex digits; \"ws-routerctl token NAME\" makes one")?;
        match self.names.insert(hash, name.to_owned()) {
            None => Ok(()),
            Some(_) => Err("another line has the same hash; remove one of them"),
        }
    }
}

fn read_error(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file; make it with \"ws-routerctl token NAME\", or fix the path".into(),
        ErrorKind::PermissionDenied => {
            "permission denied; let the daemon's user read it, or pass it as a systemd credential".into()
        }
        ErrorKind::InvalidData => "not UTF-8; expected lines NAME:HASH".into(),
        _ => error.to_string(),
    }
}
