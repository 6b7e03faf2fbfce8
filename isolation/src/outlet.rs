//! How requests get to the launcher, and what starts further processes through it.
//!
//! Used by the containerizer, whose writing thread takes them at the other end. Deliberately not
//! here: what is asked for.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::Sender;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::task::CommandInfo;
use tracing::debug;

use crate::connect::PATIENCE;
use crate::enter::{EnterError, Entered, Entry, Streams, Terminal, Told};
use crate::passing;
use crate::wire::{Frames, Request, encode};

/// Where requests go, until it is closed.
#[derive(Debug)]
pub(crate) struct Outlet(Mutex<Option<Sender<Sent>>>);

/// A request, and what goes with it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    pub(crate) files: Vec<OwnedFd>,
}

impl Outlet {
    pub(crate) fn new(sender: Sender<Sent>) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Returns whether somebody takes it.
    pub(crate) fn send(&self, request: Request) -> bool {
        self.send_with(request, Vec::new())
    }

    fn send_with(&self, request: Request, files: Vec<OwnedFd>) -> bool {
        let sent = Sent { request, files };
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sender
            .as_ref()
            .is_some_and(|sender| sender.send(sent).is_ok());
        if !sent {
            debug!("the containerizer is closed; an order is dropped");
        }
        sent
    }

    /// Takes nothing any more; who reads ends when the queue is empty.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Starts further processes in containers that run. Clones are the same; it is of no use any more
/// when its containerizer is closed.
#[derive(Clone, Debug)]
pub struct Enterer(Arc<Outlet>);

impl Enterer {
    pub(crate) fn new(outlet: Arc<Outlet>) -> Self {
        Self(outlet)
    }

    /// Starts a further process in a container that runs, with the rights, limits, variables, user
    /// and directory of its own program, or the user and the further variables of `command`; it
    /// fetches nothing. Never blocks: what becomes of it is told by what is returned. It ends with
    /// its container, and with what is returned (CT-14, TK-99).
    ///
    /// # Errors
    /// If it could not even be asked for; the launcher's refusals come as the first notice.
    pub fn enter(
        &self,
        id: &ContainerId,
        command: CommandInfo,
        streams: Streams,
    ) -> Result<Entered, EnterError> {
        if !command.uris.is_empty() {
            let message = "a further process of a container fetches nothing";
            return Err(EnterError::Invalid(message.to_owned()));
        }
        let (mut files, terminal) = match streams {
            Streams::Files {
                stdin,
                stdout,
                stderr,
            } => (vec![stdin, stdout, stderr], None),
            Streams::Terminal(size) => (Vec::new(), Some(size)),
        };
        let entry = Entry { command, terminal };
        let request = Request::Enter {
            id: id.clone(),
            entry: Box::new(entry),
        };
        encode(&request, &mut Vec::new()).map_err(|e| EnterError::Invalid(e.to_string()))?;
        let pair = Entered::pair(terminal.is_some());
        let (entered, control) = pair.map_err(|error| EnterError::Failed(error.to_string()))?;
        files.push(control);
        match self.0.send_with(request, files) {
            true => Ok(entered),
            false => Err(EnterError::Lost),
        }
    }
}

/// What somebody can say something to a container's own program by. That reads on when it is
/// dropped, and waits for the next who says something.
#[derive(Debug)]
pub enum ProgramInput {
    /// Its standard input, which does not block.
    Pipe(OwnedFd),
    /// Its terminal, to write to and to resize; what is read from it others do not see.
    Terminal(Terminal),
}

impl Enterer {
    /// Asks for what somebody can say something to a container's program by, if it was started to
    /// be interactive or on a terminal. Waits for the launcher.
    ///
    /// # Errors
    /// If there is no such container, it reads nothing, or the launcher does not answer.
    pub fn input(&self, id: &ContainerId) -> Result<ProgramInput, EnterError> {
        let failed = |error: io::Error| EnterError::Failed(error.to_string());
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        control.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let request = Request::Input { id: id.clone() };
        if !self.0.send_with(request, vec![theirs.into()]) {
            return Err(EnterError::Lost);
        }
        let (mut frames, mut files) = (Frames::default(), Vec::new());
        let mut buffer = [0; 4096];
        let garbled = |why: &str| EnterError::Garbled(why.to_owned());
        let told = loop {
            match passing::receive(&control, &mut buffer, &mut files).map_err(failed)? {
                0 => return Err(EnterError::Lost),
                length => frames.push(&buffer[..length]),
            }
            let told = frames.next();
            if let Some(told) = told.map_err(|error| garbled(&error.to_string()))? {
                break told;
            }
        };
        match (told, files.pop()) {
            (Told::Input { terminal: false }, Some(file)) => Ok(ProgramInput::Pipe(file)),
            (Told::Input { terminal: true }, Some(file)) => {
                Ok(ProgramInput::Terminal(Terminal::new(file)))
            }
            (Told::Refused(refusal), _) => Err(refusal.into()),
            (Told::Input { .. } | Told::Started | Told::Ended(_), _) => {
                Err(garbled("the launcher tells something else"))
            }
        }
    }

    /// Lets a container's program know that it has read all that there is. On a terminal, and for
    /// one that reads nothing, it does nothing.
    pub fn end_input(&self, id: &ContainerId) {
        self.0.send(Request::EndInput { id: id.clone() });
    }
}

/// Writes bytes; `files` go with those from `start` on.
pub(crate) fn write(
    stream: &mut UnixStream,
    bytes: &[u8],
    start: usize,
    files: &[OwnedFd],
) -> io::Result<()> {
    if files.is_empty() {
        return stream.write_all(bytes);
    }
    let (before, request) = bytes.split_at(start);
    stream.write_all(before)?;
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let sent = loop {
        match passing::send(&*stream, request, &files) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => break sent?,
        }
    };
    stream.write_all(&request[sent..])
}

/// Duplicates a connection, to read and write on two threads.
pub(crate) fn clone_of(stream: &UnixStream) -> crate::error::Result<UnixStream> {
    stream
        .try_clone()
        .map_err(|error| crate::error::Error::system("duplicate a socket", error))
}
