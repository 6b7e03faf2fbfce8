//! Requests of the user or the system to end: SIGINT (Ctrl-C) and SIGTERM.
//!
//! Called by the commands and daemons that run until they are told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// Both signals, as a stream.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::failed(format_args!("cannot listen for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(super) async fn next(&mut self) {
        // The streams end with the runtime only.
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
