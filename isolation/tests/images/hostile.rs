//! Layers that no honest tool writes.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::json;
use tepui_isolation::image::{ImageError, Omission, Refusal};

use super::*;

fn refusal(result: Result<impl Sized, ImageError>) -> Refusal {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => match error.root() {
            ImageError::Refused { refusal, .. } => refusal.clone(),
            other => panic!("another failure: {other}"),
        },
    }
}

#[test]
fn nothing_is_written_outside_of_a_layer() {
    // CT-66
    let place = Place::new();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "untouched").unwrap();
    let target = outside.to_str().unwrap();
    let file = outside.join("f");
    let file = file.to_str().unwrap();
    type Hostile<'h> = (&'h str, Layer, fn(&Refusal) -> bool);
    let through: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::ThroughLink);
    let hard: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::HardLink(_));
    let parent: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::Parent);
    let name: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::Name);
    let cases: Vec<Hostile<'_>> = vec![
        ("up", Layer::new().file("../../f", "x"), parent),
        ("up later", Layer::new().file("a/../../f", "x"), parent),
        (
            "up as a directory",
            Layer::new().directory("..", 0o777),
            parent,
        ),
        (
            "file through",
            Layer::new().link("l", target).file("l/f", "x"),
            through,
        ),
        (
            "directory through",
            Layer::new().link("l", target).directory("l/d", 0o777),
            through,
        ),
        (
            "two links",
            Layer::new()
                .link("l", "m")
                .link("m", target)
                .file("l/f", "x"),
            through,
        ),
        (
            "link through",
            Layer::new().link("l", target).link("l/f", "x"),
            through,
        ),
        (
            "whiteout through",
            Layer::new().link("l", target).whiteout("l/.wh.f"),
            through,
        ),
        (
            "opaque through",
            Layer::new().link("l", target).whiteout("l/.wh..wh..opq"),
            through,
        ),
        (
            "pipe through",
            Layer::new()
                .link("l", target)
                .entry(b'6', "l/p", 0o666, "", b""),
            through,
        ),
        ("hard link out", Layer::new().hard_link("h", file), hard),
        (
            "hard link up",
            Layer::new().hard_link("h", "../../../outside/f"),
            hard,
        ),
        (
            "hard link through",
            Layer::new().link("l", target).hard_link("h", "l/f"),
            hard,
        ),
        (
            "hard link to nothing",
            Layer::new().hard_link("h", "nothing"),
            hard,
        ),
        (
            "hard link to a directory",
            Layer::new().directory("d", 0o755).hard_link("h", "d"),
            hard,
        ),
        (
            "hard link to a whiteout",
            Layer::new().whiteout(".wh.w").hard_link("h", "w"),
            hard,
        ),
        ("a whiteout of this", Layer::new().whiteout(".wh.."), name),
        (
            "a whiteout of above",
            Layer::new().whiteout("a/.wh..."),
            name,
        ),
        ("a whiteout of nothing", Layer::new().whiteout(".wh."), name),
        ("below a whiteout", Layer::new().file(".wh.d/f", "x"), name),
        (
            "the layer as a file",
            Layer::new().file("./", "x").file(".", "x"),
            |refusal| matches!(refusal, Refusal::Directory),
        ),
        (
            "a file for a directory",
            Layer::new().directory("d", 0o755).file("d", "x"),
            |refusal| matches!(refusal, Refusal::Directory),
        ),
        (
            "sparse",
            Layer::new().entry(b'S', "s", 0o644, "", b""),
            |refusal| matches!(refusal, Refusal::Sparse),
        ),
        (
            "unknown",
            Layer::new().entry(b'Z', "z", 0o644, "", b""),
            |refusal| matches!(refusal, Refusal::Special),
        ),
        (
            "deep",
            Layer::new().file(&"d/".repeat(49), "x").file("x", "x"),
            |refusal| matches!(refusal, Refusal::Depth(40)),
        ),
    ];
    let strict = Place::with(|options| options.limits.depth = 40);
    for (case, layer, is_right) in cases {
        let refusal = refusal(strict.layer(layer));
        assert!(is_right(&refusal), "{case}: {refusal:?}");
        assert!(strict.is_empty(), "{case}");
    }
    assert_eq!(names(&outside), ["f"]);
    assert_eq!(fs::read(outside.join("f")).unwrap(), b"untouched");
}

#[test]
fn links_lead_anywhere_and_names_begin_at_the_root_of_the_layer() {
    let place = Place::new();
    let layer = Layer::new()
        .link("up", "../../../etc/passwd")
        .link("away", "/etc/passwd")
        .file("/etc/abs", "abs")
        .hard_link("/etc/same", "/etc/abs")
        .link("was", "/tmp")
        .directory("was", 0o755)
        .file("was/f", "x")
        .file("twice", "one")
        .file("twice", "two");
    let layer = place.layer(layer).unwrap();
    let link = |name: &str| fs::read_link(layer.join(name)).unwrap();
    assert_eq!(link("up"), Path::new("../../../etc/passwd"));
    assert_eq!(link("away"), Path::new("/etc/passwd"));
    assert_eq!(fs::read(layer.join("etc/same")).unwrap(), b"abs");
    assert_eq!(fs::read(layer.join("was/f")).unwrap(), b"x");
    assert!(!Path::new("/tmp/f").exists() || !layer.join("was").is_symlink());
    assert_eq!(fs::read(layer.join("twice")).unwrap(), b"two");
}

#[test]
fn what_the_kernel_would_believe_is_left_out_and_told() {
    // CT-66: devices; the attributes by which overlayfs is led elsewhere.
    if !is_root("to set such attributes") {
        return;
    }
    let place = Place::new();
    let records: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/secret"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"u:r:t"),
        ("SCHILY.xattr.user.fine", b"1"),
        ("SCHILY.xattr.trusted.x", b"1"),
    ];
    let layer = Layer::new()
        .extended(&records)
        .directory("d", 0o755)
        .entry(b'3', "null", 0o666, "", b"")
        .entry(b'4', "disk", 0o666, "", b"")
        .entry(b'3', "0:0 would hide", 0o666, "", b"")
        .extended(&[("SCHILY.xattr.user.x", b"1")])
        .link("l", "x");
    let (layer, omitted) = place.omitted(layer);
    assert_eq!(names(&layer), ["d", "l"]);
    let attribute =
        |entry: &str, name: &str| (PathBuf::from(entry), Omission::Attribute(name.into()));
    let device = |entry: &str| (PathBuf::from(entry), Omission::Device);
    let expected = [
        attribute("d", "trusted.overlay.redirect"),
        attribute("d", "user.overlay.opaque"),
        attribute("d", "security.selinux"),
        attribute("d", "trusted.x"),
        device("null"),
        device("disk"),
        device("0:0 would hide"),
        attribute("l", "user.x"),
    ];
    assert_eq!(omitted, expected);
    assert_eq!(attributes(&layer.join("d")), ["user.fine"]);
}

#[test]
fn capabilities_of_files_are_kept_though_they_hold_line_ends() {
    // CT-66: attributes hold any byte.
    if !is_root("to give files capabilities") {
        return;
    }
    // Version 2, net_bind_service and what makes a byte a line end, effective.
    let value: &[u8] = b"\x01\0\0\x02\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let place = Place::new();
    let records = [("SCHILY.xattr.security.capability", value)];
    let layer = Layer::new()
        .extended(&records)
        .entry(b'0', "tool", 0o755, "", b"x");
    let (layer, omitted) = place.omitted(layer);
    assert_eq!(omitted, []);
    let read = attribute(&layer.join("tool"), "security.capability");
    assert_eq!(read.as_deref(), Some(value));
}

#[test]
fn bombs_are_stopped() {
    // CT-66
    let zeros = vec![0; 4 << 20];
    let bomb = || Layer::new().file("zeros", &zeros).done();
    let place = Place::with(|options| {
        options.limits.ratio = 50;
        options.limits.ratio_floor_bytes = 1 << 20;
    });
    let refused = refusal(place.unpack(&Built::of(&[bomb()])));
    assert_eq!(refused, Refusal::Ratio(50));
    let plain = Built::packed(&[(bomb(), bomb())], &json!({}));
    assert!(place.unpack(&plain).is_ok());
    let place = Place::with(|options| options.limits.unpacked_bytes = 1 << 20);
    let refused = refusal(place.unpack(&Built::of(&[bomb()])));
    assert_eq!(refused, Refusal::Bytes(1 << 20));
    assert!(place.is_empty());
    // Behind the end of the archive.
    let trailing = [Layer::new().file("f", "x").done(), zeros.clone()].concat();
    let refused = refusal(place.unpack(&Built::of(&[trailing])));
    assert_eq!(refused, Refusal::Bytes(1 << 20));
    let place = Place::with(|options| options.limits.entries = 5);
    let many = (0..6).fold(Layer::new(), |layer, i| layer.file(&format!("f{i}"), ""));
    assert_eq!(refusal(place.layer(many)), Refusal::Entries(5));
    let whiteouts = (0..6).fold(Layer::new(), |layer, i| {
        layer.whiteout(&format!(".wh.f{i}"))
    });
    assert_eq!(refusal(place.layer(whiteouts)), Refusal::Entries(5));
    let place = Place::with(|options| options.limits.item_bytes = 1_000);
    let large = Built::of(&[Layer::new().file("f", noise(2_000, 1)).done()]);
    assert_fails!(
        place.unpack(&large),
        ImageError::TooLarge { limit: 1_000, .. }
    );
    let place = Place::new();
    let header = Layer::new()
        .extended(&[("comment", &vec![b'x'; 2 << 20])])
        .file("f", "x");
    assert!(matches!(refusal(place.layer(header)), Refusal::Headers(_)));
    assert!(place.is_empty());
}

#[test]
fn an_archive_without_its_end_is_read_and_one_without_its_content_is_not() {
    // CT-66: umoci leaves out the last padding and the blocks that end an archive.
    let place = Place::new();
    let whole = Layer::new().file("a", "a").file("b", "content").raw();
    let cut = whole.len() - 512 + "content".len();
    let image = place.unpack(&Built::of(&[whole[..cut].to_vec()])).unwrap();
    assert_eq!(fs::read(image.layers[0].join("b")).unwrap(), b"content");
    let lone = [&whole[..], &[0; 512][..]].concat();
    assert!(place.unpack(&Built::of(&[lone])).is_ok());
    drop(image);
    place.store.prune(&[]).unwrap();
    for cut in [
        cut - 1,
        whole.len() - 512,
        whole.len() - 513,
        whole.len() - 1_000,
    ] {
        let broken = place.unpack(&Built::of(&[whole[..cut].to_vec()]));
        if cut == whole.len() - 1_000 {
            assert_fails!(broken, ImageError::Corrupt { .. });
        } else {
            assert_fails!(broken, ImageError::Corrupt { source, .. }
                if source.kind() == std::io::ErrorKind::UnexpectedEof);
        }
    }
    assert!(place.is_empty());
}

#[test]
fn a_layer_is_what_its_diff_id_says() {
    // CT-66
    let place = Place::new();
    let right = Layer::new().file("f", "right").done();
    let wrong = Layer::new().file("f", "wrong").done();
    // The manifest is right about the packed layer, and the configuration wrong about the content.
    let built = Built::packed(&[(right, gzip(&wrong))], &json!({}));
    assert_fails!(place.unpack(&built), ImageError::Mismatch { found, .. }
        if found.to_string() == digest(&wrong));
    assert!(place.is_empty());
}

#[test]
fn documents_that_say_what_cannot_be_are_refused() {
    let place = Place::new();
    let mut few = small();
    few.rewrite(|manifest| manifest["layers"].as_array_mut().unwrap().truncate(1));
    assert_fails!(place.unpack(&few), ImageError::Malformed { reason, .. }
        if reason.contains("diff ids"));
    let mut sealed = small();
    sealed.rewrite(|manifest| {
        manifest["layers"][0]["mediaType"] = json!(format!("{LAYER}+encrypted"));
    });
    assert_fails!(place.unpack(&sealed), ImageError::MediaType { .. });
    let mut huge = small();
    huge.rewrite(|manifest| manifest["config"]["size"] = json!(1_u64 << 40));
    assert_fails!(place.unpack(&huge), ImageError::TooLarge { .. });
    let mut wild = small();
    wild.rewrite(|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../../etc/passwd"));
    assert_fails!(place.unpack(&wild), ImageError::Malformed { .. });
    for document in [
        json!(1),
        json!({}),
        json!({"rootfs": {"type": "x", "diff_ids": []}}),
    ] {
        let built = Built::described(&document, Vec::new(), Vec::new());
        assert_fails!(place.unpack(&built), ImageError::Malformed { .. });
    }
    assert!(place.is_empty());
}

#[test]
fn whiteouts_are_the_only_devices() {
    // CT-66: in any order with what the layer itself has of the name.
    if !is_root("to be sure of devices") {
        return;
    }
    let place = Place::new();
    let layer = Layer::new()
        .whiteout("a/.wh.f")
        .file("a/f", "mine")
        .file("b/f", "mine")
        .whiteout("b/.wh.f")
        .whiteout(".wh.gone")
        .whiteout(".wh.gone")
        .whiteout(".wh..wh.plnk")
        .whiteout(".wh..wh.aufs");
    let layer = place.layer(layer).unwrap();
    assert_eq!(names(&layer), ["a", "b", "gone"]);
    for name in ["a/f", "b/f"] {
        assert_eq!(fs::read(layer.join(name)).unwrap(), b"mine");
    }
    let gone = fs::symlink_metadata(layer.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device());
}
