//! Writes what containers say on their standard output and error to the files of their sandboxes:
//! one thread for all of them, beside the launcher's loop, which no slow disk may hold up.
//!
//! It holds the far ends of their pipes, and so outlives the agent as the containers do. It takes
//! turns: of who has written much no more is copied at once than a pipe holds, with one buffer for
//! all. A container whose output is not taken fast enough waits in its own writes, as with a file
//! on a slow disk; readers of the files are nothing to it. What cannot be written, for the disk is
//! full, is dropped and counted in the launcher's log, rather than have a program wait for that.
//!
//! If this thread ends, nobody would read any more, and programs would be killed by their next
//! write: so the launcher then ends as a whole, all its containers with it, which the agent hears.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::read;
use tepui_core::ids::ContainerId;

use super::log;
use crate::confine;
use crate::error::{Error, Result};
use crate::logs::LogFile;

/// How much is copied at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most that is copied of what a container left, of each kind. A pipe can be made to hold as
/// much; who goes on writing to it is not of the container any more.
const REST_BYTES: usize = 1024 * 1024;
/// How many events are taken at once: with so many chunks somebody's end waits for its turn.
const EVENTS: usize = 16;
/// How many kinds of output a container has.
const STREAMS: u64 = 2;
/// The event that there is something to do. Others are of containers, whose numbers are higher.
const WAKE: u64 = 0;

/// Where output comes from and goes to. The loop of the launcher holds this.
#[derive(Debug)]
pub(super) struct Copier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    wake: EventFd,
    /// Tells the loop that something is closed.
    done: EventFd,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By the number of the container. Locked by who copies, and only tried by the loop.
    outputs: HashMap<u64, Arc<Mutex<Output>>>,
    closing: Vec<u64>,
    closed: Vec<u64>,
}

/// What a container says.
#[derive(Debug)]
pub(super) struct Output {
    id: ContainerId,
    streams: Vec<Stream>,
}

/// One kind of output.
#[derive(Debug)]
struct Stream {
    from: OwnedFd,
    /// The near side of a terminal: as long as we have it too, programs can close theirs and open
    /// it again.
    near: Option<OwnedFd>,
    to: LogFile,
    /// Whether nothing comes any more.
    is_over: bool,
    /// How much could not be written since it was last possible.
    lost: u64,
}

/// What came of copying once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    Some(usize),
    NothingThere,
    Over,
}

impl Copier {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self> {
        let failed = |call| move |errno| Error::system(call, errno);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("epoll_create"))?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = || EventFd::from_value_and_flags(0, flags).map_err(failed("eventfd"));
        let (wake, done) = (event()?, event()?);
        let event = EpollEvent::new(EpollFlags::EPOLLIN, WAKE);
        epoll.add(&wake, event).map_err(failed("epoll_ctl"))?;
        let shared = Arc::new(Shared {
            epoll,
            wake,
            done,
            table: Mutex::default(),
        });
        let copying = Arc::clone(&shared);
        let thread = thread::Builder::new().name("copier".to_owned());
        let started = thread.spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| copying.run()));
            if let Ok(Err(error)) = ended {
                log(&format!("nobody would read what containers say: {error}"));
            }
            std::process::abort();
        });
        started.map_err(|error| Error::system("start a thread", error))?;
        Ok(Self { shared })
    }

    /// Returns what can be read when there is something in [`Copier::closed`].
    pub(super) fn done(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }

    /// Begins to copy what a container says; its number is that of the container.
    pub(super) fn add(&self, key: u64, output: Output) -> Result<()> {
        let mut table = self.shared.table();
        for (stream, number) in output.streams.iter().zip(key * STREAMS..) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            let added = self.shared.epoll.add(&stream.from, event);
            added.map_err(|errno| Error::system("epoll_ctl", errno))?;
        }
        table.outputs.insert(key, Arc::new(Mutex::new(output)));
        Ok(())
    }

    /// Lets go of the output of a container that was not started.
    pub(super) fn forget(&self, key: u64) {
        self.shared.table().outputs.remove(&key);
    }

    /// Closes the output of a container that has ended, when all that it left is written. Returns
    /// whether that is so now; if not, [`Copier::closed`] says when.
    pub(super) fn close(&self, key: u64) -> bool {
        let mut table = self.shared.table();
        let Some(output) = table.outputs.get(&key) else {
            return true;
        };
        let is_over = match output.try_lock() {
            Ok(mut output) => output.streams.iter_mut().all(Stream::has_ended),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        };
        if is_over {
            table.outputs.remove(&key);
            return true;
        }
        table.closing.push(key);
        drop(table);
        self.shared.ring(&self.shared.wake);
        false
    }

    /// Takes the numbers of those that are closed now.
    pub(super) fn closed(&self) -> Vec<u64> {
        self.shared.quiet(&self.shared.done);
        std::mem::take(&mut self.shared.table().closed)
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self, key: u64) -> Option<Arc<Mutex<Output>>> {
        self.table().outputs.get(&key).cloned()
    }

    fn ring(&self, bell: &EventFd) {
        if let Err(errno) = bell.write(1) {
            log(&Error::system("write to an eventfd", errno).to_string());
        }
    }

    /// Makes an event quiet, which may be so already.
    fn quiet(&self, bell: &EventFd) {
        match bell.read() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => log(&Error::system("read an eventfd", errno).to_string()),
        }
    }

    fn run(&self) -> Result<()> {
        // What it writes is bounded as what others write: no quota is passed over.
        let reduced = confine::reduce_capabilities();
        reduced.map_err(|error| Error::system("reduce capabilities", error))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(Error::system("epoll_wait", errno)),
            };
            for event in &events[..ready] {
                match event.data() {
                    WAKE => self.quiet(&self.wake),
                    number => self.copy(number, &mut buffer)?,
                }
            }
            self.close_all(&mut buffer);
        }
    }

    /// Copies once. One that is not there any more has been closed meanwhile.
    fn copy(&self, number: u64, buffer: &mut [u8]) -> Result<()> {
        let Some(output) = self.output(number / STREAMS) else {
            return Ok(());
        };
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let Output { id, streams } = &mut *output;
        let index = usize::try_from(number % STREAMS).unwrap_or(0);
        let Some(stream) = streams.get_mut(index) else {
            return Ok(());
        };
        if stream.copy(id, buffer) == Copied::Over {
            let ended = self.epoll.delete(&stream.from);
            ended.map_err(|errno| Error::system("epoll_ctl", errno))?;
        }
        Ok(())
    }

    /// Closes those whose containers have ended.
    fn close_all(&self, buffer: &mut [u8]) {
        let closing = std::mem::take(&mut self.table().closing);
        if closing.is_empty() {
            return;
        }
        for &key in &closing {
            if let Some(output) = self.output(key) {
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                let Output { id, streams } = &mut *output;
                streams
                    .iter_mut()
                    .for_each(|stream| stream.finish(id, buffer));
            }
        }
        let mut table = self.table();
        for key in &closing {
            table.outputs.remove(key);
        }
        table.closed.extend(closing);
        drop(table);
        self.ring(&self.done);
    }
}

impl Output {
    /// Describes what a container says, by where it comes from and where it goes to; at most two
    /// kinds.
    pub(super) fn new(id: &ContainerId, streams: Vec<(OwnedFd, LogFile)>) -> Self {
        let streams = streams.into_iter();
        Self {
            id: id.clone(),
            streams: streams
                .map(|(from, to)| Stream::new(from, None, to))
                .collect(),
        }
    }

    /// The same of what is written to a terminal, by its two sides.
    pub(super) fn of_terminal(id: &ContainerId, far: OwnedFd, near: OwnedFd, to: LogFile) -> Self {
        Self {
            id: id.clone(),
            streams: vec![Stream::new(far, Some(near), to)],
        }
    }
}

impl Stream {
    fn new(from: OwnedFd, near: Option<OwnedFd>, to: LogFile) -> Self {
        Self {
            from,
            near,
            to,
            is_over: false,
            lost: 0,
        }
    }

    fn copy(&mut self, id: &ContainerId, buffer: &mut [u8]) -> Copied {
        match read(&self.from, buffer) {
            // The second: of a terminal.
            Ok(0) | Err(Errno::EIO) => {
                self.is_over = true;
                Copied::Over
            }
            Ok(length) => {
                let written = self.to.write(&buffer[..length]);
                self.account(id, length, written);
                Copied::Some(length)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Copied::NothingThere,
            Err(errno) => {
                log(&format!("{id}: no more {}: {errno}", self.to.name()));
                self.is_over = true;
                Copied::Over
            }
        }
    }

    /// Copies what is left of a container that has ended.
    fn finish(&mut self, id: &ContainerId, buffer: &mut [u8]) {
        drop(self.near.take());
        let mut left = REST_BYTES;
        while !self.is_over && left > 0 {
            match self.copy(id, buffer) {
                Copied::Some(length) => left = left.saturating_sub(length),
                Copied::NothingThere | Copied::Over => break,
            }
        }
        if self.lost > 0 {
            log(&format!(
                "{id}: {} bytes of {} are lost",
                self.lost,
                self.to.name()
            ));
        }
    }

    fn account(&mut self, id: &ContainerId, length: usize, written: io::Result<()>) {
        let name = self.to.name();
        match written {
            Ok(()) if self.lost > 0 => {
                log(&format!("{id}: {} bytes of {name} are lost", self.lost));
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    log(&format!("{id}: {name} is lost: {error}"));
                }
                self.lost += length as u64;
            }
        }
    }

    /// Returns whether all has been copied of a container that has ended, and nobody is left who
    /// could write more.
    fn has_ended(&mut self) -> bool {
        drop(self.near.take());
        if self.is_over {
            return true;
        }
        let mut wait = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut wait, PollTimeout::ZERO);
        let found = wait[0].revents().unwrap_or(PollFlags::empty());
        let ended = found.contains(PollFlags::POLLHUP) && !found.contains(PollFlags::POLLIN);
        polled.is_ok() && ended
    }
}
