//! The keys of registrations, and the tokens that admit devices. They are hashed as soon as they are parsed, compared in
//! constant time, and never shown.
//!
//! Keys exist only in memory, so a fast hash keyed with a random secret of this process is enough: an attacker who can
//! read the hashes can read the process's memory anyway, and a slow key derivation on a public endpoint would allow a
//! denial of service. Tokens are stored in a file as hashes. A fast hash is enough for these, too, since a token has 256
//! random bits, too many to try.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A key or host key as a device sent it; its `Debug` output doesn't contain it.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Creates a key from a decoded parameter.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A hashed key; `==` takes the same time wherever two hashes differ.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "[u8; 32]", into = "[u8; 32]")]
pub struct KeyHash(blake3::Hash);

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }
}

impl From<KeyHash> for [u8; 32] {
    fn from(hash: KeyHash) -> Self {
        *hash.0.as_bytes()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// Hashes keys with a random secret of this process; serialized only for a new process, through memory.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyHasher([u8; 32]);

impl KeyHasher {
    /// Returns a hasher with a random secret.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Hashes a key.
    pub fn hash(&self, key: &Key) -> KeyHash {
        KeyHash(blake3::keyed_hash(&self.0, key.0.as_bytes()))
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// A token that admits a device, as the device sent it; its `Debug` output doesn't contain it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Creates a token from the value that a device has sent.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the token for 256 random bits: 64 hex digits.
    pub fn from_bits(bits: [u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(bits).to_hex().to_string())
    }

    /// Returns whether a string is a valid name of a token: 1 to 64 letters, digits and `-_.@`.
    pub fn is_name(text: &str) -> bool {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c))
    }

    /// Returns the token itself, for output to its future owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the hash under which the file of tokens contains it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::Hash::from_bytes(blake3::derive_key(TOKENS, self.0.as_bytes())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A hashed token; `==` takes the same time wherever two hashes differ. Shown as 64 hex digits, which can't be used as a
/// token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(blake3::Hash);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl FromStr for TokenHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Context that separates hashes of tokens from all other hashes. If it changed, all token files would become invalid.
const TOKENS: &str = "ws-router 2026-11-23 access token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_hash_that_its_file_has_and_each_is_another() {
        let token = Token::from_bits([1; 32]);
        assert_eq!(token.reveal().len(), 64);
        assert_eq!(token.hash().to_string().parse::<TokenHash>().unwrap(), token.hash());
        assert_ne!(token.hash(), Token::from_bits([2; 32]).hash());
        assert_eq!(format!("{token:?} {:?}", token.hash()), "Token(..) TokenHash(..)");
        // Token files must remain valid for later versions of the program.
        let known = "65b1eb64217435b4aed786a0529f79d972e091a6cc020e7cced35c2a586e77bf";
        assert_eq!(Token::new("token".into()).hash().to_string(), known);
    }

    #[test]
    fn equal_keys_have_equal_hashes_within_a_process_and_others_elsewhere() {
        let (here, there) = (KeyHasher::new([1; 32]), KeyHasher::new([2; 32]));
        let key = Key::new("secret".into());
        assert_eq!(here.hash(&key), here.hash(&Key::new("secret".into())));
        assert_ne!(here.hash(&key), here.hash(&Key::new("Secret".into())));
        assert_ne!(here.hash(&key), there.hash(&key));
    }

    #[test]
    fn nothing_of_a_key_is_ever_shown() {
        let key = Key::new("hunter2".into());
        let hasher = KeyHasher::new([3; 32]);
        for shown in [format!("{key:?}"), format!("{:?}", hasher.hash(&key)), format!("{hasher:?}")] {
            assert!(shown.ends_with("(..)"), "{shown}");
        }
    }
}
