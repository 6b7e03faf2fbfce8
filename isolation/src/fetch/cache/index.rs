//! The cache's index on disk: written whole beside the old one, and then in its place. One that is
//! torn or of another version is as good as none.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Key, State};
use crate::fetch::http::Validators;

const NAME: &str = "index";
const VERSION: u8 = 1;

/// What is remembered of the cache over restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// Size and last use of each content.
    pub(super) objects: BTreeMap<String, (u64, u64)>,
    /// Which content each item led to.
    pub(super) known: Vec<(Key, String, Validators, u64)>,
}

impl Index {
    pub(super) fn of(state: &State) -> Self {
        let objects = state.objects.iter();
        let objects = objects.map(|(content, o)| (content.clone(), (o.bytes, o.used)));
        let known = state.known.iter().map(|(key, known)| {
            let (content, validators) = (known.content.clone(), known.validators.clone());
            (key.clone(), content, validators, known.used)
        });
        Self {
            objects: objects.collect(),
            known: known.collect(),
        }
    }

    pub(super) fn read(directory: &Path) -> Self {
        let Ok(bytes) = fs::read(directory.join(NAME)) else {
            return Self::default();
        };
        Self::parse(&bytes).unwrap_or_else(|| {
            tracing::warn!("the index of the cache cannot be read: it begins anew");
            Self::default()
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (sum, body) = bytes.split_first_chunk::<4>()?;
        let (version, body) = body.split_first()?;
        let is_ours = *version == VERSION && u32::from_le_bytes(*sum) == crc32fast::hash(body);
        postcard::from_bytes(body).ok().filter(|_| is_ours)
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let fresh = directory.join("index.new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
        file.write_all(&[VERSION])?;
        file.write_all(&body)?;
        fs::rename(&fresh, directory.join(NAME))
    }
}
