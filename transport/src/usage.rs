//! What the containers of an agent use, from the side of who asks, and the agent's.
//!
//! Used by command lines. Deliberately not here: what the numbers mean.

use std::io;

use tepui_core::limits::STATISTICS_BYTES;
use tepui_core::protocol::enter::{Opening, Refusal, Wanted};
use tepui_core::protocol::usage::{Answer, ContainerUsage};
use tokio::io::AsyncWriteExt;

use crate::codec;
use crate::output::OutputClient;
use crate::streams::{StreamError, read_frame};
use crate::target::{Error, Target};
use crate::wire::ByteWriter;

/// The longest frame: an object of numbers, with ids, or a reason for people.
const FRAME_BYTES: usize = 2 * STATISTICS_BYTES;

/// What an agent said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// What its containers use.
    Usage(Vec<ContainerUsage>),
    /// Why it does not say.
    Refused(Refusal),
}

/// Somebody who asks an agent again and again.
#[derive(Debug)]
pub struct UsageClient(OutputClient);

impl UsageClient {
    /// Connects to the agent at `address`, as whoever `target`'s certificate says: an operator is
    /// told of all containers, a framework of those of its own tasks.
    pub async fn connect(target: &Target, address: &str) -> Result<Self, Error> {
        Ok(Self(OutputClient::connect(target, address).await?))
    }

    /// Asks what containers use now.
    pub async fn ask(&self) -> Result<Told, Error> {
        let (session, _place) = self.0.line().await?;
        let (_writer, mut reader) = session
            .open_both(&Opening::Containers(Wanted::Usage))
            .await?;
        let mut all = Vec::new();
        loop {
            let body = read_frame(&mut reader, FRAME_BYTES).await?;
            match codec::decode(&body).map_err(StreamError::from)? {
                Answer::Container(usage) => all.push(*usage),
                Answer::Refused(refusal) => return Ok(Told::Refused(refusal)),
                Answer::End => return Ok(Told::Usage(all)),
            }
        }
    }

    /// Takes leave.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// The agent's side: writes an answer; waits while the other side takes no more.
///
/// # Errors
/// If the other side is gone.
pub async fn write_answer(writer: &mut ByteWriter, answer: &Answer) -> io::Result<()> {
    let mut frame = Vec::new();
    codec::encode(answer, &mut frame).map_err(io::Error::other)?;
    writer.write_all(&frame).await
}
