//! The key of a registration, as the commands that join one find it.
//!
//! It comes from the environment or a file, so that it doesn't appear in the list of processes.

use std::path::Path;

use super::dial::{SetupError, read_secret};
use super::error::Error;

/// The key that the ends of a registration know.
pub(super) struct Key(String);

impl Key {
    /// Takes a key that the program was given, or has made.
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// Reads the key from a file, or else from the environment, where it may be missing.
    pub(super) fn find(file: Option<&Path>) -> Result<Option<Self>, SetupError> {
        let given = match file {
            Some(file) => Some(read_secret("key", file, |_| true)?),
            None => std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        Ok(given.map(Self))
    }

    /// Reads the key from a file or the environment.
    pub(super) fn require(file: Option<&Path>) -> Result<Self, Error> {
        Self::find(file)?.ok_or_else(|| Error::Usage(format!("no key; set {KEY_VARIABLE}, or use --key-file")))
    }

    /// Returns the key as the router is sent it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Derives the host key of the registration, so that both ends have the same one.
    pub(super) fn host_key(&self) -> String {
        blake3::Hash::from_bytes(blake3::derive_key(HOST_KEY_CONTEXT, self.0.as_bytes())).to_hex().to_string()
    }
}

pub(super) const KEY_VARIABLE: &str = "WS_ROUTER_KEY";

/// Separates this use of a key from all others (BLAKE3's context).
const HOST_KEY_CONTEXT: &str = "ws-routerctl 2026-11 pipe host key";
