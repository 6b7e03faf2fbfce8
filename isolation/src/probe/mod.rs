//! Tries of HTTP, TCP and commands, made in the container that they are about (TK-96, TK-99).
//!
//! One thread makes all of them, and never waits for any: sockets do not block, and a socket is
//! made inside a container's network by a thread that does only that ([`door`]). So no server
//! that hangs holds up the tries of others, the agent, or a container's end. Only a command takes
//! a process, which is inside ([`crate::enter`]).
//!
//! Used by the containerizer. Deliberately not here: when something is tried and what follows,
//! which the agent decides.

mod command;
mod connection;
mod door;
mod engine;
mod head;
mod target;
mod tls;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, unbounded};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{Pid, geteuid};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::check::{Probe, ProbeOutcome};
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::task::CommandInfo;
use tracing::{debug, warn};

use self::engine::Engine;
use self::target::Target;
use crate::mode::Mode;
use crate::outlet::Enterer;

/// Where outcomes go.
pub(crate) type Tell = Box<dyn Fn(ContainerEvent) + Send>;

/// Names a try.
type Key = (ContainerId, u64);

/// Makes tries of HTTP and TCP until it is dropped.
#[derive(Debug)]
pub(crate) struct Probes {
    orders: Option<Sender<Order>>,
    waker: Arc<EventFd>,
    table: Arc<Mutex<Table>>,
    /// Whether containers may have networks of their own. An agent that is not root could neither
    /// see nor enter these, and gives none.
    enters: bool,
    thread: Option<JoinHandle<()>>,
}

/// What is known outside of the thread that makes the tries.
#[derive(Debug, Default)]
struct Table {
    /// The containers that run, and the first process of each.
    running: HashMap<ContainerId, Pid>,
    /// The tries that are to be answered. Whoever answers takes it out: nothing is told of what was
    /// taken out before.
    awaited: HashSet<Key>,
}

/// What the thread is to do.
#[derive(Debug)]
enum Order {
    Try(Attempt),
    /// What nobody waits for any more is to be closed.
    Tidy,
}

/// A try that is ordered.
#[derive(Clone, Debug)]
struct Attempt {
    key: Key,
    what: What,
    /// In whose network, if it takes one; `None` is our own.
    process: Option<Pid>,
    deadline: Option<Instant>,
}

/// What is tried.
#[derive(Clone, Debug)]
enum What {
    Connection(Target),
    Command(Box<CommandInfo>),
}

impl Probes {
    /// Begins with no containers.
    pub(crate) fn start(mode: Mode, enterer: Enterer, tell: Tell) -> io::Result<Self> {
        let table = Arc::new(Mutex::new(Table::default()));
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let waker = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (orders, queue) = unbounded();
        let answers = Answers {
            table: Arc::clone(&table),
            tell,
        };
        let engine = Engine::new(queue, Arc::clone(&waker), enterer, answers)?;
        let thread = thread::Builder::new().name("tepui-probes".to_owned());
        let thread = thread.spawn(move || engine.run())?;
        Ok(Self {
            orders: Some(orders),
            waker,
            table,
            enters: mode == Mode::Container && geteuid().is_root(),
            thread: Some(thread),
        })
    }

    /// Takes an order, if it is about a try that is made here. Returns whether it is; others may
    /// have to do with tries, too.
    pub(crate) fn take(&self, command: &ContainerCommand) -> bool {
        match command {
            ContainerCommand::Probe {
                id,
                number,
                probe,
                timeout,
            } => {
                self.begin(id, *number, probe, *timeout);
                true
            }
            ContainerCommand::Unprobe { id, number } => {
                self.cancel(id, *number);
                true
            }
            ContainerCommand::Recover { .. } => {
                self.give_up();
                false
            }
            ContainerCommand::Launch { .. }
            | ContainerCommand::Terminate { .. }
            | ContainerCommand::Destroy { .. }
            | ContainerCommand::Forget { .. }
            | ContainerCommand::Resize { .. } => false,
        }
    }

    /// Hears what the launcher tells, before anybody else does.
    pub(crate) fn hear(&self, event: &ContainerEvent) {
        match event {
            ContainerEvent::Started { id, pid, .. } => self.started(id, *pid),
            ContainerEvent::LaunchFailed { id, .. }
            | ContainerEvent::Exited { id, .. }
            | ContainerEvent::Lost { id } => self.ended(id),
            ContainerEvent::Recovered
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. } => {}
        }
    }

    /// A container runs.
    fn started(&self, id: &ContainerId, pid: u32) {
        if let Ok(pid) = i32::try_from(pid) {
            let mut table = lock(&self.table);
            table.running.insert(id.clone(), Pid::from_raw(pid));
        }
    }

    /// A container has ended; its tries are not answered any more.
    fn ended(&self, id: &ContainerId) {
        let mut table = lock(&self.table);
        table.running.remove(id);
        let before = table.awaited.len();
        table.awaited.retain(|(of, _)| of != id);
        let some = table.awaited.len() != before;
        drop(table);
        if some {
            self.order(Order::Tidy);
        }
    }

    /// Gives everything up that is under way.
    fn give_up(&self) {
        lock(&self.table).awaited.clear();
        self.order(Order::Tidy);
    }

    /// Tries something of a container that runs; of others nothing is told. Never blocks.
    fn begin(&self, id: &ContainerId, number: u64, probe: &Probe, timeout: Option<Duration>) {
        let what = match probe {
            Probe::Command(command) => What::Command(command.clone()),
            Probe::Http(http) => What::Connection(Target::http(http)),
            Probe::Tcp { port, family } => What::Connection(Target::tcp(*port, *family)),
        };
        let key = (id.clone(), number);
        let mut table = lock(&self.table);
        let Some(&process) = table.running.get(id) else {
            debug!(%id, number, "nothing runs there that could be tried");
            return;
        };
        table.awaited.insert(key.clone());
        drop(table);
        self.order(Order::Try(Attempt {
            key,
            what,
            process: self.enters.then_some(process),
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        }));
    }

    /// Gives a try up: it is not answered any more, but an answer that is being told meanwhile may
    /// cross with this. Returns whether it was under way here.
    fn cancel(&self, id: &ContainerId, number: u64) -> bool {
        let known = lock(&self.table).awaited.remove(&(id.clone(), number));
        if known {
            self.order(Order::Tidy);
        }
        known
    }

    fn order(&self, order: Order) {
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        if matches!(sent, Some(Ok(()))) {
            wake(&self.waker);
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        lock(&self.table).awaited.clear();
        self.orders.take();
        wake(&self.waker);
        if let Some(thread) = self.thread.take()
            // Whoever drops it from where outcomes are told is that thread.
            && thread.thread().id() != thread::current().id()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Where the thread answers.
struct Answers {
    table: Arc<Mutex<Table>>,
    tell: Tell,
}

impl Answers {
    /// Returns whether somebody waits for it.
    fn is_awaited(&self, key: &Key) -> bool {
        lock(&self.table).awaited.contains(key)
    }

    /// There is nothing to be told of a try.
    fn forget(&self, key: &Key) {
        lock(&self.table).awaited.remove(key);
    }

    /// Tells what came of a try, unless nobody waits for it any more.
    fn answer(&self, key: Key, outcome: ProbeOutcome) {
        let is_awaited = lock(&self.table).awaited.remove(&key);
        // Without the table: whoever hears it may be busy with an order to us.
        if is_awaited {
            let (id, number) = key;
            (self.tell)(ContainerEvent::Probed {
                id,
                number,
                outcome,
            });
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &EventFd) {
    // It fails only if it counts to its end, and then it is awake.
    if let Err(error) = waker.write(1) {
        warn!(%error, "what makes tries could not be woken");
    }
}
