//! Images, against a real registry, servers that lie, layouts, archives and real overlay mounts.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

#[path = "images/build.rs"]
mod build;
#[path = "common/mod.rs"]
mod common;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/launched.rs"]
mod launched;
#[path = "images/mounts.rs"]
mod mounts;
#[path = "images/pulls.rs"]
mod pulls;
#[path = "images/real.rs"]
mod real;
#[path = "images/registry.rs"]
mod registry;
#[allow(dead_code, reason = "the fetcher's tests use more of it")]
#[path = "fetcher/server.rs"]
mod server;
#[path = "images/stores.rs"]
mod stores;

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_isolation::image::{
    Image, ImageError, Omission, Options, Progress, Reference, Source, Store, Wanted,
};

use build::*;
use server::{Request, Server, bare, ok};

/// A store, and where tests put what they need.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options();
        change(&mut options);
        let store = Store::open(dir.path().join("store"), options).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Closes the store and opens it again.
    fn reopened(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = Store::open(dir.path().join("store"), options()).unwrap();
        Self { dir, store }
    }

    fn pull(&self, name: &str) -> Result<Image, ImageError> {
        self.store.provide(&wanted(name))
    }

    /// Has an image in the store by way of a layout.
    fn unpack(&self, built: &Built) -> Result<Image, ImageError> {
        let path = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        built.write_layout(&path, None);
        self.store
            .provide(&Wanted::new(Source::Layout { path, name: None }))
    }

    /// The one layer of an image, which is unpacked.
    fn layer(&self, layer: Layer) -> Result<PathBuf, ImageError> {
        let image = self.unpack(&Built::of(&[layer.done()]))?;
        Ok(image.layers[0].clone())
    }

    /// What is left out of a layer.
    fn omitted(&self, layer: Layer) -> (PathBuf, Vec<(PathBuf, Omission)>) {
        let path = self.path("omitted");
        Built::of(&[layer.done()]).write_layout(&path, None);
        let omitted = std::sync::Mutex::new(Vec::new());
        let wanted = Wanted::new(Source::Layout { path, name: None });
        let progress = |progress| {
            if let Progress::Omitted {
                entry, omission, ..
            } = progress
            {
                omitted.lock().unwrap().push((entry, omission));
            }
        };
        let image = self
            .store
            .provide_watched(&wanted, &Default::default(), &progress);
        let layer = image.unwrap().layers[0].clone();
        (layer, omitted.into_inner().unwrap())
    }

    /// What is under a folder of the store.
    fn stored(&self, kind: &str) -> Vec<String> {
        names(&self.path("store").join(kind))
    }

    /// Nothing came of it, and nothing is left.
    fn is_empty(&self) -> bool {
        self.stored("layers/sha256").is_empty()
            && self.stored("blobs/sha256").is_empty()
            && self.stored("unfinished").is_empty()
            && self.store.list().is_empty()
    }
}

fn options() -> Options {
    Options {
        stall: Duration::from_secs(20),
        pause: Duration::from_millis(1),
        ..Options::default()
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn wanted(name: &str) -> Wanted {
    Wanted::new(Source::Registry(name.parse::<Reference>().unwrap()))
}

fn again(name: &str) -> Wanted {
    Wanted {
        cached: false,
        ..wanted(name)
    }
}

/// The failure itself.
macro_rules! assert_fails {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Ok(_) => panic!("it does not fail"),
            Err(error) => match error.root() {
                $pattern $(if $guard)? => {}
                other => panic!("another failure: {other}"),
            },
        }
    };
}
use assert_fails;

/// A registry of the test: what `first` does not answer, it answers rightly.
fn fake(
    built: &Built,
    first: impl Fn(&Request, &mut dyn Write) -> bool + Send + Sync + 'static,
) -> Server {
    let built = built.clone();
    Server::new(move |request, out| {
        if !first(request, out) {
            answer(&built, request, out);
        }
    })
}

fn answer(built: &Built, request: &Request, out: &mut dyn Write) {
    let last = request.path.rsplit('/').next().unwrap();
    if request.path.contains("/manifests/") {
        let header = format!("Content-Type: {}\r\n", built.media_type);
        return ok(out, &header, &built.manifest);
    }
    match built.blobs.get(last) {
        Some(blob) => ok(out, "", blob),
        None => bare(out, "404 Not Found", ""),
    }
}

/// The name of an image on a server of the test.
fn at(server: &Server, rest: &str) -> String {
    let url = server.url(rest);
    url.split_once("://").unwrap().1.to_owned()
}

fn is_blob(request: &Request, digest: &str) -> bool {
    request.path.ends_with(&format!("/blobs/{digest}"))
}

/// A small image of two layers.
fn small() -> Built {
    let lower = Layer::new()
        .directory("etc", 0o755)
        .file("etc/name", "lower");
    let upper = Layer::new()
        .directory("etc", 0o755)
        .file("etc/other", "upper");
    Built::of(&[lower.done(), upper.done()])
}

/// An attribute of a file.
fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = CString::new(name).unwrap();
    let mut value = vec![0u8; 4_096];
    let at = value.as_mut_ptr().cast();
    // SAFETY: the texts end with a zero byte, and the buffer is as long as is said.
    let count = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), at, value.len()) };
    value.truncate(usize::try_from(count).ok()?);
    Some(value)
}

/// The names of all attributes of a file.
fn attributes(path: &Path) -> Vec<String> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = vec![0u8; 4_096];
    let at = value.as_mut_ptr().cast();
    // SAFETY: the path ends with a zero byte, and the buffer is as long as is said.
    let count = unsafe { libc::llistxattr(path.as_ptr(), at, value.len()) };
    value.truncate(usize::try_from(count).unwrap());
    let names = value
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        common::skipped(&format!("{what} needs root"));
    }
    is_root
}
