//! Token files: a line `NAME:HASH` for each token, as `ws-routerctl token NAME` makes it.
//!
//! The file contains only hashes of tokens, so reading it doesn't grant access. A token is looked up by its hash. The
//! duration of the lookup depends only on the hash, which a client can't choose, and hashes are compared in constant time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ws_router_core::secret::{Token, TokenHash};

use crate::files::{self, Accept, ReadError};

/// Problem of a token file. Its text never contains a line of the file, which may be a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenProblem {
    /// There is no file at the path.
    #[error(
        "tokens {}: no such file; make it with \"ws-routerctl token NAME\", or correct the path", .0.display()
    )]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("tokens {}: {error}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        error: ReadError,
    },
    /// A line of the file is invalid.
    #[error("tokens {}:{line}: {problem}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, counted from 1.
        line: usize,
        /// The problem, with the fix.
        problem: &'static str,
    },
}

/// Tokens of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    path: PathBuf,
    names: HashMap<TokenHash, Arc<str>>,
}

impl Tokens {
    /// Reads a file. Returns its valid tokens, and all its problems.
    pub(super) fn read(path: &Path, accept: Accept) -> (Self, Vec<TokenProblem>) {
        let mut tokens = Self { path: path.to_owned(), names: HashMap::new() };
        let path = path.to_owned();
        let problems = match files::read(&path, accept) {
            Ok(bytes) => tokens.parse(&bytes),
            Err(ReadError::NotFound) => vec![TokenProblem::Missing(path)],
            Err(error) => vec![TokenProblem::Read { path, error }],
        };
        (tokens, problems)
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the name of a token, if the file contains it.
    pub(super) fn name(&self, token: &Token) -> Option<&Arc<str>> {
        self.names.get(&token.hash())
    }

    /// Returns the names of all tokens. Several tokens may have the same one.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.values()
    }

    fn parse(&mut self, bytes: &[u8]) -> Vec<TokenProblem> {
        let mut problems = Vec::new();
        // Editors on Windows write a byte order mark.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let parsed = str::from_utf8(line).map_err(|_| "not UTF-8; expected NAME:HASH").map(str::trim);
            let parsed = match parsed {
                Ok(line) if line.is_empty() || line.starts_with('#') => continue,
                parsed => parsed.and_then(|line| self.parse_line(line)),
            };
            if let Err(problem) = parsed {
                problems.push(TokenProblem::Line { path: self.path.clone(), line: index + 1, problem });
            }
        }
        problems
    }

    /// Parses a line. No error repeats it: it may be a token that was written there by mistake.
    fn parse_line(&mut self, line: &str) -> Result<(), &'static str> {
        let (name, hash) = line.split_once(':').ok_or("not NAME:HASH; \"ws-routerctl token NAME\" makes one")?;
        if !Token::is_name(name) {
            return Err("the name is not valid; use 1 to 64 letters, digits and - _ . @");
        }
        let hash =
            hash.trim().parse().map_err(|_| "the hash is not 64 hex digits; \"ws-routerctl token NAME\" makes one")?;
        match self.names.insert(hash, name.into()) {
            None => Ok(()),
            Some(_) => Err("another line has the same hash; remove one of them"),
        }
    }
}
