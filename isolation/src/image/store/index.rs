//! What a store remembers of images: which name led to which layers (CT-66, `storedImages`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::{Digest, Platform};

const NAME: &str = "images.json";
const UNFINISHED: &str = "images.json.new";
const FORMAT: u32 = 1;

/// What an image is remembered under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The reference with its registry and version, or a local path with a name.
    pub(super) reference: String,
    pub(super) platform: Platform,
}

/// What is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) config: Digest,
    /// Diff ids, the lowest first, each once.
    pub(super) layers: Vec<Digest>,
}

pub(super) type Records = BTreeMap<Key, Record>;

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    images: Vec<WrittenRecord>,
}

#[derive(Serialize, Deserialize)]
struct WrittenRecord {
    reference: String,
    os: String,
    architecture: String,
    variant: Option<String>,
    digest: String,
    config: String,
    layers: Vec<String>,
}

/// Reads what is remembered; `None` if there is nothing that can be read.
pub(super) fn read(directory: &Path) -> Option<Records> {
    let bytes = match fs::read(directory.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, "what images there are cannot be read");
            return None;
        }
    };
    let records = serde_json::from_slice::<Written>(&bytes).ok();
    let records = records.filter(|written| written.format == FORMAT);
    let records = records.and_then(|written| {
        let records = written.images.into_iter().map(record);
        records.collect::<Option<Records>>()
    });
    if records.is_none() {
        tracing::warn!("what images there are is not written as it should be");
    }
    records
}

fn record(written: WrittenRecord) -> Option<(Key, Record)> {
    let platform = Platform {
        os: written.os,
        architecture: written.architecture,
        variant: written.variant,
    };
    let key = Key {
        reference: written.reference,
        platform,
    };
    let layers = written.layers.iter().map(|text| text.parse().ok());
    let record = Record {
        digest: written.digest.parse().ok()?,
        config: written.config.parse().ok()?,
        layers: layers.collect::<Option<_>>()?,
    };
    Some((key, record))
}

/// Writes what is remembered, whole or not at all.
pub(super) fn write(directory: &Path, records: &Records) -> io::Result<()> {
    let images = records.iter().map(|(key, record)| WrittenRecord {
        reference: key.reference.clone(),
        os: key.platform.os.clone(),
        architecture: key.platform.architecture.clone(),
        variant: key.platform.variant.clone(),
        digest: record.digest.to_string(),
        config: record.config.to_string(),
        layers: record.layers.iter().map(ToString::to_string).collect(),
    });
    let written = Written {
        format: FORMAT,
        images: images.collect(),
    };
    let bytes = serde_json::to_vec(&written)?;
    replace(directory, UNFINISHED, NAME, &bytes)
}

/// Puts a file in the place of another: it is the one or the other, also after a crash.
pub(super) fn replace(
    at: &Path,
    unfinished: impl AsRef<Path>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let path = at.join(unfinished);
    let mut file = File::create(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&path, at.join(name))?;
    File::open(at)?.sync_all()
}
