//! The fetcher, against real servers, archives and directories.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

#[path = "fetcher/archives.rs"]
mod archives;
#[path = "fetcher/server.rs"]
mod server;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use tepui_isolation::fetch::{
    Checksum, Config, Fault, FetchError, Fetcher, Item, Owner, Refusal, Sandbox,
};

use tepui_isolation::Cancel;

use archives::*;
use server::*;

/// A cache and a sandbox.
struct Place {
    dir: tempfile::TempDir,
    fetcher: Fetcher,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("cache"));
        config.stall = Duration::from_secs(20);
        change(&mut config);
        fs::create_dir(dir.path().join("sandbox")).unwrap();
        let fetcher = Fetcher::new(config).unwrap();
        Self { dir, fetcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("sandbox").join(name)
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::open(&self.path(""), None).unwrap()
    }

    fn fetch(&self, item: &Item) -> Result<(), FetchError> {
        self.fetcher
            .fetch(std::slice::from_ref(item), &self.sandbox())
    }

    /// Fetches bytes under a name, past any server.
    fn fetch_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let path = self.dir.path().join("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.fetch(&Item::new(path.to_str().unwrap()))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn listed(&self) -> Vec<String> {
        names(&self.path(""))
    }

    fn cached(&self) -> Vec<String> {
        names(&self.dir.path().join("cache/objects"))
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.path(name)).unwrap().mode() & 0o7777
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn hex(algorithm: &'static ring::digest::Algorithm, bytes: &[u8]) -> String {
    let digest = ring::digest::digest(algorithm, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> Checksum {
    format!("sha256:{}", hex(&ring::digest::SHA256, bytes))
        .parse()
        .unwrap()
}

fn cached(uri: String) -> Item {
    Item {
        cache: true,
        ..Item::new(uri)
    }
}

fn refusal(result: Result<(), FetchError>) -> Refusal {
    match result {
        Err(FetchError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Bytes that do not compress.
fn noise(count: usize, mut seed: u64) -> Vec<u8> {
    let step = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(count).collect()
}

fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let thread = thread::current();
        let name = thread.name().unwrap_or("a test");
        writeln!(std::io::stderr(), "skipped: {name}: {what} needs root")
            .expect("standard error is open");
    }
    is_root
}

// ---------------------------------------------------------------------------------------------
// Sources and options
// ---------------------------------------------------------------------------------------------

#[test]
fn a_file_comes_from_a_server_under_its_own_name_or_another() {
    // AG-49, AG-50
    let place = Place::new();
    let server = Server::of(*b"hello");
    place.fetch(&Item::new(server.url("a/b%20c?x=y"))).unwrap();
    assert_eq!(place.read("b c"), b"hello");
    assert_eq!(place.mode("b c"), 0o644);
    assert_eq!(server.last().path, "/a/b%20c?x=y");
    let mut item = Item::new(server.url(""));
    assert!(matches!(
        place.fetch(&item),
        Err(FetchError::Invalid {
            fault: Fault::Name,
            ..
        })
    ));
    item.output = Some("deep/er/file".into());
    item.executable = true;
    place.fetch(&item).unwrap();
    assert_eq!(place.read("deep/er/file"), b"hello");
    assert_eq!(place.mode("deep/er/file"), 0o755);
    assert_eq!(place.listed(), ["b c", "deep"], "and nothing unfinished");
}

#[test]
fn local_files_are_copied() {
    // AG-49
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("data"), "local").unwrap();
    let place = Place::with(|config| config.local = Some(files.path().into()));
    let path = files.path().join("data").to_str().unwrap().to_owned();
    for (i, uri) in [format!("file://{path}"), path, "data".into()]
        .into_iter()
        .enumerate()
    {
        let mut item = cached(uri);
        item.output = Some(i.to_string().into());
        place.fetch(&item).unwrap();
        assert_eq!(place.read(&i.to_string()), b"local");
    }
    assert!(place.cached().is_empty(), "local files are not cached");
    for (uri, kind) in [("missing", "NotFound"), (".", "directory")] {
        let mut item = Item::new(uri);
        item.output = Some("x".into());
        let Err(error @ FetchError::Local { .. }) = place.fetch(&item) else {
            panic!("{uri} {kind}")
        };
        assert!(
            error.to_string().contains(files.path().to_str().unwrap()),
            "{error}"
        );
    }
    let pipe = files.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = place.fetch(&Item::new("pipe"));
    assert!(
        matches!(refused, Err(FetchError::Local { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_done() {
    // AG-50
    let place = Place::new();
    let server = Server::of(*b"x");
    let good = Item::new(server.url("good"));
    let with_output = |output: &str| Item {
        output: Some(output.into()),
        ..good.clone()
    };
    for bad in [
        Item::new("ftp://host/x"),
        Item::new("hdfs://host/x"),
        Item::new("relative"),
        Item::new(""),
        with_output("../x"),
        with_output("a/../../x"),
        with_output("/etc/x"),
        with_output(""),
    ] {
        let items = [good.clone(), bad.clone()];
        let refused = place.fetcher.fetch(&items, &place.sandbox());
        assert!(
            matches!(refused, Err(FetchError::Invalid { .. })),
            "{bad:?} {refused:?}"
        );
    }
    let twice = place.fetcher.fetch(&[good.clone(), good], &place.sandbox());
    assert!(matches!(twice, Err(FetchError::Twice { .. })), "{twice:?}");
    assert_eq!(server.requests(), 0);
}

#[test]
fn secure_servers_are_checked_and_stay_secure() {
    // AG-49
    let plain = Server::of(*b"plain");
    let target = plain.url("x");
    let (server, authority) = secure(move |request, out| match request.path.as_str() {
        "/down" => bare(out, "302 Found", &format!("Location: {target}\r\n")),
        _ => ok(out, "", b"secret"),
    });
    let untrusting = Place::new();
    let refused = untrusting.fetch(&Item::new(server.url("x")));
    assert!(
        matches!(refused, Err(FetchError::Transfer { .. })),
        "{refused:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authority.pem");
    fs::write(&path, authority).unwrap();
    let place = Place::with(|config| config.certificates = Some(path.clone()));
    place.fetch(&Item::new(server.url("x"))).unwrap();
    assert_eq!(place.read("x"), b"secret");
    assert!(place.fetch(&Item::new(server.url("down"))).is_err());
    assert_eq!(plain.requests(), 0);
    let mut config = Config::new(dir.path().join("cache"));
    fs::write(&path, "no certificate").unwrap();
    config.certificates = Some(path);
    assert!(matches!(Fetcher::new(config), Err(FetchError::Own { .. })));
}

#[test]
fn redirects_are_followed_and_other_answers_are_errors() {
    let server = Server::new(|request, out| match request.path.as_str() {
        "/there" => ok(out, "", b"found"),
        "/here" => bare(out, "302 Found", "Location: /there\r\n"),
        "/round" => bare(out, "302 Found", "Location: /round\r\n"),
        "/gone" => bare(out, "404 Not Found", ""),
        "/same" => bare(out, "304 Not Modified", ""),
        "/broken" => bare(out, "503 Unavailable", ""),
        _ => bare(out, "206 Partial Content", ""),
    });
    let place = Place::new();
    place.fetch(&Item::new(server.url("here"))).unwrap();
    assert_eq!(place.read("here"), b"found");
    assert!(place.fetch(&Item::new(server.url("round"))).is_err());
    for (path, expected) in [("gone", 404), ("same", 304), ("broken", 503), ("part", 206)] {
        match place.fetch(&cached(server.url(path))) {
            Err(FetchError::Status { status, .. }) => assert_eq!(status, expected),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert_eq!(place.listed(), ["here"]);
}

// Security check 6
#[test]
fn a_stranger_is_not_led_to_what_only_this_machine_may_ask() {
    if !is_root("to have a network of its own") {
        return;
    }
    let test = || {
        // A network of this thread's own, with one address that is anybody's, and a cloud's.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for setup in [
            "link set lo up",
            "addr add 192.0.2.1/32 dev lo",
            "addr add 169.254.169.254/32 dev lo",
        ] {
            let mut ip = std::process::Command::new("ip");
            assert!(ip.args(setup.split(' ')).status().unwrap().success());
        }
        let secret = |host| Server::at(host, |_, out| ok(out, "", b"secret"));
        let (own, cloud) = (secret("127.0.0.1"), secret("169.254.169.254"));
        let places = [
            own.url("x"),
            cloud.url("x"),
            own.url("x").replace("127.0.0.1", "localhost"),
        ];
        let anybody = Server::at("192.0.2.1", move |request, out| {
            match request.path.strip_prefix("/to/") {
                Some(n) => {
                    let place = &places[n.parse::<usize>().unwrap()];
                    bare(out, "302 Found", &format!("Location: {place}\r\n"));
                }
                None => ok(out, "", b"content"),
            }
        });
        let place = Place::new();
        place.fetch(&Item::new(anybody.url("file"))).unwrap();
        assert_eq!(place.read("file"), b"content");
        for uri in ["to/0", "to/1", "to/2"].map(|path| anybody.url(path)) {
            let error = place.fetch(&Item::new(uri)).unwrap_err().to_string();
            assert!(error.contains("not asked"), "{error}");
        }
        let error = place.fetch(&Item::new(cloud.url("x"))).unwrap_err();
        assert!(error.to_string().contains("169.254.169.254"), "{error}");
        assert_eq!((own.requests(), cloud.requests()), (0, 0));
        // They are there, and who means this machine gets there.
        place.fetch(&Item::new(own.url("x"))).unwrap();
        assert_eq!(place.read("x"), b"secret");
        std::net::TcpStream::connect(cloud.url("").split('/').nth(2).unwrap()).unwrap();
    };
    thread::spawn(test).join().unwrap();
}

#[test]
fn errors_name_the_item_without_its_secrets() {
    let place = Place::new();
    let server = Server::new(|_, out| bare(out, "404 Not Found", ""));
    let url = server
        .url("thing?key=hidden")
        .replace("://", "://user:hidden@");
    let error = place.fetch(&Item::new(url)).unwrap_err().to_string();
    assert!(error.contains("/thing") && error.contains("404"), "{error}");
    assert!(!error.contains("hidden"), "{error}");
}

// ---------------------------------------------------------------------------------------------
// Transfers that go wrong
// ---------------------------------------------------------------------------------------------

#[test]
fn short_answers_are_errors_and_leave_nothing() {
    let server = Server::new(|request, out| {
        let _ = match request.path.as_str() {
            "/short" => out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
            "/chunk" => out
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this"),
            _ => out.write_all(b"HTTP/1.1 200 OK\r\n"),
        };
    });
    let place = Place::new();
    for path in ["short", "chunk", "head"] {
        for cache in [true, false] {
            let mut item = Item::new(server.url(path));
            item.cache = cache;
            let result = place.fetch(&item);
            match (path, &result) {
                (
                    "short",
                    Err(FetchError::Length {
                        announced,
                        received,
                        ..
                    }),
                ) => {
                    assert_eq!((*announced, *received), (100, 9));
                }
                ("chunk" | "head", Err(FetchError::Transfer { .. })) => {}
                _ => panic!("{path}: {result:?}"),
            }
        }
    }
    assert!(place.listed().is_empty() && place.cached().is_empty());
    assert!(names(&place.dir.path().join("cache/staged")).is_empty());
}

#[test]
fn a_stalled_transfer_is_given_up() {
    // AG-53
    let server = Server::new(|request, out| {
        if request.path == "/body" {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
        }
        thread::sleep(Duration::from_secs(8));
    });
    let place = Place::with(|config| config.stall = Duration::from_millis(300));
    for path in ["body", "head"] {
        let since = Instant::now();
        let result = place.fetch(&Item::new(server.url(path)));
        assert!(
            matches!(result, Err(FetchError::Stalled { .. })),
            "{path}: {result:?}"
        );
        assert!(since.elapsed() < Duration::from_secs(6), "{path}");
    }
    assert!(place.listed().is_empty());
}

// CT-03, AG-52: who is not wanted any more lets go, and takes nothing from others
#[test]
fn a_slow_fetch_is_called_off_and_others_still_get_theirs() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::new(move |_, out| {
        if counted.fetch_add(1, Ordering::SeqCst) > 0 {
            return ok(out, "", b"content");
        }
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while out.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let place = Place::new();
    let item = Item {
        cache: true,
        ..Item::new(server.url("slow"))
    };
    let fetch = |sandbox: &str, cancel: &Cancel| {
        let path = place.dir.path().join(sandbox);
        fs::create_dir_all(&path).unwrap();
        let sandbox = Sandbox::open(&path, None).unwrap();
        let items = std::slice::from_ref(&item);
        place.fetcher.fetch_watched(items, &sandbox, cancel)
    };
    let [first, second, third] = [(); 3].map(|()| Cancel::default());
    thread::scope(|scope| {
        let pilot = scope.spawn(|| fetch("first", &first));
        while asked.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let passenger = scope.spawn(|| fetch("second", &second));
        let patient = scope.spawn(|| fetch("third", &third));
        second.cancel();
        let off = passenger.join().unwrap();
        assert!(matches!(off, Err(FetchError::Cancelled(_))), "{off:?}");
        assert!(!pilot.is_finished());
        first.cancel();
        let off = pilot.join().unwrap();
        assert!(matches!(off, Err(FetchError::Cancelled(_))), "{off:?}");
        patient.join().unwrap().unwrap();
    });
    assert_eq!(
        fs::read(place.dir.path().join("third/slow")).unwrap(),
        b"content"
    );
    for name in ["first", "second"] {
        assert_eq!(
            fs::read_dir(place.dir.path().join(name)).unwrap().count(),
            0
        );
    }
}

#[test]
fn a_slow_transfer_that_moves_is_waited_for() {
    // AG-53
    let server = Server::new(|_, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n");
        for _ in 0..25 {
            thread::sleep(Duration::from_millis(100));
            let _ = out.write_all(b"x");
        }
    });
    let place = Place::with(|config| config.stall = Duration::from_secs(2));
    place.fetch(&Item::new(server.url("slow"))).unwrap();
    assert_eq!(place.read("slow"), [b'x'; 25]);
}

#[test]
fn what_is_too_large_is_not_fetched() {
    let server = Server::new(|request, out| match request.path.as_str() {
        "/said" => ok(out, "", &[7; 2_000]),
        _ => chunked(out, &[7; 2_000]),
    });
    let place = Place::with(|config| config.limits.item_bytes = 1_999);
    for path in ["said", "unsaid"] {
        for cache in [true, false] {
            let mut item = Item::new(server.url(path));
            item.cache = cache;
            let result = place.fetch(&item);
            let limit = match result {
                Err(FetchError::TooLarge { limit, .. }) => limit,
                other => panic!("{path}: {other:?}"),
            };
            assert_eq!(limit, 1_999);
        }
    }
    let result = place.fetch_bytes("local", &[7; 2_000]);
    assert!(
        matches!(result, Err(FetchError::TooLarge { .. })),
        "{result:?}"
    );
    assert!(place.listed().is_empty() && place.cached().is_empty());
}

#[test]
fn checksums_are_compared_and_a_wrong_one_leaves_nothing() {
    // WK-54
    let place = Place::new();
    let server = Server::of(*b"content");
    let sha512 = format!("sha512:{}", hex(&ring::digest::SHA512, b"content"));
    for (i, sum) in [sha256(b"content"), sha512.parse().unwrap()]
        .into_iter()
        .enumerate()
    {
        for cache in [true, false] {
            let mut item = Item::new(server.url(&format!("good-{i}-{cache}")));
            (item.checksum, item.cache) = (Some(sum.clone()), cache);
            place.fetch(&item).unwrap();
        }
    }
    assert_eq!(place.listed().len(), 4);
    let (files, held) = (place.listed(), place.cached());
    let sha512 = format!("sha512:{}", hex(&ring::digest::SHA512, b"other"));
    for sum in [sha256(b"other"), sha512.parse().unwrap()] {
        for cache in [true, false] {
            let mut item = Item::new(server.url("bad"));
            (item.checksum, item.cache) = (Some(sum.clone()), cache);
            match place.fetch(&item) {
                Err(FetchError::Mismatch {
                    expected, found, ..
                }) => {
                    assert_eq!(expected, sum);
                    assert_ne!(found, sum);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let local = place.dir.path().join("local");
    fs::write(&local, "content").unwrap();
    let mut item = Item::new(local.to_str().unwrap());
    item.checksum = Some(sha256(b"other"));
    assert!(matches!(
        place.fetch(&item),
        Err(FetchError::Mismatch { .. })
    ));
    assert_eq!((place.listed(), place.cached()), (files, held));
}

// ---------------------------------------------------------------------------------------------
// Honest archives
// ---------------------------------------------------------------------------------------------

fn sample() -> Vec<u8> {
    let mut run = file(b"dir/run", b"#!/bin/sh\n");
    run.mode = 0o6755;
    tar(&[
        special(b"dir/", b'5', b""),
        run,
        file(b"implied/deep/data", b"data"),
        special(b"dir/link", b'2', b"../implied/deep/data"),
        special(b"hard", b'1', b"implied/deep/data"),
    ])
}

fn assert_sample(place: &Place, name: &str) {
    assert_eq!(place.read("dir/run"), b"#!/bin/sh\n", "{name}");
    assert_eq!(place.mode("dir/run"), 0o755, "{name}: and no set-id bit");
    assert_eq!(place.read("dir/link"), b"data", "{name}");
    assert_eq!(place.read("hard"), b"data", "{name}");
    let time = fs::metadata(place.path("dir/run")).unwrap().mtime();
    assert_eq!(time, 1_000_000_000, "{name}");
    assert_eq!(place.listed(), ["dir", "hard", "implied"], "{name}");
}

#[test]
fn tar_archives_are_unpacked_in_every_compression() {
    // AG-51
    let plain = sample();
    let (gz, bz2, xz, zst) = (gzip(&plain), bzip2(&plain), xz(&plain), zstd(&plain));
    for (name, bytes) in [
        ("a.tar", &plain),
        ("a.tar.gz", &gz),
        ("a.TGZ", &gz),
        ("a.tar.bz2", &bz2),
        ("a.tbz2", &bz2),
        ("a.tar.xz", &xz),
        ("a.txz", &xz),
        ("a.tar.zst", &zst),
        // What it is stands in the content.
        ("a.tar", &zst),
        ("a.zip", &gz),
        ("download", &xz),
        ("tool-1.2.3", &plain),
        ("a.gz", &gz),
    ] {
        let place = Place::new();
        place.fetch_bytes(name, bytes).unwrap();
        assert_sample(&place, name);
    }
}

#[test]
fn several_frames_and_streams_are_one() {
    // AG-51
    let plain = sample();
    let (first, second) = plain.split_at(700);
    let skippable = b"\x51\x2a\x4d\x18\x03\0\0\0abc";
    for (name, bytes) in [
        ("a.tgz", [gzip(first), gzip(second)].concat()),
        ("a.tbz2", [bzip2(first), bzip2(second)].concat()),
        ("a.txz", [xz(first), xz(second)].concat()),
        (
            "a.tzst",
            [&skippable[..], &zstd(first), skippable, &zstd(second)].concat(),
        ),
    ] {
        let place = Place::new();
        place.fetch_bytes(name, &bytes).unwrap();
        assert_sample(&place, name);
    }
}

#[test]
fn zip_archives_are_unpacked() {
    // AG-51
    let bytes = zip(&[
        ("dir/", 0o755, b""),
        ("dir/run", 0o100_755, b"#!/bin/sh\n"),
        ("implied/deep/data", 0o100_640, &[b'x'; 5_000]),
    ]);
    for name in ["a.zip", "a.tar.gz", "download"] {
        let place = Place::new();
        place.fetch_bytes(name, &bytes).unwrap();
        assert_eq!(place.read("dir/run"), b"#!/bin/sh\n");
        assert_eq!(place.mode("dir/run"), 0o755);
        assert_eq!(place.read("implied/deep/data"), [b'x'; 5_000]);
        assert_eq!(place.mode("implied/deep/data"), 0o640);
        assert_eq!(place.listed(), ["dir", "implied"]);
    }
}

#[test]
fn one_compressed_file_is_unpacked_beside_itself() {
    // AG-51
    let place = Place::new();
    for (name, bytes) in [
        ("gz.txt.gz", gzip(b"text")),
        ("bz2.txt.bz2", bzip2(b"text")),
        ("xz.txt.xz", xz(b"text")),
        ("zst.txt.zst", zstd(b"text")),
        ("bare", gzip(b"text")),
    ] {
        place.fetch_bytes(name, &bytes).unwrap();
    }
    let expected = ["bare", "bz2.txt", "gz.txt", "xz.txt", "zst.txt"];
    assert_eq!(place.listed(), expected);
    for name in expected {
        assert_eq!(place.read(name), b"text");
        assert_eq!(place.mode(name), 0o644);
    }
    let source = place.dir.path().join("source/gz.txt.gz");
    let mut item = Item::new(source.to_str().unwrap());
    item.output = Some("below/data.gz".into());
    place.fetch(&item).unwrap();
    assert_eq!(place.read("below/data"), b"text");
}

#[test]
fn what_is_no_archive_or_must_not_be_unpacked_stays_as_it_is() {
    // AG-50, AG-51
    let place = Place::new();
    let jar = zip(&[("a", 0o644, b"a")]);
    for (name, bytes) in [
        ("a.tar.gz", b"<html>not found</html>".to_vec()),
        ("b.zip", Vec::new()),
        ("c.jar", jar.clone()),
        ("d.bin", gzip(b"x")),
        ("e.tar", vec![0; 2_048]),
    ] {
        place.fetch_bytes(name, &bytes).unwrap();
        assert_eq!(place.read(name), bytes, "{name}");
    }
    let source = place.dir.path().join("source.zip");
    fs::write(&source, &jar).unwrap();
    for (output, extract, executable) in [("f.zip", false, false), ("g.zip", true, true)] {
        let mut item = Item::new(source.to_str().unwrap());
        item.output = Some(output.into());
        (item.extract, item.executable) = (extract, executable);
        place.fetch(&item).unwrap();
        assert_eq!(place.read(output), jar);
    }
    assert_eq!(place.mode("g.zip"), 0o755);
}

#[test]
fn names_are_bytes() {
    // RG-10
    let place = Place::new();
    let name = b"gr\xfc\xdfe-\xff";
    let link = [b"l-", &name[..]].concat();
    let bytes = tar(&[file(name, b"tar"), special(&link, b'2', name)]);
    place.fetch_bytes("a.tar", &bytes).unwrap();
    let path = place.path("").join(OsStr::from_bytes(name));
    assert_eq!(fs::read(path).unwrap(), b"tar");
    assert_eq!(
        fs::read(place.path("").join(OsStr::from_bytes(&link))).unwrap(),
        b"tar"
    );
    let bytes = patched(zip(&[("zXZp", 0o644, b"zip")]), b"zXZp", b"z\xe9\xffp");
    place.fetch_bytes("a.zip", &bytes).unwrap();
    let path = place.path("").join(OsStr::from_bytes(b"z\xe9\xffp"));
    assert_eq!(fs::read(path).unwrap(), b"zip");
    place
        .fetch_bytes("ü.zip", &zip(&[("größe/ñ", 0o644, b"utf8")]))
        .unwrap();
    assert_eq!(place.read("größe/ñ"), b"utf8");
    let bytes = tar(&[file(b"../\xff", b"x")]);
    let error = place.fetch_bytes("b.tar", &bytes).unwrap_err();
    assert!(!error.to_string().is_empty());
}

#[test]
fn long_names_of_both_kinds_are_known() {
    let place = Place::new();
    let gnu = format!("{}/gnu", "g".repeat(200));
    let pax = format!("{}/pax", "p".repeat(200));
    let record = |value: &str| {
        let rest = format!(" path={value}\n");
        let length = rest.len() + 3;
        format!("{length}{rest}")
    };
    let (with_zero, record) = (format!("{gnu}\0"), record(&pax));
    let mut long = special(b"././@LongLink", b'L', b"");
    long.content = with_zero.as_bytes();
    let mut extension = special(b"pax", b'x', b"");
    extension.content = record.as_bytes();
    let mut global = special(b"pax_global_header", b'g', b"");
    global.content = b"21 comment=something\n";
    let bytes = tar(&[
        global,
        long,
        file(b"short", b"1"),
        extension,
        file(b"short", b"2"),
    ]);
    place.fetch_bytes("a.tar", &bytes).unwrap();
    assert_eq!(
        (place.read(&gnu), place.read(&pax)),
        (b"1".to_vec(), b"2".to_vec())
    );
}

#[test]
fn a_broken_archive_is_an_error() {
    let mut plain = sample();
    let cut = plain[..plain.len() - 2_048].to_vec();
    let (gz, bz2, xz, zst) = (gzip(&plain), bzip2(&plain), xz(&plain), zstd(&plain));
    plain[512] ^= 1;
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let mut wrong = gzip(&sample());
    let sum = wrong.len() - 6;
    wrong[sum] ^= 1;
    let zipped = zip(&[("a", 0o644, &noise(3_000, 1))]);
    for (name, bytes) in [
        ("sum.tar", plain),
        ("cut.tar", cut[..cut.len() - 100].to_vec()),
        ("a.tgz", half(&gz)),
        ("a.tbz2", half(&bz2)),
        ("a.txz", half(&xz)),
        ("a.tzst", half(&zst)),
        ("sum.tgz", wrong),
        ("notar.tgz", gzip(b"this is no tar archive")),
        ("a.zip", half(&zipped)),
        ("b.zip", {
            let mut bytes = zipped;
            bytes[100] ^= 1;
            bytes
        }),
    ] {
        let result = Place::new().fetch_bytes(name, &bytes);
        assert!(
            matches!(result, Err(FetchError::Corrupt { .. })),
            "{name}: {result:?}"
        );
    }
}

// ---------------------------------------------------------------------------------------------
// Hostile archives
// ---------------------------------------------------------------------------------------------

#[test]
fn hostile_entries_of_tar_archives_are_refused() {
    let deep = [b"d/".repeat(70), b"x".to_vec()].concat();
    let mut sparse = special(b"pax", b'x', b"");
    sparse.content = b"22 GNU.sparse.major=1\n";
    let dir = || special(b"d/", b'5', b"");
    let out = |target: &str| Refusal::Link(target.into());
    let hard = |target: &str| Refusal::HardLink(target.into());
    let link = |target| special(b"l", b'2', target);
    let cases: Vec<(Vec<Entry<'_>>, Refusal)> = vec![
        (vec![file(b"/etc/evil", b"")], Refusal::Absolute),
        (vec![file(b"../evil", b"")], Refusal::Parent),
        (vec![file(b"a/../../evil", b"")], Refusal::Parent),
        (vec![special(b"..", b'5', b"")], Refusal::Parent),
        (vec![file(&deep[..90], b"")], Refusal::Depth(40)),
        (vec![file(b".", b"")], Refusal::Name),
        (vec![link(b"/etc")], out("/etc")),
        (vec![link(b"..")], out("..")),
        (vec![link(b"a/../../x")], out("a/../../x")),
        (vec![special(b"d/l", b'2', b"../../x")], out("../../x")),
        // Each is inside alone; through the first the second would not be.
        (
            vec![
                dir(),
                special(b"d/up", b'2', b".."),
                special(b"d/x", b'2', b"up/../x"),
            ],
            out("up/../x"),
        ),
        (vec![link(b"d"), file(b"l/x", b"")], Refusal::ThroughLink),
        (
            vec![dir(), link(b"d"), file(b"l/x", b"")],
            Refusal::ThroughLink,
        ),
        (
            vec![dir(), link(b"d"), special(b"l", b'5', b"")],
            Refusal::ThroughLink,
        ),
        (
            vec![dir(), link(b"d"), special(b"l/x", b'2', b"y")],
            Refusal::ThroughLink,
        ),
        // A file becomes a link, which is then written through.
        (
            vec![dir(), file(b"l", b"1"), link(b"d"), file(b"l/x", b"2")],
            Refusal::ThroughLink,
        ),
        (
            vec![file(b"f", b""), file(b"f/x", b"")],
            Refusal::ThroughLink,
        ),
        (vec![dir(), file(b"d", b"")], Refusal::Directory),
        (
            vec![dir(), link(b"d"), special(b"d", b'2', b"x")],
            Refusal::Directory,
        ),
        (
            vec![special(b"h", b'1', b"/etc/passwd")],
            hard("/etc/passwd"),
        ),
        (
            vec![special(b"h", b'1', b"../source/a.tar")],
            hard("../source/a.tar"),
        ),
        (vec![special(b"h", b'1', b"missing")], hard("missing")),
        (vec![dir(), special(b"h", b'1', b"d")], hard("d")),
        (
            vec![file(b"f", b""), link(b"f"), special(b"h", b'1', b"l")],
            hard("l"),
        ),
        (
            vec![
                dir(),
                file(b"d/f", b""),
                link(b"d"),
                special(b"h", b'1', b"l/f"),
            ],
            hard("l/f"),
        ),
        (vec![special(b"c", b'3', b"")], Refusal::Special),
        (vec![special(b"b", b'4', b"")], Refusal::Special),
        (vec![special(b"p", b'6', b"")], Refusal::Special),
        (vec![sparse, file(b"s", b"")], Refusal::Sparse),
    ];
    for (i, (entries, expected)) in cases.iter().enumerate() {
        let place = Place::with(|config| config.limits.depth = 40);
        let found = refusal(place.fetch_bytes("a.tar", &tar(entries)));
        assert_eq!(found, *expected, "case {i}");
        assert_eq!(
            names(place.dir.path()),
            ["cache", "sandbox", "source"],
            "case {i}"
        );
    }
}

#[test]
fn nothing_is_written_through_links_that_were_there_before() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "before").unwrap();
    symlink(&outside, place.path("way")).unwrap();
    symlink(outside.join("file"), place.path("target")).unwrap();
    let found = refusal(place.fetch_bytes("a.tar", &tar(&[file(b"way/file", b"evil")])));
    assert_eq!(found, Refusal::ThroughLink);
    place
        .fetch_bytes("b.tar", &tar(&[file(b"target", b"good")]))
        .unwrap();
    assert_eq!(place.read("target"), b"good");
    let found = refusal(place.fetch_bytes("a.zip", &zip(&[("way/file", 0o644, b"evil")])));
    assert_eq!(found, Refusal::ThroughLink);
    symlink(outside.join("file"), place.path("again")).unwrap();
    place.fetch_bytes("again", b"good").unwrap();
    let server = Server::of(*b"good");
    for cache in [true, false] {
        let mut item = Item::new(server.url("x"));
        (item.cache, item.output) = (cache, Some("way/file".into()));
        let refused = place.fetch(&item);
        assert!(
            matches!(refused, Err(FetchError::Sandbox { .. })),
            "{refused:?}"
        );
        let _ = fs::remove_file(place.path("link"));
        symlink(outside.join("file"), place.path("link")).unwrap();
        item.output = Some("link".into());
        place.fetch(&item).unwrap();
        assert_eq!(place.read("link"), b"good");
    }
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"before");
    assert_eq!(names(&outside), ["file"]);
}

#[test]
fn hostile_entries_of_zip_archives_are_refused() {
    for (name, mode, content, expected) in [
        ("../evil", 0o644, &b""[..], Refusal::Parent),
        ("/evil", 0o644, b"", Refusal::Absolute),
        ("l", 0o120_777, b"/etc", Refusal::Link("/etc".into())),
        ("l", 0o120_777, b"../x", Refusal::Link("../x".into())),
        ("p", 0o010_644, b"", Refusal::Special),
        ("c", 0o020_644, b"", Refusal::Special),
    ] {
        let place = Place::new();
        let plain = "x".repeat(name.len());
        let mut bytes = patched(
            zip(&[(&plain, 0o644, content)]),
            plain.as_bytes(),
            name.as_bytes(),
        );
        let mode: u32 = mode;
        let at = central(&bytes) + 38;
        bytes[at..at + 4].copy_from_slice(&(mode << 16).to_le_bytes());
        assert_eq!(refusal(place.fetch_bytes("a.zip", &bytes)), expected);
        assert!(place.listed().is_empty(), "{name}");
    }
}

#[test]
fn links_of_zip_archives_are_made() {
    let place = Place::new();
    let mut bytes = zip(&[("link", 0o644, b"deep/target")]);
    let at = central(&bytes) + 38;
    bytes[at..at + 4].copy_from_slice(&(0o120_777_u32 << 16).to_le_bytes());
    place.fetch_bytes("a.zip", &bytes).unwrap();
    let target = fs::read_link(place.path("link")).unwrap();
    assert_eq!(target, Path::new("deep/target"));
}

#[test]
fn zip_archives_that_are_encrypted_or_share_bytes_are_refused() {
    let mut bytes = zip(&[("a", 0o644, b"secret")]);
    let at = central(&bytes);
    for at in [6, at + 8] {
        bytes[at] |= 1;
    }
    let found = refusal(Place::new().fetch_bytes("a.zip", &bytes));
    assert_eq!(found, Refusal::Encrypted);
    // The second entry begins where the first does.
    let content = noise(1_000, 5);
    let mut bytes = zip(&[("aa", 0o644, &content), ("bb", 0o644, &content)]);
    let second = central(&bytes) + 46 + 2;
    let second = second + central(&bytes[second..]);
    bytes[second + 42..second + 46].fill(0);
    let found = refusal(Place::new().fetch_bytes("a.zip", &bytes));
    assert_eq!(found, Refusal::Overlap);
}

#[test]
fn zip_archives_that_lie_about_sizes_are_refused() {
    for said in [10_u32, 99_999, 200_000] {
        let place = Place::new();
        let mut bytes = zip(&[("a", 0o644, &[b'x'; 100_000])]);
        let at = central(&bytes);
        for at in [22, at + 24] {
            bytes[at..at + 4].copy_from_slice(&said.to_le_bytes());
        }
        let result = place.fetch_bytes("a.zip", &bytes);
        let is_refused = matches!(
            result,
            Err(FetchError::Corrupt { .. } | FetchError::Refused { .. })
        );
        assert!(is_refused, "{said}: {result:?}");
        let written = fs::metadata(place.path("a")).map_or(0, |found| found.len());
        assert!(written <= 100_000, "{said}: {written}");
    }
}

#[test]
fn bombs_are_stopped_early() {
    const MIB: usize = 1 << 20;
    let zeros = vec![0; 6 * MIB];
    let bomb = tar(&[file(b"zeros", &zeros)]);
    let place = || {
        Place::with(|config| {
            config.limits.ratio_floor_bytes = MIB as u64 / 2;
            config.limits.entries = 50;
        })
    };
    for (name, bytes) in [
        ("a.tgz", gzip(&bomb)),
        ("a.tbz2", bzip2(&bomb)),
        ("a.txz", xz(&bomb)),
        ("a.tzst", zstd(&bomb)),
        ("a.gz", gzip(&zeros)),
        ("a.zip", zip(&[("zeros", 0o644, &zeros)])),
    ] {
        assert!(bytes.len() * 200 < zeros.len(), "{name} is no bomb");
        let place = place();
        let found = refusal(place.fetch_bytes(name, &bytes));
        assert_eq!(found, Refusal::Ratio(200), "{name}");
        let written: u64 = place
            .listed()
            .iter()
            .map(|n| place.read(n).len() as u64)
            .sum();
        assert!(written < 5 * MIB as u64, "{name}: {written}");
    }
    let name = |i: usize| format!("f{i}");
    let names: Vec<_> = (0..51).map(name).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| file(name.as_bytes(), b""))
        .collect();
    let found = refusal(place().fetch_bytes("a.tar", &tar(&files)));
    assert_eq!(found, Refusal::Entries(50));
    place().fetch_bytes("a.tar", &tar(&files[..50])).unwrap();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 0o644, &b""[..]))
        .collect();
    let found = refusal(place().fetch_bytes("a.zip", &zip(&files)));
    assert_eq!(found, Refusal::Entries(50));
    let small = Place::with(|config| config.limits.unpacked_bytes = 9_999);
    let found = refusal(small.fetch_bytes("a.gz", &gzip(&noise(10_000, 1))));
    assert_eq!(found, Refusal::Bytes(9_999));
}

#[test]
fn headers_that_would_fill_the_memory_are_refused() {
    let name = vec![b'n'; 3 << 20];
    let mut long = special(b"././@LongLink", b'L', b"");
    long.content = &name;
    let bytes = tar(&[long, file(b"x", b"")]);
    let found = refusal(Place::new().fetch_bytes("a.tar", &bytes));
    assert_eq!(found, Refusal::Headers(1 << 20));
}

#[test]
fn a_size_beyond_the_archive_is_an_error() {
    let mut bytes = header(&file(b"huge", b""), 0o77777777777).to_vec();
    bytes.extend([b'x'; 4_096]);
    let place = Place::new();
    let result = place.fetch_bytes("a.tar", &bytes);
    let is_error = matches!(
        result,
        Err(FetchError::Corrupt { .. }
            | FetchError::Refused {
                refusal: Refusal::Size { .. },
                ..
            })
    );
    assert!(is_error, "{result:?}");
}

// ---------------------------------------------------------------------------------------------
// The cache
// ---------------------------------------------------------------------------------------------

#[test]
fn the_cache_is_private_and_content_is_kept_once() {
    // AG-52, WK-54
    let place = Place::new();
    let server = Server::of(*b"same");
    for path in ["a", "b"] {
        place.fetch(&cached(server.url(path))).unwrap();
    }
    assert_eq!(place.cached(), [hex(&ring::digest::SHA256, b"same")]);
    for below in ["", "objects", "staged"] {
        let path = place.dir.path().join("cache").join(below);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{below}");
    }
    let again = Fetcher::new(Config::new(place.dir.path().join("cache")));
    assert!(
        matches!(again, Err(FetchError::Own { .. })),
        "one fetcher a cache"
    );
}

#[test]
fn an_item_with_a_checksum_is_asked_for_once() {
    // AG-52
    let place = Place::new();
    let server = Server::of(*b"content");
    let mut item = cached(server.url("x"));
    item.checksum = Some(sha256(b"content"));
    for _ in 0..3 {
        place.fetch(&item).unwrap();
        fs::remove_file(place.path("x")).unwrap();
    }
    assert_eq!(server.requests(), 1);
    item.cache = false;
    place.fetch(&item).unwrap();
    assert_eq!(server.requests(), 2);
}

#[test]
fn an_item_without_a_checksum_is_revalidated() {
    // WK-54
    let version = Arc::new(AtomicUsize::new(1));
    let served = Arc::clone(&version);
    let server = Server::new(move |request, out| {
        let version = served.load(Ordering::SeqCst);
        let (header, asked) = match request.path.as_str() {
            "/tag" => (format!("ETag: \"v{version}\""), "if-none-match"),
            "/date" => (
                format!("Last-Modified: Sun, 0{version} Nov 2026 00:00:00 GMT"),
                "if-modified-since",
            ),
            _ => return ok(out, "", format!("version {version}").as_bytes()),
        };
        let (_, value) = header.split_once(": ").unwrap();
        if request.header(asked) == Some(value) {
            return bare(out, "304 Not Modified", &format!("{header}\r\n"));
        }
        ok(
            out,
            &format!("{header}\r\n"),
            format!("version {version}").as_bytes(),
        );
    });
    let place = Place::new();
    for (path, asked) in [
        ("tag", "if-none-match"),
        ("date", "if-modified-since"),
        ("none", "-"),
    ] {
        version.store(1, Ordering::SeqCst);
        let before = server.requests();
        for (turn, expected) in [(1, "version 1"), (2, "version 1"), (3, "version 2")] {
            version.store(if turn == 3 { 2 } else { 1 }, Ordering::SeqCst);
            place.fetch(&cached(server.url(path))).unwrap();
            assert_eq!(place.read(path), expected.as_bytes(), "{path} {turn}");
            let is_conditional = server.last().header(asked).is_some();
            assert_eq!(is_conditional, turn > 1 && path != "none", "{path} {turn}");
        }
        assert_eq!(server.requests() - before, 3, "{path}: always asked");
    }
}

#[test]
fn a_server_that_fails_is_not_covered_up_by_the_cache() {
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let server = Server::new(move |_, out| match up.load(Ordering::SeqCst) {
        true => ok(out, "ETag: \"x\"\r\n", b"content"),
        false => bare(out, "500 Oops", ""),
    });
    let place = Place::new();
    place.fetch(&cached(server.url("x"))).unwrap();
    is_up.store(false, Ordering::SeqCst);
    let result = place.fetch(&cached(server.url("x")));
    assert!(
        matches!(result, Err(FetchError::Status { status: 500, .. })),
        "{result:?}"
    );
}

/// Serves content of a hundred bytes that follows from the path.
fn hundreds() -> Server {
    Server::new(|request, out| ok(out, "", &content_of(&request.path)))
}

fn content_of(path: &str) -> Vec<u8> {
    let mut content = path.as_bytes().to_vec();
    content.resize(100, b'.');
    content
}

fn known(server: &Server, path: &str) -> Item {
    let mut item = cached(server.url(path));
    item.checksum = Some(sha256(&content_of(&format!("/{path}"))));
    item
}

#[test]
fn the_least_recently_used_goes_first() {
    // AG-52
    let place = Place::with(|config| config.cache_bytes = 300);
    let server = hundreds();
    let fetch = |path: &str| {
        let before = server.requests();
        place.fetch(&known(&server, path)).unwrap();
        assert_eq!(place.read(path), content_of(&format!("/{path}")));
        server.requests() > before
    };
    for path in ["a", "b", "c"] {
        assert!(fetch(path), "{path} is new");
    }
    assert!(!fetch("a"), "a is there, and used");
    assert!(fetch("d"), "which costs b");
    assert_eq!(place.cached().len(), 3);
    for path in ["a", "c", "d"] {
        assert!(!fetch(path), "{path} is still there");
    }
    assert!(fetch("b"), "b went");
    assert!(!fetch("c") && !fetch("d"));
    assert!(
        fetch("a"),
        "and then a went, which was used before the others"
    );
}

#[test]
fn what_is_in_use_is_not_evicted() {
    // AG-52: both are held by one call, and there is room for one.
    let place = Place::with(|config| (config.cache_bytes, config.parallel) = (150, 1));
    let server = hundreds();
    let items = [known(&server, "a"), known(&server, "b")];
    place.fetcher.fetch(&items, &place.sandbox()).unwrap();
    for path in ["a", "b"] {
        assert_eq!(place.read(path), content_of(&format!("/{path}")));
    }
    assert_eq!(server.requests(), 2);
    place.fetch(&known(&server, "a")).unwrap();
    assert_eq!(server.requests(), 2, "a was kept");
    place.fetch(&known(&server, "b")).unwrap();
    assert_eq!(
        server.requests(),
        3,
        "b went past the cache, and now in its place"
    );
    place.fetch(&known(&server, "b")).unwrap();
    assert_eq!((server.requests(), place.cached().len()), (3, 1));
}

#[test]
fn what_is_larger_than_the_cache_goes_past_it() {
    // AG-52
    let place = Place::with(|config| config.cache_bytes = 50_000);
    let content = noise(1_000_000, 3);
    let served = content.clone();
    let server = Server::new(move |request, out| match request.path.as_str() {
        "/small" => ok(out, "", b"small"),
        "/said" => ok(out, "", &served),
        _ => chunked(out, &served),
    });
    let mut small = cached(server.url("small"));
    small.checksum = Some(sha256(b"small"));
    place.fetch(&small).unwrap();
    let mut said = cached(server.url("said"));
    said.checksum = Some(sha256(&content));
    place.fetch(&said).unwrap();
    assert_eq!(
        place.cached().len(),
        1,
        "nothing had to go for what cannot be kept"
    );
    let mut unsaid = cached(server.url("unsaid"));
    unsaid.checksum = Some(sha256(&content));
    place.fetch(&unsaid).unwrap();
    assert_eq!(server.requests(), 3, "one request each");
    assert!(place.read("said") == content && place.read("unsaid") == content);
    assert!(
        !place
            .cached()
            .contains(&hex(&ring::digest::SHA256, &content))
    );
    assert!(names(&place.dir.path().join("cache/staged")).is_empty());
    assert_eq!(place.listed(), ["said", "small", "unsaid"]);
}

#[test]
fn ten_who_want_one_item_make_one_request() {
    // AG-52
    let server = Server::new(|_, out| {
        thread::sleep(Duration::from_millis(1_500));
        ok(out, "", b"content");
    });
    let place = Place::new();
    let barrier = Barrier::new(10);
    thread::scope(|scope| {
        for i in 0..10 {
            let (place, server, barrier) = (&place, &server, &barrier);
            scope.spawn(move || {
                let mut item = cached(server.url("x"));
                item.output = Some(format!("out-{i}").into());
                barrier.wait();
                place.fetch(&item).unwrap();
            });
        }
    });
    assert_eq!(server.requests(), 1);
    assert_eq!(place.listed().len(), 10);
    assert!((0..10).all(|i| place.read(&format!("out-{i}")) == b"content"));
}

#[test]
fn if_the_first_fails_the_next_tries() {
    // AG-52
    let turn = AtomicUsize::new(0);
    let server = Server::new(move |_, out| {
        thread::sleep(Duration::from_millis(1_500));
        match turn.fetch_add(1, Ordering::SeqCst) {
            0 => bare(out, "500 Oops", ""),
            _ => ok(out, "", b"content"),
        }
    });
    let place = Place::new();
    let barrier = Barrier::new(5);
    let failed = thread::scope(|scope| {
        let threads = [0, 1, 2, 3, 4].map(|i| {
            let (place, server, barrier) = (&place, &server, &barrier);
            scope.spawn(move || {
                let mut item = cached(server.url("x"));
                item.output = Some(format!("out-{i}").into());
                barrier.wait();
                place.fetch(&item).is_err()
            })
        });
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .filter(|f| *f)
            .count()
    });
    assert_eq!(failed, 1, "who made the request that failed");
    assert_eq!((server.requests(), place.listed().len()), (2, 4));
}

#[test]
fn items_of_one_call_are_fetched_together_and_placed_in_order() {
    // WK-54: each answer waits for the other request.
    let both = Arc::new(Barrier::new(2));
    let server = Server::new(move |request, out| {
        both.wait();
        let archive = tar(&[file(b"who", request.path.as_bytes())]);
        ok(out, "", &archive);
    });
    let place = Place::new();
    let items = [
        Item::new(server.url("1.tar")),
        Item::new(server.url("2.tar")),
    ];
    place.fetcher.fetch(&items, &place.sandbox()).unwrap();
    assert_eq!(place.read("who"), b"/2.tar");
}

#[test]
fn the_cache_outlives_its_fetcher_and_leftovers_do_not() {
    // AG-52
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let sandbox = dir.path().join("sandbox");
    fs::create_dir(&sandbox).unwrap();
    let server = hundreds();
    let fetch = |path: &str| {
        let fetcher = Fetcher::new(Config::new(&cache)).unwrap();
        let open = Sandbox::open(&sandbox, None).unwrap();
        fetcher.fetch(&[known(&server, path)], &open).unwrap();
        assert_eq!(
            fs::read(sandbox.join(path)).unwrap(),
            content_of(&format!("/{path}"))
        );
        server.requests()
    };
    assert_eq!((fetch("a"), fetch("a"), fetch("b")), (1, 1, 2));
    fs::write(cache.join("staged/17"), "unfinished").unwrap();
    fs::write(cache.join("objects/unknown"), "of nobody").unwrap();
    let object = |path: &str| {
        let content = content_of(&format!("/{path}"));
        cache
            .join("objects")
            .join(hex(&ring::digest::SHA256, &content))
    };
    fs::write(object("a"), [b'?'; 100]).unwrap();
    assert_eq!(fetch("b"), 2);
    assert!(names(&cache.join("staged")).is_empty());
    assert_eq!(names(&cache.join("objects")).len(), 2);
    assert_eq!(fetch("a"), 3, "what has changed on the disk is not used");
    fs::write(object("b"), "shorter").unwrap();
    assert_eq!(fetch("a"), 3);
    assert!(!object("b").exists());
    fs::write(cache.join("index"), "torn").unwrap();
    assert_eq!(fetch("a"), 4);
}

// ---------------------------------------------------------------------------------------------
// Users
// ---------------------------------------------------------------------------------------------

const OWNER: Owner = Owner {
    uid: 54_321,
    gid: 54_322,
};

#[test]
fn everything_belongs_to_the_owner_of_the_sandbox() {
    // AG-53
    if !is_root("to give files away") {
        return;
    }
    let place = Place::new();
    let sandbox = Sandbox::open(&place.path(""), Some(OWNER)).unwrap();
    let (archive, gz) = (sample(), gzip(b"x"));
    let zipped = zip(&[("z/deep/er", 0o644, b"")]);
    let server = Server::new(move |request, out| match request.path.as_str() {
        "/a.tar" => ok(out, "", &archive),
        "/b.zip" => ok(out, "", &zipped),
        "/c.gz" => ok(out, "", &gz),
        _ => ok(out, "", b"plain"),
    });
    let mut items: Vec<_> = ["a.tar", "b.zip", "c.gz", "d"]
        .map(|p| Item::new(server.url(p)))
        .into();
    let mut item = cached(server.url("e"));
    item.output = Some("made/for/it".into());
    items.push(item);
    place.fetcher.fetch(&items, &sandbox).unwrap();
    let mut found = 0;
    let mut left = vec![place.path("")];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let owner = (metadata.uid(), metadata.gid());
            assert_eq!(owner, (OWNER.uid, OWNER.gid), "{}", path.display());
            found += 1;
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    assert_eq!(found, 15);
}

#[test]
fn local_files_are_read_with_the_rights_of_the_owner() {
    // AG-53
    if !is_root("to act for another user") {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let sandbox = Sandbox::open(&place.path(""), Some(OWNER)).unwrap();
    let source = place.dir.path().join("source");
    fs::write(&source, "content").unwrap();
    let fetch = |mode, uid, gid| {
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&source, Some(uid), Some(gid)).unwrap();
        place
            .fetcher
            .fetch(&[Item::new(source.to_str().unwrap())], &sandbox)
    };
    fetch(0o644, 0, 0).unwrap();
    fetch(0o600, OWNER.uid, 0).unwrap();
    fetch(0o640, 0, OWNER.gid).unwrap();
    for (mode, uid, gid) in [(0o600, 0, 0), (0o660, 0, 0), (0o660, 1, 1), (0o000, 0, 0)] {
        let refused = fetch(mode, uid, gid);
        let Err(FetchError::Local { source, .. }) = refused else {
            panic!("{mode:o} {uid} {gid}: {refused:?}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    }
    let groups = nix::unistd::getgroups().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(
        status.contains("Uid:\t0\t0\t0\t0"),
        "we are who we were, {groups:?}"
    );
}
