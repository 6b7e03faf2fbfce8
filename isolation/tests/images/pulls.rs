//! Registries of the tests, which do what they are told: also what no registry should.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tepui_isolation::image::{Cancel, Credentials, ImageError, Keyring, Progress, Scheme};

use super::*;

#[test]
fn documents_and_layers_must_have_the_digests_and_sizes_that_were_said() {
    // CT-66: digests verified
    let built = small();
    let pinned = format!("app@{}", built.digest());
    let lying = fake(&built, |request, out| {
        let is_manifest = request.path.contains("/manifests/");
        if is_manifest {
            ok(out, "", br#"{"schemaVersion":2,"manifests":[]}"#);
        }
        is_manifest
    });
    let place = Place::new();
    assert_fails!(
        place.pull(&at(&lying, &pinned)),
        ImageError::Mismatch { .. }
    );
    for target in [built.config.clone(), built.layers[0].clone()] {
        let right = built.blobs[&target].clone();
        let mut changed = right.clone();
        changed[12] ^= 0x20;
        let short = right[..right.len() - 1].to_vec();
        let long = [&right[..], b"x"].concat();
        for (bytes, is_size) in [(changed, false), (short, true), (long, true)] {
            let digest = target.clone();
            let server = fake(&built, move |request, out| {
                let is_it = is_blob(request, &digest);
                if is_it {
                    ok(out, "", &bytes);
                }
                is_it
            });
            let pulled = place.pull(&at(&server, "app"));
            if is_size {
                assert_fails!(pulled, ImageError::Size { .. });
            } else {
                assert_fails!(pulled, ImageError::Mismatch { .. });
            }
            // The manifest and the blob once each, and perhaps the configuration and a layer.
            assert!(
                server.requests() <= 4,
                "what is wrong is not asked for again"
            );
        }
        // Without a length that could be compared.
        let digest = target.clone();
        let endless = fake(&built, move |request, out| {
            let is_it = is_blob(request, &digest);
            if is_it {
                server::chunked(out, &noise(1 << 20, 1));
            }
            is_it
        });
        assert_fails!(place.pull(&at(&endless, "app")), ImageError::Size { .. });
    }
    assert!(place.stored("blobs/sha256").is_empty() && place.stored("unfinished").is_empty());
    assert!(place.store.list().is_empty());
    assert!(place.pull(&at(&fake(&built, |_, _| false), "app")).is_ok());
}

/// An image with a layer of a million bytes that do not compress.
fn large() -> Built {
    Built::of(&[Layer::new().file("large", noise(1_000_000, 7)).done()])
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_was() {
    // CT-66
    for (has_ranges, is_honest) in [(true, true), (false, true), (true, false)] {
        let built = large();
        let layer = built.blobs[&built.layers[0]].clone();
        let digest = built.layers[0].clone();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = fake(&built, move |request, out| {
            if !is_blob(request, &digest) {
                return false;
            }
            let range = request.header("range").map(str::to_owned);
            let mut asked = log.lock().unwrap();
            asked.push(range.clone());
            let from = range.as_deref().and_then(|range| {
                let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
                from.parse::<usize>().ok()
            });
            let (from, until) = match asked.len() {
                1 => (0, 400_000),
                2 if has_ranges => (from.unwrap(), 700_000),
                _ if has_ranges => (from.unwrap(), layer.len()),
                _ => (0, layer.len()),
            };
            let length = layer.len() - from;
            let head = if from > 0 {
                let shown = if is_honest { from } else { from + 1 };
                format!("206 Partial Content\r\nContent-Range: bytes {shown}-9/*")
            } else {
                "200 OK".to_owned()
            };
            let _ = write!(out, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
            let _ = out.write_all(&layer[from..until]);
            let _ = out.flush();
            true
        });
        let place = Place::new();
        let pulled = place.pull(&at(&server, "app"));
        let asked = asked.lock().unwrap();
        if !is_honest {
            assert_fails!(pulled, ImageError::Status { status: 206, .. });
            continue;
        }
        let image = pulled.unwrap();
        let read = fs::read(image.layers[0].join("large")).unwrap();
        assert_eq!(read, noise(1_000_000, 7));
        assert_eq!(
            (asked.len(), asked[0].as_deref()),
            (if has_ranges { 3 } else { 2 }, None)
        );
        assert!(asked[1..].iter().all(Option::is_some), "{asked:?}");
    }
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    // CT-66
    for (status, attempts) in [
        ("503 Busy", 4),
        ("429 Slowly", 4),
        ("400 No", 1),
        ("404 No", 1),
    ] {
        let server = fake(&small(), move |_, out| {
            bare(out, status, "");
            true
        });
        let place = Place::new();
        assert!(place.pull(&at(&server, "app")).is_err());
        assert_eq!(server.requests(), attempts, "{status}");
    }
    let failures = AtomicUsize::new(0);
    let server = fake(&small(), move |_, out| {
        // Each second request fails.
        let fails = failures.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if fails {
            bare(out, "500 Oops", "");
        }
        fails
    });
    let place = Place::with(|options| options.parallel = 1);
    assert!(place.pull(&at(&server, "app")).is_ok());
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_can_be_called_off() {
    // CT-66
    let built = large();
    let digest = built.layers[0].clone();
    let server = fake(&built, move |request, out| {
        let is_it = is_blob(request, &digest);
        if is_it {
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\n\r\nbegun");
            let _ = out.flush();
            thread::park_timeout(Duration::from_secs(60));
        }
        is_it
    });
    let place = Place::with(|options| {
        options.stall = Duration::from_secs(1);
        options.attempts = 2;
    });
    assert_fails!(
        place.pull(&at(&server, "app")),
        ImageError::Stalled { received: 5, .. }
    );
    assert!(place.is_empty());
    let place = Place::with(|options| options.stall = Duration::from_secs(2));
    let name = at(&server, "app");
    let cancel = Cancel::default();
    let begun = Instant::now();
    let progress = |progress| {
        if let Progress::Received { .. } = progress {
            cancel.cancel();
        }
    };
    let pulled = place
        .store
        .provide_watched(&wanted(&name), &cancel, &progress);
    assert_fails!(pulled, ImageError::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(place.is_empty());
}

#[test]
fn one_of_those_who_wait_can_leave_and_the_others_get_it() {
    // CT-66: concurrent pulls deduped
    let built = large();
    let gate = Arc::new(Barrier::new(2));
    let (digest, inside) = (built.layers[0].clone(), Arc::clone(&gate));
    let server = fake(&built, move |request, _| {
        if is_blob(request, &digest) {
            inside.wait();
            inside.wait();
        }
        false
    });
    let place = Place::new();
    let name = at(&server, "app");
    let cancel = Cancel::default();
    thread::scope(|scope| {
        let pilot = scope.spawn(|| place.pull(&name));
        gate.wait();
        let passenger = scope.spawn(|| {
            place
                .store
                .provide_watched(&wanted(&name), &cancel, &|_| {})
        });
        cancel.cancel();
        assert_fails!(passenger.join().unwrap(), ImageError::Cancelled);
        gate.wait();
        assert!(pilot.join().unwrap().is_ok());
    });
}

#[test]
fn concurrent_requests_are_one_download() {
    // CT-66: concurrent pulls deduped
    let built = large();
    let shared = built.layers[0].clone();
    let other = {
        let own = Layer::new().file("own", "own").done();
        let large = Layer::new().file("large", noise(1_000_000, 7)).done();
        Built::of(&[large, own])
    };
    assert_eq!(other.layers[0], shared);
    let counts = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let count = |counts: &Arc<Mutex<_>>| {
        let counts = Arc::clone(counts);
        move |request: &Request, _: &mut dyn Write| {
            let last = request.path.rsplit('/').next().unwrap().to_owned();
            let mut counts: std::sync::MutexGuard<'_, std::collections::BTreeMap<_, _>> =
                counts.lock().unwrap();
            *counts.entry(last).or_insert(0) += 1;
            drop(counts);
            // So that others come while it is under way.
            thread::park_timeout(Duration::from_millis(50));
            false
        }
    };
    let (first, second) = (fake(&built, count(&counts)), fake(&other, count(&counts)));
    let place = Place::new();
    let names = [at(&first, "app:one"), at(&second, "app:two")];
    let barrier = Barrier::new(8);
    let images: Vec<_> = thread::scope(|scope| {
        let pulls: Vec<_> = (0..8)
            .map(|i| {
                let (place, barrier, name) = (&place, &barrier, &names[i % 2]);
                scope.spawn(move || {
                    barrier.wait();
                    place.pull(name).unwrap()
                })
            })
            .collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert!(
        images
            .iter()
            .all(|image| image.layers[0] == images[0].layers[0])
    );
    let counts = counts.lock().unwrap();
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(counts.len(), 2 + 2 + 2, "{counts:?}");
}

#[test]
fn all_who_wait_learn_why_it_failed() {
    // CT-66: concurrent pulls deduped
    let gate = Arc::new(Barrier::new(2));
    let (inside, is_first) = (Arc::clone(&gate), AtomicUsize::new(0));
    let server = fake(&small(), move |_, out| {
        if is_first.fetch_add(1, Ordering::Relaxed) == 0 {
            inside.wait();
            inside.wait();
        }
        bare(out, "404 Not Found", "");
        true
    });
    let place = Place::new();
    let name = at(&server, "app");
    thread::scope(|scope| {
        let pilot = scope.spawn(|| place.pull(&name));
        gate.wait();
        let passengers: Vec<_> = (0..4).map(|_| scope.spawn(|| place.pull(&name))).collect();
        // They board what is under way. One who comes too late asks himself, but not all do.
        thread::park_timeout(Duration::from_secs(1));
        gate.wait();
        for pull in passengers.into_iter().chain([pilot]) {
            assert_fails!(pull.join().unwrap(), ImageError::NotFound { .. });
        }
    });
    assert!(server.requests() < 5);
}

/// A registry that wants a token, and the server that makes tokens.
fn guarded(built: &Built, basic: Option<&'static str>) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let server = fake(built, move |request, out| {
        let authorization = request.header("authorization");
        if request.path.starts_with("/token") {
            log.lock().unwrap().push(request.path.clone());
            if authorization == basic {
                ok(out, "", br#"{"token":"","access_token":"right"}"#);
            } else {
                bare(out, "401 Unauthorized", "");
            }
            return true;
        }
        let is_right = authorization == Some("Bearer right");
        if !is_right {
            let host = request.header("host").unwrap();
            let challenge = format!(
                "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"a b\",\
                 scope=\"repository:other:push\"\r\n"
            );
            bare(out, "401 Unauthorized", &challenge);
        }
        !is_right
    });
    (server, asked)
}

#[test]
fn a_token_is_made_for_the_repository_and_for_no_more() {
    // CT-66, RG-06 (MESOS-9967): anonymous and bearer
    let (server, asked) = guarded(&small(), None);
    let place = Place::with(|options| options.parallel = 1);
    assert!(place.pull(&at(&server, "team/app")).is_ok());
    let expected = "/token?scope=repository%3Ateam%2Fapp%3Apull&service=a%20b";
    assert_eq!(*asked.lock().unwrap(), [expected]);

    let (server, _) = guarded(&small(), Some("Basic YWxpY2U6c2VjcmV0"));
    let name = at(&server, "app");
    let place = Place::new();
    assert_fails!(place.pull(&name), ImageError::Denied { status: 401, .. });
    let host = name.split('/').next().unwrap();
    let keyring = |credentials: Credentials| {
        let mut keyring = Keyring::default();
        keyring.add(host, credentials);
        Wanted {
            keyring: Some(keyring),
            ..wanted(&name)
        }
    };
    let basic = |password: &str| Credentials::Basic {
        username: "alice".into(),
        password: password.into(),
    };
    let wrong = place.store.provide(&keyring(basic("wrong")));
    assert_fails!(wrong, ImageError::Denied { .. });
    assert!(place.store.provide(&keyring(basic("secret"))).is_ok());
    let place = Place::new();
    let token = |text: &str| keyring(Credentials::Token(text.into()));
    assert_fails!(
        place.store.provide(&token("wrong")),
        ImageError::Denied { .. }
    );
    assert_fails!(
        place.store.provide(&token("a\nb")),
        ImageError::Malformed { .. }
    );
    assert!(place.store.provide(&token("right")).is_ok());
}

#[test]
fn credentials_do_not_go_where_they_should_not() {
    // CT-66
    let built = small();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let elsewhere = fake(&built, move |request, _| {
        log.lock()
            .unwrap()
            .push(request.header("authorization").map(str::to_owned));
        false
    });
    let url = elsewhere.url("v2/app");
    let server = fake(&built, move |request, out| {
        if request.header("authorization") != Some("Bearer right") {
            let challenge = "WWW-Authenticate: Basic realm=x\r\n";
            bare(out, "401 Unauthorized", challenge);
            return true;
        }
        let blob = request.path.split("/blobs/").nth(1);
        if let Some(digest) = blob {
            let place = format!("Location: {url}/blobs/{digest}\r\n");
            bare(out, "307 Temporary Redirect", &place);
        }
        blob.is_some()
    });
    let name = at(&server, "app");
    let mut keyring = Keyring::default();
    keyring.add(
        name.split('/').next().unwrap(),
        Credentials::Token("right".into()),
    );
    let place = Place::with(|options| options.keyring = keyring);
    assert!(place.pull(&name).is_ok());
    let seen = seen.lock().unwrap();
    assert!(
        seen.len() == 3 && seen.iter().all(Option::is_none),
        "{seen:?}"
    );

    // A registry that is asked over TLS names neither a token server nor a place without it.
    for (status, header) in [
        (
            "401 Unauthorized",
            "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/t\"",
        ),
        ("307 Temporary Redirect", "Location: http://127.0.0.1:1/x"),
    ] {
        let (secure, authority) = server::secure(move |_, out| {
            bare(out, status, &format!("{header}\r\n"));
        });
        let trusted = tempfile::NamedTempFile::new().unwrap();
        fs::write(trusted.path(), authority).unwrap();
        let name = at(&secure, "app");
        let place = Place::with(|options| {
            options.certificates = Some(trusted.path().to_owned());
            let host = name.split('/').next().unwrap().to_owned();
            options.schemes.insert(host, Scheme::Https);
            options.attempts = 1;
        });
        match place.pull(&name).unwrap_err().root() {
            ImageError::Challenge { reason, .. } => {
                assert!(status.starts_with("401") && reason.contains("less secure"));
            }
            ImageError::Transfer { source, .. } => {
                assert!(status.starts_with("307"), "a token was asked for");
                assert!(source.to_string().contains("https"), "{source}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn challenges_that_are_not_understood_are_told() {
    let server = fake(&small(), |_, out| {
        bare(out, "401 Unauthorized", "WWW-Authenticate: Negotiate x\r\n");
        true
    });
    let place = Place::new();
    let pulled = place.pull(&at(&server, "app"));
    assert_fails!(pulled, ImageError::Challenge { challenge, .. } if challenge == "Negotiate x");
    for token in ["{}", "secret", r#"{"token":""}"#] {
        let server = fake(&small(), move |request, out| {
            let host = request.header("host").unwrap();
            if request.path.starts_with("/token") {
                ok(out, "", token.as_bytes());
            } else {
                let realm = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                bare(out, "401 Unauthorized", &realm);
            }
            true
        });
        let error = place.pull(&at(&server, "app")).unwrap_err();
        assert!(
            matches!(error.root(), ImageError::Malformed { .. }),
            "{error}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn documents_of_any_size_are_not_held_in_memory() {
    let server = fake(&small(), |_, out| {
        ok(out, "", &vec![b' '; 5 << 20]);
        true
    });
    let place = Place::new();
    assert_fails!(place.pull(&at(&server, "app")), ImageError::TooLarge { .. });
    let index = |digest: &str, size: usize| {
        let platform = json!({"os": "linux", "architecture": architecture()});
        let one = json!({"digest": digest, "size": size, "mediaType": INDEX, "platform": platform});
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [one]}).to_string()
    };
    let mut nested = vec![index(&digest(b"x"), 1)];
    for _ in 0..6 {
        let last = nested.last().unwrap();
        nested.push(index(&digest(last.as_bytes()), last.len()));
    }
    let top = nested.last().unwrap().clone();
    let server = fake(&small(), move |request, out| {
        let asked = request.path.rsplit('/').next().unwrap();
        let found = nested.iter().find(|text| digest(text.as_bytes()) == asked);
        ok(out, "", found.unwrap_or(&top).as_bytes());
        true
    });
    assert_fails!(place.pull(&at(&server, "app")), ImageError::Malformed { reason, .. }
        if reason.contains("indexes"));
}
