//! Sums by which content is known.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Algorithm, Context, SHA256, SHA512};

/// The algorithm of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Sha256,
    Sha512,
}

impl Kind {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// A checksum, as `sha256:` or `sha512:` and hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum {
    pub(crate) kind: Kind,
    hex: String,
}

/// A text that is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no checksum: it is sha256: with 64 or sha512: with 128 hexadecimal digits")]
pub struct InvalidChecksum(pub String);

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let invalid = || InvalidChecksum(text.chars().take(160).collect());
        let (name, hex) = text.split_once(':').ok_or_else(invalid)?;
        let kinds = [Kind::Sha256, Kind::Sha512];
        let kind = kinds.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(invalid)?;
        let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex || hex.len() != kind.algorithm().output_len() * 2 {
            return Err(invalid());
        }
        let hex = hex.to_ascii_lowercase();
        Ok(Self { kind, hex })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.hex)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Checksum {
    pub(crate) fn hex(&self) -> &str {
        &self.hex
    }
}

/// Computes the checksum of a kind.
pub(crate) struct Hash {
    kind: Kind,
    context: Context,
}

impl Hash {
    pub(crate) fn new(kind: Kind) -> Self {
        let context = Context::new(kind.algorithm());
        Self { kind, context }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Checksum {
        let digest = self.context.finish();
        let hex = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let kind = self.kind;
        Checksum { kind, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_hexadecimal_and_of_their_length() {
        let text = format!("sha256:{}", "aB".repeat(32));
        let sum: Checksum = text.parse().unwrap();
        assert_eq!(sum.to_string(), text.to_lowercase());
        assert!(
            format!("sha512:{}", "0".repeat(128))
                .parse::<Checksum>()
                .is_ok()
        );
        for bad in [
            "",
            "aa",
            "sha256:aa",
            &format!("sha512:{}", "0".repeat(64)),
            &format!("sha256:{}", "g".repeat(64)),
            &format!("md5:{}", "0".repeat(64)),
        ] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad:?}");
        }
    }
}
