//! Waiting for files to grow: one inotify instance for all of them.
//!
//! The system gives a user few instances (often 128) but many watches, so all streams of an agent
//! share one. Where inotify is used up, files are looked at now and then instead: slower, and
//! nothing is lost. Deliberately not here: what is read from the files.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is waited for: that more is written, and that the file gets or loses a name, as it does
/// when another takes its place.
const WATCHED: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_ATTRIB);
/// How often a file is looked at that cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// All files of one agent that are followed. The instance is made for the first of them.
#[derive(Debug, Default)]
pub(crate) struct Growths {
    dispatcher: Mutex<Option<Dispatcher>>,
}

#[derive(Debug)]
struct Dispatcher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<Instance>,
    watched: Mutex<HashMap<WatchDescriptor, Watched>>,
}

#[derive(Debug)]
struct Watched {
    grown: watch::Sender<()>,
    /// The same file has one watch, whoever follows it.
    followers: usize,
}

#[derive(Debug)]
struct Instance(Inotify);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Growths {
    /// Watches an open file from now on. Must be called within a tokio runtime.
    pub(crate) fn of(&self, file: &File) -> Growth {
        match self.watch(file) {
            Ok(following) => Growth {
                following: Some(following),
            },
            Err(error) => {
                tracing::warn!(%error, "no inotify for output: it is looked at instead");
                Growth { following: None }
            }
        }
    }

    fn watch(&self, file: &File) -> io::Result<Following> {
        let mut dispatcher = self.dispatcher.lock();
        // One that failed has ended; whoever waited for it looks by itself now.
        let ended = dispatcher
            .as_ref()
            .is_none_or(|dispatcher| dispatcher.task.is_finished());
        if ended {
            *dispatcher = Some(Dispatcher::start()?);
        }
        let dispatcher = dispatcher.as_ref().expect("it was just started");
        Shared::watch(&dispatcher.shared, file)
    }
}

impl Dispatcher {
    fn start() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // SAFETY: `Instance` owns the one descriptor that it always returns, and keeps it open.
        let registered = unsafe { AsyncFd::register(Instance(inotify)) };
        let inotify = registered.map_err(|error| error.into_parts().1)?;
        let shared = Arc::new(Shared {
            inotify,
            watched: Mutex::default(),
        });
        let dispatching = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let Err(error) = dispatching.dispatch().await;
            tracing::error!(%error, "inotify failed: files are looked at instead");
            // Their followers find their watches gone.
            dispatching.watched.lock().clear();
        });
        Ok(Self { shared, task })
    }
}

impl Shared {
    fn watch(shared: &Arc<Self>, file: &File) -> io::Result<Following> {
        // By its descriptor: a path could lead elsewhere by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut all = shared.watched.lock();
        let instance = &shared.inotify.get_ref().0;
        let descriptor = instance.add_watch(path.as_str(), WATCHED)?;
        let watched = all.entry(descriptor).or_insert_with(|| Watched {
            grown: watch::Sender::new(()),
            followers: 0,
        });
        watched.followers += 1;
        Ok(Following {
            grown: watched.grown.subscribe(),
            descriptor,
            shared: Arc::clone(shared),
        })
    }

    async fn dispatch(&self) -> io::Result<std::convert::Infallible> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let Ok(events) = ready.try_io(|instance| Ok(instance.get_ref().0.read_events()?))
            else {
                continue;
            };
            let all = self.watched.lock();
            for event in events? {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    // Which events were lost is not known.
                    all.values()
                        .for_each(|watched| watched.grown.send_replace(()));
                } else if let Some(watched) = all.get(&event.wd) {
                    watched.grown.send_replace(());
                }
            }
        }
    }
}

/// Waits for one file to grow.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Without, the file is looked at now and then.
    following: Option<Following>,
}

#[derive(Debug)]
struct Following {
    grown: watch::Receiver<()>,
    descriptor: WatchDescriptor,
    shared: Arc<Shared>,
}

impl Growth {
    /// Waits until the file may have grown since it was watched, or since the last wait. Losing the
    /// future loses nothing.
    pub(crate) async fn wait(&mut self) {
        if let Some(following) = &mut self.following {
            if following.grown.changed().await.is_ok() {
                return;
            }
            self.following = None;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut all = self.shared.watched.lock();
        let Some(watched) = all.get_mut(&self.descriptor) else {
            return;
        };
        watched.followers -= 1;
        if watched.followers > 0 {
            return;
        }
        all.remove(&self.descriptor);
        match self.shared.inotify.get_ref().0.rm_watch(self.descriptor) {
            // The system removes watches by itself with their files.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(error) => tracing::debug!(%error, "a watch was not removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn many_files_share_one_instance() {
        // More than the instances that a user usually gets.
        const FILES: usize = 300;
        let growths = Growths::default();
        let mut followed: Vec<(File, Growth)> = (0..FILES)
            .map(|_| {
                let file = tempfile::tempfile().unwrap();
                let growth = growths.of(&file);
                assert!(growth.following.is_some(), "it is not watched");
                (file, growth)
            })
            .collect();
        for (file, growth) in &mut followed {
            file.write_all(b"more").unwrap();
            growth.wait().await;
        }
        let shared = Arc::clone(&growths.dispatcher.lock().as_ref().unwrap().shared);
        assert_eq!(shared.watched.lock().len(), FILES);
        drop(followed);
        assert!(shared.watched.lock().is_empty(), "watches were left behind");
    }

    #[tokio::test]
    async fn followers_of_one_file_all_hear_of_it() {
        let growths = Growths::default();
        let mut file = tempfile::tempfile().unwrap();
        let (mut first, mut second) = (growths.of(&file), growths.of(&file));
        file.write_all(b"x").unwrap();
        first.wait().await;
        second.wait().await;
        drop(first);
        file.write_all(b"y").unwrap();
        second.wait().await;
        assert!(second.following.is_some(), "it lost its watch to the other");
    }

    #[tokio::test]
    async fn a_watch_that_is_lost_is_replaced_by_looking() {
        let growths = Growths::default();
        let file = tempfile::tempfile().unwrap();
        let mut growth = growths.of(&file);
        let shared = Arc::clone(&growths.dispatcher.lock().as_ref().unwrap().shared);
        shared.watched.lock().clear();
        growth.wait().await;
        assert!(growth.following.is_none());
        growth.wait().await;
    }
}
