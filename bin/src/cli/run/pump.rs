//! Reads what one task writes to one file, from its agent, to its end.
//!
//! Started by the session, twice a task; the connection to an agent is shared. If the agent goes
//! away it is asked again, from where the last answer broke off: an agent that restarts loses no
//! output. Deliberately not here: where the output goes (see `report`).

use std::sync::Arc;
use std::time::Duration;

use tepui_core::ids::{FrameworkId, TaskId};
use tepui_core::protocol::agent::{OutputFile, Read};
use tepui_transport::output::OutputClient;
use tokio::sync::{Mutex, mpsc};

use crate::client;
use crate::target::Target;

/// How often an agent is asked that gives nothing new.
const ATTEMPTS: u32 = 10;
/// How long is waited before it is asked again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// The longest line that is kept whole.
const LINE_BYTES: usize = 64 * 1024;

/// Where output may be cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// As it comes.
    Anywhere,
    /// Not within a character of UTF-8.
    Characters,
    /// After line breaks, and within very long lines.
    Lines,
}

/// An agent to read from: connected to when first needed, and again after that broke.
#[derive(Debug)]
pub(super) struct Agent {
    target: Target,
    address: String,
    client: Mutex<Option<Arc<OutputClient>>>,
}

impl Agent {
    /// Names an agent, without connecting yet.
    pub(super) fn new(target: Target, address: String) -> Self {
        Self {
            target,
            address,
            client: Mutex::default(),
        }
    }

    /// Returns where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the connection, which is made if there is none.
    pub(super) async fn connection(&self) -> Result<Arc<OutputClient>, client::Error> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let connected = OutputClient::connect(&self.target, &self.address).await?;
        let connected = Arc::new(connected);
        *client = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Takes leave of the agent: it would wait for us otherwise.
    pub(super) async fn leave(&self) {
        if let Some(client) = self.client.lock().await.take() {
            client.close().await;
        }
    }

    /// Does not use a connection any more; the next reader makes another one.
    async fn forget(&self, broken: &Arc<OutputClient>) {
        let mut client = self.client.lock().await;
        if client
            .as_ref()
            .is_some_and(|client| Arc::ptr_eq(client, broken))
        {
            *client = None;
        }
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// From whom.
    pub(super) agent: Arc<Agent>,
    /// Whose task.
    pub(super) framework: FrameworkId,
    /// Which task.
    pub(super) task: TaskId,
    /// Which file.
    pub(super) file: OutputFile,
    /// Where to cut it.
    pub(super) cut: Cut,
}

/// What a pump says.
#[derive(Debug)]
pub(super) struct Flow {
    /// The task.
    pub(super) task: TaskId,
    /// The file.
    pub(super) file: OutputFile,
    /// What came.
    pub(super) came: Came,
}

/// What came out of a pump.
#[derive(Debug)]
pub(super) enum Came {
    /// More output.
    Bytes(Vec<u8>),
    /// All of it was read.
    End,
    /// The rest cannot be read, and why.
    Lost(client::Error),
}

/// Reads a file to its end; the last thing said is `End` or `Lost`.
pub(super) async fn pump(source: Source, to: mpsc::Sender<Flow>) {
    let mut cutter = Cutter::new(source.cut);
    let (mut offset, mut attempt) = (0, 1);
    let end = loop {
        let before = offset;
        match read(&source, &mut offset, &mut cutter, &to).await {
            Ok(()) => break Came::End,
            Err(_) if to.is_closed() => return,
            Err(error) if attempt >= ATTEMPTS || error.is_denied() => break Came::Lost(error),
            Err(error) => {
                tracing::debug!(task = %source.task, %error, "asking the agent again");
            }
        }
        attempt = if offset > before { 1 } else { attempt + 1 };
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    };
    let rest = cutter.finish();
    if !rest.is_empty() {
        say(&source, Came::Bytes(rest), &to).await;
    }
    say(&source, end, &to).await;
}

async fn read(
    source: &Source,
    offset: &mut u64,
    cutter: &mut Cutter,
    to: &mpsc::Sender<Flow>,
) -> Result<(), client::Error> {
    let read = Read {
        framework: source.framework.clone(),
        task: source.task.clone(),
        file: source.file,
        offset: *offset,
        follow: true,
    };
    let connection = source.agent.connection().await?;
    let reading = async {
        let mut output = connection.read(&read).await?;
        while let Some(chunk) = output.chunk().await? {
            *offset += chunk.len() as u64;
            let ready = cutter.push(chunk);
            if !ready.is_empty() {
                say(source, Came::Bytes(ready), to).await;
            }
        }
        Ok(())
    };
    let result = reading.await;
    if result.is_err() {
        source.agent.forget(&connection).await;
    }
    result
}

/// Tells the session. If that is gone, so is everybody who could want to know.
async fn say(source: &Source, came: Came, to: &mpsc::Sender<Flow>) {
    let flow = Flow {
        task: source.task.clone(),
        file: source.file,
        came,
    };
    if to.send(flow).await.is_err() {
        tracing::debug!(task = %source.task, "nobody listens to this output any more");
    }
}

/// Holds back the part of the output after which it may not be cut.
#[derive(Debug)]
struct Cutter {
    cut: Cut,
    held: Vec<u8>,
}

impl Cutter {
    fn new(cut: Cut) -> Self {
        Self {
            cut,
            held: Vec::new(),
        }
    }

    /// Takes more output and returns what may be passed on.
    fn push(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.cut == Cut::Anywhere {
            return bytes;
        }
        self.held.extend(bytes);
        let length = match self.cut {
            Cut::Anywhere => self.held.len(),
            Cut::Characters => self.held.len() - unfinished_character(&self.held),
            Cut::Lines => match self.held.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => last + 1,
                None if self.held.len() >= LINE_BYTES => self.held.len(),
                None => 0,
            },
        };
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Returns how many bytes at the end begin a character that is not all there yet.
fn unfinished_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    match std::str::from_utf8(bytes) {
        Ok(_) => 0,
        // `from_utf8` says so itself, unless something before it is no UTF-8 at all.
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        Err(_) => {
            let start = tail.iter().rposition(|byte| *byte >= 0xc0);
            let begun = start.map_or(&[][..], |start| &tail[start..]);
            match std::str::from_utf8(begun) {
                Err(error) if error.error_len().is_none() => begun.len(),
                Ok(_) | Err(_) => 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(cut: Cut, chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::new(cut);
        let mut pieces: Vec<_> = chunks
            .iter()
            .map(|chunk| cutter.push(chunk.to_vec()))
            .collect();
        pieces.push(cutter.finish());
        pieces
    }

    #[test]
    fn lines_stay_whole() {
        let pieces = pieces(Cut::Lines, &[b"a\nb", b"c\nd\ne", b"f"]);
        assert_eq!(
            pieces,
            [b"a\n".to_vec(), b"bc\nd\n".into(), b"".into(), b"ef".into()]
        );
    }

    #[test]
    fn a_very_long_line_is_not_kept() {
        let long = vec![b'x'; LINE_BYTES];
        assert_eq!(pieces(Cut::Lines, &[&long])[0].len(), LINE_BYTES);
    }

    #[test]
    fn characters_stay_whole_and_other_bytes_are_passed_on() {
        let euro = "€".as_bytes();
        let pieces_of = |chunks: &[&[u8]]| pieces(Cut::Characters, chunks);
        let expected = [b"a".to_vec(), euro.to_vec(), b"".to_vec()];
        assert_eq!(
            pieces_of(&[&[b'a', euro[0], euro[1]], &euro[2..]]),
            expected
        );
        let expected = [b"\xff".to_vec(), euro.to_vec(), b"".to_vec()];
        assert_eq!(pieces_of(&[&[0xff, euro[0]], &euro[1..]]), expected);
        assert_eq!(
            pieces_of(&[b"\xff\xfe"])[0],
            b"\xff\xfe",
            "it will never be UTF-8"
        );
        assert_eq!(
            pieces_of(&[&euro[..2]])[1],
            &euro[..2],
            "the end comes as it is"
        );
    }

    #[test]
    fn nothing_is_held_back_without_need() {
        assert_eq!(
            pieces(Cut::Anywhere, &[b"a", b"\xe2"])[..2],
            [b"a".to_vec(), vec![0xe2]]
        );
    }
}
