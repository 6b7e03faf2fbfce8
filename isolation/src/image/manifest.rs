//! The documents of an image: indexes, manifests and configurations, of OCI and of Docker.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::config::{Config, Written};
use super::{Digest, ImageError};

/// The media types of documents that can be had, in the order of preference.
pub(super) const DOCUMENTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// What a document may have at most: it is held in memory.
pub(super) const DOCUMENT_BYTES: u64 = 4 << 20;
/// As many layers as the kernel stacks.
pub(super) const LAYERS: usize = 500;
/// By what a layout says the name of a manifest.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

/// For which machines an image is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// As Go calls it: `amd64`, `arm64`.
    pub architecture: String,
    /// A variant of the architecture; without one any is right.
    pub variant: Option<String>,
}

impl Platform {
    /// The machine that this was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            same => same,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    fn is_met_by(&self, offered: &Offered) -> bool {
        let is_variant = match (&self.variant, &offered.variant) {
            (Some(wanted), Some(offered)) => wanted == offered,
            (Some(_), None) | (None, _) => true,
        };
        self.os == offered.os && self.architecture == offered.architecture && is_variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// What a document says of the platform.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Offered {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a document says of another document or a layer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(super) digest: Digest,
    pub(super) size: u64,
    platform: Option<Offered>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(super) fn has_platform(&self) -> bool {
        self.platform.is_some()
    }

    pub(super) fn name(&self) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(NAME)?)
    }
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn digests<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Digest>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let digests = texts.iter().map(|text| text.parse());
    digests.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// An index or a manifest.
#[derive(Debug)]
pub(super) enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    /// The lowest first.
    pub(super) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

/// Reads an index or a manifest. `stated` is what the server called it.
pub(super) fn document(
    what: &str,
    bytes: &[u8],
    stated: Option<&str>,
) -> Result<Document, ImageError> {
    let malformed = |reason: String| ImageError::Malformed {
        what: what.to_owned(),
        reason,
    };
    let written = serde_json::from_slice::<WrittenDocument>(bytes);
    let written = written.map_err(|error| malformed(error.to_string()))?;
    let own = written.media_type.as_deref();
    let media_type = own.or(stated).unwrap_or_default();
    if written.schema_version != Some(2) || written.fs_layers.is_some() {
        let version = written.schema_version.unwrap_or(0);
        return Err(ImageError::MediaType {
            what: what.to_owned(),
            media_type: format!("{media_type}, schema version {version}"),
        });
    }
    // One that is both could be read as either, with one digest.
    let is_index = |name: &str| name == DOCUMENTS[0] || name == DOCUMENTS[2];
    let is_manifest = |name: &str| name == DOCUMENTS[1] || name == DOCUMENTS[3];
    match (written.manifests, written.config, written.layers) {
        (Some(manifests), None, None) if !is_manifest(media_type) => Ok(Document::Index(manifests)),
        (None, Some(config), Some(layers)) if !is_index(media_type) => {
            Ok(Document::Manifest(Manifest { config, layers }))
        }
        _ => Err(malformed(format!(
            "neither an index nor a manifest, or both ({media_type:?})"
        ))),
    }
}

/// The first of an index that is for the platform.
pub(super) fn choose<'d>(
    what: &str,
    offered: &'d [Descriptor],
    wanted: &Platform,
) -> Result<&'d Descriptor, ImageError> {
    let is_right = |descriptor: &&Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|platform| wanted.is_met_by(platform))
    };
    if let Some(found) = offered.iter().find(is_right) {
        return Ok(found);
    }
    // The configuration says it then.
    let is_silent = |descriptor: &&Descriptor| descriptor.platform.is_none();
    let mut silent = offered.iter().filter(is_silent);
    if let (Some(only), None) = (silent.next(), silent.next()) {
        return Ok(only);
    }
    let mut names = offered.iter().map(|descriptor| match &descriptor.platform {
        Some(platform) => platform.to_string(),
        None => "no platform".to_owned(),
    });
    let mut shown: Vec<_> = names.by_ref().take(16).collect();
    if names.next().is_some() {
        shown.push("others".into());
    }
    Err(ImageError::Platform {
        what: what.to_owned(),
        wanted: wanted.clone(),
        offered: shown.join(", "),
    })
}

/// Whether a layer can be unpacked, by its type; which compression it has, its content says.
pub(super) fn check_layer(layer: &Descriptor) -> Result<(), ImageError> {
    const PREFIXES: [&str; 4] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let rests = PREFIXES.iter();
    let mut rests = rests.filter_map(|prefix| layer.media_type.strip_prefix(prefix));
    let is_known = |rest: &str| matches!(rest, "" | ".gzip" | "+gzip" | "+zstd" | ".zstd");
    if layer.media_type.is_empty() || rests.any(is_known) {
        return Ok(());
    }
    Err(ImageError::MediaType {
        what: format!("layer {}", layer.digest),
        media_type: layer.media_type.clone(),
    })
}

/// What an image's configuration says.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) config: Config,
    /// The digests of the unpacked layers, the lowest first.
    pub(super) diff_ids: Vec<Digest>,
    platform: Offered,
}

#[derive(Deserialize)]
struct WrittenConfiguration {
    #[serde(flatten)]
    platform: Offered,
    config: Option<Written>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "digests")]
    diff_ids: Vec<Digest>,
}

/// Reads a configuration.
pub(super) fn configuration(what: &str, bytes: &[u8]) -> Result<Configuration, ImageError> {
    let malformed = |reason: String| ImageError::Malformed {
        what: what.to_owned(),
        reason,
    };
    let written = serde_json::from_slice::<WrittenConfiguration>(bytes);
    let written = written.map_err(|error| malformed(error.to_string()))?;
    if written.rootfs.kind != "layers" {
        let kind = written.rootfs.kind;
        return Err(malformed(format!("a root filesystem of type {kind:?}")));
    }
    Ok(Configuration {
        config: written.config.unwrap_or_default().into(),
        diff_ids: written.rootfs.diff_ids,
        platform: written.platform,
    })
}

impl Configuration {
    /// Refuses what cannot run here.
    pub(super) fn check_platform(&self, what: &str, wanted: &Platform) -> Result<(), ImageError> {
        if wanted.is_met_by(&self.platform) {
            return Ok(());
        }
        Err(ImageError::Platform {
            what: what.to_owned(),
            wanted: wanted.clone(),
            offered: self.platform.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_an_index_or_a_manifest_and_not_both() {
        // CT-66
        let sum = format!("sha256:{}", "a".repeat(64));
        let one = format!(r#"{{"digest":"{sum}","size":1}}"#);
        let manifest = format!(r#""config":{one},"layers":[{one}]"#);
        let index = format!(r#""manifests":[{one}]"#);
        let read = |rest: &str, stated: Option<&str>| {
            let text = format!(r#"{{"schemaVersion":2,{rest}}}"#);
            document("x", text.as_bytes(), stated)
        };
        assert!(matches!(read(&manifest, None), Ok(Document::Manifest(_))));
        assert!(matches!(read(&index, None), Ok(Document::Index(_))));
        for (rest, stated) in [
            (format!("{manifest},{index}"), None),
            (manifest.clone(), Some(DOCUMENTS[0])),
            (index.clone(), Some(DOCUMENTS[3])),
            (
                format!(r#""mediaType":"{}",{manifest}"#, DOCUMENTS[2]),
                Some(DOCUMENTS[3]),
            ),
            (r#""x":1"#.into(), None),
        ] {
            let error = read(&rest, stated).unwrap_err();
            assert!(
                matches!(error, ImageError::Malformed { .. }),
                "{rest}: {error}"
            );
        }
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        let error = document("x", old, None).unwrap_err();
        assert!(matches!(error, ImageError::MediaType { .. }), "{error}");
    }

    #[test]
    fn layers_have_types_that_can_be_unpacked() {
        let sum = format!("sha256:{}", "a".repeat(64));
        let text = format!(r#"{{"digest":"{sum}","size":1}}"#);
        let mut layer: Descriptor = serde_json::from_str(&text).unwrap();
        for (media_type, is_known) in [
            ("", true),
            ("application/vnd.oci.image.layer.v1.tar", true),
            ("application/vnd.oci.image.layer.v1.tar+zstd", true),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                false,
            ),
            ("application/vnd.oci.empty.v1+json", false),
        ] {
            layer.media_type = media_type.into();
            assert_eq!(check_layer(&layer).is_ok(), is_known, "{media_type}");
        }
    }
}
