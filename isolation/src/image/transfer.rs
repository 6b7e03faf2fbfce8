//! Moves content from a registry or a file: counted, called off, and not slower than is borne.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::manifest::Descriptor;
use super::{Cancel, Digest, ImageError};
use crate::content::http::is_timeout;
use crate::content::{Hash, Pace};

const BUFFER_BYTES: usize = 256 << 10;

/// How content is moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mover<'m> {
    pub(super) cancel: &'m Cancel,
    pub(super) stall: Duration,
}

impl Mover<'_> {
    /// Moves until the end. `received` came before; returns what came in all.
    pub(super) fn pour(
        &self,
        what: &str,
        from: &mut dyn Read,
        mut received: u64,
        mut into: impl FnMut(&[u8], u64) -> Result<(), ImageError>,
    ) -> Result<u64, ImageError> {
        let mut pace = Pace::new(self.stall);
        let mut buffer = vec![0; BUFFER_BYTES];
        let what = || what.to_owned();
        loop {
            self.cancel.check()?;
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(received),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => {
                    let what = what();
                    return Err(ImageError::Stalled { what, received });
                }
                Err(source) => {
                    return Err(ImageError::Transfer {
                        what: what(),
                        received,
                        source,
                    });
                }
            };
            received += count as u64;
            into(&buffer[..count], received)?;
            if pace.is_stalled(Instant::now(), count as u64) {
                let what = what();
                return Err(ImageError::Stalled { what, received });
            }
        }
    }

    /// Holds a document in memory, of at most so many bytes.
    pub(super) fn whole(
        &self,
        what: &str,
        from: &mut dyn Read,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let mut whole = Vec::new();
        self.pour(what, from, 0, |bytes, received| {
            if received > limit {
                let what = what.to_owned();
                return Err(ImageError::TooLarge { what, limit });
            }
            whole.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(whole)
    }
}

/// Content that is compared with its descriptor on its way.
pub(super) struct Verified<'v> {
    what: &'v str,
    descriptor: &'v Descriptor,
    hash: Hash,
}

impl<'v> Verified<'v> {
    pub(super) fn new(what: &'v str, descriptor: &'v Descriptor) -> Self {
        Self {
            what,
            descriptor,
            hash: Hash::new(descriptor.digest.kind),
        }
    }

    /// Some more of it, `received` bytes with these.
    pub(super) fn take(&mut self, bytes: &[u8], received: u64) -> Result<(), ImageError> {
        if received > self.descriptor.size {
            return Err(self.size(received));
        }
        self.hash.update(bytes);
        Ok(())
    }

    /// That is all.
    pub(super) fn finish(self, received: u64) -> Result<(), ImageError> {
        if received != self.descriptor.size {
            return Err(self.size(received));
        }
        check_digest(self.what, self.hash.finish(), &self.descriptor.digest)
    }

    fn size(&self, actual: u64) -> ImageError {
        ImageError::Size {
            what: self.what.to_owned(),
            expected: self.descriptor.size,
            actual,
        }
    }
}

/// The digest of what is in memory.
pub(super) fn digest_of(bytes: &[u8], like: Option<&Digest>) -> Digest {
    let kind = like.map_or(crate::content::Kind::Sha256, |digest| digest.kind);
    let mut hash = Hash::new(kind);
    hash.update(bytes);
    hash.finish()
}

/// Refuses content that has another digest.
pub(super) fn check_digest(what: &str, found: Digest, expected: &Digest) -> Result<(), ImageError> {
    if found == *expected {
        return Ok(());
    }
    Err(ImageError::Mismatch {
        what: what.to_owned(),
        expected: expected.clone(),
        found,
    })
}
