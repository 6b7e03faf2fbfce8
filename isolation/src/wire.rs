//! The frames between containerizer and launcher: postcard with a length before it.
//!
//! Private to this crate, but a launcher outlives its agent's binary: [`VERSION`] changes with
//! these types, and a launcher of another version is only kept until it is empty.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::limits::FRAME_BYTES;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};

use crate::enter::Entry;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::logs::Logs;
use crate::mode::{AgentLoss, Mode};

/// The version of the types in this file and of the commands and events in them.
pub(crate) const VERSION: u32 = 9;

/// What a launcher must know from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) version: u32,
    pub(crate) work_dir: PathBuf,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) cgroup_root: String,
    pub(crate) agent_loss: AgentLoss,
}

/// What a launcher hears.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first frame of a connection; answered by `Hello`.
    Hello {
        /// How much is kept of what those write that are launched by it and do not say so.
        logs: Logs,
    },
    /// An order of the agent.
    Command(ContainerCommand),
    /// An order to start a container, with what isolators add to it. A start that comes as a
    /// `Command` has the default.
    Launch {
        id: ContainerId,
        spec: ContainerSpec,
        launch: Box<Launch>,
        /// Whether its init waits for a `Release`, which is asked for by `Held`.
        hold: bool,
    },
    /// A container that is held is started.
    Release { id: ContainerId },
    /// A further process in a container. Files come with it: the guest's end of its control last,
    /// and before that, without a terminal, input, output and errors.
    Enter { id: ContainerId, entry: Box<Entry> },
    /// What somebody can say something to a container's program by. A file comes with it: where
    /// that is told, with the file, or why not.
    Input { id: ContainerId },
    /// There is nothing more for a container's program to read.
    EndInput { id: ContainerId },
    /// Like `Recover`, but nothing is destroyed: the containerizer lost its launcher.
    Resync { known: Vec<ContainerId> },
    /// Destroy everything and exit; at the latest after this time.
    Shutdown { patience: Duration },
}

/// What a launcher says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Who it is, and how many containers it has.
    Hello { settings: Settings, live: u32 },
    /// News for the agent.
    Event(ContainerEvent),
    /// The init of a container waits. It is destroyed if the connection ends before the `Release`.
    Held {
        id: ContainerId,
        pid: u32,
        /// When it was started, in the kernel's ticks: its number may be another's soon.
        began: u64,
    },
    /// A `Resync` is complete.
    Synced,
    /// The launcher leaves; the containers of these names could not be ended.
    Left(Vec<String>),
}

/// Appends a frame with `message` to `out`.
pub(crate) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let Ok(mut grown) = postcard::to_extend(message, std::mem::take(out)) else {
        return Err(Error::Frame("a message cannot be encoded".to_owned()));
    };
    let length = grown.len() - start - 4;
    if length > FRAME_BYTES {
        grown.truncate(start);
        *out = grown;
        return Err(Error::Frame(format!(
            "a message of {length} bytes is longer than {FRAME_BYTES}"
        )));
    }
    let prefix = u32::try_from(length).expect("FRAME_BYTES fits into 32 bits");
    grown[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
    *out = grown;
    Ok(())
}

/// Bytes received, taken out frame by frame.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    read: usize,
}

impl Frames {
    /// Adds received bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next complete frame out.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let rest = &self.bytes[self.read..];
        let Some((prefix, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > FRAME_BYTES {
            return Err(Error::Frame(format!("it claims {length} bytes")));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message =
            postcard::from_bytes(body).map_err(|error| Error::Frame(error.to_string()))?;
        self.read += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_in_order_however_they_are_cut() {
        let ids = [ContainerId::numbered(1), ContainerId::numbered(2)];
        let mut bytes = Vec::new();
        for id in &ids {
            let command = ContainerCommand::Destroy { id: id.clone() };
            encode(&Request::Command(command), &mut bytes).unwrap();
        }
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in bytes {
            frames.push(&[byte]);
            while let Some(request) = frames.next::<Request>().unwrap() {
                let Request::Command(ContainerCommand::Destroy { id }) = request else {
                    panic!("another request came out: {request:?}");
                };
                seen.push(id);
            }
        }
        assert_eq!(seen, ids);
    }

    #[test]
    fn an_oversized_frame_is_refused_on_both_sides() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(frames.next::<Request>().is_err());

        let mut out = vec![7];
        let long = "x".repeat(FRAME_BYTES + 1);
        assert!(encode(&long, &mut out).is_err());
        assert_eq!(out, [7], "what was there before must stay");
    }
}
