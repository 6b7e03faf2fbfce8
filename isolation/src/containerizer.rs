//! What an agent holds: takes commands, tells events, keeps in touch with the launcher.
//!
//! Two threads: one writes commands in batches, one reads events and finds a new launcher when
//! the old one is gone. What is tried of containers has one more ([`crate::probe`]). Deliberately
//! not here: anything done to a container.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};
use tepui_core::protocol::task::CommandInfo;
use tracing::{debug, warn};

use crate::config::Config;
use crate::connect::{
    LauncherCommand, PATIENCE, connect, is_held, private_dir, spawn, wait_until_gone,
};
use crate::enter::{EnterError, Entered, Streams};
use crate::error::{Error, Result};
use crate::isolator::{Isolator, Usage};
use crate::kill_point;
use crate::launch::Launch;
use crate::logs::Logs;
#[cfg(doc)]
use crate::mode::AgentLoss;
use crate::mode::{Mode, container_support};
use crate::outlet::{Enterer, Outlet, Sent, clone_of, write};
use crate::pipeline::{Ends, Journal, Pipeline};
use crate::probe::Probes;
use crate::procfs;
use crate::sandbox::{SANDBOXES, Sandboxes};
use crate::standing::{Phase, State, place_of};
use crate::wire::{Answer, Frames, Request, Settings, VERSION, encode};

/// Where events go. It is called from one thread at a time and should not block for long.
pub type Sink = Box<dyn Fn(ContainerEvent) + Send>;

/// The most commands that are written at once.
const BATCH: usize = 256;
/// The pause before a launcher is tried again that could not be started.
const RETRY: Duration = Duration::from_secs(1);

/// Runs containers for one agent.
///
/// Dropping it lets go of the launcher, as the death of the agent does. What happens then
/// [`AgentLoss`] says: usually the containers run on, and the next containerizer of the same
/// directory finds them again.
#[derive(Debug)]
pub struct Containerizer {
    outlet: Arc<Outlet>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a pipeline hands its containers on to.
struct Both {
    shared: Weak<Shared>,
    outlet: Arc<Outlet>,
}

impl Ends for Both {
    fn launch(&self, id: ContainerId, spec: ContainerSpec, launch: Launch, hold: bool) -> bool {
        let launch = Box::new(launch);
        self.outlet.send(Request::Launch {
            id,
            spec,
            launch,
            hold,
        })
    }

    fn release(&self, id: ContainerId) {
        self.outlet.send(Request::Release { id });
    }

    fn forward(&self, command: ContainerCommand) {
        self.outlet.send(Request::Command(command));
    }

    fn tell(&self, event: ContainerEvent) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(event);
        }
    }
}

/// What the two threads share.
struct Shared {
    settings: Settings,
    launcher: LauncherCommand,
    default_pids: Option<u32>,
    logs: Logs,
    shutdown_patience: Duration,
    state: Mutex<State>,
    changed: Condvar,
    sink: Mutex<Sink>,
    /// Where news goes first, if there are isolators.
    pipeline: OnceLock<Pipeline>,
    /// What makes tries; there from the start on, until the end.
    probes: OnceLock<Probes>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Containerizer {
    /// Connects to the launcher of the directory, or starts it.
    ///
    /// Fails if `mode` is not possible here: there is no silent fallback.
    pub fn start(config: Config, sink: Sink) -> Result<Self> {
        Self::start_with(config, Vec::new(), sink)
    }

    /// The same, with isolators: each container is prepared by all of them, in this order.
    pub fn start_with(
        config: Config,
        isolators: Vec<Box<dyn Isolator>>,
        sink: Sink,
    ) -> Result<Self> {
        if config.mode == Mode::Container {
            container_support().map_err(Error::NoContainers)?;
        }
        let work_dir = &config.work_dir;
        std::fs::create_dir_all(work_dir).map_err(|e| Error::file("create", work_dir, e))?;
        let work_dir = work_dir
            .canonicalize()
            .map_err(|error| Error::file("find", work_dir, error))?;
        let settings = Settings {
            version: VERSION,
            work_dir,
            runtime_dir: private_dir(&config.runtime_dir)?,
            mode: config.mode,
            cgroup_root: config.cgroup_root,
            agent_loss: config.agent_loss,
        };
        let stream = connect(&settings, config.logs, &config.launcher)?;
        let reading = clone_of(&stream)?;
        let shared = Arc::new(Shared {
            settings,
            launcher: config.launcher,
            default_pids: config.default_pids,
            logs: config.logs,
            shutdown_patience: config.shutdown_patience,
            state: Mutex::new(State::new(stream)),
            changed: Condvar::new(),
            sink: Mutex::new(sink),
            pipeline: OnceLock::new(),
            probes: OnceLock::new(),
        });
        let (requests, queue) = unbounded();
        let outlet = Arc::new(Outlet::new(requests));
        let telling = Arc::downgrade(&shared);
        let tell = move |event| telling.upgrade().map_or((), |shared| shared.tell(event));
        let probes = Probes::start(
            config.mode,
            Enterer::new(Arc::clone(&outlet)),
            Box::new(tell),
        );
        let probes = probes.map_err(|error| Error::system("start a thread", error))?;
        shared.probes.get_or_init(|| probes);
        if !isolators.is_empty() {
            let sandboxes = Sandboxes::open(&shared.settings.work_dir)?;
            let ends = Box::new(Both {
                shared: Arc::downgrade(&shared),
                outlet: Arc::clone(&outlet),
            });
            let journal = Journal::open(&shared.settings.work_dir)?;
            let pipeline = Pipeline::start(isolators, sandboxes, journal, ends);
            let pipeline = pipeline.map_err(|error| Error::system("start a thread", error))?;
            shared.pipeline.get_or_init(|| pipeline);
        }
        let (writer, reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            spawn("tepui-containers-out", move || writer.write_all(&queue))?,
            spawn("tepui-containers-in", move || reader.read_all(reading))?,
        ];
        Ok(Self {
            outlet,
            shared,
            threads,
        })
    }

    /// Takes an order; it is answered through the sink. Never blocks.
    pub fn send(&self, command: ContainerCommand) {
        let probes = self.shared.probes.get();
        if probes.is_some_and(|probes| probes.take(&command)) {
            return;
        }
        match self.shared.pipeline.get() {
            Some(pipeline) => pipeline.order(command),
            None => drop(self.outlet.send(Request::Command(command))),
        }
    }

    /// Starts a container with what isolators add to it; answered through the sink as a
    /// [`ContainerCommand::Launch`] is, which has the default. Never blocks.
    pub fn launch(&self, id: ContainerId, spec: ContainerSpec, mut launch: Launch) {
        launch.put_volumes_in_order();
        let launch = Box::new(launch);
        self.outlet.send(Request::Launch {
            id,
            spec,
            launch,
            hold: false,
        });
    }

    /// Has isolators asked what a container has used; their names stand before what they say, as in
    /// `scratch.disk_bytes`. Answered later, on another thread; at once, with `None`, if there are
    /// no isolators or no such container. Never blocks.
    pub fn usage(&self, id: &ContainerId, answer: impl FnOnce(Option<Usage>) + Send + 'static) {
        match self.shared.pipeline.get() {
            Some(pipeline) => pipeline.usage(id, Box::new(answer)),
            None => answer(None),
        }
    }

    /// Returns what starts further processes, for those who have nothing else to do with
    /// containers.
    pub fn enterer(&self) -> Enterer {
        Enterer::new(Arc::clone(&self.outlet))
    }

    /// As [`Enterer::enter`], errors included.
    pub fn enter(
        &self,
        id: &ContainerId,
        command: CommandInfo,
        streams: Streams,
    ) -> std::result::Result<Entered, EnterError> {
        self.enterer().enter(id, command, streams)
    }

    /// Destroys all containers, ends the launcher, and waits until nothing is left.
    ///
    /// The ends of the containers are still told. Must not be called from the sink. Fails with
    /// [`Error::Left`] if the kernel does not end what was killed in time.
    pub fn shutdown(mut self) -> Result<()> {
        let patience = self.shared.shutdown_patience;
        self.shared.lock().phase = Phase::ShuttingDown;
        if let Some(pipeline) = self.shared.pipeline.get() {
            pipeline.give_up();
        }
        self.outlet.send(Request::Shutdown { patience });
        self.outlet.close();
        // The launcher gives up first, unless it hangs itself.
        self.shared.wait_until_closed(patience + PATIENCE);
        self.shared.close();
        self.join();
        wait_until_gone(&self.shared.settings.runtime_dir)?;
        let mut left = std::mem::take(&mut self.shared.lock().left);
        if let Some(pipeline) = self.shared.pipeline.get() {
            left.extend(pipeline.drain(&left, patience));
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(Error::Left(left)),
        }
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Containerizer {
    fn drop(&mut self) {
        self.shared.close();
        self.outlet.close();
        if !thread::panicking() {
            self.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the lock")
    }

    /// Takes news of a container, which may have to be cleaned up before the agent hears of it.
    fn news(&self, event: ContainerEvent) {
        self.probes.get().inspect(|probes| probes.hear(&event));
        match self.pipeline.get() {
            Some(pipeline) => pipeline.hear(event),
            None => self.tell(event),
        }
    }

    fn tell(&self, event: ContainerEvent) {
        let sink = self.sink.lock().expect("a sink does not panic");
        sink(event);
    }

    /// Waits until the launcher has closed the connection, but not longer than `patience`.
    fn wait_until_closed(&self, patience: Duration) {
        let open = |state: &mut State| state.phase != Phase::Closed;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, open);
        drop(waited.expect("no thread panics while it holds the lock"));
    }

    /// Ends both threads.
    fn close(&self) {
        let mut state = self.lock();
        state.phase = Phase::Closed;
        if let Some(stream) = state.stream.take() {
            // It is closed either way; this only wakes the reader.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Writes commands until there can be no more.
    fn write_all(&self, queue: &Receiver<Sent>) {
        while let Ok(first) = queue.recv() {
            let mut bytes = Vec::new();
            let mut sent = vec![first];
            // Files go with the first byte of their own request, and nothing follows it.
            while sent.len() < BATCH && sent.last().is_some_and(|last| last.files.is_empty()) {
                match queue.try_recv() {
                    Ok(next) => sent.push(next),
                    Err(_) => break,
                }
            }
            let mut refused = Vec::new();
            let mut state = self.lock();
            while state.stream.is_none() && state.phase != Phase::Closed {
                state = self
                    .changed
                    .wait(state)
                    .expect("no thread panics with the lock");
            }
            let places = sent.iter().filter_map(|one| place_of(&one.request));
            let places = kill_point::noted(|| places.collect());
            let (mut files, mut before) = (Vec::new(), 0);
            for one in sent {
                before = bytes.len();
                state.encode(one.request, self.default_pids, &mut bytes, &mut refused);
                files = one.files;
            }
            let Some(stream) = &mut state.stream else {
                return;
            };
            match write(stream, &bytes, before, &files) {
                Ok(()) => {
                    state.forgets.clear();
                    places.into_iter().for_each(kill_point::reached);
                }
                Err(error) => {
                    debug!(%error, "the launcher does not listen");
                    // The reader notices, finds a new launcher, asks it what is left, and
                    // repeats what was asked for.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            drop(state);
            refused.into_iter().for_each(|event| self.news(event));
        }
    }

    /// Reads events until the containerizer is closed.
    fn read_all(&self, mut stream: UnixStream) {
        loop {
            self.read_events(&mut stream);
            match self.find_launcher() {
                Some(found) => stream = found,
                None => {
                    self.close();
                    return;
                }
            }
        }
    }

    /// Reads events until the connection ends.
    fn read_events(&self, stream: &mut UnixStream) {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => frames.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            loop {
                match frames.next() {
                    Ok(Some(Answer::Event(event))) => self.on_event(event),
                    Ok(Some(Answer::Left(left))) => self.lock().left = left,
                    Ok(Some(Answer::Held { id, pid, began })) => self.held(id, pid, began),
                    Ok(Some(Answer::Hello { .. } | Answer::Synced)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        warn!(%error, "the launcher talks nonsense");
                        return;
                    }
                }
            }
        }
    }

    /// What is held has been asked for by a pipeline.
    fn held(&self, id: ContainerId, pid: u32, began: u64) {
        if let Some(pipeline) = self.pipeline.get() {
            pipeline.held(id, pid, began);
        }
    }

    fn on_event(&self, event: ContainerEvent) {
        match &event {
            ContainerEvent::Started { .. }
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. } => {}
            ContainerEvent::LaunchFailed { id, .. }
            | ContainerEvent::Exited { id, .. }
            | ContainerEvent::Lost { id } => {
                self.lock().live.remove(id);
            }
            ContainerEvent::Recovered => self.lock().recovering = false,
        }
        self.news(event);
    }

    /// Finds or starts a launcher after the old one is gone, and asks it about what we know.
    fn find_launcher(&self) -> Option<UnixStream> {
        loop {
            {
                let mut state = self.lock();
                state.stream = None;
                if state.phase != Phase::Open {
                    return None;
                }
            }
            warn!(dir = %self.settings.runtime_dir.display(), "the launcher is gone");
            match connect(&self.settings, self.logs, &self.launcher)
                .and_then(|stream| self.resume(stream))
            {
                Ok(stream) => return stream,
                Err(error) => {
                    warn!(%error, "no launcher can be started; trying again");
                    self.lose_the_dead();
                    let state = self.lock();
                    let waited = self.changed.wait_timeout(state, RETRY);
                    drop(waited.expect("no thread panics with the lock"));
                }
            }
        }
    }

    fn resume(&self, mut stream: UnixStream) -> Result<Option<UnixStream>> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for request in state.resumption() {
            encode(&request, &mut bytes)?;
        }
        let written = stream.write_all(&bytes);
        written.map_err(|error| Error::system("write to the launcher", error))?;
        state.forgets.clear();
        let reading = clone_of(&stream)?;
        state.stream = Some(stream);
        self.changed.notify_all();
        Ok(Some(reading))
    }

    /// Containers die with their launcher. So all are lost if it is dead, and not if it only
    /// cannot be reached.
    fn lose_the_dead(&self) {
        match is_held(&self.settings.runtime_dir) {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return warn!(%error, "it is not known whether the launcher lives"),
        }
        if !procfs::marked_below(&self.settings.work_dir.join(SANDBOXES)).is_empty() {
            return;
        }
        let live = std::mem::take(&mut self.lock().live).into_keys();
        live.for_each(|id| self.news(ContainerEvent::Lost { id }));
    }
}
