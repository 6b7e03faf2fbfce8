//! Brings what tasks need into their sandboxes: local files and what web servers have, checked,
//! unpacked and cached (AG-49 to AG-53).
//!
//! A [`Fetcher`] blocks: it is called on threads that may. The items of one call are brought in
//! together, and put into the sandbox one after the other, in their order; so the later one wins
//! where archives have the same file. The first item that fails ends the call.
//!
//! * `http:`, `https:`, `file:` and paths are known; local files are opened with the rights of the
//!   sandbox's owner, and never cached.
//! * A file is unpacked if [`Item::extract`] says so, its name does not say that it is something
//!   else, and its content is a tar or zip archive or one compressed file (gzip, bzip2, xz, zstd).
//!   Tar and zip archives are unpacked into the sandbox itself, a compressed file beside where it
//!   would be. The packed form is not kept there. Everything else is left as it is.
//! * With a checksum, nothing is in the sandbox under its name, nor in the cache, that has another.
//! * Cached content with a checksum is used without a request. Without one the server is asked
//!   whether it is still the same, if it gave the means; else the item is fetched again.
//! * What fails leaves nothing in the cache, and in the sandbox what was put there until then.
//!
//! Deliberately not here: which items a task has, `ftp:` and HDFS, proxies.

mod cache;
mod config;
mod error;
mod http;
mod item;
mod local;
mod sandbox;
mod transfer;
mod unpack;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ureq::http::Uri;

pub use crate::content::{Checksum, InvalidChecksum, Limits, Refusal};
pub use config::Config;
pub use error::{Fault, FetchError};
pub use item::Item;
pub use sandbox::{Owner, Sandbox};

use crate::cancel::{Cancel, Cancelled, Watched};
use crate::content::{Positioned, Seat};
use cache::{Blob, Cache, Key, Landed};
use http::{Answer, Client, Content, Validators};
use item::{Checked, Source};
use sandbox::Staged;
use transfer::{Progress, Transfer};

/// What other users may do with a file.
const FILE: u32 = 0o644;
const EXECUTABLE: u32 = 0o755;

/// Brings items into sandboxes. Clones share one cache.
#[derive(Debug, Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    client: Client,
    cache: Cache,
}

/// Content that is complete and checked.
#[derive(Debug)]
enum Ready<'s> {
    /// In the cache, and for others too.
    Shared(Arc<Blob>),
    /// In the sandbox already, without its name.
    Own(Staged<'s>),
}

impl Fetcher {
    /// Opens the cache, removes leftovers of a former life, and reads the certificates.
    pub fn new(config: Config) -> Result<Self, FetchError> {
        let client = Client::new(&config)?;
        let cache = Cache::open(&config.cache, config.cache_bytes)?;
        let shared = Arc::new(Shared {
            config,
            client,
            cache,
        });
        Ok(Self { shared })
    }

    /// Fetches all items into a sandbox, or says why one of them cannot be.
    pub fn fetch(&self, items: &[Item], sandbox: &Sandbox) -> Result<(), FetchError> {
        self.fetch_watched(items, sandbox, &Cancel::default())
    }

    /// The same, and can be called off: with the next bytes, or when a transfer has stalled, it
    /// fails with [`FetchError::Cancelled`]. Others who wait for the same content still get it.
    pub fn fetch_watched(
        &self,
        items: &[Item],
        sandbox: &Sandbox,
        cancel: &Cancel,
    ) -> Result<(), FetchError> {
        let fetched = self.fetch_all(items, sandbox, cancel);
        // However it shows where it was noticed.
        fetched.map_err(|error| match cancel.check() {
            Err(cancelled) => cancelled.into(),
            Ok(()) => error,
        })
    }

    fn fetch_all(
        &self,
        items: &[Item],
        sandbox: &Sandbox,
        cancel: &Cancel,
    ) -> Result<(), FetchError> {
        let config = &self.shared.config;
        let checked = items.iter().map(|item| Checked::new(item, config, cancel));
        let checked = checked.collect::<Result<Vec<_>, _>>()?;
        let mut outputs = BTreeSet::new();
        for item in &checked {
            if !outputs.insert(&item.output) {
                return Err(FetchError::Twice {
                    uri: item.shown.clone(),
                    path: item.output_path(),
                });
            }
        }
        let ready = self.bring_all(&checked, sandbox)?;
        for (item, ready) in checked.iter().zip(ready) {
            cancel.check()?;
            self.place(item, ready, sandbox)?;
        }
        Ok(())
    }

    /// Has all content ready, several at a time. Once one has failed no other is begun.
    fn bring_all<'s>(
        &self,
        items: &[Checked<'_>],
        sandbox: &'s Sandbox,
    ) -> Result<Vec<Ready<'s>>, FetchError> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some((index, item)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                items.get(index).map(|item| (index, item))
            } {
                let brought = self.bring(item, sandbox);
                if brought.is_err() {
                    next.store(items.len(), Ordering::Relaxed);
                }
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((index, brought));
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.shared.config.parallel.min(items.len()) {
                // Without another thread this one does it all.
                let spawned = thread::Builder::new().spawn_scoped(scope, work);
                if let Err(error) = spawned {
                    tracing::warn!(%error, "no thread to fetch with");
                }
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, brought)| brought).collect()
    }

    fn bring<'s>(&self, item: &Checked<'_>, sandbox: &'s Sandbox) -> Result<Ready<'s>, FetchError> {
        item.cancel.check()?;
        match &item.source {
            Source::Local(path) => {
                let failed = |source| FetchError::Local {
                    uri: item.shown.clone(),
                    action: "open",
                    path: path.clone(),
                    source,
                };
                let mut file = local::open(path, sandbox.owner()).map_err(failed)?;
                if sandbox.hides(&file).map_err(failed)? {
                    let why = io::Error::new(io::ErrorKind::PermissionDenied, "it is its agent's");
                    return Err(failed(why));
                }
                let transfer = self.transfer(item, None)?;
                receive(transfer, &mut file, item, sandbox)
            }
            Source::Http(uri) if item.item.cache => self.bring_cached(item, uri, sandbox),
            Source::Http(uri) => self.bring_alone(item, uri, sandbox),
        }
    }

    fn transfer<'i>(
        &self,
        item: &'i Checked<'i>,
        announced: Option<u64>,
    ) -> Result<Transfer<'i>, FetchError> {
        let config = &self.shared.config;
        Transfer::new(item, announced, config.limits.item_bytes, config.stall)
    }

    /// Past the cache.
    fn bring_alone<'s>(
        &self,
        item: &Checked<'_>,
        uri: &Uri,
        sandbox: &'s Sandbox,
    ) -> Result<Ready<'s>, FetchError> {
        let mut content = self.ask(item, uri)?;
        let transfer = self.transfer(item, content.announced)?;
        receive(transfer, &mut content.body, item, sandbox)
    }

    fn ask(&self, item: &Checked<'_>, uri: &Uri) -> Result<Content, FetchError> {
        match self
            .shared
            .client
            .ask(uri, &item.shown, &Validators::default())?
        {
            Answer::Content(content) => Ok(content),
            Answer::Same => Err(FetchError::Status {
                uri: item.shown.clone(),
                status: 304,
            }),
        }
    }

    /// From the cache, or into it; for one of those who want the same.
    fn bring_cached<'s>(
        &self,
        item: &Checked<'_>,
        uri: &Uri,
        sandbox: &'s Sandbox,
    ) -> Result<Ready<'s>, FetchError> {
        let checksum = item.item.checksum.as_ref().map(ToString::to_string);
        let key = (item.item.uri.clone(), checksum);
        loop {
            let flights = &self.shared.cache.flights;
            let is_wanted = || !item.cancel.is_cancelled();
            let Some(seat) = flights.board_while(&key, is_wanted) else {
                return Err(Cancelled.into());
            };
            match seat {
                Seat::Passenger(Landed::Kept(blob)) => return Ok(Ready::Shared(blob)),
                Seat::Passenger(Landed::TooLarge) => return self.bring_alone(item, uri, sandbox),
                Seat::Passenger(Landed::Failed) => {}
                Seat::Pilot(pilot) => {
                    let brought = self.fill(item, uri, sandbox, &key);
                    pilot.land(match &brought {
                        Ok(Ready::Shared(blob)) => Landed::Kept(Arc::clone(blob)),
                        Ok(Ready::Own(_)) => Landed::TooLarge,
                        Err(_) => Landed::Failed,
                    });
                    return brought;
                }
            }
        }
    }

    /// Fills the cache, if it must and the item fits in.
    fn fill<'s>(
        &self,
        item: &Checked<'_>,
        uri: &Uri,
        sandbox: &'s Sandbox,
        key: &Key,
    ) -> Result<Ready<'s>, FetchError> {
        let cache = &self.shared.cache;
        let found = cache.find(key);
        if let Some((blob, _)) = &found
            && item.item.checksum.is_some()
        {
            return Ok(Ready::Shared(Arc::clone(blob)));
        }
        let mut content = match found {
            Some((blob, validators)) if !validators.is_empty() => {
                match self.shared.client.ask(uri, &item.shown, &validators)? {
                    Answer::Same => return Ok(Ready::Shared(blob)),
                    Answer::Content(content) => content,
                }
            }
            _ => self.ask(item, uri)?,
        };
        let mut transfer = self.transfer(item, content.announced)?;
        let announced = content.announced.unwrap_or(0);
        if !cache.could_hold(announced) {
            return receive(transfer, &mut content.body, item, sandbox);
        }
        let mut filling = cache.stage()?;
        if !filling.reserve(announced) {
            return receive(transfer, &mut content.body, item, sandbox);
        }
        let mut file = filling.file.try_clone().map_err(own)?;
        let room = |bytes| filling.reserve(bytes);
        match transfer.go_on(&mut content.body, &mut file, room, own)? {
            Progress::Done => {
                let sum = transfer.finish()?;
                let blob = filling.keep(key.clone(), &sum, content.validators)?;
                Ok(Ready::Shared(blob))
            }
            Progress::NoRoom => {
                let staged = stage(item, sandbox)?;
                let mut begun = Positioned::new(&filling.file, u64::MAX);
                io::copy(&mut begun, &mut &staged.file).map_err(failed(item, "write"))?;
                finish(transfer, &mut content.body, item, staged)
            }
        }
    }

    /// Puts complete content where it belongs.
    fn place(
        &self,
        item: &Checked<'_>,
        ready: Ready<'_>,
        sandbox: &Sandbox,
    ) -> Result<(), FetchError> {
        let file = match &ready {
            Ready::Shared(blob) => &blob.file,
            Ready::Own(staged) => &staged.file,
        };
        let Item {
            extract,
            executable,
            ..
        } = item.item;
        if *extract && !executable {
            let limits = &self.shared.config.limits;
            if unpack::unpack(item, file, sandbox, limits)? {
                return Ok(());
            }
        }
        let mode = if *executable { EXECUTABLE } else { FILE };
        match ready {
            Ready::Own(staged) => {
                let kept = staged.keep(&item.output, mode);
                kept.map_err(failed(item, "make"))
            }
            Ready::Shared(blob) => {
                let made = sandbox.file(&item.output);
                let mut file = made.map_err(failed(item, "make"))?;
                let whole = Positioned::new(&blob.file, u64::MAX);
                io::copy(&mut Watched::new(whole, item.cancel), &mut file)
                    .map_err(failed(item, "write"))?;
                let sealed = sandbox.seal(&file, mode, None);
                sealed.map_err(failed(item, "change"))
            }
        }
    }
}

/// Moves content into the sandbox, where it has no name yet.
fn receive<'s>(
    transfer: Transfer<'_>,
    from: &mut dyn Read,
    item: &Checked<'_>,
    sandbox: &'s Sandbox,
) -> Result<Ready<'s>, FetchError> {
    let staged = stage(item, sandbox)?;
    finish(transfer, from, item, staged)
}

fn finish<'s>(
    mut transfer: Transfer<'_>,
    from: &mut dyn Read,
    item: &Checked<'_>,
    staged: Staged<'s>,
) -> Result<Ready<'s>, FetchError> {
    let always = |_| true;
    transfer.go_on(from, &mut &staged.file, always, failed(item, "write"))?;
    transfer.finish()?;
    Ok(Ready::Own(staged))
}

fn stage<'s>(item: &Checked<'_>, sandbox: &'s Sandbox) -> Result<Staged<'s>, FetchError> {
    sandbox.stage().map_err(failed(item, "make"))
}

fn failed<'i>(
    item: &'i Checked<'i>,
    action: &'static str,
) -> impl Fn(io::Error) -> FetchError + 'i {
    move |source| FetchError::Sandbox {
        uri: item.shown.clone(),
        action,
        path: item.output_path(),
        source,
    }
}

fn own(source: io::Error) -> FetchError {
    FetchError::own("write", "an unfinished file", source)
}
