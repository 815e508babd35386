//! The hash of a key, which is what is kept and compared.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BYTES: usize = 32;

/// The SHA-256 of a key. A slow hash would guard passwords, which can be guessed;
/// a key is 32 random bytes, and a client sends it with every request.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; BYTES]);

impl KeyHash {
    /// Of a key as clients send it.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether both are of one key, in a time that says nothing of either: hashes
    /// have one length, and all bytes are looked at.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The first 6 bytes in hex: enough to tell a few keys apart, and of no use to
    /// who wants to find one.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }

    fn parse(hex: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != 2 * BYTES || !hex.bytes().all(is_hex) {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for KeyHash {}

/// Lower-case hex.
impl fmt::Display for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyHash({}…)", self.short())
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::parse(&hex)
            .ok_or_else(|| de::Error::custom("a sha256 is 64 digits of lower-case hex"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_of_a_hash_counts() {
        let hash = KeyHash::of("a");
        let hex = hash.to_string();
        assert_eq!(KeyHash::parse(&hex), Some(hash));
        for at in 0..hex.len() {
            let digit = if &hex[at..=at] == "0" { "1" } else { "0" };
            let other = format!("{}{digit}{}", &hex[..at], &hex[at + 1..]);
            assert_ne!(KeyHash::parse(&other), Some(hash), "{other}");
            assert_eq!(KeyHash::parse(&hex[..at]), None);
        }
        assert_eq!(KeyHash::parse(&format!("{hex}0")), None);
        assert_eq!(KeyHash::parse(&"é".repeat(32)), None);
    }
}
