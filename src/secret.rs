//! The keys of registrations: hashed as soon as they are parsed, compared in constant time, never shown.
//!
//! Keys live in memory only, so a fast hash keyed with a random value of this process is enough: who can read the
//! hashes can read the process's memory anyway, and a slow key derivation on an open endpoint would be a denial of
//! service.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A key or host key as a device sent it; shows nothing of itself.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Takes a decoded parameter.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A hashed key; `==` takes the same time wherever two differ.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Hashes keys with this process's random value; serialized only for a successor, through memory.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyHasher([u8; 32]);

impl KeyHasher {
    /// Draws the process's random value; fails where the kernel has no randomness to give.
    pub fn random() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(secret))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_have_equal_hashes_within_a_process_and_others_elsewhere() {
        let (here, there) = (KeyHasher::random().unwrap(), KeyHasher::random().unwrap());
        let key = Key::new("secret".into());
        assert_eq!(here.hash(&key), here.hash(&Key::new("secret".into())));
        assert_ne!(here.hash(&key), here.hash(&Key::new("Secret".into())));
        assert_ne!(here.hash(&key), there.hash(&key));
    }

    #[test]
    fn nothing_of_a_key_is_ever_shown() {
        let key = Key::new("hunter2".into());
        let hasher = KeyHasher::random().unwrap();
        for shown in [format!("{key:?}"), format!("{:?}", hasher.hash(&key)), format!("{hasher:?}")] {
            assert!(shown.ends_with("(..)"), "{shown}");
        }
    }
}
