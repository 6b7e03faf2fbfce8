//! The whole cluster in one loop: takes what comes next and gives it to the node that it is for.
//!
//! Used by [`super::Sim`]. Nodes meet only here: what one wants done becomes bytes on a connection,
//! an order to a containerizer, or a record on a disk. Deliberately not here: what goes wrong
//! ([`super::trouble`]) and what must hold ([`super::check`]).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::sync::atomic::AtomicBool;

use super::chance::{Purpose, stream};
use super::check;
use super::clock::Skew;
use super::containers::Containers;
use super::disks::Provider;
use super::executors::Executors;
use super::fault::{Kind, Source};
use super::instances::FrameworkSeat;
use super::leaders::Zombie;
use super::log::{Log, Recorder};
use super::net::Net;
use super::node::{Node, Shared};
use super::operator::Operator;
use super::options::{Options, Span};
use super::pause::Pauses;
use super::property::Violation;
use super::queue::{Event, Name, Queue};
use super::readers::Readers;
use super::report::{Hits, Usage};
use super::script::Script;
use super::tap::Mode;
use super::versions::Versions;
use super::watchers::Watcher;
use crate::agent::{self, Agent};
use crate::attributes::Attributes;
use crate::gate::Seq;
use crate::ids::{AgentId, PeerId};
use crate::master::Master;
use crate::protocol::agent::ToMaster;
use crate::protocol::node::AgentInfo;
use crate::registry::Registry;
use crate::resources::Resources;
use crate::rng::Rng;
use crate::time::Time;

/// Agents have addresses from 10.0.0.1 on.
const NETWORK: u32 = 10 << 24;

/// A client's side of its connection to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Dialling(PeerId),
    Up(PeerId),
}

impl Link {
    /// Returns whether this is it, made or on its way.
    pub(super) fn is_of(self, peer: PeerId) -> bool {
        match self {
            Self::Up(up) | Self::Dialling(up) => up == peer,
            Self::Down => false,
        }
    }
}

/// An agent and its machine.
#[derive(Debug)]
pub(super) struct AgentSeat {
    pub(super) node: Node<Agent>,
    pub(super) containers: Containers,
    pub(super) provider: Provider,
    pub(super) info: AgentInfo,
    pub(super) link: Link,
    /// The newest leadership that it has heard of.
    pub(super) seen: u64,
    /// For how long it lets tasks wait.
    pub(super) waits: check::waits::Waits,
    /// Which run of its machine this is.
    pub(super) boot: u128,
    /// Whether an operator has said that it is gone; then another is put in its place.
    pub(super) marked_gone: bool,
    /// Whether it ends what it ran before when it next starts.
    pub(super) cleans_up: bool,
    /// Who was asked to end, and when.
    pub(super) graces: check::graces::Graces,
    /// How long sandboxes and volumes take to be deleted, and whether they can be.
    pub(super) deletions: Rng,
    /// What it has said of tasks last, newest first.
    pub(super) said: VecDeque<ToMaster>,
    /// What checks find out, and when.
    pub(super) tries: Rng,
    /// How often in a row tasks were found unhealthy.
    pub(super) health: check::health::Health,
    /// Where its volumes were.
    pub(super) volumes: check::volumes::Places,
    dials: Rng,
}

/// The cluster.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    pub(super) shared: Shared,
    pub(super) net: Net,
    pub(super) versions: Versions,
    pub(super) master: Node<Master>,
    /// A master that has lost the lead and does not know.
    pub(super) zombie: Option<Zombie>,
    /// How many there were.
    pub(super) zombies: u32,
    pub(super) agents: Vec<AgentSeat>,
    /// What each agent has, by its name in the network.
    pub(super) totals: Arc<Totals>,
    pub(super) frameworks: Vec<FrameworkSeat>,
    /// Operators who follow the master.
    pub(super) watchers: Vec<Watcher>,
    /// Those who follow all others.
    pub(super) readers: Readers,
    pub(super) operator: Option<Operator>,
    pub(super) usage: Usage,
    pub(super) watch: check::Watch,
    pub(super) streams: check::streams::Streams,
    pub(super) identities: check::identity::Identities,
    pub(super) messages: check::messages::Messages,
    /// Since when nothing goes wrong any more, if that is so.
    pub(super) healed: Option<Time>,
    /// By framework and task: on which agent it was started, and as what there.
    pub(super) ever: BTreeMap<String, BTreeMap<String, (u32, u64)>>,
    /// How many steps were looked at.
    pub(super) steps: u64,
    /// Which tables were full at some of them.
    pub(super) full: BTreeSet<&'static str>,
    /// Nodes that do nothing for a while.
    pub(super) pauses: Pauses,
    /// Agents whose disk was lost.
    pub(super) lost: BTreeSet<AgentId>,
    /// What goes wrong by itself.
    pub(super) trouble: Source,
    /// What else is left to chance when something else goes wrong.
    pub(super) orders: Rng,
    /// Whether schedulers see offers.
    pub(super) mode: Mode,
    /// Whether those that are there are kept from offers, for who is to know.
    pub(super) is_quiet: Arc<AtomicBool>,
    /// Counts how often all faults were ended: what was planned in an earlier spell is void.
    pub(super) spell: u32,
    /// The first property that did not hold. Nothing happens after it.
    pub(super) violation: Option<Violation>,
}

impl World {
    pub(super) fn new(mut options: Options, log: Log) -> Self {
        let seed = options.seed;
        let net = Net::new(Name::Master, options.delay, seed);
        let script = Script::new(options.start, options.run, &options.faults);
        let machines = (1..).zip(options.each_machine());
        let agents = machines.map(|(n, machine)| seat(n, machine, script, &options));
        let agents: Vec<AgentSeat> = agents.collect();
        options.agents = u32::try_from(agents.len()).expect("there are fewer agents");
        let shared = Shared {
            now: Time::ZERO,
            queue: Queue::default(),
            recorder: Recorder::new(log),
            sync: options.sync,
            hits: Hits::default(),
        };
        let mut master = Node::new(Name::Master, seed);
        master.skew = Skew::drawn(&options, Name::Master);
        let totals = totals(&agents);
        let registry = Registry::default();
        let watch = check::Watch::new(
            options.checking,
            options.dials.clone(),
            Arc::clone(&totals),
            registry,
        );
        let trouble = Source::drawn(seed, options.faults.clone());
        let watchers = (1..=options.watchers).map(|n| Watcher::new(n, seed));
        let watchers = watchers.collect();
        let operator = Operator::new(&options, &agents);
        let mut world = Self {
            options,
            shared,
            net,
            versions: Versions::new(),
            master,
            zombie: None,
            zombies: 0,
            agents,
            totals,
            frameworks: Vec::new(),
            watchers,
            readers: Readers::new(seed),
            operator,
            usage: Usage::default(),
            watch,
            streams: check::streams::Streams::default(),
            identities: check::identity::Identities::default(),
            messages: check::messages::Messages::default(),
            healed: None,
            ever: BTreeMap::new(),
            steps: 0,
            full: BTreeSet::new(),
            pauses: Pauses::new(),
            lost: BTreeSet::new(),
            trouble,
            orders: stream(seed, Purpose::Orders, Name::Master),
            mode: Mode::Working,
            is_quiet: Arc::default(),
            spell: 0,
            violation: None,
        };
        world.start_master();
        for n in 1..=world.options.agents {
            world.start_agent(n);
        }
        world.populate();
        world.begin_reading();
        world
    }

    /// Runs until `end`, and lets time pass to it; or until a property does not hold.
    pub(super) fn run_until(&mut self, end: Time) {
        while self.violation.is_none() {
            // What goes wrong comes before what else happens at the same moment.
            let next = self.shared.queue.due();
            let fault = self.trouble.due();
            if let Some(at) = fault.filter(|at| *at <= end && next.is_none_or(|next| *at <= next)) {
                self.shared.now = at;
                self.on_fault();
                continue;
            }
            let Some((at, event)) = self.shared.queue.pop(end) else {
                self.shared.now = end;
                return;
            };
            self.shared.now = at;
            let event = self.come_through(event);
            if let Some(event) = event.and_then(|event| self.wait(event)) {
                self.take(event);
            }
        }
    }

    /// Lets what is on its way between a client and the master come to its end, unless a clog holds
    /// it. Whether somebody is there to hear it comes after that.
    fn come_through(&mut self, event: Event) -> Option<Event> {
        let Event::Arrive { link, to, frame } = event else {
            return Some(event);
        };
        if Net::server(link) != Name::Master {
            return Some(Event::Arrive { link, to, frame });
        }
        let through = self.net.hold(self.shared.now, (link, to, frame)).err()?;
        let (link, to, frame) = through;
        Some(Event::Arrived { link, to, frame })
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Wake(name) => self.on_wake(name),
            Event::Synced { node, life, upto } => self.on_synced(node, life, upto),
            Event::Dial { node, life } => self.on_dial(node, life),
            Event::Arrive { link, to, frame } => self.on_arrive_locally(link, to, &frame),
            Event::Arrived { link, to, frame } => self.on_arrive(link, to, frame),
            Event::Process { agent, id, step } => {
                self.at_containers(agent, |containers, shared| {
                    containers.step(id, step, shared)
                });
            }
            Event::Container { agent, life, event } => {
                let seat = &self.agents[at(agent)];
                if seat.node.life == life {
                    self.agent_hears_locally(agent, agent::Input::Container(event));
                    self.flush_agent(agent);
                }
            }
            Event::Told { agent, life, input } => {
                if self.life(Name::Agent(agent)) == Some(life) {
                    self.agent_hears_locally(agent, input);
                    self.flush_agent(agent);
                }
            }
            Event::Disk { agent, job } => {
                let provider = &mut self.agents[at(agent)].provider;
                provider.end(job, &mut self.shared);
                self.check_disks(agent);
            }
            Event::DiskTold { agent, life, event } => {
                if self.agents[at(agent)].node.life == life {
                    self.agent_hears_locally(agent, agent::Input::Disk(event));
                    self.flush_agent(agent);
                }
            }
            Event::Restart { node, life } => self.on_restart(node, life),
            Event::Another { framework, spell } if spell == self.spell => {
                if self.another_scheduler(framework) {
                    self.shared
                        .hit(Name::Framework(framework), Kind::SecondInstance);
                }
            }
            Event::Bury { zombie, chance } => self.bury(zombie, &mut Rng::new(chance)),
            Event::Turn { client, zombie } => self.turn(client, zombie),
            Event::Mend { node } => self.net.mend(node),
            Event::Clog {
                client,
                until,
                spell,
            } if spell == self.spell => {
                self.net.clog(client, until, &mut self.shared.queue);
            }
            // The faults have ended.
            Event::Another { .. } | Event::Clog { .. } => {}
            Event::Resume { node } => self.on_resume(node),
            Event::Look { watcher, turn } => self.on_look(watcher, turn),
            Event::Read { node } => self.on_read(node),
            Event::Operate { turn } => self.on_operate(turn),
            Event::Unclog { client } => self.on_unclog(client),
        }
    }

    fn on_unclog(&mut self, client: Name) {
        for (link, to, frame) in self.net.unclog(self.shared.now, client) {
            if let Some(event) = self.wait(Event::Arrived { link, to, frame }) {
                self.take(event);
            }
        }
    }

    fn on_wake(&mut self, name: Name) {
        let shared = &mut self.shared;
        match name {
            Name::Master => {
                let watch = &mut self.watch;
                let saw = |master: &Master, output: &_| watch.saw(master, output);
                if self.master.wake(shared, saw) {
                    self.master_turned();
                    self.flush_master();
                }
                self.wake_zombie();
            }
            Name::Agent(n) => {
                if self.agent_wakes(n) {
                    self.flush_agent(n);
                }
            }
            Name::Framework(n) => self.wake_framework(n),
            Name::Executor { agent, n } => {
                self.at_containers(agent, |containers, shared| containers.wake(n, shared));
            }
        }
    }

    fn on_synced(&mut self, name: Name, life: u32, upto: Seq) {
        match name {
            Name::Master if self.master.life == life => {
                if self.master.synced(upto, &mut self.shared) {
                    return self.on_disk_failed(name);
                }
                self.check_replay(name);
                self.master.disk.compact::<Registry>();
                self.flush_master();
            }
            Name::Agent(n) if self.agents[at(n)].node.life == life => {
                let node = &mut self.agents[at(n)].node;
                if node.synced(upto, &mut self.shared) {
                    return self.on_disk_failed(name);
                }
                node.disk.compact::<agent::AgentState>();
                self.check_replay(name);
                self.flush_agent(n);
            }
            // Frameworks and executors remember nothing.
            Name::Master | Name::Agent(_) | Name::Framework(_) | Name::Executor { .. } => {}
        }
    }

    fn on_dial(&mut self, name: Name, life: u32) {
        if let Name::Executor { agent, n } = name {
            let containers = &mut self.agents[at(agent)].containers;
            containers.executors().dial(n, &mut self.shared);
            return;
        }
        if self.link(name, life).is_none_or(|link| *link != Link::Down) {
            return;
        }
        let dialled = self.net.dial(self.shared.now, name, &mut self.shared.queue);
        if let Some(peer) = dialled {
            self.may_reach_zombie(peer);
        }
        match (dialled, self.link(name, life)) {
            (Some(peer), Some(link)) => *link = Link::Dialling(peer),
            (Some(_) | None, _) => self.plan_dial(name, life, self.options.redial),
        }
    }

    /// Does something with an agent's containers, and keeps account of the cores in use.
    pub(super) fn at_containers<T>(
        &mut self,
        n: u32,
        act: impl FnOnce(&mut Containers, &mut Shared) -> T,
    ) -> T {
        let containers = &mut self.agents[at(n)].containers;
        let before = containers.cpus().thousandths();
        let result = act(containers, &mut self.shared);
        let after = containers.cpus().thousandths();
        if before != after {
            self.usage.settle(self.shared.now);
            self.usage.cpus += after - before;
        }
        self.note_executors_words(n);
        result
    }

    /// Plans that a client in this life dials.
    pub(super) fn plan_dial(&mut self, node: Name, life: u32, after: Span) {
        let after = match node {
            Name::Agent(n) => after.draw(&mut self.agents[at(n)].dials),
            Name::Framework(n) => self.draw_dial(n, after),
            Name::Master | Name::Executor { .. } => panic!("{node} dials nobody here"),
        };
        let dial_at = self.shared.now + after;
        self.shared.queue.plan(dial_at, Event::Dial { node, life });
    }

    /// Returns which life the master or an agent is in, if it is alive.
    pub(super) fn life(&self, name: Name) -> Option<u32> {
        match name {
            Name::Master => self.master.machine().map(|_| self.master.life),
            Name::Agent(n) => {
                let node = &self.agents[at(n)].node;
                node.machine().map(|_| node.life)
            }
            Name::Framework(_) | Name::Executor { .. } => None,
        }
    }
}

/// Where the node with this number is in its list.
pub(super) const fn at(n: u32) -> usize {
    n as usize - 1
}

/// What agents have, by their names in the network.
pub(super) type Totals = BTreeMap<String, Resources>;

fn totals(agents: &[AgentSeat]) -> Arc<Totals> {
    let infos = agents.iter().map(|seat| &seat.info);
    let each = infos.map(|info| (info.hostname.clone(), info.resources.clone()));
    Arc::new(each.collect())
}

fn seat(
    n: u32,
    (resources, attributes): (&Resources, Attributes),
    script: Script,
    options: &Options,
) -> AgentSeat {
    let name = Name::Agent(n);
    let chance = stream(options.seed, Purpose::Containers, name);
    let mut node = Node::new(name, options.seed);
    node.skew = Skew::drawn(options, name);
    let address = format!("{}:5051", Ipv4Addr::from(NETWORK + n));
    AgentSeat {
        node,
        containers: Containers::new(n, script, Executors::new(n, options), chance),
        provider: Provider::new(n, stream(options.seed, Purpose::Disks, name)),
        info: AgentInfo {
            attributes,
            domain: options.dials.domain(n),
            ..AgentInfo::new(format!("{name}"), address, resources.clone())
        },
        link: Link::Down,
        seen: 0,
        waits: check::waits::Waits::new(
            options.executor_registration_timeout,
            options.launch_timeout(),
            options.dials.graces(),
        ),
        graces: check::graces::Graces::default(),
        deletions: stream(options.seed, Purpose::Sandboxes, name),
        said: VecDeque::new(),
        tries: stream(options.seed, Purpose::Checks, name),
        health: check::health::Health::default(),
        volumes: check::volumes::Places::default(),
        marked_gone: false,
        cleans_up: false,
        boot: 1,
        dials: stream(options.seed, Purpose::Dial, name),
    }
}
