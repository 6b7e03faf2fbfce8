//! How a containerizer comes by its launcher: it connects to the one that runs, or starts one.
//!
//! A launcher is executed from a sealed copy of the binary in memory: there is no file beside it
//! to be found or replaced, and nothing that a container could overwrite through `/proc`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::entry;
use crate::error::{Error, Result};
use crate::launcher::{LOCK, LOCKED, READY, link};
use crate::logs::Logs;
use crate::wire::{Answer, Frames, Request, Settings, encode};

/// How long a launcher may take to come up or to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two attempts while another launcher comes or goes.
const PAUSE: Duration = Duration::from_millis(2);
/// Asks for a file in memory that may be executed; kernels before 6.3 do not know the question.
const MFD_EXEC: u32 = 0x10;
/// The launcher's log in the runtime directory.
const LOG: &str = "launcher.log";

/// Which binary a launcher is made of. It must call [`entry::run_if_hidden`] first in its `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LauncherCommand {
    binary: PathBuf,
}

impl LauncherCommand {
    /// The binary that runs.
    pub fn this_binary() -> Self {
        Self::binary("/proc/self/exe")
    }

    /// Another binary, for programs that cannot call the entry themselves, as tests.
    pub fn binary(path: impl Into<PathBuf>) -> Self {
        Self {
            binary: path.into(),
        }
    }
}

/// Connects to the launcher of `settings.runtime_dir`; starts one if there is none.
/// Containers that it launches for us and that say nothing else have these `logs`.
pub(crate) fn connect(
    settings: &Settings,
    logs: Logs,
    command: &LauncherCommand,
) -> Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(stream) = try_connect(&settings.runtime_dir)?
            && let Some(stream) = greet(stream, settings, logs)?
        {
            return Ok(stream);
        }
        // A launcher that comes or goes holds the lock but does not listen; then it is soon over.
        if start(settings, command)? == Started::No {
            if Instant::now() > deadline {
                let message = "it holds the lock and does not listen".to_owned();
                return Err(failed(settings, message));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Makes a directory that only we may enter.
pub(crate) fn private_dir(path: &Path) -> Result<PathBuf> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.and_then(|()| path.canonicalize())
        .map_err(|error| Error::file("create", path, error))
}

/// Returns whether a launcher holds the lock of `dir`: whether it lives.
pub(crate) fn is_held(dir: &Path) -> Result<bool> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::file("open", &path, error)),
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_lock) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(Error::file("lock", &path, errno)),
    }
}

/// Waits until no launcher holds the lock of `dir`.
pub(crate) fn wait_until_gone(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while is_held(dir)? {
        if Instant::now() > deadline {
            return Err(Error::Launcher {
                dir: dir.to_owned(),
                message: format!("it has not ended within {} s", PATIENCE.as_secs()),
            });
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn try_connect(dir: &Path) -> Result<Option<UnixStream>> {
    let (_directory, path) = link::short(dir)?;
    match UnixStream::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::file("connect to", &dir.join(link::SOCKET), error)),
    }
}

/// Exchanges the first frames; `None` if that launcher is on its way out.
fn greet(mut stream: UnixStream, settings: &Settings, logs: Logs) -> Result<Option<UnixStream>> {
    let io = |error| Error::system("talk to the launcher", error);
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    // Kept: who is not read for so long must not hang on it.
    stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
    let mut hello = Vec::new();
    encode(&Request::Hello { logs }, &mut hello)?;
    if stream.write_all(&hello).is_err() {
        return Ok(None);
    }
    let Some(Answer::Hello {
        settings: theirs,
        live,
    }) = first_answer(&mut stream)?
    else {
        return Ok(None);
    };
    if theirs == *settings {
        stream.set_read_timeout(None).map_err(io)?;
        return Ok(Some(stream));
    }
    if live > 0 {
        let message = format!(
            "it has {live} containers under other settings ({theirs:?}, not {settings:?}); \
             end them first, or start the agent as before"
        );
        return Err(failed(settings, message));
    }
    let mut shutdown = Vec::new();
    let patience = PATIENCE;
    encode(&Request::Shutdown { patience }, &mut shutdown)?;
    stream.write_all(&shutdown).map_err(io)?;
    wait_until_gone(&settings.runtime_dir)?;
    Ok(None)
}

fn first_answer(stream: &mut UnixStream) -> Result<Option<Answer>> {
    let mut frames = Frames::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = frames.next()? {
            return Ok(Some(answer));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => frames.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(Error::system("read from the launcher", error)),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Started {
    Yes,
    No,
}

/// Starts a launcher and waits until it listens, or says that there is one already.
fn start(settings: &Settings, command: &LauncherCommand) -> Result<Started> {
    let image = sealed_copy(&command.binary)?;
    let log = settings.runtime_dir.join(LOG);
    let log_file = File::options().create(true).append(true).open(&log);
    let log_file = log_file.map_err(|error| Error::file("open", &log, error))?;
    let child = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg0(entry::LAUNCHER)
        .arg(entry::HIDDEN)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn();
    let mut child = child.map_err(|error| Error::file("execute", &command.binary, error))?;
    let answer = hand_over(&mut child, settings);
    thread::Builder::new()
        .name("tepui-launcher-wait".to_owned())
        .spawn(move || child.wait())
        .map_err(|error| Error::system("start a thread", error))?;
    let answer = answer.map_err(|error| failed(settings, error.to_string()))?;
    match answer.trim_end() {
        READY => Ok(Started::Yes),
        LOCKED => Ok(Started::No),
        "" => Err(failed(
            settings,
            format!("it said nothing; see {}", log.display()),
        )),
        error => Err(failed(settings, error.to_owned())),
    }
}

/// Gives the settings to a launcher and returns its first line.
fn hand_over(child: &mut Child, settings: &Settings) -> io::Result<String> {
    let bytes = postcard::to_allocvec(settings).map_err(io::Error::other)?;
    let missing = || io::Error::other("the launcher has no standard input and output");
    let written = child.stdin.take().ok_or_else(missing)?.write_all(&bytes);
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or_else(missing)?).read_line(&mut line)?;
    // What it said counts more than that it did not listen.
    if line.is_empty() {
        written?;
    }
    Ok(line)
}

/// How often a copy is sealed: the kernel waits for a seventh of a second each time.
const SEAL_TRIES: u32 = 20;

/// Copies a binary into memory and seals the copy.
fn sealed_copy(binary: &Path) -> Result<File> {
    let mut source = File::open(binary).map_err(|error| Error::file("open", binary, error))?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = match memfd_create(c"tepui", flags | MFdFlags::from_bits_retain(MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"tepui", flags),
        made => made,
    };
    let copy = copy.map_err(|errno| Error::system("memfd_create", errno))?;
    let mut copy = File::from(copy);
    io::copy(&mut source, &mut copy).map_err(|error| Error::file("copy", binary, error))?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    let mut tries = 1;
    loop {
        match fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)) {
            Ok(_) => return Ok(copy),
            // Where somebody else looks at its pages the kernel waits, though not for long.
            Err(Errno::EBUSY) if tries < SEAL_TRIES => tries += 1,
            Err(errno) => return Err(Error::system("seal", errno)),
        }
    }
}

fn failed(settings: &Settings, message: String) -> Error {
    Error::Launcher {
        dir: settings.runtime_dir.clone(),
        message,
    }
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::system("start a thread", error))
}
