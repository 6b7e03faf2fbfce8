//! A file for the event log.
//!
//! Used by every way to simulate that has `--log`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tepui_core::sim::Log;

use crate::cli::failure::Failure;
use crate::cli::node::refused;

/// A file for the event log. What goes wrong with it is told at the end: the simulator itself
/// knows no such thing as a full disk.
pub(super) struct LogFile {
    path: PathBuf,
    state: Arc<Mutex<LogState>>,
}

struct LogState {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl LogFile {
    /// Makes the file, or says what is wrong with `--log`.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| {
            let problem = format_args!("{error}; expected a file that can be written to");
            refused("--log", path, &error, &problem)
        })?;
        let state = LogState {
            file: BufWriter::new(file),
            failed: None,
        };
        Ok(Self {
            path: path.into(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Makes a log that writes to it.
    pub(super) fn log(&self) -> Log {
        let state = Arc::clone(&self.state);
        Log::Lines(Box::new(move |line| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.failed.is_none()
                && let Err(error) = state.file.write_all(line.as_bytes())
            {
                state.failed = Some(error);
            }
        }))
    }

    /// Writes what is left, and says what went wrong on the way.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = state.failed.take().map_or_else(|| state.file.flush(), Err);
        result.map_err(|error| {
            let path = self.path.display();
            Failure::failed(format_args!("cannot write {path}: {error}"))
        })
    }
}
