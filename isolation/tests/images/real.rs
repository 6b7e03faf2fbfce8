//! A real registry.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tepui_isolation::image::{Credentials, Digest, ImageError, Keyring, Platform, Scheme, Wanted};

use super::*;
use crate::registry::Registry;

fn rich() -> Vec<Vec<u8>> {
    let lower = Layer::new()
        .directory("./", 0o750)
        .directory("etc", 0o755)
        .file("etc/keep", "kept")
        .file("etc/gone", "gone")
        .directory("old", 0o755)
        .file("old/a", "a")
        .done();
    let upper = Layer::new()
        .directory("etc/", 0o755)
        .entry(b'0', "etc/tool", 0o4755, "", b"tool")
        .hard_link("etc/same", "etc/tool")
        .link("etc/mtab", "/proc/mounts")
        .whiteout("etc/.wh.gone")
        .directory("old", 0o1777)
        .whiteout("old/.wh..wh..opq")
        .file("old/b", "b")
        .extended(&[
            ("SCHILY.xattr.user.note", b"a\nb\0c"),
            ("mtime", b"1234567890.5"),
        ])
        .file("noted", noise(300_000, 1))
        .entry(b'6', "pipe", 0o622, "", b"")
        .done();
    let last = Layer::new().file("implied/deep/file", "x").done();
    vec![lower, upper, last]
}

#[test]
fn an_image_of_a_real_registry_becomes_layers_for_overlayfs() {
    // CT-66, CT-68: whiteouts, owners, modes, times, attributes, links; three compressions.
    if !is_root("to keep owners") {
        return;
    }
    let Some(registry) = Registry::start(|_| String::new()) else {
        return;
    };
    let layers = rich();
    let packed = [gzip(&layers[0]), zstd(&layers[1]), layers[2].clone()];
    let both: Vec<_> = layers.into_iter().zip(packed).collect();
    let config = json!({"Entrypoint": ["/e"], "Env": ["A=b"], "WorkingDir": "/w", "User": "u"});
    let built = Built::packed(&both, &config);
    registry.push(&built, "team/app", "v1", None);
    let place = Place::new();
    let image = place.pull(&registry.name("team/app:v1")).unwrap();
    assert_eq!(image.digest.to_string(), built.digest());
    assert_eq!(image.reference, registry.name("team/app:v1"));
    assert_eq!(image.config.entrypoint, ["/e"]);
    assert_eq!(image.config.working_directory.as_deref(), Some("/w"));
    let hex = |i: usize| built.diff_ids[i].trim_start_matches("sha256:").to_owned();
    let expected = [0, 1, 2].map(|i| place.path("store/layers/sha256").join(hex(i)));
    assert_eq!(image.layers, expected);
    let [lower, upper, last] = expected;
    assert_eq!(fs::metadata(&lower).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read(lower.join("etc/keep")).unwrap(), b"kept");
    let tool = fs::metadata(upper.join("etc/tool")).unwrap();
    assert_eq!(
        (tool.uid(), tool.gid(), tool.mode() & 0o7777),
        (4321, 1234, 0o4755)
    );
    assert_eq!((tool.mtime(), tool.nlink()), (1_000_000_000, 2));
    assert_eq!(
        tool.ino(),
        fs::metadata(upper.join("etc/same")).unwrap().ino()
    );
    let link = fs::read_link(upper.join("etc/mtab")).unwrap();
    assert_eq!(link, Path::new("/proc/mounts"));
    let link = fs::symlink_metadata(upper.join("etc/mtab")).unwrap();
    assert_eq!((link.uid(), link.mtime()), (4321, 1_000_000_000));
    let gone = fs::symlink_metadata(upper.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(!upper.join("etc/.wh.gone").exists() && !upper.join("old/.wh..wh..opq").exists());
    let opaque = attribute(&upper.join("old"), "trusted.overlay.opaque");
    assert_eq!(opaque.as_deref(), Some(&b"y"[..]));
    assert_eq!(
        attribute(&upper.join("etc"), "trusted.overlay.opaque"),
        None
    );
    let old = fs::metadata(upper.join("old")).unwrap();
    assert_eq!((old.mode() & 0o7777, old.mtime()), (0o1777, 1_000_000_000));
    let noted = upper.join("noted");
    assert_eq!(
        attribute(&noted, "user.note").as_deref(),
        Some(&b"a\nb\0c"[..])
    );
    let time = fs::metadata(&noted).unwrap();
    assert_eq!(
        (time.mtime(), time.mtime_nsec()),
        (1_234_567_890, 500_000_000)
    );
    assert_eq!(fs::read(&noted).unwrap(), noise(300_000, 1));
    let pipe = fs::metadata(upper.join("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o777 == 0o622);
    let implied = fs::metadata(last.join("implied/deep")).unwrap();
    assert_eq!((implied.uid(), implied.mode() & 0o7777), (0, 0o755));
    assert!(place.stored("unfinished").is_empty());
}

#[test]
fn with_cached_nobody_is_asked_and_without_a_tag_is_looked_up_again() {
    // CT-66
    let Some(registry) = Registry::start(|_| String::new()) else {
        return;
    };
    let first = small();
    registry.push(&first, "app", "latest", None);
    let place = Place::new();
    let name = registry.name("app");
    let image = place.pull(&name).unwrap();
    assert_eq!(image.digest.to_string(), first.digest());
    let lower = Layer::new()
        .directory("etc", 0o755)
        .file("etc/name", "lower")
        .done();
    let second = Built::of(&[lower, Layer::new().file("new", "new").done()]);
    registry.push(&second, "app", "latest", None);
    assert_eq!(
        place.pull(&name).unwrap().digest.to_string(),
        first.digest()
    );
    let newer = place.store.provide(&again(&name)).unwrap();
    assert_eq!(newer.digest.to_string(), second.digest());
    assert_eq!(newer.layers[0], image.layers[0]);
    assert_eq!(place.pull(&name).unwrap().digest, newer.digest);
    let pinned = format!("{name}@{}", first.digest());
    assert_eq!(place.pull(&pinned).unwrap().digest, image.digest);
    let unknown = format!("{name}@{}", digest(b"unknown"));
    assert_fails!(place.pull(&unknown), ImageError::NotFound { .. });
    assert_fails!(
        place.pull(&registry.name("other")),
        ImageError::NotFound { .. }
    );
    registry.stop();
    let place = place.reopened();
    assert_eq!(place.pull(&name).unwrap().digest, newer.digest);
    assert_eq!(place.pull(&pinned).unwrap().layers, image.layers);
    assert_fails!(
        place.store.provide(&again(&name)),
        ImageError::Transfer { .. }
    );
}

#[test]
fn an_index_has_an_image_for_each_platform() {
    // CT-66
    let Some(registry) = Registry::start(|_| String::new()) else {
        return;
    };
    let mine = small().docker();
    let document = json!({"os": "linux", "architecture": "vax", "variant": "v8",
        "rootfs": {"type": "layers", "diff_ids": []}});
    let other = Built::described(&document, Vec::new(), Vec::new());
    registry.push(&mine, "app", "mine", None);
    registry.push(&other, "app", "other", None);
    let mut own = mine.descriptor(None);
    own["platform"] = json!({"os": "linux", "architecture": architecture()});
    let mut vax = other.descriptor(None);
    vax["platform"] = json!({"os": "linux", "architecture": "vax", "variant": "v8"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [vax, own]});
    registry.tag(index.to_string().as_bytes(), INDEX, "app", "both", None);
    let place = Place::new();
    let name = registry.name("app:both");
    let image = place.pull(&name).unwrap();
    assert_eq!(image.digest.to_string(), mine.digest());
    assert_eq!(image.layers.len(), 2);
    let vax = |variant: Option<&str>| Wanted {
        platform: Some(Platform {
            os: "linux".into(),
            architecture: "vax".into(),
            variant: variant.map(str::to_owned),
        }),
        ..wanted(&name)
    };
    let image = place.store.provide(&vax(None)).unwrap();
    assert_eq!(
        (image.digest.to_string(), image.layers.len()),
        (other.digest(), 0)
    );
    assert!(place.store.provide(&vax(Some("v8"))).is_ok());
    let wrong = place.store.provide(&vax(Some("v7")));
    assert_fails!(wrong, ImageError::Platform { offered, .. } if offered.contains("linux/vax"));
    let direct = place.pull(&registry.name("app:other"));
    assert_fails!(direct, ImageError::Platform { .. });
    let pinned = format!(
        "{}@{}",
        registry.name("app"),
        digest(index.to_string().as_bytes())
    );
    assert_eq!(
        place.pull(&pinned).unwrap().digest.to_string(),
        mine.digest()
    );
}

/// Of `secret`, by bcrypt.
const HASH: &str = "$2b$05$M8XF6fCgaLadJYXl6YmrzuGp3Sm3/e3nVZB9bNLxVuDH7pFNNpIga";

#[test]
fn a_registry_that_wants_a_password_gets_the_right_one() {
    // CT-66
    let Some(registry) = Registry::start(|dir| {
        let path = dir.join("htpasswd");
        fs::write(&path, format!("alice:{HASH}\n")).unwrap();
        format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            path.display()
        )
    }) else {
        return;
    };
    // alice:secret
    let header = "Basic YWxpY2U6c2VjcmV0";
    registry.push(&small(), "app", "1", Some(header));
    let place = Place::new();
    let name = registry.name("app:1");
    assert_fails!(place.pull(&name), ImageError::Denied { status: 401, .. });
    let with = |registry: &str, password: &str| {
        let mut keyring = Keyring::default();
        let (username, password) = ("alice".into(), password.into());
        keyring.add(registry, Credentials::Basic { username, password });
        Wanted {
            keyring: Some(keyring),
            ..again(&name)
        }
    };
    let wrong = place.store.provide(&with(&registry.host, "wrong"));
    assert_fails!(wrong, ImageError::Denied { status: 401, .. });
    let elsewhere = place.store.provide(&with("elsewhere.test", "secret"));
    assert_fails!(elsewhere, ImageError::Denied { .. });
    assert!(place.is_empty());
    assert!(place.store.provide(&with(&registry.host, "secret")).is_ok());
    let config = json!({"auths": {&registry.host: {"auth": "YWxpY2U6c2VjcmV0"}}}).to_string();
    let keyring = Keyring::from_docker_config(config.as_bytes()).unwrap();
    let place = Place::with(|options| options.keyring = keyring);
    assert!(place.pull(&name).is_ok());
}

#[test]
fn a_registry_over_tls_needs_a_certificate_that_is_trusted() {
    // CT-66
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let built = small();
    let Some(plain) = Registry::start(|_| String::new()) else {
        return;
    };
    plain.push(&built, "app", "1", None);
    let storage = plain.blob(&built.config);
    let storage = storage.ancestors().nth(8).unwrap().to_owned();
    let Some(secure) = Registry::start(|dir| {
        let (cert, private) = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(&storage).arg(dir).status();
        assert!(copied.unwrap().success());
        let (cert, private) = (cert.display(), private.display());
        format!("  tls:\n    certificate: {cert}\n    key: {private}\n")
    }) else {
        panic!("the registry does not start with TLS");
    };
    let name = secure.name("app:1");
    let trusted = tempfile::NamedTempFile::new().unwrap();
    fs::write(trusted.path(), authority.as_ref().pem()).unwrap();
    let scheme = |options: &mut Options| {
        options.schemes.insert(secure.host.clone(), Scheme::Https);
        options.attempts = 1;
    };
    let stranger = Place::with(scheme);
    assert_fails!(stranger.pull(&name), ImageError::Transfer { .. });
    let place = Place::with(|options| {
        scheme(options);
        options.certificates = Some(trusted.path().to_owned());
    });
    let expected: Digest = built.digest().parse().unwrap();
    assert_eq!(place.pull(&name).unwrap().digest, expected);
    // Over HTTP it is told that this is no way to ask.
    let plainly = Place::with(|options| options.attempts = 1);
    assert!(plainly.pull(&name).is_err());
}

#[test]
fn a_blob_that_rots_in_the_registry_is_not_used() {
    // CT-66: digests verified
    let Some(registry) = Registry::start(|_| String::new()) else {
        return;
    };
    let built = small();
    registry.push(&built, "app", "1", None);
    let path = registry.blob(&built.layers[1]);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let place = Place::new();
    let pulled = place.pull(&registry.name("app:1"));
    assert_fails!(pulled, ImageError::Mismatch { expected, .. }
        if expected.to_string() == built.layers[1]);
    assert!(place.store.list().is_empty() && place.stored("unfinished").is_empty());
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(place.pull(&registry.name("app:1")).is_ok());
}
