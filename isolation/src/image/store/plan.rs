//! Finds out which image a name means, and what it is made of (CT-66).

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Mutex;

use super::pull::Pull;
use crate::image::local::{Found, Local, Part};
use crate::image::manifest::{
    Configuration, DOCUMENT_BYTES, Descriptor, Document, LAYERS, check_layer, choose,
    configuration, document,
};
use crate::image::registry::Registry;
use crate::image::transfer::{Verified, check_digest, digest_of};
use crate::image::{Digest, ImageError, Source};

/// Indexes that lead to indexes.
const NESTED: usize = 4;

/// Where an image comes from, opened.
pub(super) enum Origin<'o> {
    Registry(Registry<'o>),
    Local(Local),
}

/// What was found out about an image.
pub(super) struct Plan {
    pub(super) digest: Digest,
    pub(super) config_digest: Digest,
    pub(super) config_bytes: Vec<u8>,
    pub(super) configuration: Configuration,
    /// The lowest first, each once.
    pub(super) layers: Vec<Planned>,
}

pub(super) struct Planned {
    pub(super) diff_id: Digest,
    pub(super) packed: Packed,
}

/// Where a layer is.
pub(super) enum Packed {
    /// To be asked for, or to be compared.
    Described(Descriptor),
    /// In an archive that says no digests; its diff id is all there is to compare with.
    Saved(Part),
}

impl Pull<'_> {
    pub(super) fn origin(&self) -> Result<Origin<'_>, ImageError> {
        match &self.wanted.source {
            Source::Registry(reference) => {
                let default = self.options().default_registry.as_deref();
                let reference = reference.resolved(default)?;
                let host = reference.registry().unwrap_or_default().to_owned();
                Ok(Origin::Registry(Registry {
                    agent: self.shared.clients.to(self.options().may_be_here(&host)),
                    mover: self.mover(),
                    scheme: self.options().scheme(&host),
                    credentials: self.keyring.find(&host).cloned(),
                    host,
                    repository: reference.repository().to_owned(),
                    authorization: Mutex::new(None),
                }))
            }
            Source::Layout { path, .. } => Local::directory(path).map(Origin::Local),
            Source::Archive { path, .. } => Local::archive(path, self.limits()).map(Origin::Local),
        }
    }

    /// Finds out which image it is, and what it is made of.
    pub(super) fn plan(&self, origin: &Origin<'_>) -> Result<Plan, ImageError> {
        match (&self.wanted.source, origin) {
            (Source::Registry(reference), Origin::Registry(registry)) => {
                let version = reference.version();
                let (bytes, stated) = self.again(|| registry.document(&version))?;
                let found = digest_of(&bytes, reference.digest());
                if let Some(expected) = reference.digest() {
                    check_digest(&self.key.reference, found.clone(), expected)?;
                }
                self.described(origin, found, &bytes, stated.as_deref())
            }
            (Source::Layout { name, .. } | Source::Archive { name, .. }, Origin::Local(local)) => {
                match local.find(&self.mover(), name.as_deref(), self.platform())? {
                    Found::Described(descriptor) => {
                        let bytes = self.small(origin, &descriptor)?;
                        let stated = Some(descriptor.media_type.as_str());
                        let stated = stated.filter(|stated| !stated.is_empty());
                        self.described(origin, descriptor.digest, &bytes, stated)
                    }
                    Found::Saved { config, layers } => self.saved(config, layers),
                }
            }
            // An origin is opened by its source.
            (Source::Registry(_), Origin::Local(_))
            | (Source::Layout { .. } | Source::Archive { .. }, Origin::Registry(_)) => {
                Err(self.malformed("its source is of another kind"))
            }
        }
    }

    /// Follows indexes to the manifest for the platform.
    fn described(
        &self,
        origin: &Origin<'_>,
        mut digest: Digest,
        bytes: &[u8],
        stated: Option<&str>,
    ) -> Result<Plan, ImageError> {
        let what = &self.key.reference;
        let mut found = document(what, bytes, stated)?;
        for _ in 0..NESTED {
            let manifest = match found {
                Document::Manifest(manifest) => manifest,
                Document::Index(offered) => {
                    let chosen = choose(what, &offered, self.platform())?;
                    let bytes = self.manifest(origin, chosen)?;
                    let stated = Some(chosen.media_type.as_str());
                    let stated = stated.filter(|stated| !stated.is_empty());
                    found = document(what, &bytes, stated)?;
                    digest = chosen.digest.clone();
                    continue;
                }
            };
            let config_bytes = self.small(origin, &manifest.config)?;
            let packed = manifest.layers.into_iter().map(Packed::Described).collect();
            return self.planned(digest, manifest.config.digest, config_bytes, packed);
        }
        Err(self.malformed("indexes lead to indexes"))
    }

    /// What `docker save` wrote has no manifest: the image is named by its configuration.
    fn saved(&self, mut config: Part, layers: Vec<Part>) -> Result<Plan, ImageError> {
        let what = format!("the configuration of {}", self.key.reference);
        let bytes = self.mover().whole(&what, &mut config, DOCUMENT_BYTES)?;
        let digest = digest_of(&bytes, None);
        let packed = layers.into_iter().map(Packed::Saved).collect();
        self.planned(digest.clone(), digest, bytes, packed)
    }

    fn planned(
        &self,
        digest: Digest,
        config_digest: Digest,
        config_bytes: Vec<u8>,
        packed: Vec<Packed>,
    ) -> Result<Plan, ImageError> {
        let what = format!("the configuration of {}", self.key.reference);
        let configuration = configuration(&what, &config_bytes)?;
        configuration.check_platform(&self.key.reference, self.platform())?;
        let diff_ids = &configuration.diff_ids;
        if diff_ids.len() != packed.len() {
            let (ids, layers) = (diff_ids.len(), packed.len());
            return Err(self.malformed(&format!("{layers} layers with {ids} diff ids")));
        }
        if packed.len() > LAYERS {
            let (found, most) = (packed.len(), LAYERS);
            return Err(self.malformed(&format!("{found} layers, and the kernel stacks {most}")));
        }
        let mut layers = Vec::new();
        let mut seen = BTreeSet::new();
        // A layer that comes twice counts where it is uppermost: what is below of it is the same.
        for (diff_id, packed) in diff_ids.iter().zip(packed).rev() {
            if let Packed::Described(descriptor) = &packed {
                check_layer(descriptor)?;
            }
            if seen.insert(diff_id) {
                let diff_id = diff_id.clone();
                layers.push(Planned { diff_id, packed });
            }
        }
        layers.reverse();
        Ok(Plan {
            digest,
            config_digest,
            config_bytes,
            configuration,
            layers,
        })
    }

    /// Asks for a manifest by its digest.
    fn manifest(
        &self,
        origin: &Origin<'_>,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, ImageError> {
        let Origin::Registry(registry) = origin else {
            return self.small(origin, descriptor);
        };
        let what = format!("manifest {} of {}", descriptor.digest, self.key.reference);
        let version = descriptor.digest.to_string();
        let (bytes, _) = self.again(|| registry.document(&version))?;
        let mut verified = Verified::new(&what, descriptor);
        let count = bytes.len() as u64;
        verified.take(&bytes, count)?;
        verified.finish(count)?;
        Ok(bytes)
    }

    /// Asks for a document that is held in memory.
    fn small(&self, origin: &Origin<'_>, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let what = format!("{} of {}", descriptor.digest, self.key.reference);
        if descriptor.size > DOCUMENT_BYTES {
            let limit = DOCUMENT_BYTES;
            return Err(ImageError::TooLarge { what, limit });
        }
        self.again(|| {
            let mut verified = Verified::new(&what, descriptor);
            let mut whole = Vec::new();
            let mut from: Box<dyn Read> = match origin {
                Origin::Registry(registry) => registry.blob(&what, descriptor, 0)?.body,
                Origin::Local(local) => Box::new(local.blob(&descriptor.digest)?),
            };
            let received = self.mover().pour(&what, &mut from, 0, |bytes, received| {
                verified.take(bytes, received)?;
                whole.extend_from_slice(bytes);
                Ok(())
            })?;
            verified.finish(received)?;
            Ok(whole)
        })
    }

    fn malformed(&self, reason: &str) -> ImageError {
        ImageError::Malformed {
            what: self.key.reference.clone(),
            reason: reason.to_owned(),
        }
    }
}
