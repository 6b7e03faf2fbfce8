//! Streams of their own for bulk: a request, an answer whether it is granted, then plain bytes.
//!
//! Task output and files travel so, beside the control stream and without delaying it. Deliberately
//! not here: what can be asked for, and who may ask; the answering side decides that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tepui_core::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::codec::{self, Decoder, FrameError, HEADER_BYTES};
use crate::node::ServeStream;
use crate::peers::PeerInfo;
use crate::wire::{ByteReader, ByteWriter, Wire};

/// How many streams one peer may have open on one connection, beside the control stream.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 256;
/// The longest request for a stream.
const REQUEST_BYTES: usize = limits::ENTER_REQUEST_BYTES;
/// How long the opener of a stream may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a stream gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection or the stream failed.
    #[error("stream lost: {0}")]
    Lost(#[from] io::Error),
    /// The other side will not serve it.
    #[error("refused: {0}")]
    Refused(String),
    /// The other side has no room for it now.
    #[error("put off: {0}")]
    PutOff(String),
    /// The request or the answer is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The first frame that comes back.
#[derive(Serialize, Deserialize)]
enum Answer {
    Granted,
    Refused(String),
    PutOff(String),
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct IncomingStream {
    info: Arc<PeerInfo>,
    request: Vec<u8>,
    writer: ByteWriter,
    /// What the peer says after its request, if it goes on.
    reader: ByteReader,
}

impl IncomingStream {
    /// Returns who asks.
    pub fn info(&self) -> &Arc<PeerInfo> {
        &self.info
    }

    /// Decodes what it asks for.
    pub fn request<R: DeserializeOwned>(&self) -> Result<R, FrameError> {
        codec::decode(&self.request)
    }

    /// Returns whether it asks for what goes both ways: such a request begins with a zero, which
    /// one for a file does not.
    pub(crate) fn goes_both_ways(&self) -> bool {
        self.request.first() == Some(&0)
    }

    /// Grants it. What is written next is what the peer reads; finish the writer at the end.
    pub async fn grant(mut self) -> io::Result<ByteWriter> {
        let mut frame = Vec::new();
        codec::encode(&Answer::Granted, &mut frame).expect("a granting answer is one byte");
        self.writer.write_all(&frame).await?;
        Ok(self.writer)
    }

    /// Grants it both ways: what the peer goes on to say is to be read.
    pub async fn grant_both(mut self) -> io::Result<(ByteWriter, ByteReader)> {
        let mut frame = Vec::new();
        codec::encode(&Answer::Granted, &mut frame).expect("a granting answer is one byte");
        self.writer.write_all(&frame).await?;
        Ok((self.writer, self.reader))
    }

    /// Refuses it, with a reason for people.
    pub async fn refuse(self, reason: &str) -> io::Result<()> {
        self.answer(Answer::Refused(short(reason))).await
    }

    /// Has no room for it now: the peer may ask again later.
    pub async fn put_off(self, reason: &str) -> io::Result<()> {
        self.answer(Answer::PutOff(short(reason))).await
    }

    async fn answer(mut self, answer: Answer) -> io::Result<()> {
        let mut frame = Vec::new();
        codec::encode(&answer, &mut frame).expect("reasons are cut short");
        self.writer.write_all(&frame).await?;
        self.writer.finish().await
    }
}

fn short(reason: &str) -> String {
    reason.chars().take(limits::TEXT_BYTES / 4).collect()
}

/// Opens a stream, asks for `request`, and waits until it is granted.
pub(crate) async fn open(wire: &Wire, request: &impl Serialize) -> Result<ByteReader, StreamError> {
    let mut frame = Vec::new();
    codec::encode(request, &mut frame)?;
    let (mut writer, reader) = wire.open().await?;
    writer.write_all(&frame).await?;
    writer.finish().await?;
    granted(reader).await
}

/// Opens a stream that goes both ways: what is written after the request is for who grants it.
pub(crate) async fn open_both(
    wire: &Wire,
    request: &impl Serialize,
) -> Result<(ByteWriter, ByteReader), StreamError> {
    let mut frame = Vec::new();
    codec::encode(request, &mut frame)?;
    let (mut writer, reader) = wire.open().await?;
    writer.write_all(&frame).await?;
    Ok((writer, granted(reader).await?))
}

async fn granted(mut reader: ByteReader) -> Result<ByteReader, StreamError> {
    let answer = read_frame(&mut reader, limits::TEXT_BYTES * 2).await?;
    match codec::decode(&answer)? {
        Answer::Granted => Ok(reader),
        Answer::Refused(reason) => Err(StreamError::Refused(reason)),
        Answer::PutOff(reason) => Err(StreamError::PutOff(reason)),
    }
}

/// Hands a stream over to its handler once the peer has said what it wants.
pub(crate) async fn serve(
    info: Arc<PeerInfo>,
    serve: ServeStream,
    (writer, mut reader): (ByteWriter, ByteReader),
) {
    let asked = timeout(REQUEST_TIMEOUT, read_frame(&mut reader, REQUEST_BYTES)).await;
    match asked {
        Ok(Ok(request)) => serve(IncomingStream {
            info,
            request,
            writer,
            reader,
        }),
        // The writer is dropped: the peer sees the stream cut off.
        Ok(Err(error)) => tracing::debug!(peer = ?info.peer, %error, "stream without a request"),
        Err(_) => tracing::debug!(peer = ?info.peer, "stream without a request in time"),
    }
}

/// Reads one frame and not a byte more.
pub(crate) async fn read_frame(
    reader: &mut ByteReader,
    limit: usize,
) -> Result<Vec<u8>, StreamError> {
    let mut decoder = Decoder::with_limit(limit);
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).await?;
    decoder.push(&header);
    loop {
        if let Some(body) = decoder.next_body()? {
            return Ok(body.to_vec());
        }
        let missing = decoder.missing();
        let room = decoder.spare(missing.min(64 * 1024));
        let mut piece = reader.take(missing as u64);
        if piece.read_buf(room).await? == 0 {
            decoder.finish()?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
