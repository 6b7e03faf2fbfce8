//! Task output: the bytes of its files one after the other, as they stand or as they grow.
//!
//! The agent's node calls [`copy`] for each stream that asks to read; it has checked who asks and
//! opened the file. It waits for growth, for the end of the task, and for the reader to leave.

use std::fs::File as OpenFile;
use std::io;
use std::sync::Arc;

use tepui_transport::ByteWriter;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::watch;

use crate::growth::{Growth, Growths};
use crate::kept::Kept;

const CHUNK_BYTES: usize = 64 * 1024;

/// How much of a file was copied, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// All of it.
    All(u64),
    /// The reader wants no more.
    ReaderGone(u64),
}

/// Copies output to its end, or until the reader leaves.
pub(crate) async fn copy(mut from: Following, to: &mut ByteWriter) -> io::Result<Copied> {
    let mut copied = 0;
    loop {
        // The buffer lives for this long only: most streams wait.
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match from.read(&mut chunk).await? {
                Found::Bytes(length) => {
                    to.write_all(&chunk[..length]).await?;
                    copied += length as u64;
                }
                Found::Nothing => break,
                Found::End => return Ok(Copied::All(copied)),
            }
        }
        drop(chunk);
        tokio::select! {
            () = from.wait() => {}
            () = to.abandoned() => return Ok(Copied::ReaderGone(copied)),
        }
    }
}

/// Output that is read: its files one after the other, and what is added to the last.
#[derive(Debug)]
pub(crate) struct Following {
    kept: Arc<Kept>,
    /// What is read now, once to be named and once to be read.
    named: Arc<OpenFile>,
    file: File,
    /// What comes after it, which is then complete.
    next: Option<OpenFile>,
    growth: Option<Growth>,
    /// Whether it grows still; `None` is nobody's to say.
    until: Option<watch::Receiver<bool>>,
    growths: Arc<Growths>,
}

/// What there is of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
}

impl Following {
    /// Reads a file from a position on, and those that come after it. With `until`, they grow until
    /// that says `true`, or its sender is gone.
    pub(crate) async fn begin(
        (kept, first, position): (Kept, OpenFile, u64),
        until: Option<watch::Receiver<bool>>,
        growths: &Arc<Growths>,
    ) -> io::Result<Self> {
        let growth = until.as_ref().map(|_| growths.of(&first));
        let mut file = File::from_std(first.try_clone()?);
        file.seek(SeekFrom::Start(position)).await?;
        Ok(Self {
            kept: Arc::new(kept),
            named: Arc::new(first),
            file,
            next: None,
            growth,
            until,
            growths: Arc::clone(growths),
        })
    }

    /// Reads what is there.
    pub(crate) async fn read(&mut self, chunk: &mut [u8]) -> io::Result<Found> {
        loop {
            // Asked before the read: what is written before the end is certainly read after it.
            let over = self.until.as_mut();
            let over = over.is_none_or(|over| *over.borrow_and_update());
            let length = self.file.read(chunk).await?;
            if length > 0 {
                return Ok(Found::Bytes(length));
            }
            let end = self.file.metadata().await?.len();
            if self.file.stream_position().await? > end {
                // It was emptied, and begins anew.
                self.file.seek(SeekFrom::Start(0)).await?;
                continue;
            }
            if let Some(next) = self.next.take() {
                self.growth = self.until.as_ref().map(|_| self.growths.of(&next));
                self.file = File::from_std(next.try_clone()?);
                self.named = Arc::new(next);
                continue;
            }
            let (kept, named) = (Arc::clone(&self.kept), Arc::clone(&self.named));
            let next = tokio::task::spawn_blocking(move || kept.after(&named));
            self.next = next.await??;
            // Once more, for what was written before there was a next one.
            if self.next.is_none() {
                let found = if over { Found::End } else { Found::Nothing };
                return Ok(found);
            }
        }
    }

    /// Waits until there may be more, or an end. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        let (Some(until), Some(growth)) = (&mut self.until, &mut self.growth) else {
            return;
        };
        let is_known = tokio::select! {
            () = growth.wait() => true,
            changed = until.changed() => changed.is_ok(),
        };
        if !is_known {
            // Nobody can say any more whether it is over: what is there is all.
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use tepui_transport::pipe;

    use super::*;

    const PIPE_BYTES: usize = 1024;

    fn opened(path: &std::path::Path, offset: u64) -> (Kept, OpenFile, u64) {
        let sandbox = OpenFile::open(path.parent().unwrap()).unwrap();
        let kept = Kept::new(sandbox.into(), "stdout");
        let (file, position) = kept.open(offset).unwrap();
        (kept, file, position)
    }

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
            let file = opened(&path, offset);
            let from = Following::begin(file, None, &Arc::default()).await.unwrap();
            let copied = copy(from, &mut near).await;
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
        let followed = opened(&path, 0);
        let copying = tokio::spawn(async move {
            let from = Following::begin(followed, Some(until), &Arc::default()).await;
            let copied = copy(from.unwrap(), &mut near).await;
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
    async fn a_reader_that_keeps_up_sees_each_byte_once_while_files_take_turns() {
        // CT-11
        let (dir, path) = sandbox_file(b"");
        let (over, until) = watch::channel(false);
        let (mut near, mut far) = pipe(PIPE_BYTES);
        let followed = opened(&path, 0);
        let copying = tokio::spawn(async move {
            let from = Following::begin(followed, Some(until), &Arc::default()).await;
            let copied = copy(from.unwrap(), &mut near).await;
            near.finish().await.unwrap();
            copied
        });
        let mut expected = String::new();
        for turn in 0..50 {
            let mut file = OpenFile::options().append(true).open(&path).unwrap();
            for line in 0..turn % 4 {
                let text = format!("{turn} {line}\n");
                file.write_all(text.as_bytes()).unwrap();
                expected += &text;
                if turn % 3 > 0 {
                    let mut seen = vec![0; text.len()];
                    far.read_exact(&mut seen).await.unwrap();
                    assert_eq!(String::from_utf8(seen).unwrap(), text);
                    expected.clear();
                }
            }
            if !expected.is_empty() {
                let mut seen = vec![0; expected.len()];
                far.read_exact(&mut seen).await.unwrap();
                assert_eq!(String::from_utf8(seen).unwrap(), expected);
                expected.clear();
            }
            for number in (1..3).rev() {
                let at = |number| dir.path().join(format!("stdout.{number}"));
                if at(number).exists() {
                    std::fs::rename(at(number), at(number + 1)).unwrap();
                }
            }
            std::fs::hard_link(&path, dir.path().join("stdout.1")).unwrap();
            let next = dir.path().join("stdout.next");
            std::fs::write(&next, "").unwrap();
            std::fs::rename(&next, &path).unwrap();
        }
        OpenFile::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"end.")
            .unwrap();
        over.send(true).unwrap();
        copying.await.unwrap().unwrap();
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
        let file = opened(&path, 0);
        let from = Following::begin(file, Some(until), &Arc::default()).await;
        let copied = copy(from.unwrap(), &mut near).await;
        assert_eq!(copied.unwrap(), Copied::All(1));
    }

    #[tokio::test]
    async fn a_reader_that_left_ends_the_copy_though_the_task_goes_on() {
        let (_dir, path) = sandbox_file(b"x");
        let (_over, until) = watch::channel(false);
        let (mut near, mut far) = pipe(PIPE_BYTES);
        let file = opened(&path, 0);
        let copying = tokio::spawn(async move {
            let from = Following::begin(file, Some(until), &Arc::default()).await;
            copy(from.unwrap(), &mut near).await
        });
        far.read_exact(&mut [0; 1]).await.unwrap();
        drop(far);
        assert_eq!(copying.await.unwrap().unwrap(), Copied::ReaderGone(1));
    }
}
