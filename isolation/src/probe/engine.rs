//! The thread that makes all tries: waits for any of their sockets, and for orders.
//!
//! [`AT_ONCE`] of each kind are made at the same time; others wait for their turn, and their time
//! runs. One that has no timeout keeps its place until it is answered or given up.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use tepui_core::protocol::check::ProbeOutcome;
use tracing::warn;

use super::command::Command;
use super::connection::Connection;
use super::head::Head;
use super::target::Target;
use super::{Answers, Attempt, Order, What, lock};
use crate::outlet::Enterer;

/// The most commands at the same time, and the most connections.
pub(super) const AT_ONCE: usize = 256;
/// How often a server may answer that the answer is elsewhere.
const REDIRECTS: u32 = 10;
/// How long the rest of an answer is waited for that is known already.
const LINGER: Duration = Duration::from_secs(1);
/// The number of what wakes the thread; tries have others.
const WAKER: u64 = 0;

/// Makes tries.
pub(super) struct Engine {
    queue: Receiver<Order>,
    waker: Arc<EventFd>,
    enterer: Enterer,
    answers: Answers,
    epoll: Epoll,
    under_way: HashMap<u64, Talk>,
    waiting: VecDeque<Attempt>,
    last: u64,
}

/// How far a try is.
#[derive(Debug)]
pub(super) enum Step {
    /// Something has to happen first.
    Wait,
    /// It is over.
    Over(ProbeOutcome),
    /// It is over because its container has most likely ended; that is told soon, or this is.
    Lost(ProbeOutcome),
    /// It was answered; the rest of the answer may follow.
    Answered(Head),
}

/// What tries something.
enum Work {
    Connection(Connection),
    Command(Command),
}

impl AsFd for Work {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Connection(connection) => connection.as_fd(),
            Self::Command(command) => command.as_fd(),
        }
    }
}

/// A try that is under way.
struct Talk {
    work: Work,
    /// When it is over at the latest.
    until: Option<Instant>,
    /// What for; `None` if that is answered.
    attempt: Option<Attempt>,
    /// What came of it, if its time is over.
    verdict: ProbeOutcome,
    redirects: u32,
}

impl Talk {
    fn is(&self, kind: Kind) -> bool {
        match self.work {
            Work::Connection(_) => kind == Kind::Connection,
            Work::Command(_) => kind == Kind::Command,
        }
    }
}

/// What is counted apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Command,
}

impl Attempt {
    fn is(&self, kind: Kind) -> bool {
        match self.what {
            What::Connection(_) => kind == Kind::Connection,
            What::Command(_) => kind == Kind::Command,
        }
    }
}

impl Engine {
    pub(super) fn new(
        queue: Receiver<Order>,
        waker: Arc<EventFd>,
        enterer: Enterer,
        answers: Answers,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        Ok(Self {
            queue,
            waker,
            enterer,
            answers,
            epoll,
            under_way: HashMap::new(),
            waiting: VecDeque::new(),
            last: WAKER,
        })
    }

    /// Makes tries until nobody can order any.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        while self.take_orders() {
            self.begin_waiting();
            let ready = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                // The agent waits no longer than the timeout of each.
                Err(errno) => return warn!(%errno, "no more tries can be made"),
            };
            for event in &events[..ready] {
                match event.data() {
                    // Nothing is there if it was read before.
                    WAKER => drop(self.waker.read()),
                    number => self.go_on(number),
                }
            }
            self.give_up_late();
        }
    }

    /// Takes all orders; returns whether there can be more.
    fn take_orders(&mut self) -> bool {
        let mut is_tidy = true;
        loop {
            match self.queue.try_recv() {
                Ok(Order::Try(attempt)) => self.waiting.push_back(attempt),
                Ok(Order::Tidy) => is_tidy = false,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        if !is_tidy {
            self.tidy();
        }
        true
    }

    /// Drops what nobody waits for.
    fn tidy(&mut self) {
        let table = lock(&self.answers.table);
        let is_wanted = |attempt: &Attempt| table.awaited.contains(&attempt.key);
        self.waiting.retain(is_wanted);
        self.under_way
            .retain(|_, talk| talk.attempt.as_ref().is_none_or(is_wanted));
    }

    fn begin_waiting(&mut self) {
        for kind in [Kind::Connection, Kind::Command] {
            while let Some(next) = self.waiting.iter().position(|attempt| attempt.is(kind)) {
                if !self.has_room(kind) {
                    break;
                }
                let attempt = self.waiting.remove(next);
                let attempt = attempt.filter(|attempt| self.answers.is_awaited(&attempt.key));
                if let Some(attempt) = attempt {
                    self.begin(attempt);
                }
            }
        }
    }

    /// Returns whether there may be one more; those that are answered already make room.
    fn has_room(&mut self, kind: Kind) -> bool {
        let busy = |talks: &HashMap<u64, Talk>| talks.values().filter(|it| it.is(kind)).count();
        if busy(&self.under_way) < AT_ONCE {
            return true;
        }
        let mut all = self.under_way.iter();
        let answered = all.find(|(_, talk)| talk.is(kind) && talk.attempt.is_none());
        if let Some(number) = answered.map(|(number, _)| *number) {
            self.under_way.remove(&number);
        }
        busy(&self.under_way) < AT_ONCE
    }

    fn begin(&mut self, attempt: Attempt) {
        match &attempt.what {
            What::Connection(target) => {
                let target = target.clone();
                self.connect(attempt, target, 0);
            }
            What::Command(command) => {
                let command = (**command).clone();
                match Command::start(&self.enterer, &attempt.key.0, command) {
                    Ok(command) => self.watch(attempt, Work::Command(command), 0),
                    Err(why) => self.answers.answer(attempt.key, ProbeOutcome::Failed(why)),
                }
            }
        }
    }

    fn connect(&mut self, attempt: Attempt, target: Target, redirects: u32) {
        match Connection::open(target, attempt.process) {
            Ok(connection) => self.watch(attempt, Work::Connection(connection), redirects),
            // Its end is about to be told.
            Err(error) if error.kind() == ErrorKind::NotFound => self.answers.forget(&attempt.key),
            Err(error) => {
                let why = format!("open a socket in the container's network: {error}");
                self.answers.answer(attempt.key, ProbeOutcome::Failed(why));
            }
        }
    }

    fn watch(&mut self, attempt: Attempt, work: Work, redirects: u32) {
        self.last += 1;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        if let Err(errno) = self.epoll.add(&work, EpollEvent::new(flags, self.last)) {
            let why = format!("wait for a try: {errno}");
            return self.answers.answer(attempt.key, ProbeOutcome::Failed(why));
        }
        let talk = Talk {
            work,
            until: attempt.deadline,
            attempt: Some(attempt),
            verdict: ProbeOutcome::TimedOut,
            redirects,
        };
        self.under_way.insert(self.last, talk);
    }

    /// Something has happened to a try.
    fn go_on(&mut self, number: u64) {
        let Some(talk) = self.under_way.get_mut(&number) else {
            return;
        };
        let step = match &mut talk.work {
            Work::Connection(connection) if talk.attempt.is_none() => {
                if connection.drain() {
                    self.under_way.remove(&number);
                }
                return;
            }
            Work::Connection(connection) => connection.proceed(),
            Work::Command(command) => command.proceed(),
        };
        match step {
            Step::Wait => {}
            Step::Over(outcome) => {
                let talk = self.under_way.remove(&number);
                if let Some(attempt) = talk.and_then(|talk| talk.attempt) {
                    self.answers.answer(attempt.key, outcome);
                }
            }
            Step::Lost(outcome) => {
                talk.verdict = outcome;
                let soon = Instant::now() + LINGER;
                talk.until = Some(talk.until.map_or(soon, |until| until.min(soon)));
            }
            Step::Answered(head) => self.on_answer(number, head),
        }
    }

    /// A server has answered: that is it, or it is elsewhere in the container.
    fn on_answer(&mut self, number: u64, head: Head) {
        let Some(talk) = self.under_way.get_mut(&number) else {
            return;
        };
        let Work::Connection(connection) = &mut talk.work else {
            return;
        };
        let Some(attempt) = talk.attempt.take() else {
            return;
        };
        let redirects = talk.redirects;
        let leads = matches!(head.status, 301 | 302 | 303 | 307 | 308);
        let location = head.location.filter(|_| leads);
        let next = location.and_then(|location| connection.target().follow(&location));
        talk.until = Instant::now().checked_add(LINGER);
        connection.linger();
        if connection.drain() {
            self.under_way.remove(&number);
        }
        match next {
            None => {
                let outcome = ProbeOutcome::Answered(head.status);
                self.answers.answer(attempt.key, outcome);
            }
            Some(_) if redirects == REDIRECTS => {
                let why = format!("it answered {REDIRECTS} times that the answer is elsewhere");
                self.answers.answer(attempt.key, ProbeOutcome::Failed(why));
            }
            Some(target) => self.connect(attempt, target, redirects + 1),
        }
    }

    /// Ends what has taken too long.
    fn give_up_late(&mut self) {
        let now = Instant::now();
        let is_late = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let late = self.under_way.extract_if(|_, talk| is_late(talk.until));
        let late = late.filter_map(|(_, talk)| Some((talk.attempt?, talk.verdict)));
        let mut late: Vec<(Attempt, ProbeOutcome)> = late.collect();
        self.waiting.retain(|attempt| {
            let is_late = is_late(attempt.deadline);
            late.extend(is_late.then(|| (attempt.clone(), ProbeOutcome::TimedOut)));
            !is_late
        });
        for (attempt, outcome) in late {
            self.answers.answer(attempt.key, outcome);
        }
    }

    /// Returns how long there is nothing to do unless something happens.
    fn timeout(&self) -> EpollTimeout {
        let under_way = self.under_way.values().filter_map(|talk| talk.until);
        let waiting = self.waiting.iter().filter_map(|attempt| attempt.deadline);
        match under_way.chain(waiting).min() {
            // Rounded up, or it would turn without a pause just before.
            Some(due) => {
                let wait = due.saturating_duration_since(Instant::now());
                let wait = wait + Duration::from_millis(1);
                EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        }
    }
}
