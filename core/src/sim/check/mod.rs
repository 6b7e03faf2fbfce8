//! What must always hold, whatever goes wrong. One file for each property that is more than a line:
//!
//! | property | statement | where |
//! |---|---|---|
//! | leaders | one master acts, and the next knows what it promised (I18, I19) | [`leaders`] |
//! | machines | every machine's own invariants | here |
//! | deliveries | updates are confirmed at last, and told before (I10), and so are lost agents (FW-36) | [`deliveries`], [`news`], [`losses`] |
//! | confirmations | an agent forgets only what is confirmed (I12) | [`confirmed`] |
//! | bounds | queues and tables stay within their bounds (I22) | [`bounds`] |
//! | completion | when faults stop, finite workloads complete (L4) | [`completion`] |
//! | replay | what is durable reads back as what the machine believes | here |
//! | tasks | a task is started once, whatever becomes of agents and masters (I9) | here |
//! | updates | per task in order, without gaps, and ended once (I11) | [`super::tap`], [`streams`] |
//! | conservation | all that is given adds up, the allocator agrees, and what runs is booked (I1, I3) | [`conservation`], [`running`] |
//! | holders | no unit of a resource is in two offers or tasks (I2) | [`holders`] |
//! | offers | an accept of a dead offer launches nothing, and each task is answered once (I4) | [`offers`] |
//! | reserved | what is reserved stays, and stays with its role (I5), and nobody has what is destroyed (RM-45) | [`reserved`], [`volumes`] |
//! | disks | providers make disks once, and none is lost (OF-15) | [`disks`] |
//! | quota | no role is offered more than its limit, or what is kept free for others (I6, I7) | [`quota`] |
//! | promises | who is promised something and wants it is offered it within two cycles (I7) | [`promises`] |
//! | refusals | what is refused changes nothing, and nothing follows from a lie (I21) | [`refusals`] |
//! | identity | an id is given once, and never again after its agent was removed (I16) | [`identity`] |
//! | staging | no task stays in staging, and who launched one hears of it (I15) | [`waits`], [`convergence`] |
//! | graces | who is asked to end has its time (TK-84, TK-88) | [`graces`] |
//! | health | a task is unhealthy after so many failures in a row, and not looked at when it is to end (TK-97) | [`health`] |
//! | kills | who is asked to end a task passes it on, and it ends within a bound (I14) | [`kills`], [`waits`] |
//! | adoption | an agent that restarts knows all that still runs (I17) | [`super::containers`] |
//! | fairness | who always wants more gets as much as others who do (I8) | [`fairness`] |
//! | answers | questions about tasks are answered, each once, in time and truthfully (I20) | [`answers`] |
//! | liveness | when faults stop, everybody is connected within a bound (L2) | [`liveness`] |
//! | mirrors | snapshot and events add up to what the master has (I13) | [`mirrors`] |
//! | maintenance | what is out of service is not used | [`maintenance`] |
//! | drains | a drain that is ordered ends, in its time (TK-124, TK-125) | [`drains`], [`waits`] |
//! | vacating | who is to leave an agent is asked, once | [`vacating`] |
//! | orders | what an operator was answered holds | [`orders`] |
//! | wishes | a framework is offered something only in roles that it has and wants (OF-37, RQ-03) | [`wishes`] |
//! | messages | what executors and frameworks say comes to whom it is for, once at most (FW-51) | [`messages`] |
//! | versions | nobody is told what is of a later version than its own | [`super::versions`] |
//! | sessions | a framework has one scheduler, and who was replaced hears no more | [`sessions`] |
//! | convergence | when faults stop, all views agree and offers flow (L3) | [`convergence`] |
//! | determinism | the same seed is the same run (I23) | [`super::digest`](super::Sim::digest), and who runs seeds |
//!
//! There is nothing here of L1, for one master at a time leads or is down. That each rule is there
//! which I21 asks for shows a table of such messages (`core/tests/bad_input.rs`).
//!
//! After every step is looked at what it has changed: who is given what goes through books of our
//! own ([`ledger`]), so that a step costs no more in a large cluster. All is recomputed from
//! scratch, and compared with these books, only at some steps ([`Checking::Sampled`]) and when a
//! cluster has come to rest: the books of the master and its allocator, machines, replay, waits and
//! bounds.
//!
//! That nothing is told before it is durable needs no check of its own: effects leave only through
//! the gate, a crash loses what is not durable, and then a broken promise breaks one of the above.

mod account;
mod answers;
mod bounds;
pub(super) mod completion;
pub(super) mod confirmed;
pub(super) mod conservation;
pub(super) mod convergence;
pub(super) mod deliveries;
mod disks;
mod drains;
mod entries;
pub(super) mod fairness;
pub(super) mod graces;
pub(super) mod health;
mod hearing;
mod holders;
pub(super) mod identity;
pub(super) mod kills;
pub(super) mod leaders;
mod ledger;
mod liveness;
mod losses;
mod maintenance;
pub(super) mod messages;
mod mirrors;
mod news;
pub(super) mod offers;
pub(super) mod orders;
mod promises;
mod quota;
mod refusals;
pub(super) mod reserved;
mod returning;
mod running;
#[cfg(test)]
mod scene;
mod sessions;
pub(super) mod streams;
mod turns;
mod vacating;
pub(super) mod volumes;
pub(super) mod waits;
mod watch;
pub(super) mod wishes;

use alloc::format;
use alloc::string::{String, ToString};

pub(super) use self::watch::Watch;
use super::options::Checking;
use super::property::{Property, Violation};
use super::queue::Name;
use super::world::{World, at};
use crate::agent::{Agent, AgentState};
use crate::master::{self, Master};
use crate::protocol::node::Presence;
use crate::protocol::operator::AgentView;
use crate::protocol::scheduler::Event;
use crate::registry::Registry;

/// A property that does not hold, and why.
pub(super) type Broken = (Property, String);

impl World {
    /// Notes that a property does not hold, unless another was broken before.
    pub(in crate::sim) fn broken(&mut self, property: Property, text: String) {
        let violation = self.violates(property, text);
        self.violation.get_or_insert(violation);
    }

    /// Says what is broken, with what is needed to see it again.
    pub(in crate::sim) fn violates(&self, property: Property, text: String) -> Violation {
        Violation {
            seed: self.options.seed,
            at: self.shared.now,
            property,
            text,
        }
    }

    /// Checks what a turn of this node could have broken: what is cheap always, all of it when it
    /// is due.
    pub(super) fn check(&mut self, name: Name) {
        // One that has resigned in this turn has not heard what it was told.
        let has_resigned =
            name == Name::Master && self.master.machine().is_some_and(Master::has_resigned);
        if self.options.checking == Checking::Off || has_resigned {
            return;
        }
        let mut result = match name {
            Name::Master => {
                let now = self.shared.now;
                let checked = self.watch.check(now, self.master.machine());
                let checked = checked.and_then(|()| self.check_drains());
                checked.and_then(|()| self.check_answers())
            }
            // What is cheap is looked at where a container is launched.
            Name::Agent(_) | Name::Executor { .. } => Ok(()),
            Name::Framework(n) => self.check_heard(n),
        };
        if self.is_due() {
            let (full, bounded) = bounds::look(self, name);
            self.full.extend(full);
            result = result.and(bounded);
            result = result.and_then(|()| self.check_whole(name));
            result = result.and_then(|()| self.check_waits(name));
        }
        self.note(name, result);
    }

    /// Checks all that can be checked of all nodes.
    pub(super) fn check_all(&mut self) {
        if self.options.checking == Checking::Off {
            return;
        }
        let agents = (1..=self.options.agents).map(Name::Agent);
        for name in agents.chain([Name::Master]) {
            let whole = self.check_whole(name);
            let result = whole.and_then(|()| self.replayed(name));
            self.note(name, result);
        }
    }

    /// Checks that a node with nothing unwritten would come back as it is.
    pub(super) fn check_replay(&mut self, name: Name) {
        if self.is_due() {
            let result = self.replayed(name);
            self.note(name, result);
        }
    }

    /// Checks that no task was started before, after a container or an executor of an agent was
    /// told to run one.
    pub(super) fn check_containers(&mut self, n: u32) {
        if self.options.checking == Checking::Off {
            return;
        }
        let mut twice = None;
        for (framework, task, place) in self.agents[at(n)].containers.alive() {
            let known = self.ever.get(framework).and_then(|tasks| tasks.get(task));
            match known {
                Some(known) if *known == (n, place) => {}
                Some((agent, _)) => {
                    let task = (framework, task);
                    twice = Some(format!("{task:?} was started on agent-{agent} before"));
                }
                None => {
                    let tasks = self.ever.entry(framework.into()).or_default();
                    tasks.insert(task.into(), (n, place));
                }
            }
        }
        if let Some(problem) = twice {
            self.note(Name::Agent(n), Err((Property::Tasks, problem)));
        }
        let executors = self.agents[at(n)].containers.executors();
        if let Some(problem) = executors.take_violation() {
            self.note(Name::Agent(n), Err((Property::Confirmations, problem)));
        }
    }

    /// Checks that an agent which has restarted knows what runs that it has launched.
    pub(super) fn check_adoption(&mut self, n: u32) {
        let unknown = self.agents[at(n)].containers.take_unknown();
        if let Some(id) = unknown.filter(|_| self.options.checking != Checking::Off) {
            let problem = format!("{id} runs, and the agent knows of it no more");
            self.note(Name::Agent(n), Err((Property::Adoption, problem)));
        }
    }

    /// Checks what a framework hears.
    pub(super) fn check_event(&mut self, n: u32, event: &Event) {
        if self.options.checking != Checking::Off {
            let result = self.identities.framework_hears(n, event);
            self.note(Name::Framework(n), result);
        }
    }

    /// Checks what the master has answered.
    fn check_answers(&mut self) -> Result<(), Broken> {
        let Some(master) = self.master.machine() else {
            return Ok(());
        };
        let agents = &self.agents;
        self.watch.answers.check(|framework, task| {
            let rows = master.view().agents();
            let machines = agents.iter().filter_map(|seat| seat.node.machine());
            let mut machines = machines.map(Agent::view).filter(|view| {
                let is_row =
                    |row: &AgentView| row.presence.is_connected() && Some(&row.id) == view.id();
                view.is_registered() && rows.iter().any(is_row)
            });
            machines.any(|view| {
                let task = view.task(framework, task);
                task.is_some_and(|task| !task.state.is_terminal())
            })
        })
    }

    /// Checks for how long tasks have waited at an agent.
    fn check_waits(&mut self, name: Name) -> Result<(), Broken> {
        let Name::Agent(n) = name else {
            return Ok(());
        };
        let seat = &mut self.agents[at(n)];
        let Some(agent) = seat.node.machine() else {
            return Ok(());
        };
        let tasks = agent.view().tasks();
        let containers = &seat.containers;
        let (now, waits) = (self.shared.now, &mut seat.waits);
        waits.check(now, tasks, |id| containers.runs(id))
    }

    /// Checks that everybody is back in time, if nothing goes wrong any more.
    pub(super) fn check_back(&mut self) -> Result<(), Violation> {
        if self.options.checking != Checking::Off {
            let result = liveness::check(self);
            self.note(Name::Master, result);
        }
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// Checks what a master without the lead says.
    pub(super) fn check_zombie(&mut self, effect: &master::Effect) {
        if self.options.checking != Checking::Off {
            let result = leaders::check(effect, || self.master.disk.read::<Registry>());
            self.note(Name::Master, result);
        }
    }

    /// Checks what the schedulers of a framework were told.
    fn check_heard(&mut self, n: u32) -> Result<(), Broken> {
        let seat = &mut self.frameworks[at(n)];
        let news = seat.known.take_news();
        if let Some(violation) = seat.known.violation() {
            return Err((Property::Updates, violation.into()));
        }
        let Some(framework) = seat.id() else {
            return Ok(());
        };
        news.iter()
            .try_for_each(|(task, update)| self.streams.heard(framework, task, *update))
    }

    /// Counts a step; returns whether everything is looked at after it.
    fn is_due(&mut self) -> bool {
        self.steps += 1;
        match self.options.checking {
            Checking::Off => false,
            Checking::Sampled(steps) => self.steps.is_multiple_of(u64::from(steps.get())),
            Checking::Always => true,
        }
    }

    pub(super) fn note(&mut self, name: Name, result: Result<(), Broken>) {
        let checks = self.options.checking != Checking::Off;
        if let Err((property, problem)) = result
            && checks
        {
            self.broken(property, format!("{name}: {problem}"));
        }
    }

    fn check_whole(&self, name: Name) -> Result<(), Broken> {
        match name {
            Name::Master => {
                let Some(master) = self.master.machine() else {
                    return Ok(());
                };
                master.check();
                let books = conservation::check_books(&self.watch.ledger, master);
                let roles = || conservation::check_roles(&self.watch.ledger, master);
                let checked = books.and_then(|()| roles());
                let checked = checked.and_then(|()| conservation::check(master));
                checked.map_err(|problem| (Property::Conservation, problem))?;
                running::check(self, master)?;
                let watch = &self.watch;
                if self.options.dials.asks_all() {
                    watch.questions.check_asked(&watch.ledger, master)?;
                }
                self.check_unanswered(master)?;
                self.check_mirrors(master)
            }
            Name::Agent(n) => {
                let agent = self.agents[at(n)].node.machine();
                let checked = agent.map_or(Ok(()), Agent::check);
                checked.map_err(|violation| (Property::Machines, violation.to_string()))
            }
            Name::Framework(_) | Name::Executor { .. } => Ok(()),
        }
    }

    /// Checks that nobody waits for an answer of a master that awaits nobody.
    fn check_unanswered(&self, master: &Master) -> Result<(), Broken> {
        let view = master.view();
        let is_awaited = |row: &AgentView| matches!(row.presence, Presence::Recovered { .. });
        if view.agents().iter().any(is_awaited) {
            return Ok(());
        }
        self.watch.answers.check_open(|framework, task| {
            let rows = view.all_tasks();
            let mut rows = rows.into_iter();
            let row = rows.find(|row| row.framework == *framework && row.status.task == *task);
            row.is_some_and(|row| row.status.state.is_terminal())
        })
    }

    fn check_mirrors(&self, master: &Master) -> Result<(), Broken> {
        if self.watchers.is_empty() {
            return Ok(());
        }
        let view = master.view();
        let all_told = self.master.held() == 0;
        self.watchers.iter().try_for_each(|watcher| {
            let Some(mirror) = watcher.mirror() else {
                return Ok(());
            };
            let waits = watcher.waits_after().filter(|_| all_told);
            let checked = mirrors::check(mirror, waits, &view);
            checked.map_err(|problem| (Property::Mirrors, format!("{watcher}: {problem}")))
        })
    }

    fn replayed(&self, name: Name) -> Result<(), Broken> {
        let is_same = match name {
            Name::Master => self.master.machine().is_none_or(|master| {
                let disk = &self.master.disk;
                !disk.is_settled() || disk.read::<Registry>() == *master.registry()
            }),
            Name::Agent(n) => {
                let node = &self.agents[at(n)].node;
                node.machine().is_none_or(|agent| {
                    !node.disk.is_settled() || node.disk.read::<AgentState>() == *agent.state()
                })
            }
            Name::Framework(_) | Name::Executor { .. } => true,
        };
        if is_same {
            return Ok(());
        }
        let problem = String::from("it would come back as somebody else");
        Err((Property::Replay, problem))
    }
}
