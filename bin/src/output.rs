//! Task output: the bytes of a sandbox file, as it stands or as it grows.
//!
//! The agent's node calls [`copy`] for each stream that asks to read; it has checked who asks.
//! Waiting is by inotify and by the end of the task, never by polling.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt, SeekFrom};
use tokio::sync::watch;

const CHUNK_BYTES: usize = 64 * 1024;

/// Copies a file from `offset` on. With `until`, goes on as the file grows until that says `true`
/// (or its sender is gone) and all is copied.
pub(crate) async fn copy(
    path: &Path,
    offset: u64,
    mut until: Option<watch::Receiver<bool>>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<u64> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let growth = match until {
        Some(_) => Some(Growth::of(path)?),
        None => None,
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        // Asked before the read: what is written before the end is then certainly read after it.
        let over = until.as_mut().is_none_or(|over| *over.borrow_and_update());
        loop {
            let read = file.read(&mut chunk).await?;
            if read == 0 {
                break;
            }
            to.write_all(&chunk[..read]).await?;
            copied += read as u64;
        }
        let (Some(until), Some(growth), false) = (&mut until, &growth, over) else {
            return Ok(copied);
        };
        tokio::select! {
            grown = growth.wait() => grown?,
            changed = until.changed() => if changed.is_err() {
                // Nobody can say any more whether it is over: what is there is all.
                let rest = tokio::io::copy(&mut file, to).await?;
                return Ok(copied + rest);
            },
        }
    }
}

/// Waits for a file to grow.
struct Growth {
    inotify: AsyncFd<Watch>,
}

struct Watch(Inotify);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Growth {
    fn of(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        // SAFETY: `Watch` owns the one descriptor that it always returns, and keeps it open.
        let registered = unsafe { AsyncFd::register(Watch(inotify)) };
        match registered {
            Ok(inotify) => Ok(Self { inotify }),
            Err(error) => Err(error.into_parts().1),
        }
    }

    async fn wait(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match ready.try_io(|watch| Ok(watch.get_ref().0.read_events()?)) {
                Ok(events) => return events.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn sandbox_file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_finished_file_is_copied_from_the_offset() {
        let (_dir, path) = sandbox_file(b"hello");
        let mut to = Vec::new();
        assert_eq!(copy(&path, 2, None, &mut to).await.unwrap(), 3);
        assert_eq!(to, b"llo");
        assert_eq!(copy(&path, 99, None, &mut to).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_to_the_end_of_its_task() {
        let (_dir, path) = sandbox_file(b"one ");
        let (over, until) = watch::channel(false);
        let (mut near, mut far) = tokio::io::duplex(1024);
        let copying = {
            let path = path.clone();
            tokio::spawn(async move { copy(&path, 0, Some(until), &mut near).await })
        };
        let mut seen = [0; 4];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"one ");
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(b"two ").unwrap();
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"two ", "growth is sent before the task is over");
        file.write_all(b"end.").unwrap();
        over.send(true).unwrap();
        assert_eq!(copying.await.unwrap().unwrap(), 12);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"end.");
    }

    #[tokio::test]
    async fn a_vanished_agent_machine_ends_the_copy() {
        let (_dir, path) = sandbox_file(b"x");
        let (over, until) = watch::channel(false);
        drop(over);
        let mut to = Vec::new();
        assert_eq!(copy(&path, 0, Some(until), &mut to).await.unwrap(), 1);
    }
}
