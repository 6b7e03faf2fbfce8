//! Images that tests make: layers entry by entry, also such as no tool would write.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A layer that is being written.
#[derive(Default)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An entry with a header that nobody checks.
    pub(crate) fn entry(
        mut self,
        kind: u8,
        name: &str,
        mode: u32,
        link: &str,
        body: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(4321);
        header.set_gid(1234);
        header.set_mtime(1_000_000_000);
        header.set_size(body.len() as u64);
        header.set_entry_type(tar::EntryType::new(kind));
        let raw = header.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, body: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', name, 0o644, "", body.as_ref())
    }

    pub(crate) fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(b'5', name, mode, "", b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, 0o777, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, 0o644, target, b"")
    }

    pub(crate) fn whiteout(self, name: &str) -> Self {
        self.file(name, "")
    }

    /// Says more of the next entry.
    pub(crate) fn extended(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            body.extend(format!("{length} {key}=").bytes());
            body.extend(*value);
            body.push(b'\n');
        }
        self.entry(b'x', "PaxHeaders/next", 0o644, "", &body)
    }

    /// With the blocks that end an archive.
    pub(crate) fn done(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// Without them.
    pub(crate) fn raw(self) -> Vec<u8> {
        self.bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) fn noise(count: usize, mut seed: u64) -> Vec<u8> {
    let step = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(count).collect()
}

/// What a registry has of an image.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) manifest: Vec<u8>,
    pub(crate) media_type: &'static str,
    /// By digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) config: String,
    /// The digests of the packed layers.
    pub(crate) layers: Vec<String>,
    pub(crate) diff_ids: Vec<String>,
}

impl Built {
    /// Of unpacked layers, compressed by gzip.
    pub(crate) fn of(layers: &[Vec<u8>]) -> Self {
        let packed = layers.iter().map(|layer| (layer.clone(), gzip(layer)));
        Self::packed(&packed.collect::<Vec<_>>(), &json!({"Cmd": ["/bin/true"]}))
    }

    /// Of layers, unpacked and packed.
    pub(crate) fn packed(layers: &[(Vec<u8>, Vec<u8>)], config: &Value) -> Self {
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|(unpacked, _)| digest(unpacked))
            .collect();
        let document = json!({
            "os": "linux",
            "architecture": architecture(),
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let packed = layers.iter().map(|(_, packed)| packed.clone()).collect();
        Self::described(&document, packed, diff_ids)
    }

    /// With a configuration as it is.
    pub(crate) fn described(document: &Value, packed: Vec<Vec<u8>>, diff_ids: Vec<String>) -> Self {
        let config = serde_json::to_vec(document).unwrap();
        let mut built = Self {
            manifest: Vec::new(),
            media_type: MANIFEST,
            config: digest(&config),
            layers: packed.iter().map(|layer| digest(layer)).collect(),
            diff_ids,
            blobs: BTreeMap::new(),
        };
        built.blobs.insert(built.config.clone(), config);
        for layer in packed {
            built.blobs.insert(digest(&layer), layer);
        }
        built.rewrite(|_| {});
        built
    }

    /// As Docker names the types.
    pub(crate) fn docker(mut self) -> Self {
        self.media_type = DOCKER_MANIFEST;
        self.rewrite(|_| {});
        self
    }

    /// Writes the manifest, with a change.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut Value)) {
        let (config, layer) = if self.media_type == MANIFEST {
            (CONFIG, LAYER)
        } else {
            (DOCKER_CONFIG, DOCKER_LAYER)
        };
        let described = |media_type: &str, digest: &String| {
            let size = self.blobs[digest].len();
            json!({"mediaType": media_type, "digest": digest, "size": size})
        };
        let layers = self.layers.iter().map(|digest| described(layer, digest));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": described(config, &self.config),
            "layers": layers.collect::<Vec<_>>(),
        });
        change(&mut manifest);
        self.manifest = serde_json::to_vec(&manifest).unwrap();
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    pub(crate) fn descriptor(&self, name: Option<&str>) -> Value {
        let mut descriptor = json!({
            "mediaType": self.media_type,
            "digest": self.digest(),
            "size": self.manifest.len(),
        });
        if let Some(name) = name {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        descriptor
    }

    /// Writes a layout, beside what is there.
    pub(crate) fn write_layout(&self, directory: &Path, name: Option<&str>) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let manifest = (self.digest(), self.manifest.clone());
        for (digest, bytes) in self.blobs.clone().into_iter().chain([manifest]) {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        }
        fs::write(
            directory.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        let index = directory.join("index.json");
        let mut manifests = match fs::read(&index) {
            Ok(bytes) => serde_json::from_slice::<Value>(&bytes).unwrap()["manifests"].take(),
            Err(_) => json!([]),
        };
        manifests
            .as_array_mut()
            .unwrap()
            .push(self.descriptor(name));
        let document = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(index, document.to_string()).unwrap();
    }
}

pub(crate) fn architecture() -> String {
    tepui_isolation::image::Platform::host().architecture
}
