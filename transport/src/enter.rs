//! A further process in a task's container, or its own program, from the side of who asks for it:
//! asked for, fed, and heard, over a stream of its own straight to the agent.
//!
//! Used by command lines. Deliberately not here: terminals of users, and what to do with the bytes.

use std::io;

use tepui_core::limits::ENTER_BYTES;
use tepui_core::protocol::enter::{Attach, Enter, Input, Opening, Output, Wanted};
use tokio::io::AsyncWriteExt;

use crate::codec::{self, FrameError};
use crate::output::OutputClient;
use crate::streams::{StreamError, read_frame};
use crate::target::{Error, Target};
use crate::wire::{ByteReader, ByteWriter};

/// The longest frame either way: bytes of a process, or a reason for people.
const FRAME_BYTES: usize = 2 * ENTER_BYTES;

/// Asks the agent at `address` for a process, as whoever `target`'s certificate says: a framework
/// may have it beside its own tasks, an operator beside all.
pub async fn enter(target: &Target, address: &str, wanted: Enter) -> Result<Entered, Error> {
    ask(target, address, Wanted::Enter(Box::new(wanted))).await
}

/// Attaches to the program of a task of the agent at `address`, as above. It goes on when either
/// half of what is returned is dropped.
pub async fn attach(target: &Target, address: &str, wanted: Attach) -> Result<Entered, Error> {
    ask(target, address, Wanted::Attach(wanted)).await
}

async fn ask(target: &Target, address: &str, wanted: Wanted) -> Result<Entered, Error> {
    let client = OutputClient::connect(target, address).await?;
    let (session, place) = client.line().await?;
    let opening = Opening::Containers(wanted);
    let (writer, reader) = session.open_both(&opening).await?;
    drop(place);
    let inputs = Inputs(writer);
    let outputs = Outputs { reader, client };
    Ok(Entered { inputs, outputs })
}

/// What is held of a further process. It ends when either half is dropped.
#[derive(Debug)]
pub struct Entered {
    /// What it is told.
    pub inputs: Inputs,
    /// What it tells.
    pub outputs: Outputs,
}

/// What a further process is told.
#[derive(Debug)]
pub struct Inputs(ByteWriter);

impl Inputs {
    /// Tells something; waits while the process takes no more. Bytes are cut to what a frame holds.
    ///
    /// # Errors
    /// If the process, or the connection, is gone.
    pub async fn tell(&mut self, input: Input) -> io::Result<()> {
        let mut frames = Vec::new();
        match input {
            Input::Bytes(bytes) => {
                for piece in bytes.chunks(ENTER_BYTES) {
                    put(&Input::Bytes(piece.to_vec()), &mut frames)?;
                }
            }
            other @ (Input::End | Input::Resize(_) | Input::Signal(_)) => put(&other, &mut frames)?,
        }
        self.0.write_all(&frames).await
    }
}

/// What a further process tells.
#[derive(Debug)]
pub struct Outputs {
    reader: ByteReader,
    client: OutputClient,
}

impl Outputs {
    /// Waits for the next; nothing comes after an end. Not cancel-safe.
    pub async fn next(&mut self) -> Result<Output, Error> {
        let body = read_frame(&mut self.reader, FRAME_BYTES).await?;
        Ok(codec::decode(&body).map_err(StreamError::from)?)
    }

    /// Takes leave.
    pub async fn close(self) {
        self.client.close().await;
    }
}

fn put(input: &Input, frames: &mut Vec<u8>) -> io::Result<()> {
    codec::encode(input, frames).map_err(io::Error::other)
}

/// The agent's side: reads what a process is to be told.
///
/// # Errors
/// At the end of the stream, and if it makes no sense.
pub async fn read_input(reader: &mut ByteReader) -> Result<Input, StreamError> {
    let body = read_frame(reader, FRAME_BYTES).await?;
    Ok(codec::decode(&body)?)
}

/// The agent's side: writes what a process tells; waits while the other side takes no more.
///
/// # Errors
/// If the other side is gone.
pub async fn write_output(writer: &mut ByteWriter, output: &Output) -> io::Result<()> {
    let mut frame = Vec::new();
    codec::encode(output, &mut frame).map_err(io::Error::other)?;
    writer.write_all(&frame).await
}

/// Reads what a stream asks for, if it is one that goes both ways; `None` if it is another.
///
/// # Errors
/// If it is one, and makes no sense.
pub fn opening(stream: &crate::streams::IncomingStream) -> Option<Result<Opening, FrameError>> {
    stream.goes_both_ways().then(|| stream.request())
}
