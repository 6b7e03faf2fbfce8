//! Stores over time, and local sources.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use tepui_isolation::image::{ImageError, Reference};

use super::*;

fn layout(path: &Path, name: Option<&str>) -> Wanted {
    Wanted::new(Source::Layout {
        path: path.to_owned(),
        name: name.map(str::to_owned),
    })
}

fn archive(path: &Path, name: Option<&str>) -> Wanted {
    Wanted::new(Source::Archive {
        path: path.to_owned(),
        name: name.map(str::to_owned),
    })
}

/// Packs a directory.
fn packed(directory: &Path, archive: &Path) {
    let mut builder = tar::Builder::new(fs::File::create(archive).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all("", directory).unwrap();
    builder.finish().unwrap();
}

#[test]
fn layouts_and_archives_of_them_have_images_by_name() {
    // CT-66: local tar and directory
    let place = Place::new();
    let path = place.path("layout");
    let (one, two) = (small(), Built::of(&[Layer::new().file("two", "2").done()]));
    one.write_layout(&path, Some("one"));
    assert_eq!(
        place
            .store
            .provide(&layout(&path, None))
            .unwrap()
            .layers
            .len(),
        2
    );
    two.write_layout(&path, Some("two"));
    let tar = place.path("layout.tar");
    packed(&path, &tar);
    for source in [layout as fn(&Path, Option<&str>) -> Wanted, archive] {
        let at = if source(&path, None) == layout(&path, None) {
            &path
        } else {
            &tar
        };
        let provide = |name: &str| place.store.provide(&source(at, Some(name)));
        assert_eq!(provide("one").unwrap().digest.to_string(), one.digest());
        assert_eq!(provide("two").unwrap().digest.to_string(), two.digest());
        assert_eq!(
            provide(&two.digest()).unwrap().digest.to_string(),
            two.digest()
        );
        assert_fails!(provide("three"), ImageError::NotFound { .. });
        let any = Wanted {
            cached: false,
            ..source(at, None)
        };
        assert_fails!(place.store.provide(&any), ImageError::Malformed { reason, .. }
            if reason.starts_with("2 images"));
    }
    let missing = place.store.provide(&layout(&place.path("nothing"), None));
    assert_fails!(missing, ImageError::Local { .. });
    let empty = place.path("empty");
    fs::create_dir(&empty).unwrap();
    assert_fails!(
        place.store.provide(&layout(&empty, None)),
        ImageError::NotFound { .. }
    );
    let compressed = place.path("layout.tar.gz");
    fs::write(&compressed, gzip(&fs::read(&tar).unwrap())).unwrap();
    assert_fails!(
        place.store.provide(&archive(&compressed, None)),
        ImageError::Malformed { .. }
    );
}

#[test]
fn a_layout_has_one_name_for_several_platforms() {
    // CT-66
    let place = Place::new();
    let path = place.path("layout");
    let built = small();
    built.write_layout(&path, None);
    let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
    let mut own = built.descriptor(Some("app"));
    own["platform"] = platform(&architecture());
    let mut other = built.descriptor(Some("app"));
    other["digest"] = json!(digest(b"x"));
    other["platform"] = platform("vax");
    let index = json!({"schemaVersion": 2, "manifests": [other, own]});
    fs::write(path.join("index.json"), index.to_string()).unwrap();
    for name in [None, Some("app")] {
        let image = place.store.provide(&layout(&path, name)).unwrap();
        assert_eq!(image.digest.to_string(), built.digest());
    }
}

#[test]
fn what_docker_saved_is_an_image() {
    // CT-66: local tar
    let place = Place::new();
    let path = place.path("saved");
    let layers = [
        Layer::new().file("f", "one").done(),
        Layer::new().file("g", "two").done(),
    ];
    let built = Built::of(&layers);
    fs::create_dir_all(path.join("a")).unwrap();
    fs::create_dir_all(path.join("b")).unwrap();
    fs::write(path.join("config.json"), &built.blobs[&built.config]).unwrap();
    fs::write(path.join("a/layer.tar"), &layers[0]).unwrap();
    fs::write(path.join("real"), &layers[1]).unwrap();
    symlink("../real", path.join("b/layer.tar")).unwrap();
    let list = json!([{
        "Config": "config.json",
        "RepoTags": ["app:1"],
        "Layers": ["a/layer.tar", "b/layer.tar"],
    }]);
    fs::write(path.join("manifest.json"), list.to_string()).unwrap();
    let tar = place.path("saved.tar");
    packed(&path, &tar);
    let image = place.store.provide(&archive(&tar, Some("app:1"))).unwrap();
    assert_eq!(image.digest.to_string(), built.config);
    assert_eq!(fs::read(image.layers[1].join("g")).unwrap(), b"two");
    assert_fails!(
        place.store.provide(&archive(&tar, Some("app:2"))),
        ImageError::NotFound { .. }
    );
    // Newer versions write a layout too, which has the tag only.
    built.write_layout(&path, Some("1"));
    let both = place.path("both.tar");
    packed(&path, &both);
    let listed = place.store.provide(&archive(&both, Some("app:1"))).unwrap();
    assert_eq!(listed.digest.to_string(), built.config);
    let tagged = place.store.provide(&archive(&both, Some("1"))).unwrap();
    assert_eq!(tagged.digest.to_string(), built.digest());
    drop([listed, tagged]);
    fs::remove_file(path.join("index.json")).unwrap();
    fs::write(path.join("real"), Layer::new().file("g", "no").done()).unwrap();
    let changed = place.path("changed.tar");
    packed(&path, &changed);
    drop(image);
    place.store.prune(&[]).unwrap();
    assert_fails!(
        place.store.provide(&archive(&changed, None)),
        ImageError::Mismatch { .. }
    );
}

#[test]
fn a_layout_is_read_below_itself_only() {
    // CT-66
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, "secret").unwrap();
    let path = place.path("layout");
    let built = small();
    built.write_layout(&path, None);
    let blob = |digest: &str| {
        path.join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let right = fs::read(blob(&built.config)).unwrap();
    fs::remove_file(blob(&built.config)).unwrap();
    symlink(&secret, blob(&built.config)).unwrap();
    let error = place.store.provide(&layout(&path, None)).unwrap_err();
    assert!(matches!(error.root(), ImageError::Local { .. }), "{error}");
    fs::remove_file(blob(&built.config)).unwrap();
    assert_fails!(
        place.store.provide(&layout(&path, None)),
        ImageError::NotFound { .. }
    );
    fs::write(blob(&built.config), &right).unwrap();
    let mut rotten = fs::read(blob(&built.layers[0])).unwrap();
    rotten[12] ^= 1;
    fs::write(blob(&built.layers[0]), rotten).unwrap();
    assert_fails!(
        place.store.provide(&layout(&path, None)),
        ImageError::Mismatch { .. }
    );
    let tar = place.path("cut.tar");
    packed(&path, &tar);
    let file = fs::OpenOptions::new().write(true).open(&tar).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert!(place.store.provide(&archive(&tar, None)).is_err());
    // The other layer may have been complete before.
    let changed = place
        .path("store/layers/sha256")
        .join(built.diff_ids[0].replace("sha256:", ""));
    assert!(!changed.exists() && place.store.list().is_empty());
    assert!(place.stored("unfinished").is_empty());
}

#[test]
fn what_a_crash_leaves_is_removed_and_what_was_complete_is_used() {
    // CT-66
    let place = Place::new();
    let path = place.path("layout");
    small().write_layout(&path, None);
    let image = place.store.provide(&layout(&path, None)).unwrap();
    let layers = image.layers.clone();
    let half = place.path("store/unfinished/7");
    fs::create_dir_all(half.join("a/b/c")).unwrap();
    fs::write(half.join("a/b/f"), "half").unwrap();
    symlink(&path, half.join("a/link")).unwrap();
    fs::write(place.path("store/unfinished/8"), "half").unwrap();
    fs::write(place.path("store/images.json.new"), "half").unwrap();
    drop(image);
    let place = place.reopened();
    assert!(place.stored("unfinished").is_empty());
    assert!(path.join("index.json").exists(), "links are not followed");
    fs::remove_dir_all(&path).unwrap();
    let image = place.store.provide(&layout(&path, None)).unwrap();
    assert_eq!(image.layers, layers);
    drop(image);
    // One layer is gone, and so is the layout.
    fs::remove_dir_all(&layers[0]).unwrap();
    assert_fails!(
        place.store.provide(&layout(&path, None)),
        ImageError::Local { .. }
    );
    small().write_layout(&path, None);
    assert_eq!(
        place.store.provide(&layout(&path, None)).unwrap().layers,
        layers
    );
    // Without its index a store knows no names, and has its layers still.
    fs::write(place.path("store/images.json"), "garbage").unwrap();
    let config = place.path("store/blobs/sha256");
    for name in names(&config) {
        fs::write(config.join(name), "garbage").unwrap();
    }
    let place = place.reopened();
    assert!(place.store.list().is_empty());
    assert_eq!(
        place.store.provide(&layout(&path, None)).unwrap().layers,
        layers
    );
    let place = place.reopened();
    assert_eq!(place.store.list().len(), 1);
}

#[test]
fn a_store_has_one_process() {
    let place = Place::new();
    let second = Store::open(place.path("store"), options());
    assert_fails!(second, ImageError::Own { action: "lock", .. });
}

#[test]
fn what_nobody_needs_is_collected() {
    // CT-69
    let place = Place::new();
    let base = Layer::new().file("base", "base").done();
    let image = |name: &str| Built::of(&[base.clone(), Layer::new().file(name, name).done()]);
    let servers = ["held", "kept", "gone"].map(|name| fake(&image(name), |_, _| false));
    let [held, kept, gone] = [0, 1, 2].map(|i| at(&servers[i], "app"));
    let in_use = place.pull(&held).unwrap();
    let excluded = place.pull(&kept).unwrap();
    drop(place.pull(&gone).unwrap());
    assert_eq!(place.stored("layers/sha256").len(), 4);
    assert!(
        place
            .store
            .list()
            .iter()
            .filter(|listed| listed.is_held)
            .count()
            == 2
    );
    let kept_layers = excluded.layers.clone();
    drop(excluded);
    let exclude: Reference = kept.parse().unwrap();
    assert_eq!(place.store.prune_if_short(0.0, &[]).unwrap(), None);
    for bad in [-0.1, 1.1, f64::NAN] {
        assert_fails!(
            place.store.prune_if_short(bad, &[]),
            ImageError::Headroom(_)
        );
    }
    let swept = place
        .store
        .prune_if_short(1.0, &[exclude])
        .unwrap()
        .unwrap();
    assert_eq!(
        (swept.images, swept.layers),
        (vec![format!("{gone}:latest")], 1)
    );
    assert_eq!(place.stored("layers/sha256").len(), 3);
    assert_eq!(place.stored("blobs/sha256").len(), 2);
    assert!(kept_layers.iter().all(|layer| layer.is_dir()));
    let clone = in_use.clone();
    drop(in_use);
    let swept = place.store.prune(&[]).unwrap();
    assert_eq!(
        (swept.images, swept.layers),
        (vec![format!("{kept}:latest")], 1)
    );
    assert!(clone.layers.iter().all(|layer| layer.is_dir()));
    drop(clone);
    assert_eq!(place.store.prune(&[]).unwrap().layers, 2);
    assert!(place.is_empty());
}

#[test]
fn an_image_is_removed_if_nobody_holds_it() {
    // CT-69
    let place = Place::new();
    let base = Layer::new().file("base", "base").done();
    let image = |name: &str| Built::of(&[base.clone(), Layer::new().file(name, name).done()]);
    let servers = ["one", "two"].map(|name| fake(&image(name), |_, _| false));
    let [one, two] = [0, 1].map(|i| at(&servers[i], "app"));
    let held = place.pull(&one).unwrap();
    let other = place.pull(&two).unwrap();
    assert_fails!(
        place.store.remove(&held.reference),
        ImageError::InUse { .. }
    );
    assert_fails!(place.store.remove("unknown"), ImageError::NotFound { .. });
    let reference = other.reference.clone();
    drop(other);
    let swept = place.store.remove(&reference).unwrap();
    assert_eq!((swept.images, swept.layers), (vec![reference], 1));
    assert_eq!(place.stored("layers/sha256").len(), 2);
    assert!(held.layers.iter().all(|layer| layer.is_dir()));
}

#[test]
fn an_image_is_held_again_by_its_digest_after_a_restart() {
    // CT-69, CT-70
    let place = Place::new();
    let server = fake(&small(), |_, _| false);
    let image = place.pull(&at(&server, "app")).unwrap();
    let (known, layers) = (image.digest.clone(), image.layers.clone());
    drop(image);
    let place = place.reopened();
    let held = place.store.hold(&known).unwrap().unwrap();
    assert_eq!(held.layers, layers);
    assert_eq!(held.config.command, ["/bin/true"]);
    assert_eq!(place.store.prune(&[]).unwrap().layers, 0);
    assert_eq!(server.requests(), 4);
    let unknown = digest(b"x").parse().unwrap();
    assert!(place.store.hold(&unknown).unwrap().is_none());
}

#[test]
fn a_layer_that_comes_twice_and_one_that_hides_all_are_as_the_kernel_takes_them() {
    // CT-68
    let place = Place::new();
    let [a, b] = ["a", "b"].map(|name| Layer::new().file(name, name).done());
    let twice = place
        .unpack(&Built::of(&[a.clone(), b.clone(), a.clone()]))
        .unwrap();
    assert_eq!(twice.layers.len(), 2);
    assert!(twice.layers[0].join("b").exists() && twice.layers[1].join("a").exists());
    let hiding = Layer::new()
        .whiteout(".wh..wh..opq")
        .file("only", "x")
        .done();
    let hidden = place.unpack(&Built::of(&[a, hiding, b])).unwrap();
    assert_eq!(hidden.layers.len(), 2);
    assert!(hidden.layers[0].join("only").exists() && hidden.layers[1].join("b").exists());
}

#[test]
fn nothing_is_removed_across_a_mount() {
    // CT-69, WK-50
    if !is_root("to mount") {
        return;
    }
    let place = Place::new();
    let image = place.unpack(&small()).unwrap();
    let inside = image.layers[0].join("etc");
    drop(image);
    let kept = place.path("kept");
    fs::create_dir(&kept).unwrap();
    std::thread::scope(|scope| {
        let work = || {
            use nix::mount::{MsFlags, mount};
            use nix::sched::{CloneFlags, unshare};
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            let tmpfs = Some("tmpfs");
            mount(tmpfs, &inside, tmpfs, MsFlags::empty(), None::<&str>).unwrap();
            fs::write(inside.join("data"), "data").unwrap();
            assert!(place.store.prune(&[]).is_err());
            let moved = place.stored("unfinished");
            let found = moved
                .iter()
                .map(|name| place.path("store/unfinished").join(name));
            let mut found = found.map(|path| path.join("etc/data"));
            assert!(
                found.any(|path| path.exists()),
                "what is mounted there stays"
            );
        };
        scope.spawn(work).join().unwrap();
    });
    let place = place.reopened();
    assert!(place.is_empty());
}
