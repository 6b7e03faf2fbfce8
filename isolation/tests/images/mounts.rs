//! Real overlay mounts, each in a mount namespace of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tepui_isolation::image::{Attributes, Rootfs, mount_overlay, mount_overlay_at_once};

use super::*;

/// Runs a part of a test on a thread with its own mounts, which go with it.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let ended = thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            work()
        };
        scope.spawn(inside).join()
    });
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Three layers in which much is hidden.
fn hiding() -> Built {
    let lower = Layer::new()
        .directory("./", 0o755)
        .directory("d", 0o755)
        .file("d/gone", "gone")
        .file("d/kept", "kept")
        .directory("o", 0o755)
        .file("o/hidden", "hidden")
        .directory("w", 0o755)
        .file("w/hidden", "hidden")
        .directory("v", 0o755)
        .file("v/hidden", "hidden")
        .file("f", "lower");
    let middle = Layer::new()
        .directory("d", 0o755)
        .whiteout("d/.wh.gone")
        .directory("o", 0o755)
        .file("o/new", "new")
        .whiteout("o/.wh..wh..opq")
        // In either order, what is hidden is what is below.
        .whiteout(".wh.w")
        .directory("w", 0o755)
        .file("w/new", "new")
        .file("v/new", "new")
        .whiteout(".wh.v")
        .file("f", "middle")
        .whiteout(".wh.f");
    let upper = Layer::new().directory("./", 0o751).file("top", "top");
    Built::of(&[lower.done(), middle.done(), upper.done()])
}

#[test]
fn layers_are_seen_as_one_filesystem() {
    // CT-68
    if !is_root("to mount") {
        return;
    }
    let place = Place::new();
    let image = place.unpack(&hiding()).unwrap();
    type Mount = fn(&Rootfs, &Path, Attributes) -> std::io::Result<()>;
    let ways: [(&str, Mount); 2] = [("new", mount_overlay), ("old", mount_overlay_at_once)];
    for (name, way) in ways {
        let rootfs = image.rootfs(&place.path(name)).unwrap();
        let target = place.path("target");
        fs::create_dir_all(&target).unwrap();
        apart(|| {
            way(&rootfs, &target, Attributes::default()).unwrap();
            assert_eq!(names(&target), ["d", "f", "o", "top", "v", "w"], "{name}");
            assert_eq!(names(&target.join("d")), ["kept"], "{name}");
            assert_eq!(names(&target.join("o")), ["new"], "{name}");
            assert_eq!(names(&target.join("v")), ["new"], "{name}");
            assert_eq!(names(&target.join("w")), ["new"], "{name}");
            assert_eq!(read(target.join("f")), "middle");
            let root = fs::metadata(&target).unwrap();
            assert_eq!((root.mode() & 0o7777, root.uid()), (0o751, 4321), "{name}");
            fs::write(target.join("d/kept"), "changed").unwrap();
            fs::remove_dir_all(target.join("o")).unwrap();
            assert_eq!(read(target.join("d/kept")), "changed");
        });
        assert_eq!(names(&target), [""; 0], "the mount went with its namespace");
        assert_eq!(read(image.layers[0].join("d/kept")), "kept");
        assert_eq!(read(place.path(name).join("upper/d/kept")), "changed");
    }
}

#[test]
fn a_fixed_root_filesystem_cannot_be_changed_and_one_layer_is_enough() {
    // CT-68
    if !is_root("to mount") {
        return;
    }
    let place = Place::new();
    let none = Built::of(&[]);
    let one = Built::of(&[Layer::new().file("f", "f").done()]);
    for (built, expected) in [(none, vec![]), (one, vec!["f"]), (small(), vec!["etc"])] {
        let image = place.unpack(&built).unwrap();
        let name = format!("run{}", image.layers.len());
        let fixed = image.fixed_rootfs(&place.path(&name)).unwrap();
        let changing = image.rootfs(&place.path(&name)).unwrap();
        let target = place.path("target");
        fs::create_dir_all(&target).unwrap();
        let attributes = Attributes {
            read_only: true,
            no_suid: true,
            no_dev: true,
        };
        apart(|| {
            mount_overlay(&fixed, &target, attributes).unwrap();
            assert_eq!(names(&target), expected);
            let error = fs::write(target.join("x"), "x").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            let mounts = read("/proc/thread-self/mounts");
            let path = target.display().to_string();
            let line = mounts.lines().find(|line| line.contains(&path)).unwrap();
            let options = line.split(' ').nth(3).unwrap();
            assert!(options.starts_with("ro,nosuid,nodev"), "{options}");
        });
        apart(|| {
            mount_overlay(&changing, &target, Attributes::default()).unwrap();
            fs::write(target.join("x"), "x").unwrap();
        });
    }
}

#[test]
fn as_many_layers_as_the_kernel_stacks_are_mounted() {
    // CT-68
    if !is_root("to mount") {
        return;
    }
    let place = Place::new();
    let layers = (0..500).map(|i| Layer::new().file(&format!("f{i}"), "x").done());
    let image = place
        .unpack(&Built::of(&layers.collect::<Vec<_>>()))
        .unwrap();
    let rootfs = image.rootfs(&place.path("run")).unwrap();
    let target = place.path("target");
    fs::create_dir_all(&target).unwrap();
    apart(|| {
        mount_overlay(&rootfs, &target, Attributes::default()).unwrap();
        assert_eq!(names(&target).len(), 500);
    });
    let many = (0..501).map(|i| Layer::new().file(&format!("f{i}"), "x").done());
    let refused = place.unpack(&Built::of(&many.collect::<Vec<_>>()));
    assert_fails!(refused, ImageError::Malformed { reason, .. } if reason.contains("501"));
    let error = mount_overlay_at_once(&rootfs, &target, Attributes::default()).unwrap_err();
    assert!(error.to_string().contains("500 layers"), "{error}");
}

#[test]
fn paths_of_any_kind_can_be_mounted() {
    if !is_root("to mount") {
        return;
    }
    let place = Place::new();
    let image = place.unpack(&small()).unwrap();
    let odd = place.path(&format!("a:b,c\\d e{}", "/long".repeat(60)));
    fs::create_dir_all(&odd).unwrap();
    let rootfs = image.rootfs(&odd).unwrap();
    let target = odd.join("target");
    fs::create_dir(&target).unwrap();
    type Mount = fn(&Rootfs, &Path, Attributes) -> std::io::Result<()>;
    for way in [mount_overlay as Mount, mount_overlay_at_once] {
        apart(|| {
            way(&rootfs, &target, Attributes::default()).unwrap();
            assert_eq!(names(&target.join("etc")), ["name", "other"]);
        });
    }
}

/// Runs one test of this binary as another user.
fn as_another(part: &str, dir: &Path, has_namespace: bool) {
    let binary = dir.join("tests");
    if !binary.exists() {
        fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    }
    let mut command = Command::new(&binary);
    command
        .args(["--exact", ROOTLESS, "--nocapture"])
        .env("TEPUI_TEST_PART", part);
    command
        .env("TEPUI_TEST_ROOTLESS", dir)
        .uid(65_534)
        .gid(65_534)
        .current_dir(dir);
    if has_namespace {
        let enter = || {
            // To change the user has made the files below /proc another's.
            nix::sys::prctl::set_dumpable(true)?;
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", "0 65534 1")?;
            fs::write("/proc/self/gid_map", "0 65534 1")
        };
        // SAFETY: the closure makes calls of the kernel, and allocates little after the fork; in a
        // test a child that hangs for it is ended with the test.
        unsafe { command.pre_exec(enter) };
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{errors}"
    );
}

const ROOTLESS: &str = "mounts::without_privileges_layers_are_marked_and_mounted_otherwise";

#[test]
fn without_privileges_layers_are_marked_and_mounted_otherwise() {
    // CT-68, WK-56
    if let Some(dir) = std::env::var_os("TEPUI_TEST_ROOTLESS") {
        let dir = Path::new(&dir);
        match std::env::var("TEPUI_TEST_PART").unwrap().as_str() {
            "unpack" => rootless_unpacks(dir),
            "mount" => rootless_mounts(dir),
            "remove" => rootless_removes(dir),
            other => panic!("{other}"),
        }
        return;
    }
    if !is_root("to become another user") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    let locked = Layer::new()
        .directory("./", 0o555)
        .directory("locked", 0o500)
        .extended(&[("SCHILY.xattr.user.x", b"1")])
        .entry(b'0', "locked/f", 0o400, "", b"f")
        .done();
    let mut layers = rich_enough();
    layers.push(locked);
    Built::of(&layers).write_layout(&dir.path().join("layout"), None);
    as_another("unpack", dir.path(), false);
    as_another("mount", dir.path(), true);
    as_another("remove", dir.path(), false);
}

fn rich_enough() -> Vec<Vec<u8>> {
    let lower = Layer::new()
        .directory("o", 0o755)
        .file("o/hidden", "x")
        .file("gone", "x");
    let upper = Layer::new()
        .directory("o", 0o755)
        .whiteout("o/.wh..wh..opq")
        .file("o/new", "x")
        .whiteout(".wh.gone");
    vec![lower.done(), upper.done()]
}

fn rootless_image(dir: &Path) -> (Store, Image) {
    let store = Store::open(dir.join("store"), options()).unwrap();
    let path = dir.join("layout");
    let source = Source::Layout { path, name: None };
    let image = store.provide(&Wanted::new(source)).unwrap();
    (store, image)
}

fn rootless_unpacks(dir: &Path) {
    let (_store, image) = rootless_image(dir);
    assert!(image.is_unprivileged);
    let locked = fs::metadata(image.layers[2].join("locked")).unwrap();
    assert_eq!((locked.mode() & 0o7777, locked.uid()), (0o500, 65_534));
    let read = attribute(&image.layers[2].join("locked/f"), "user.x");
    assert_eq!(read.as_deref(), Some(&b"1"[..]));
    let rootfs = image.rootfs(&dir.join("run")).unwrap();
    fs::write(dir.join("rootfs"), serde_json::to_vec(&rootfs).unwrap()).unwrap();
}

fn rootless_mounts(dir: &Path) {
    let rootfs: Rootfs = serde_json::from_slice(&fs::read(dir.join("rootfs")).unwrap()).unwrap();
    let target = dir.join("target");
    fs::create_dir(&target).unwrap();
    mount_overlay(&rootfs, &target, Attributes::default()).unwrap();
    assert_eq!(names(&target), ["locked", "o"]);
    assert_eq!(names(&target.join("o")), ["new"]);
    fs::write(target.join("o/new"), "changed").unwrap();
}

fn rootless_removes(dir: &Path) {
    let (store, image) = rootless_image(dir);
    drop(image);
    assert_eq!(store.prune(&[]).unwrap().layers, 3);
    assert_eq!(names(&dir.join("store/layers/sha256")), [""; 0]);
    assert_eq!(names(&dir.join("store/unfinished")), [""; 0]);
}
