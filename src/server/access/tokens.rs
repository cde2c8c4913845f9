//! A file of tokens: a line `NAME:HASH` for each, as `ws-routerctl token NAME` makes it.
//!
//! The file holds no token, so whoever reads it gets nowhere with it. Which token a device has shown is found by its
//! hash: how long that takes depends on the hash alone, which nobody can steer, and two hashes are compared in
//! constant time.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ws_router_core::secret::{Token, TokenHash};

/// The tokens of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    path: PathBuf,
    names: HashMap<TokenHash, String>,
}

impl Tokens {
    /// Reads a file; what is wrong with it goes to `problems`, each with its line.
    pub(super) fn read(path: &Path, problems: &mut Vec<String>) -> Self {
        let mut tokens = Self { path: path.to_owned(), names: HashMap::new() };
        match std::fs::read_to_string(path) {
            Ok(text) => tokens.parse(&text, problems),
            Err(error) => problems.push(format!("tokens {}: {}", path.display(), unreadable(&error))),
        }
        tokens
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a token; tells what it is called.
    pub(super) fn name(&self, token: &Token) -> Option<&str> {
        self.names.get(&token.hash()).map(String::as_str)
    }

    fn parse(&mut self, text: &str, problems: &mut Vec<String>) {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(problem) = self.take(line) {
                problems.push(format!("tokens {}:{}: {problem}", self.path.display(), index + 1));
            }
        }
    }

    /// Takes a line. What stands there isn't repeated: it may be a token that somebody wrote down by mistake.
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let (name, hash) = line.split_once(':').ok_or("no line NAME:HASH; \"ws-routerctl token NAME\" makes one")?;
        if !Token::is_name(name) {
            return Err("the name is unfit; write 1 to 64 letters, digits and - _ . @");
        }
        let hash =
            hash.trim().parse().map_err(|_| "the hash isn't 64 hex digits; \"ws-routerctl token NAME\" makes one")?;
        match self.names.insert(hash, name.to_owned()) {
            None => Ok(()),
            Some(_) => Err("this hash is in another line already; remove one of them"),
        }
    }
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file; make it with \"ws-routerctl token NAME\", or mend the path".into(),
        ErrorKind::PermissionDenied => {
            "permission denied; let the daemon's user read it, or pass it as a systemd credential".into()
        }
        ErrorKind::InvalidData => "this is not UTF-8; it has lines NAME:HASH".into(),
        _ => error.to_string(),
    }
}
