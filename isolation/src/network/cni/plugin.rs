//! Runs one plugin: its environment, its input, its answer, and its end if it comes to none.
//!
//! A plugin is a process group, of which nothing is left when it is done: what a plugin started is
//! killed with it. Its standard input is a file that bears a lock, which goes over to the plugin.
//! So one whose agent died while it ran can be told from none, and is ended before the next one
//! runs for that container.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use serde_json::Value;

use crate::network::error::{NetworkError, PluginFailure, Result};
use crate::wait::pidfd;

/// The most that a plugin may answer.
const ANSWER_BYTES: usize = 1024 * 1024;
/// So much of what it complains about is kept, from the end.
const STDERR_BYTES: usize = 4 * 1024;
/// The most of a plugin's words in an error, in characters.
const SAID_CHARS: usize = 2_000;
/// The longest time that a plugin may be given.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a killed process is waited for.
const DEATH: Duration = Duration::from_secs(10);
/// What plugins find other programs by, if the agent itself has no such variable.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call of a plugin.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) program: &'a Path,
    /// The variables that begin with `CNI_`.
    pub(crate) variables: &'a [(&'static str, String)],
    pub(crate) input: &'a Value,
    /// The file by which it gets its input.
    pub(crate) file: &'a Path,
    pub(crate) timeout: Duration,
    /// Becomes readable when it is to be ended before.
    pub(crate) cancel: Option<&'a EventFd>,
}

/// What came of it so far.
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    too_long: bool,
}

/// Runs it to its end, and returns what it answered.
pub(crate) fn run(call: &Call<'_>) -> Result<Result<Vec<u8>, PluginFailure>> {
    let input = locked_input(call)?;
    let answer = attend(call, &input);
    // Whatever it handed its input on to may keep it open, but not locked.
    let unlocked = input.unlock();
    unlocked.map_err(|error| NetworkError::file("unlock", call.file, error))?;
    Ok(answer)
}

fn attend(call: &Call<'_>, input: &File) -> Result<Vec<u8>, PluginFailure> {
    let stdin = input.try_clone().map_err(PluginFailure::Exec)?;
    let mut command = Command::new(call.program);
    command.env_clear();
    command.env(
        "PATH",
        std::env::var_os("PATH").unwrap_or_else(|| PATH.into()),
    );
    command.envs(call.variables.iter().map(|(name, value)| (name, value)));
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .process_group(0)
        .spawn()
        .map_err(PluginFailure::Exec)?;
    let mut heard = Heard {
        stdout: Vec::new(),
        stderr: Vec::new(),
        too_long: false,
    };
    let listened = listen(&mut child, call, &mut heard);
    // Before it is reaped: until then its number, which is its group's, cannot be another's.
    end_group(&child);
    let ended = match listened {
        Ok(ended) => ended,
        Err(failure) => {
            leave(child);
            return Err(failure);
        }
    };
    let stderr = String::from_utf8_lossy(&heard.stderr).into_owned();
    if heard.too_long {
        leave(child);
        let problem = format!("is longer than {ANSWER_BYTES} bytes");
        return Err(PluginFailure::Result { problem });
    }
    if !ended {
        leave(child);
        let after = call.timeout;
        return Err(PluginFailure::Timeout { after, stderr });
    }
    let status = child.wait();
    let status = status.map_err(|source| system("wait for the plugin", source))?;
    if status.success() {
        return Ok(heard.stdout);
    }
    Err(
        said(&heard.stdout).unwrap_or_else(|| PluginFailure::Silent {
            status: describe(status),
            stderr,
        }),
    )
}

/// Hears the plugin until it ends; `false` if that takes too long, or it says too much.
fn listen(child: &mut Child, call: &Call<'_>, heard: &mut Heard) -> Result<bool, PluginFailure> {
    let end = pidfd(child.id()).map_err(|source| system("open the plugin's pidfd", source))?;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    for pipe in [
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ] {
        let Some(pipe) = pipe else { continue };
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| system("prepare a pipe", errno.into()))?;
    }
    let deadline = Instant::now() + call.timeout.min(LONGEST);
    loop {
        let mut fds = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        let pipes = [
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        let others = pipes.into_iter().chain([call.cancel.map(AsFd::as_fd)]);
        let others = others.flatten();
        fds.extend(others.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, left(deadline)) {
            Ok(0) | Err(Errno::EINTR) if Instant::now() >= deadline => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(system("poll", errno.into())),
        }
        let ended = fds[0].any() == Some(true);
        let cancelled = call.cancel.is_some() && fds.last().and_then(PollFd::any) == Some(true);
        drop(fds);
        if cancelled && !ended {
            return Err(PluginFailure::Cancelled);
        }
        // What is in the pipes when it has ended is all there is to come from itself.
        drain(&mut stdout, &mut heard.stdout)?;
        drain(&mut stderr, &mut heard.stderr)?;
        let extra = heard.stderr.len().saturating_sub(STDERR_BYTES);
        heard.stderr.drain(..extra);
        heard.too_long = heard.stdout.len() > ANSWER_BYTES;
        if ended || heard.too_long {
            return Ok(ended);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
}

/// Reads what is there, but not for ever; forgets a pipe that is closed.
fn drain(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> Result<(), PluginFailure> {
    let Some(reader) = pipe else { return Ok(()) };
    let mut buffer = [0; 16 * 1024];
    let most = into.len() + ANSWER_BYTES;
    while into.len() <= most {
        match reader.read(&mut buffer) {
            Ok(0) => {
                *pipe = None;
                return Ok(());
            }
            Ok(count) => into.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(system("read the plugin's answer", error)),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up, so that the last millisecond is not spent on asking again and again.
    let millis = u32::try_from(left.as_millis() + 1).unwrap_or(u32::MAX);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// Kills what is left of a plugin's group. The plugin itself is not reaped yet.
fn end_group(child: &Child) {
    let group = Pid::from_raw(-child.id().cast_signed());
    match kill(group, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(pid = child.id(), %error, "a plugin's group is not killed"),
    }
}

/// Reaps a plugin that was killed, elsewhere if the kernel takes its time.
fn leave(mut child: Child) {
    let died = pidfd(child.id()).and_then(|end| await_end(&end, Instant::now() + DEATH));
    let mut reap = move || {
        if let Err(error) = child.wait() {
            tracing::warn!(%error, "a killed plugin is not reaped");
        }
    };
    if matches!(died, Ok(true)) {
        return reap();
    }
    tracing::warn!("a killed plugin does not die");
    if let Err(error) = thread::Builder::new().name("reaper".to_owned()).spawn(reap) {
        tracing::warn!(%error, "no thread to reap a killed plugin");
    }
}

/// Returns whether a process ended before the deadline.
fn await_end(end: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left(deadline)) {
            Ok(0) | Err(Errno::EINTR) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes the input into its file, under the lock that the plugin will share.
fn locked_input(call: &Call<'_>) -> Result<File> {
    let path = call.file;
    let failed = |action| move |error: io::Error| NetworkError::file(action, path, error);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let open = options.mode(0o600).open(path);
    let mut file = open.map_err(failed("open"))?;
    while let Err(taken) = file.try_lock() {
        if end_holders(path, &file)? == 0 {
            // Whoever has it does not read it: no plugin.
            return Err(failed("lock")(taken.into()));
        }
    }
    let text = serde_json::to_vec(call.input).map_err(|error| failed("write")(error.into()))?;
    file.set_len(0).map_err(failed("empty"))?;
    file.write_all(&text).map_err(failed("write"))?;
    file.rewind().map_err(failed("rewind"))?;
    Ok(file)
}

/// Ends plugins of a former life of the agent, which read this file: what they do now nobody wants.
/// Returns how many processes that were.
fn end_holders(path: &Path, file: &File) -> Result<usize> {
    let failed = |error| NetworkError::file("find who has locked", path, error);
    let own = file.metadata().map_err(failed)?;
    let mut ended = 0;
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let Ok(end) = pidfd(pid) else { continue };
        let Ok(stdin) = fs::metadata(entry.path().join("fd/0")) else {
            continue;
        };
        if (stdin.dev(), stdin.ino()) != (own.dev(), own.ino()) {
            continue;
        }
        let pid = Pid::from_raw(pid.cast_signed());
        let leads = getpgid(Some(pid)) == Ok(pid);
        let target = if leads {
            Pid::from_raw(-pid.as_raw())
        } else {
            pid
        };
        match kill(target, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        if !await_end(&end, Instant::now() + DEATH).map_err(failed)? {
            return Err(failed(ErrorKind::TimedOut.into()));
        }
        ended += 1;
    }
    Ok(ended)
}

/// Reads why a plugin failed: `{"code": 7, "msg": "...", "details": "..."}`.
fn said(stdout: &[u8]) -> Option<PluginFailure> {
    let value: Value = serde_json::from_slice(stdout).ok()?;
    let text = |key| {
        let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
        text.chars().take(SAID_CHARS).collect::<String>()
    };
    Some(PluginFailure::Said {
        code: value.get("code")?.as_u64()?,
        msg: text("msg"),
        details: text("details"),
    })
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn system(call: &'static str, source: io::Error) -> PluginFailure {
    PluginFailure::System { call, source }
}
