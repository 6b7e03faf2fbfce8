//! A simulated containerizer: programs that start, run, end and vanish as scripted or by chance.
//!
//! One for each agent, and it outlives the agent's crashes, as real containers do. Ordered by the
//! agent's effects; what happens goes into the queue. Deliberately not here: what an executor says
//! ([`super::executors`]). Any other container is a program that says nothing.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::command::parse;
use super::executors::{Executors, Turn};
use super::fault::Kind;
use super::node::Shared;
use super::options::Span;
use super::queue::{Event, Frame, Name, Step};
use super::script::{Script, one_in};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, PeerId};
use crate::limits::Filled;
use crate::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};
use crate::protocol::status::{Breach, Exit, Limited};
use crate::resources::Milli;
use crate::rng::Rng;
use crate::time::Time;

const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;

/// The time between what happens to a container and when its agent hears of it.
const TELL: Span = Span::millis(1, 5);
/// The time that a program takes to end by a signal.
const DIE: Span = Span::millis(1, 50);
/// One program in so many does not listen to SIGTERM.
const DEAF_ONE_IN: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    /// Never starts.
    Hung,
    /// Is to be destroyed as soon as it has started.
    Doomed,
    Running,
    Ended(Exit, Option<Breach>),
    /// It ended, and nobody knows how.
    Vanished,
}

/// How a program will end if nobody interferes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    after: Duration,
    exit: Exit,
    breach: Option<Breach>,
}

#[derive(Debug)]
struct Process {
    framework: String,
    task: String,
    /// Whose executor and which, if it is one.
    executor: Option<(FrameworkId, ExecutorId)>,
    cpus: Milli,
    pid: u32,
    fate: Fate,
    is_deaf: bool,
    /// Whether the disk was lost of the agent that launched it.
    is_foreign: bool,
    state: State,
}

/// The containers of one agent.
#[derive(Debug)]
pub(super) struct Containers {
    agent: u32,
    script: Script,
    rng: Rng,
    processes: BTreeMap<ContainerId, Process>,
    executors: Executors,
    /// The life of the agent that listens, if one does.
    listener: Option<u32>,
    /// The agent hears things in order.
    told: Time,
    pids: u32,
    /// What ran and was not known to the agent when it was back, though it had launched it.
    unknown: Option<ContainerId>,
    /// Whether the agent has asked what became of what it had launched, and was not told all.
    recovers: bool,
    /// What running programs use.
    cpus: Milli,
}

impl Containers {
    pub(super) fn new(agent: u32, script: Script, executors: Executors, rng: Rng) -> Self {
        Self {
            agent,
            script,
            rng,
            processes: BTreeMap::new(),
            executors,
            listener: None,
            told: Time::ZERO,
            pids: 0,
            unknown: None,
            recovers: false,
            cpus: Milli::ZERO,
        }
    }

    /// Lets a life of the agent hear of everything from now on; `None` is nobody.
    pub(super) fn listen(&mut self, life: Option<u32>) {
        self.listener = life;
    }

    /// Returns the cores that running programs use, and the tasks of executors.
    pub(super) fn cpus(&self) -> Milli {
        self.cpus.saturating_add(self.executors.cpus())
    }

    /// Lists how full the tables of executors are.
    pub(super) fn filled_executors(&self) -> impl Iterator<Item = Filled> + '_ {
        self.executors.filled()
    }

    /// Returns the executors that run.
    pub(super) fn executors(&mut self) -> &mut Executors {
        &mut self.executors
    }

    /// Lists each task that starts or runs, in a container of its own or with its executor: its
    /// framework, its id, and a number that no other start on this agent has.
    pub(super) fn alive(&self) -> impl Iterator<Item = (&str, &str, u64)> + '_ {
        let alive = self.processes.values().filter(|p| is_alive(p.state));
        let own = alive.filter(|p| p.executor.is_none());
        let own = own.map(|p| {
            (
                p.framework.as_str(),
                p.task.as_str(),
                u64::from(p.pid) << 32,
            )
        });
        own.chain(self.executors.tasks())
    }

    /// Lists the executors that run and that the agent has launched: whose, and which.
    pub(super) fn running_executors(&self) -> impl Iterator<Item = (&FrameworkId, &ExecutorId)> {
        let running = self.processes.values();
        let running = running.filter(|it| it.state == State::Running && !it.is_foreign);
        let executors = running.filter_map(|it| it.executor.as_ref());
        executors.map(|(framework, executor)| (framework, executor))
    }

    /// Returns whether something starts or runs in a container.
    pub(super) fn is_alive(&self, id: &ContainerId) -> bool {
        self.processes.get(id).is_some_and(|p| is_alive(p.state))
    }

    /// Returns whether the program of a container runs.
    pub(super) fn runs(&self, id: &ContainerId) -> bool {
        let process = self.processes.get(id);
        process.is_some_and(|it| it.state == State::Running)
    }

    /// Wakes an executor.
    pub(super) fn wake(&mut self, n: u32, shared: &mut Shared) {
        let turn = self.executors.wake(n, shared);
        self.after(turn, shared);
    }

    /// Tells all executors that somebody reads.
    pub(super) fn follow(&mut self, shared: &mut Shared) {
        let turns = self.executors.follow(shared);
        turns.into_iter().for_each(|turn| self.after(turn, shared));
    }

    /// Takes in what arrives at an executor.
    pub(super) fn arrive(&mut self, peer: PeerId, frame: &Frame, shared: &mut Shared) {
        let turn = self.executors.arrive(peer, frame, shared);
        self.after(turn, shared);
    }

    fn after(&mut self, turn: Turn, shared: &mut Shared) {
        if let Turn::Ends(id) = turn {
            self.ended(id, Exit::Code(0), None, shared);
        }
    }

    /// Ends a running executor as if by a fault of its own. Returns whether there was one.
    pub(super) fn crash_executor(&mut self, rng: &mut Rng, shared: &mut Shared) -> bool {
        let Some(id) = self.executors.pick(rng) else {
            return false;
        };
        self.ended(id, Exit::Signal(SIGSEGV), None, shared);
        true
    }

    /// The agent can know nothing any more of what it has launched.
    pub(super) fn lose_agent(&mut self) {
        let processes = self.processes.values_mut();
        processes.for_each(|process| process.is_foreign = true);
    }

    /// Returns what ran and was not known to the agent when it was back, though it had launched it.
    pub(super) fn take_unknown(&mut self) -> Option<ContainerId> {
        self.unknown.take()
    }

    /// Ends all that starts or runs, and nobody sees how. What had ended by then is still known.
    pub(super) fn lose_power(&mut self, shared: &mut Shared) {
        let alive = self.processes.iter().filter(|(_, p)| is_alive(p.state));
        let alive: Vec<ContainerId> = alive.map(|(id, _)| id.clone()).collect();
        for id in alive {
            self.set(&id, State::Vanished, shared);
            self.processes.remove(&id);
        }
    }

    pub(super) fn command(&mut self, command: ContainerCommand, shared: &mut Shared) {
        match command {
            ContainerCommand::Launch { id, spec } => self.launch(id, &spec, shared),
            ContainerCommand::Terminate { id } => {
                let heard = self.processes.get(&id).filter(|p| !p.is_deaf);
                if heard.is_some_and(|p| p.state == State::Running) {
                    self.signal(id, SIGTERM, shared);
                }
            }
            ContainerCommand::Destroy { id } => self.destroy(id, shared),
            ContainerCommand::Forget { id } => {
                if self.processes.get(&id).is_some_and(|p| !is_alive(p.state)) {
                    self.processes.remove(&id);
                }
            }
            ContainerCommand::Recover { known } => self.recover(known, shared),
            ContainerCommand::Resize { id, .. } => self.resize(id, shared),
            // See [`super::probes`].
            ContainerCommand::Probe { .. } | ContainerCommand::Unprobe { .. } => {}
        }
    }

    /// Changes what a container may use, or cannot: what it uses is up to its tasks.
    fn resize(&mut self, id: ContainerId, shared: &mut Shared) {
        let alive = self.processes.get(&id).is_some_and(|p| is_alive(p.state));
        if alive && one_in(self.script.launch_failure_one_in, &mut self.rng) {
            shared.hit(Name::Agent(self.agent), Kind::LaunchFailure);
            let message = String::from("drawn from the seed");
            self.tell(ContainerEvent::ResizeFailed { id, message }, shared);
        }
    }

    /// Takes the next step of a program.
    pub(super) fn step(&mut self, id: ContainerId, step: Step, shared: &mut Shared) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match (step, process.state) {
            (Step::Start, State::Starting | State::Doomed) => self.started(id, shared),
            (Step::End, State::Running) => {
                let Fate { exit, breach, .. } = process.fate;
                self.ended(id, exit, breach, shared);
            }
            (Step::Signal(signal), State::Running) => {
                self.ended(id, Exit::Signal(signal), None, shared);
            }
            // It ended, was started early or was forgotten meanwhile.
            (Step::Start, State::Hung | State::Running | State::Ended(..) | State::Vanished)
            | (
                Step::End | Step::Signal(_),
                State::Starting | State::Hung | State::Doomed | State::Ended(..) | State::Vanished,
            ) => {}
        }
    }

    /// Loses a running program and how it ended. Returns whether there was one.
    pub(super) fn vanish(&mut self, rng: &mut Rng, shared: &mut Shared) -> bool {
        let running = self
            .processes
            .iter()
            .filter(|(_, p)| p.state == State::Running);
        let running: Vec<ContainerId> = running.map(|(id, _)| id.clone()).collect();
        let Some(id) = running
            .get(rng.below(running.len() as u64) as usize)
            .cloned()
        else {
            return false;
        };
        self.set(&id, State::Vanished, shared);
        self.tell(ContainerEvent::Lost { id }, shared);
        true
    }

    fn launch(&mut self, id: ContainerId, spec: &ContainerSpec, shared: &mut Shared) {
        self.pids += 1;
        let [kind, framework, task] =
            [0, 1, 2].map(|i| spec.sandbox.get(i).cloned().unwrap_or_default());
        let names = (FrameworkId::new(&framework), ExecutorId::new(&task));
        let executor = match names {
            (Ok(framework), Ok(executor)) if kind == "executors" => Some((framework, executor)),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
        };
        let mut fate = self.fate(spec);
        if executor.is_some() {
            // It says itself when it is over.
            fate.after = Duration::MAX;
        }
        let process = Process {
            framework,
            task,
            // What an executor uses is what its tasks do.
            cpus: match &executor {
                Some(_) => Milli::ZERO,
                None => spec.limits.cpus.unwrap_or(Milli::ZERO),
            },
            executor,
            pid: self.pids,
            fate,
            is_deaf: self.rng.chance(1, DEAF_ONE_IN),
            is_foreign: false,
            state: State::Starting,
        };
        let known = self.processes.insert(id.clone(), process);
        assert!(known.is_none(), "agent-{} launches {id} twice", self.agent);
        if one_in(self.script.hang_one_in, &mut self.rng) {
            shared.hit(Name::Agent(self.agent), Kind::HungLaunch);
            self.set(&id, State::Hung, shared);
            return;
        }
        let at = shared.now + self.script.start.draw(&mut self.rng);
        self.plan(at, id, Step::Start, shared);
    }

    fn fate(&mut self, spec: &ContainerSpec) -> Fate {
        let (after, code) = parse(&spec.command.value);
        let after = after.unwrap_or_else(|| self.script.run.draw(&mut self.rng));
        let limit = spec.limits.mem;
        match limit.filter(|_| one_in(self.script.breach_one_in, &mut self.rng)) {
            Some(limit) => Fate {
                after: self.rng.jitter(after),
                exit: Exit::Signal(SIGKILL),
                breach: Some(Breach {
                    resource: Limited::Memory,
                    limit,
                    used: limit,
                }),
            },
            None => Fate {
                after,
                exit: Exit::Code(code),
                breach: None,
            },
        }
    }

    fn started(&mut self, id: ContainerId, shared: &mut Shared) {
        if one_in(self.script.launch_failure_one_in, &mut self.rng) {
            shared.hit(Name::Agent(self.agent), Kind::LaunchFailure);
            self.set(&id, State::Vanished, shared);
            self.processes.remove(&id);
            let message = String::from("drawn from the seed");
            self.tell(ContainerEvent::LaunchFailed { id, message }, shared);
            return;
        }
        let process = &self.processes[&id];
        let (pid, fate) = (process.pid, process.fate);
        let is_doomed = process.state == State::Doomed;
        let executor = process.executor.clone();
        self.set(&id, State::Running, shared);
        if let Some(executor) = executor {
            self.executors.begin(pid, id.clone(), executor, shared);
        }
        self.tell(ContainerEvent::started(id.clone(), pid), shared);
        let end = shared.now + fate.after;
        if end != Time::MAX {
            self.plan(end, id.clone(), Step::End, shared);
        }
        if is_doomed {
            self.signal(id, SIGKILL, shared);
        }
    }

    fn ended(&mut self, id: ContainerId, exit: Exit, breach: Option<Breach>, shared: &mut Shared) {
        if breach.is_some() {
            shared.hit(Name::Agent(self.agent), Kind::Breach);
        }
        self.set(&id, State::Ended(exit, breach), shared);
        self.tell(ContainerEvent::Exited { id, exit, breach }, shared);
    }

    fn destroy(&mut self, id: ContainerId, shared: &mut Shared) {
        match self.processes.get(&id).map(|p| p.state) {
            Some(State::Starting) => self.set(&id, State::Doomed, shared),
            Some(State::Hung) => {
                self.processes.remove(&id);
                let message = String::from("it was ended before it began");
                self.tell(ContainerEvent::LaunchFailed { id, message }, shared);
                self.settle(shared);
            }
            Some(State::Running) => self.signal(id, SIGKILL, shared),
            Some(State::Doomed | State::Ended(..) | State::Vanished) | None => {}
        }
    }

    fn recover(&mut self, known: Vec<ContainerId>, shared: &mut Shared) {
        self.processes.retain(|id, p| {
            let keeps = known.contains(id);
            if !keeps && is_alive(p.state) && !p.is_foreign {
                self.unknown.get_or_insert_with(|| id.clone());
            }
            if !keeps && p.state == State::Running {
                self.cpus = self.cpus.saturating_sub(p.cpus);
                self.executors.end(p.pid, shared);
            }
            keeps
        });
        for id in known {
            let event = match self.processes.get(&id).map(|p| (p.state, p.pid)) {
                // It is not told of before it has started or ended.
                Some((State::Hung, _)) => continue,
                // The order to launch was lost with the agent that gave it.
                None => {
                    let message = String::from("it was never started");
                    ContainerEvent::LaunchFailed { id, message }
                }
                Some((State::Starting | State::Doomed, _)) => {
                    self.started(id, shared);
                    continue;
                }
                Some((State::Running, pid)) => ContainerEvent::started(id, pid),
                Some((State::Ended(exit, breach), _)) => {
                    ContainerEvent::Exited { id, exit, breach }
                }
                Some((State::Vanished, _)) => ContainerEvent::Lost { id },
            };
            self.tell(event, shared);
        }
        self.recovers = true;
        self.settle(shared);
    }

    /// Says that all is told of what the agent has asked about, once nothing of it hangs.
    fn settle(&mut self, shared: &mut Shared) {
        let hangs = |it: &Process| it.state == State::Hung;
        if self.recovers && !self.processes.values().any(hangs) {
            self.recovers = false;
            self.tell(ContainerEvent::Recovered, shared);
        }
    }

    fn set(&mut self, id: &ContainerId, state: State, shared: &mut Shared) {
        let Some(process) = self.processes.get_mut(id) else {
            return;
        };
        if process.state == State::Running {
            self.cpus = self.cpus.saturating_sub(process.cpus);
            self.executors.end(process.pid, shared);
        }
        if state == State::Running {
            let more = self.cpus.thousandths() + process.cpus.thousandths();
            self.cpus = Milli::from_thousandths(more);
        }
        process.state = state;
    }

    fn signal(&mut self, id: ContainerId, signal: i32, shared: &mut Shared) {
        let at = shared.now + DIE.draw(&mut self.rng);
        self.plan(at, id, Step::Signal(signal), shared);
    }

    fn plan(&self, at: Time, id: ContainerId, step: Step, shared: &mut Shared) {
        let agent = self.agent;
        shared.queue.plan(at, Event::Process { agent, id, step });
    }

    fn tell(&mut self, event: ContainerEvent, shared: &mut Shared) {
        let Some(life) = self.listener else {
            return;
        };
        self.told = self.told.max(shared.now + TELL.draw(&mut self.rng));
        let agent = self.agent;
        let event = Event::Container { agent, life, event };
        shared.queue.plan(self.told, event);
    }
}

const fn is_alive(state: State) -> bool {
    match state {
        State::Starting | State::Hung | State::Doomed | State::Running => true,
        State::Ended(..) | State::Vanished => false,
    }
}
