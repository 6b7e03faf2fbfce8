//! Task output: the bytes of a sandbox file, as it stands or as it grows.
//!
//! The agent's node calls [`copy`] for each stream that asks to read; it has checked who asks and
//! opened the file. It waits for growth, for the end of the task, and for the reader to leave.

use std::fs::File as OpenFile;
use std::io;

use tepui_transport::ByteWriter;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::watch;

use crate::growth::{Growth, Growths};

const CHUNK_BYTES: usize = 64 * 1024;

/// How much of a file was copied, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// All of it.
    All(u64),
    /// The reader wants no more.
    ReaderGone(u64),
}

/// Copies a file from `offset` on. With `until`, goes on as the file grows until that says `true`
/// (or its sender is gone) and all is copied, or until the reader leaves.
pub(crate) async fn copy(
    file: OpenFile,
    offset: u64,
    mut until: Option<watch::Receiver<bool>>,
    growths: &Growths,
    to: &mut ByteWriter,
) -> io::Result<Copied> {
    let mut growth = until.as_ref().map(|_| growths.of(&file));
    let mut file = File::from_std(file);
    file.seek(SeekFrom::Start(offset)).await?;
    let mut copied = 0;
    loop {
        // Asked before the read: what is written before the end is then certainly read after it.
        let over = until.as_mut().is_none_or(|over| *over.borrow_and_update());
        copied += copy_what_is_there(&mut file, to).await?;
        let (Some(over_soon), Some(growth), false) = (&mut until, &mut growth, over) else {
            return Ok(Copied::All(copied));
        };
        match wait(over_soon, growth, to).await {
            Waited::More => {}
            // Nobody can say any more whether it is over: what is there is all.
            Waited::NobodyKnows => until = None,
            Waited::ReaderGone => return Ok(Copied::ReaderGone(copied)),
        }
    }
}

enum Waited {
    More,
    NobodyKnows,
    ReaderGone,
}

async fn wait(
    until: &mut watch::Receiver<bool>,
    growth: &mut Growth,
    to: &mut ByteWriter,
) -> Waited {
    tokio::select! {
        () = growth.wait() => Waited::More,
        changed = until.changed() => match changed {
            Ok(()) => Waited::More,
            Err(_) => Waited::NobodyKnows,
        },
        () = to.abandoned() => Waited::ReaderGone,
    }
}

/// Copies to the end of the file. The buffer lives for this long only: most streams wait.
async fn copy_what_is_there(file: &mut File, to: &mut ByteWriter) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Ok(copied);
        }
        to.write_all(&chunk[..read]).await?;
        copied += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use tepui_transport::pipe;

    use super::*;

    const PIPE_BYTES: usize = 1024;

    fn sandbox_file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_finished_file_is_copied_from_the_offset() {
        let (_dir, path) = sandbox_file(b"hello");
        for (offset, expected) in [(2, &b"llo"[..]), (99, b"")] {
            let (mut near, mut far) = pipe(PIPE_BYTES);
            let file = OpenFile::open(&path).unwrap();
            let copied = copy(file, offset, None, &Growths::default(), &mut near).await;
            assert_eq!(copied.unwrap(), Copied::All(expected.len() as u64));
            near.finish().await.unwrap();
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, expected);
        }
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_to_the_end_of_its_task() {
        let (_dir, path) = sandbox_file(b"one ");
        let (over, until) = watch::channel(false);
        let (mut near, mut far) = pipe(PIPE_BYTES);
        let followed = OpenFile::open(&path).unwrap();
        let copying = tokio::spawn(async move {
            let growths = Growths::default();
            let copied = copy(followed, 0, Some(until), &growths, &mut near).await;
            near.finish().await.unwrap();
            copied
        });
        let mut seen = [0; 4];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"one ");
        let mut file = OpenFile::options().append(true).open(&path).unwrap();
        file.write_all(b"two ").unwrap();
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"two ", "growth is sent before the task is over");
        file.write_all(b"end.").unwrap();
        over.send(true).unwrap();
        assert_eq!(copying.await.unwrap().unwrap(), Copied::All(12));
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"end.");
    }

    #[tokio::test]
    async fn a_vanished_agent_machine_ends_the_copy() {
        let (_dir, path) = sandbox_file(b"x");
        let (over, until) = watch::channel(false);
        drop(over);
        let (mut near, _far) = pipe(PIPE_BYTES);
        let file = OpenFile::open(&path).unwrap();
        let copied = copy(file, 0, Some(until), &Growths::default(), &mut near).await;
        assert_eq!(copied.unwrap(), Copied::All(1));
    }

    #[tokio::test]
    async fn a_reader_that_left_ends_the_copy_though_the_task_goes_on() {
        let (_dir, path) = sandbox_file(b"x");
        let (_over, until) = watch::channel(false);
        let (mut near, mut far) = pipe(PIPE_BYTES);
        let file = OpenFile::open(&path).unwrap();
        let copying = tokio::spawn(async move {
            copy(file, 0, Some(until), &Growths::default(), &mut near).await
        });
        far.read_exact(&mut [0; 1]).await.unwrap();
        drop(far);
        assert_eq!(copying.await.unwrap().unwrap(), Copied::ReaderGone(1));
    }
}
