//! A connection and its streams, over QUIC or within the process.
//!
//! Sessions use it and need not know which of the two they run on. Deliberately not here: frames.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::VarInt;
use tepui_core::protocol::hello::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::local::LocalWire;
use crate::peers::Ending;

/// The control stream goes before bulk.
const CONTROL_PRIORITY: i32 = 1;
/// How long the word that a connection is closed may take to the socket.
const CLOSE_PATIENCE: Duration = Duration::from_millis(20);
/// The code of a stream that ended before its content did.
const CUT_OFF: u32 = 1;

/// One connection.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Quic(QuicWire),
    Local(LocalWire),
}

/// A connection over QUIC.
#[derive(Clone, Debug)]
pub(crate) struct QuicWire {
    connection: quinn::Connection,
    /// How many datagrams had been sent when we closed it. What is sent from then on says so.
    sent_at_close: Arc<OnceLock<u64>>,
}

impl Wire {
    pub(crate) fn quic(connection: quinn::Connection) -> Self {
        Self::Quic(QuicWire {
            connection,
            sent_at_close: Arc::default(),
        })
    }

    pub(crate) fn close(&self, reason: CloseReason, text: &str) {
        match self {
            Self::Quic(wire) => {
                let is_over = wire.connection.close_reason().is_some();
                let code = VarInt::from_u32(reason.code());
                wire.connection.close(code, text.as_bytes());
                if !is_over {
                    wire.sent_at_close.get_or_init(|| wire.sent());
                }
            }
            Self::Local(wire) => wire.close(reason, text),
        }
    }

    /// Waits until the peer has been sent word that we closed the connection, if we did: who ends
    /// before it leaves the peer waiting. A moment at most.
    pub(crate) async fn close_is_sent(&self) {
        let Self::Quic(wire) = self else { return };
        let Some(before) = wire.sent_at_close.get() else {
            return;
        };
        let sent = async {
            while wire.sent() == *before {
                tokio::task::yield_now().await;
            }
        };
        if timeout(CLOSE_PATIENCE, sent).await.is_err() {
            tracing::debug!("the end of a connection may not have been sent");
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&self) -> Ending {
        match self {
            Self::Quic(wire) => ending(wire.connection.closed().await),
            Self::Local(wire) => wire.closed().await,
        }
    }

    pub(crate) async fn open(&self) -> io::Result<(ByteWriter, ByteReader)> {
        match self {
            Self::Quic(wire) => {
                let (send, recv) = wire.connection.open_bi().await?;
                Ok((ByteWriter::quic(send), ByteReader::Quic(recv)))
            }
            Self::Local(wire) => wire.open().await,
        }
    }

    /// Waits for a stream that the peer opens; `None` once the connection is over.
    pub(crate) async fn accept(&self) -> Option<(ByteWriter, ByteReader)> {
        match self {
            Self::Quic(wire) => match wire.connection.accept_bi().await {
                Ok((send, recv)) => Some((ByteWriter::quic(send), ByteReader::Quic(recv))),
                // `closed` tells why.
                Err(_) => None,
            },
            Self::Local(wire) => wire.accept().await,
        }
    }
}

impl QuicWire {
    fn sent(&self) -> u64 {
        self.connection.stats().udp_tx.datagrams
    }
}

/// Translates why a QUIC connection ended.
pub(crate) fn ending(error: quinn::ConnectionError) -> Ending {
    use quinn::ConnectionError as E;
    match error {
        E::ApplicationClosed(close) => {
            let code = close.error_code.into_inner();
            Ending::ByPeer {
                reason: CloseReason::from_code(code),
                code,
                text: String::from_utf8_lossy(&close.reason).into_owned(),
            }
        }
        E::TimedOut => Ending::TimedOut,
        error @ (E::VersionMismatch
        | E::TransportError(_)
        | E::ConnectionClosed(_)
        | E::Reset
        | E::LocallyClosed
        | E::CidsExhausted) => Ending::Lost(error.to_string()),
    }
}

/// The receiving half of a stream.
#[derive(Debug)]
pub enum ByteReader {
    /// Over the network.
    Quic(quinn::RecvStream),
    /// Within the process.
    Local(LocalReader),
}

/// The receiving half of a stream within the process.
#[derive(Debug)]
pub struct LocalReader {
    stream: DuplexStream,
    finished: Arc<AtomicBool>,
    /// The writer watches for this to be dropped.
    _alive: watch::Sender<()>,
}

impl AsyncRead for ByteReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(stream) => AsyncRead::poll_read(Pin::new(stream), cx, buf),
            Self::Local(local) => {
                let before = buf.filled().len();
                let polled = Pin::new(&mut local.stream).poll_read(cx, buf);
                let at_end = matches!(polled, Poll::Ready(Ok(())))
                    && buf.filled().len() == before
                    && buf.remaining() > 0;
                if at_end && !local.finished.load(Ordering::Acquire) {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                polled
            }
        }
    }
}

/// The sending half of a stream.
///
/// It must be finished: a writer that is dropped before is an error to the reader, so that half of
/// a file is never mistaken for all of it.
#[derive(Debug)]
pub struct ByteWriter {
    half: WriteHalf,
    finished: bool,
}

#[derive(Debug)]
enum WriteHalf {
    Quic(quinn::SendStream),
    Local(LocalWriter),
}

#[derive(Debug)]
struct LocalWriter {
    stream: DuplexStream,
    finished: Arc<AtomicBool>,
    reader: watch::Receiver<()>,
}

/// Makes one direction of a stream within the process.
pub fn pipe(capacity: usize) -> (ByteWriter, ByteReader) {
    let (near, far) = tokio::io::duplex(capacity);
    let (alive, reader) = watch::channel(());
    let finished = Arc::new(AtomicBool::new(false));
    let half = WriteHalf::Local(LocalWriter {
        stream: near,
        finished: Arc::clone(&finished),
        reader,
    });
    let writer = ByteWriter {
        half,
        finished: false,
    };
    let reader = ByteReader::Local(LocalReader {
        stream: far,
        finished,
        _alive: alive,
    });
    (writer, reader)
}

impl ByteWriter {
    pub(crate) fn quic(stream: quinn::SendStream) -> Self {
        Self {
            half: WriteHalf::Quic(stream),
            finished: false,
        }
    }

    pub(crate) fn put_first(&self) {
        match &self.half {
            WriteHalf::Quic(stream) => {
                if let Err(error) = stream.set_priority(CONTROL_PRIORITY) {
                    tracing::debug!(%error, "control stream closed before its first use");
                }
            }
            WriteHalf::Local(..) => {}
        }
    }

    /// Waits until the reader has everything, or wants no more.
    pub async fn abandoned(&mut self) {
        match &mut self.half {
            WriteHalf::Quic(stream) => {
                if let Err(error) = stream.stopped().await {
                    tracing::debug!(%error, "stream lost");
                }
            }
            WriteHalf::Local(local) => while local.reader.changed().await.is_ok() {},
        }
    }

    /// Ends the stream: the reader then knows that it has everything.
    pub async fn finish(mut self) -> io::Result<()> {
        self.shutdown().await
    }

    /// Ends the stream and waits for so long at most until the peer has received it all.
    pub(crate) async fn drain(mut self, patience: Duration) {
        let delivered = async {
            self.shutdown().await?;
            match &self.half {
                WriteHalf::Quic(stream) => stream.stopped().await.map(|_| ())?,
                WriteHalf::Local(..) => {}
            }
            io::Result::Ok(())
        };
        match timeout(patience, delivered).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last messages did not arrive"),
            Err(_) => tracing::debug!("the last messages did not arrive in time"),
        }
    }

    fn half(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match &mut self.get_mut().half {
            WriteHalf::Quic(stream) => Pin::new(stream),
            WriteHalf::Local(local) => Pin::new(&mut local.stream),
        }
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.half().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        if let WriteHalf::Local(local) = &self.half {
            local.finished.store(true, Ordering::Release);
        }
        self.half().poll_shutdown(cx)
    }
}

impl Drop for ByteWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        match &mut self.half {
            WriteHalf::Quic(stream) => {
                if stream.reset(VarInt::from_u32(CUT_OFF)).is_err() {
                    tracing::trace!("the stream was over already");
                }
            }
            // The reader finds the flag unset.
            WriteHalf::Local(..) => {}
        }
    }
}
