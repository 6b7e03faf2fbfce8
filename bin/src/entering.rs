//! Further processes in the containers of tasks, for those who ask over streams of their own.
//!
//! The agent's node calls [`Entering::serve`] for each such stream. Here is decided who may ask and
//! how many there may be; bytes are carried both ways, and no more is read of either side than the
//! other takes. Nothing of it is in the agent's journal: such a process ends with its stream, with
//! its task, and with the agent. Deliberately not here: what a container is.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use tepui_core::ids::ContainerId;
use tepui_core::limits::{ENTER_BYTES, ENTERED_PER_AGENT, ENTERED_PER_TASK};
use tepui_core::protocol::enter::{Enter, Input, Output, Refusal};
use tepui_isolation::{EnterError, Entered, Enterer, Notice, Streams, Terminal};
use tepui_transport::enter::{read_input, write_output};
use tepui_transport::streams::IncomingStream;
use tepui_transport::{ByteReader, ByteWriter};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::sandboxes::{Refusal as Refused, Sandboxes};

/// How many signals may wait for a process to be told them.
const SIGNALS: usize = 8;
/// The most that a pipe holds when its writer has ended; who else writes to it is not listened to.
const REST_BYTES: usize = 1024 * 1024;

/// What further processes are started with, and how many there are.
#[derive(Debug)]
pub(crate) struct Entering {
    sandboxes: Arc<Sandboxes>,
    enterer: Enterer,
    now: Mutex<HashMap<ContainerId, usize>>,
}

impl Entering {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>, enterer: Enterer) -> Self {
        Self {
            sandboxes,
            enterer,
            now: Mutex::default(),
        }
    }

    /// Serves one stream to its end.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        stream: IncomingStream,
        wanted: Enter,
    ) -> anyhow::Result<()> {
        let info = Arc::clone(stream.info());
        let (sandboxes, principal) = (Arc::clone(&self.sandboxes), info.principal.clone());
        let (framework, task) = (wanted.framework.clone(), wanted.task.clone());
        let finding = move || {
            sandboxes
                .container_of(&principal, &framework, &task)
                .map_err(refusal)
        };
        let found = tokio::task::spawn_blocking(finding).await?;
        let (mut writer, reader) = stream.grant_both().await?;
        let begun = match found {
            Ok(container) => self.begin(&container, wanted).await,
            Err(refusal) => Err(refusal),
        };
        let (process, place) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                write_output(&mut writer, &Output::Refused(refusal)).await?;
                return Ok(writer.finish().await?);
            }
        };
        tracing::info!(peer = %info.principal, container = %place.container, "enters");
        write_output(&mut writer, &Output::Started).await?;
        let last = process.attend(&mut writer, reader).await?;
        drop(place);
        if let Some(last) = last {
            write_output(&mut writer, &last).await?;
            writer.finish().await?;
        }
        Ok(())
    }

    async fn begin(
        self: &Arc<Self>,
        container: &ContainerId,
        wanted: Enter,
    ) -> Result<(Process, Place), Refusal> {
        let place = self.admit(container)?;
        let failed = |error: io::Error| Refusal::Failed(error.to_string());
        let (streams, near) = match wanted.terminal {
            Some(size) => (Streams::Terminal(size), None),
            None => {
                let (streams, near) = pipes().map_err(failed)?;
                (streams, Some(near))
            }
        };
        let entered = self.enterer.enter(container, wanted.command, streams);
        let entered = entered.map_err(of_enter)?;
        let mut control = register(entered).map_err(failed)?;
        let terminal = match notice(&mut control).await.map_err(of_enter)? {
            Notice::Started { terminal } => terminal,
            Notice::Ended(_) => return Err(Refusal::Failed("it ended unstarted".to_owned())),
        };
        let ends = match (near, terminal) {
            (Some(near), _) => near,
            (None, Some(terminal)) => Ends::on_terminal(terminal).map_err(failed)?,
            (None, None) => return Err(Refusal::Failed("it has no terminal".to_owned())),
        };
        Ok((Process { control, ends }, place))
    }

    fn admit(self: &Arc<Self>, container: &ContainerId) -> Result<Place, Refusal> {
        let mut now = self.now.lock();
        let all: usize = now.values().sum();
        let of_task = now.entry(container.clone()).or_default();
        if *of_task >= ENTERED_PER_TASK {
            let reason = format!("the task has {ENTERED_PER_TASK} further processes already");
            return Err(Refusal::TooMany(reason));
        }
        if all >= ENTERED_PER_AGENT {
            if *of_task == 0 {
                now.remove(container);
            }
            let reason = format!("the agent has {ENTERED_PER_AGENT} further processes already");
            return Err(Refusal::TooMany(reason));
        }
        *of_task += 1;
        Ok(Place {
            entering: Arc::clone(self),
            container: container.clone(),
        })
    }
}

/// The place of a further process; it is free again when this is dropped.
struct Place {
    entering: Arc<Entering>,
    container: ContainerId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.entering.now.lock();
        match now.get_mut(&self.container) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(now.remove(&self.container)),
        }
    }
}

/// Says why somebody is refused, to whom it is told on such a stream.
pub(crate) fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::Denied(reason) => Refusal::Denied(reason),
        Refused::Final(reason) => Refusal::NotRunning(reason),
        Refused::NotNow(reason) => Refusal::Failed(reason),
    }
}

pub(crate) fn of_enter(error: EnterError) -> Refusal {
    let reason = error.to_string();
    match error {
        EnterError::NotRunning(_) => Refusal::NotRunning(reason),
        EnterError::Unsupported(_) => Refusal::Unsupported(reason),
        EnterError::Invalid(_) => Refusal::Invalid(reason),
        EnterError::Failed(_) | EnterError::Lost | EnterError::Garbled(_) => {
            Refusal::Failed(reason)
        }
    }
}

/// Watches what owns one open file for as long as it lives, and never another.
pub(crate) fn register<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types that this is called with own the file that they name, name no other,
    // and close it when they are dropped, which is after it is watched.
    Ok(unsafe { AsyncFd::register(owner) }?)
}

/// A process that runs, and our ends of its streams.
struct Process {
    control: AsyncFd<Entered>,
    ends: Ends,
}

/// Our ends of the streams of a process.
struct Ends {
    input: Sink,
    output: Source,
    /// None on a terminal.
    errors: Source,
    terminal: Option<Arc<AsyncFd<Terminal>>>,
}

impl Ends {
    fn on_terminal(terminal: Terminal) -> io::Result<Self> {
        let terminal = Arc::new(register(terminal)?);
        Ok(Self {
            input: Sink::Terminal(Arc::clone(&terminal)),
            output: Source::Terminal(Arc::clone(&terminal)),
            errors: Source::Closed,
            terminal: Some(terminal),
        })
    }
}

fn pipes() -> io::Result<(Streams, Ends)> {
    let (stdin, input) = io::pipe()?;
    let (output, stdout) = io::pipe()?;
    let (errors, stderr) = io::pipe()?;
    let streams = Streams::Files {
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let ends = Ends {
        input: Sink::Pipe(pipe::Sender::from_owned_fd(OwnedFd::from(input))?),
        output: Source::Pipe(pipe::Receiver::from_owned_fd(OwnedFd::from(output))?),
        errors: Source::Pipe(pipe::Receiver::from_owned_fd(OwnedFd::from(errors))?),
        terminal: None,
    };
    Ok((streams, ends))
}

/// Where a process writes to.
enum Source {
    Pipe(pipe::Receiver),
    Terminal(Arc<AsyncFd<Terminal>>),
    Closed,
}

impl Source {
    /// Reads what is there, and waits for that; nothing is read at the end. Cancel-safe.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.read(buffer).await,
            Self::Terminal(terminal) => loop {
                let mut ready = terminal.readable().await?;
                if let Ok(read) = ready.try_io(|terminal| terminal.get_ref().read(buffer)) {
                    return read;
                }
            },
            Self::Closed => pending().await,
        }
    }

    /// Reads what is there, without waiting. The kernel is asked, and not what was heard of it
    /// before: that something came just now may not be known yet.
    fn read_rest(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => Ok(nix::unistd::read(pipe.as_fd(), buffer)?),
            Self::Terminal(terminal) => terminal.get_ref().read(buffer),
            Self::Closed => Ok(0),
        }
    }
}

/// Where a process reads from.
pub(crate) enum Sink {
    Pipe(pipe::Sender),
    Terminal(Arc<AsyncFd<Terminal>>),
    Closed,
}

impl Sink {
    /// Writes all; waits while the process reads nothing. One that does not want it any more gets
    /// no more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => write_to(terminal, bytes).await,
            Self::Closed => Ok(()),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "a further process takes no more input");
            *self = Self::Closed;
        }
    }

    /// Ends the input; on a terminal there is always more to be had.
    pub(crate) fn end(&mut self) {
        if matches!(self, Self::Pipe(_)) {
            *self = Self::Closed;
        }
    }
}

async fn write_to(terminal: &AsyncFd<Terminal>, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let mut ready = terminal.writable().await?;
        if let Ok(written) = ready.try_io(|terminal| terminal.get_ref().write(left)) {
            left = &left[written?..];
        }
    }
    Ok(())
}

/// Waits for what is told next of a process. Cancel-safe.
async fn notice(control: &mut AsyncFd<Entered>) -> Result<Notice, EnterError> {
    loop {
        if let Some(notice) = control.get_mut().try_next()? {
            return Ok(notice);
        }
        let ready = control.readable().await;
        ready.map_err(|_| EnterError::Lost)?.clear_ready();
    }
}

/// Which stream something was read from.
#[derive(Clone, Copy)]
enum Which {
    Output,
    Errors,
}

impl Process {
    /// Carries bytes until the process has ended or its user has left; returns what is to be told
    /// last, if there is somebody to be told. The process is dead in any case.
    async fn attend(
        self,
        writer: &mut ByteWriter,
        reader: ByteReader,
    ) -> io::Result<Option<Output>> {
        let Self { mut control, ends } = self;
        let (signal, mut signals) = mpsc::channel(SIGNALS);
        let feeding = feed(reader, ends.input, ends.terminal, signal);
        let mut streams = (ends.output, ends.errors);
        let telling = tell(&mut control, &mut streams, &mut signals, writer);
        tokio::select! {
            last = telling => last,
            () = feeding => {
                tracing::debug!("the user of a further process has left");
                Ok(None)
            }
        }
    }
}

/// Gives a process what its user says, until the user leaves.
async fn feed(
    mut reader: ByteReader,
    mut sink: Sink,
    terminal: Option<Arc<AsyncFd<Terminal>>>,
    signals: mpsc::Sender<u8>,
) {
    loop {
        match read_input(&mut reader).await {
            Ok(Input::Bytes(bytes)) => sink.write(&bytes).await,
            Ok(Input::End) => sink.end(),
            Ok(Input::Resize(size)) => {
                let resized = terminal
                    .as_ref()
                    .map(|terminal| terminal.get_ref().resize(size));
                if let Some(Err(error)) = resized {
                    tracing::debug!(%error, "a terminal keeps its size");
                }
            }
            // If its end is told already, nobody takes it.
            Ok(Input::Signal(number)) => drop(signals.send(number).await),
            Err(error) => return tracing::debug!(%error, "no more input"),
        }
    }
}

/// Tells a process's user what it writes, until it has ended.
async fn tell(
    control: &mut AsyncFd<Entered>,
    (output, errors): &mut (Source, Source),
    signals: &mut mpsc::Receiver<u8>,
    writer: &mut ByteWriter,
) -> io::Result<Option<Output>> {
    let (mut first, mut second) = (vec![0; ENTER_BYTES], vec![0; ENTER_BYTES]);
    let last = loop {
        let (which, read) = tokio::select! {
            read = output.read(&mut first) => (Which::Output, read),
            read = errors.read(&mut second) => (Which::Errors, read),
            told = notice(control) => match told {
                Ok(Notice::Ended(exit)) => break Output::Ended(exit),
                Ok(Notice::Started { .. }) | Err(_) => break Output::Lost,
            },
            Some(number) = signals.recv() => {
                if let Err(error) = control.get_ref().signal(i32::from(number)) {
                    tracing::debug!(%error, number, "a signal is not delivered");
                }
                continue;
            }
            () = writer.abandoned() => return Ok(None),
        };
        let source = match which {
            Which::Output => &mut *output,
            Which::Errors => &mut *errors,
        };
        let bytes = match which {
            Which::Output => &first,
            Which::Errors => &second,
        };
        match read {
            Ok(length) if length > 0 => {
                write_output(writer, &told(which, &bytes[..length])).await?;
            }
            Ok(_) => *source = Source::Closed,
            Err(error) => {
                tracing::debug!(%error, "no more output");
                *source = Source::Closed;
            }
        }
    };
    // What it wrote is in the pipes by now, also if somebody else keeps them open.
    for (which, source) in [(Which::Output, output), (Which::Errors, errors)] {
        let mut left = REST_BYTES;
        while let Ok(length) = source.read_rest(&mut first)
            && length > 0
            && left > 0
        {
            left = left.saturating_sub(length);
            write_output(writer, &told(which, &first[..length])).await?;
        }
    }
    Ok(Some(last))
}

fn told(which: Which, bytes: &[u8]) -> Output {
    match which {
        Which::Output => Output::Stdout(bytes.to_vec()),
        Which::Errors => Output::Stderr(bytes.to_vec()),
    }
}
