//! Requests of the user or the system to end: SIGINT (Ctrl-C), SIGTERM, and SIGHUP when the
//! terminal is closed, unless that is to be ignored (`nohup`).
//!
//! Called by the commands and daemons that run until they are told to end.

use std::fs;
use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// These signals, as a stream.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Interrupts {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::failed(format_args!("cannot listen for signals: {error}"))
            })
        };
        let hangup = match is_ignored(SignalKind::hangup()) {
            true => None,
            false => Some(listen(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        // The streams end with the runtime only.
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Listens from now on for SIGUSR1, with which an agent leaves its cluster (AG-09).
pub(super) fn leave() -> Result<impl Future<Output = ()>, Failure> {
    let mut asked = signal(SignalKind::user_defined1())
        .map_err(|error| Failure::failed(format_args!("cannot listen for signals: {error}")))?;
    Ok(async move {
        // The stream ends with the runtime only.
        asked.recv().await;
    })
}

/// Returns whether whoever started us wants a signal to be ignored.
fn is_ignored(signal: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw_value() - 1) & 1 == 1)
}
