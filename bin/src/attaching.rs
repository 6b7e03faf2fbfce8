//! The programs of tasks, for those who attach to them over streams of their own: what a program
//! writes from now on, and what it reads.
//!
//! The agent's node calls [`Attaching::serve`] for each such stream. What is told of a program is
//! read from the files of its output, as logs are: who does not keep up holds up nothing but his
//! own stream, and what is not kept any more when he comes to it is left out. What he says goes to
//! the program as fast as that reads it, and only one may say something at a time. Nothing of it is
//! in the agent's journal, and a program goes on when who is attached has left. Deliberately not
//! here: what a container is.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use tepui_core::ids::ContainerId;
use tepui_core::limits::ENTER_BYTES;
use tepui_core::protocol::enter::{Attach, Input, Output, Refusal};
use tepui_core::protocol::status::Exit;
use tepui_isolation::{Enterer, ProgramInput, Terminal};
use tepui_transport::enter::{read_input, write_output};
use tepui_transport::streams::IncomingStream;
use tepui_transport::{ByteReader, ByteWriter};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::entering::{Sink, of_enter, refusal, register};
use crate::growth::Growths;
use crate::output::{Following, Found};
use crate::sandboxes::{Opened, Place, Program, Sandboxes};

/// To whose programs somebody may attach, and who does.
#[derive(Debug)]
pub(crate) struct Attaching {
    sandboxes: Arc<Sandboxes>,
    growths: Arc<Growths>,
    enterer: Enterer,
    /// The containers to whose programs somebody says something.
    spoken_to: Mutex<BTreeSet<ContainerId>>,
}

impl Attaching {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>, growths: Arc<Growths>, enterer: Enterer) -> Self {
        Self {
            sandboxes,
            growths,
            enterer,
            spoken_to: Mutex::default(),
        }
    }

    /// Serves one stream to its end.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        stream: IncomingStream,
        wanted: Attach,
    ) -> anyhow::Result<()> {
        let info = Arc::clone(stream.info());
        let (sandboxes, principal) = (Arc::clone(&self.sandboxes), info.principal.clone());
        let finding = move || {
            let found = sandboxes.program(&principal, &wanted.framework, &wanted.task);
            found.map_err(refusal)
        };
        let found = tokio::task::spawn_blocking(finding).await?;
        let (mut writer, reader) = stream.grant_both().await?;
        let begun = match found {
            Ok(program) if wanted.input => self.speak(&program).await.map(|it| (program, Some(it))),
            Ok(program) => Ok((program, None)),
            Err(refusal) => Err(refusal),
        };
        let (program, speaker) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                write_output(&mut writer, &Output::Refused(refusal)).await?;
                return Ok(writer.finish().await?);
            }
        };
        tracing::info!(peer = %info.principal, container = %program.container, "attaches");
        write_output(&mut writer, &Output::Started).await?;
        let told = tell(program, &self.growths, &mut writer);
        let last = match speaker {
            None => told.await?,
            Some(speaker) => tokio::select! {
                last = told => last?,
                () = speaker.feed(reader) => None,
            },
        };
        if let Some(last) = last {
            write_output(&mut writer, &last).await?;
            writer.finish().await?;
        }
        Ok(())
    }

    /// Opens what a program reads, if nobody else has.
    async fn speak(self: &Arc<Self>, program: &Program) -> Result<Speaker, Refusal> {
        let container = program.container.clone();
        if !self.spoken_to.lock().insert(container.clone()) {
            let reason = "somebody else is attached to its input already".to_owned();
            return Err(Refusal::TooMany(reason));
        }
        let place = Spoken {
            attaching: Arc::clone(self),
            container: container.clone(),
        };
        let enterer = self.enterer.clone();
        let asked = tokio::task::spawn_blocking(move || enterer.input(&container)).await;
        let asked = asked.map_err(|error| Refusal::Failed(error.to_string()))?;
        let sink = sink(asked.map_err(of_enter)?);
        let (sink, terminal) = sink.map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok(Speaker {
            sink,
            terminal,
            place,
        })
    }
}

/// Its terminal, if what is said goes there.
type OnTerminal = Option<Arc<AsyncFd<Terminal>>>;

fn sink(input: ProgramInput) -> io::Result<(Sink, OnTerminal)> {
    match input {
        ProgramInput::Pipe(file) => {
            let file: OwnedFd = file;
            Ok((Sink::Pipe(pipe::Sender::from_owned_fd(file)?), None))
        }
        ProgramInput::Terminal(terminal) => {
            let terminal = Arc::new(register(terminal)?);
            Ok((Sink::Terminal(Arc::clone(&terminal)), Some(terminal)))
        }
    }
}

/// Who says something to a program.
struct Speaker {
    sink: Sink,
    terminal: OnTerminal,
    place: Spoken,
}

impl Speaker {
    /// Gives the program what is said, until who says it leaves.
    async fn feed(mut self, mut reader: ByteReader) {
        loop {
            match read_input(&mut reader).await {
                Ok(Input::Bytes(bytes)) => self.sink.write(&bytes).await,
                Ok(Input::End) => {
                    if self.terminal.is_none() {
                        self.place
                            .attaching
                            .enterer
                            .end_input(&self.place.container);
                    }
                    self.sink.end();
                }
                Ok(Input::Resize(size)) => {
                    let terminal = self.terminal.as_ref();
                    let resized = terminal.map(|terminal| terminal.get_ref().resize(size));
                    if let Some(Err(error)) = resized {
                        tracing::debug!(%error, "a terminal keeps its size");
                    }
                }
                Ok(Input::Signal(number)) => tracing::debug!(number, "a signal is not passed on"),
                Err(error) => return tracing::debug!(%error, "no more input"),
            }
        }
    }
}

/// The place of who says something; it is free again when this is dropped.
struct Spoken {
    attaching: Arc<Attaching>,
    container: ContainerId,
}

impl Drop for Spoken {
    fn drop(&mut self) {
        self.attaching.spoken_to.lock().remove(&self.container);
    }
}

/// One kind of output that is told.
struct Stream {
    from: Following,
    is_over: bool,
    make: fn(Vec<u8>) -> Output,
    _place: Place,
}

impl Stream {
    async fn open(
        opened: Opened,
        growths: &Arc<Growths>,
        make: fn(Vec<u8>) -> Output,
    ) -> io::Result<Self> {
        let Opened {
            kept,
            file,
            position,
            until,
            place,
        } = opened;
        Ok(Self {
            from: Following::begin((kept, file, position), until, growths).await?,
            is_over: false,
            make,
            _place: place,
        })
    }

    /// Tells a piece of what is there; returns whether there was something.
    async fn tell(&mut self, writer: &mut ByteWriter) -> io::Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let mut chunk = vec![0; ENTER_BYTES];
        match self.from.read(&mut chunk).await? {
            Found::Bytes(length) => {
                chunk.truncate(length);
                write_output(writer, &(self.make)(chunk)).await?;
                Ok(true)
            }
            Found::Nothing => Ok(false),
            Found::End => {
                self.is_over = true;
                Ok(false)
            }
        }
    }

    async fn wait(&mut self) {
        match self.is_over {
            true => std::future::pending().await,
            false => self.from.wait().await,
        }
    }
}

/// Tells what a program writes, until it has ended; returns what is to be told last, if there is
/// somebody to be told.
async fn tell(
    program: Program,
    growths: &Arc<Growths>,
    writer: &mut ByteWriter,
) -> io::Result<Option<Output>> {
    let mut stdout = Stream::open(program.stdout, growths, Output::Stdout).await?;
    let mut stderr = Stream::open(program.stderr, growths, Output::Stderr).await?;
    loop {
        let told = [stdout.tell(writer).await?, stderr.tell(writer).await?];
        if stdout.is_over && stderr.is_over {
            return Ok(Some(last(&program.end)));
        }
        if told.contains(&true) {
            continue;
        }
        tokio::select! {
            () = stdout.wait() => {}
            () = stderr.wait() => {}
            () = writer.abandoned() => return Ok(None),
        }
    }
}

fn last(end: &watch::Receiver<Option<Exit>>) -> Output {
    match *end.borrow() {
        Some(exit) => Output::Ended(exit),
        None => Output::Lost,
    }
}
