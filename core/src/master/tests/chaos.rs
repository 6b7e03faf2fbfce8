//! Anything, from anybody, in any order: nothing panics, and what must hold holds.
//!
//! Ids come from small sets, so that nonsense often hits something that exists.

use alloc::collections::BTreeSet;

use proptest::prelude::*;

use super::events::Reader;
use super::views::Pager;
use super::*;
use crate::ids::{ExecutorId, OperationId};
use crate::protocol::events::{Kind, Version};
use crate::protocol::framework::Capabilities;
use crate::protocol::maintenance::{MachineId, Unavailability, Window};
use crate::protocol::node::DrainConfig;
use crate::protocol::offer::TaskGroup;
use crate::protocol::operation::{Conversion, Converted, OperationState, OperationStatus};
use crate::protocol::task::ExecutorInfo;
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli};
use crate::roles::Role;

const STATES: [TaskState; 13] = TaskState::ALL;

/// The offers that this framework has.
fn own_offers(world: &World, peer: PeerId) -> Vec<Offer> {
    let own = world.master.peers.framework(peer);
    let own = own.map(|key| world.master.frameworks[key].id.clone());
    let mut offers = world.master.view().offers();
    offers.retain(|offer| Some(&offer.framework) == own.as_ref());
    offers
}

/// Turns numbers into whatever is needed; zeros when they run out.
struct Dice<'a> {
    numbers: core::slice::Iter<'a, u32>,
}

impl Dice<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.numbers.next().copied().unwrap_or(0) % bound
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    fn agent(&mut self, world: &World) -> AgentId {
        let known = world.master.view().agents();
        let pick = self.below(known.len() as u32 + 2) as usize;
        match known.get(pick) {
            Some(agent) => agent.id.clone(),
            None => agent_id(u64::from(self.below(5))),
        }
    }

    fn framework(&mut self, world: &World) -> FrameworkId {
        let known = world.master.view().frameworks();
        let pick = self.below(known.len() as u32 + 1) as usize;
        match known.get(pick) {
            Some(framework) => framework.info.id.clone().unwrap(),
            None => framework_id(u64::from(self.below(8))),
        }
    }

    /// A task that is known, more often than not.
    fn known_task(&mut self, world: &World) -> (FrameworkId, TaskId, AgentId) {
        let known = world.master.view().all_tasks();
        let pick = self.below(known.len() as u32 + 2) as usize;
        match known.into_iter().nth(pick) {
            Some(task) => (task.framework, task.status.task, task.agent),
            None => (self.framework(world), self.task(), self.agent(world)),
        }
    }

    fn task(&mut self) -> TaskId {
        match self.below(60) {
            0 => task_id(".d"),
            n => task_id(&alloc::format!("a{n}")),
        }
    }

    fn state(&mut self) -> TaskState {
        STATES[self.below(13) as usize]
    }

    fn offers(&mut self, world: &World, peer: PeerId) -> Vec<OfferId> {
        if self.chance(15) {
            return (0..self.below(3)).map(|n| offer_id(u64::from(n))).collect();
        }
        let all = own_offers(world, peer);
        let count = (all.len() as u32).min(1 + self.below(8) / 7);
        (0..count)
            .map(|_| all[self.below(all.len() as u32) as usize].id.clone())
            .collect()
    }

    fn amount(&mut self) -> Resources {
        resources(
            [
                "cpus:1",
                "cpus:2;mem:10",
                "mem:5",
                "gpus:1",
                "",
                "ports:[1-3]",
                "cpus:1;ports:[3-4]",
                // Not of what agents have: only one that lies has them.
                "cpus:[1-2]",
                "ports:7",
                "gpus:9000000000000",
            ][self.below(17).saturating_sub(7) as usize],
        )
    }

    fn task_info(&mut self, world: &World, peer: PeerId) -> TaskInfo {
        let any = self.agent(world);
        let offers = own_offers(world, peer);
        let agent = match offers.first() {
            Some(offer) if self.chance(85) => offer.agent.clone(),
            Some(_) | None => any,
        };
        let mut info = task("x", &agent, "cpus:1");
        info.id = self.task();
        info.resources = self.amount();
        if self.chance(30) {
            info.executor = Some(ExecutorInfo::new(
                ExecutorId::new(["e", "f"][self.below(2) as usize]).unwrap(),
                self.amount(),
                CommandInfo::shell("serve"),
            ));
        }
        if info.executor.is_some() == self.chance(95) {
            info.command = None;
        }
        info
    }

    fn operation_id(&mut self) -> OperationId {
        OperationId::new(["a", "b", "c"][self.below(3) as usize]).unwrap()
    }

    fn change(&mut self) -> Conversion {
        let reserved = self.reserved();
        if self.chance(70) {
            Conversion::Reserve(reserved)
        } else {
            Conversion::Unreserve(reserved)
        }
    }

    fn reserved(&mut self) -> Resources {
        let role = ["eng", "eng", "ops"][self.below(3) as usize];
        let what = ["cpus:1", "mem:5", "ports:[2-3]"][self.below(3) as usize];
        let (name, amount) = what.split_once(':').unwrap();
        let principal = ["one", "two"][self.below(2) as usize];
        let text =
            alloc::format!(r#"{name}(*)<dynamic="{role}",principal="{principal}">:{amount}"#);
        resources(&text)
    }

    /// What an agent of this name knows, more often than not.
    fn converted(&mut self, world: &World, peer: PeerId) -> Converted {
        if self.chance(10) {
            let mut other = Converted::default();
            let number = u64::from(1 + self.below(5));
            let after = r#"cpus(*)<dynamic="eng",principal="one">:1"#;
            other
                .note(number, &resources("cpus:1"), &resources(after))
                .unwrap();
            return other;
        }
        let name = world
            .master
            .peers
            .get(peer)
            .map(|peer| peer.principal.name.clone());
        let registry = world.master.registry();
        let id = name.and_then(|name| registry.bound_to(&name).cloned());
        let known = id.and_then(|id| registry.agent(&id).cloned());
        known.map(|known| known.converted).unwrap_or_default()
    }

    fn info(&mut self) -> AgentInfo {
        let total = ["cpus:4;mem:100;ports:[1-5]", "cpus:2;mem:20", "gpus:3", ""];
        let total = total[[0, 0, 0, 1, 2, 3][self.below(6) as usize]];
        AgentInfo {
            hostname: ["host", "other"][(self.below(8) / 7) as usize].to_string(),
            ..agent_info(total)
        }
    }

    fn framework_info(&mut self, world: &World) -> FrameworkInfo {
        let mut info = framework_info();
        if self.chance(50) {
            info.id = Some(self.framework(world));
        }
        if self.chance(50) {
            info.failover_timeout = Duration::from_secs(u64::from(self.below(30)));
        }
        if self.chance(70) {
            info.capabilities = info.capabilities | Capabilities::GPUS;
        }
        // A master goes by the certificate, whatever a framework says; it takes an agent's word.
        info.principal = [None, Some("one"), Some("two")][self.below(3) as usize].map(String::from);
        if self.chance(20) {
            let all = [&["eng"][..], &["eng", "*"], &["ops", "eng"], &[]];
            let roles = all[self.below(4) as usize].iter();
            info.roles = roles.map(|name| Role::new(name).unwrap()).collect();
        }
        info
    }

    fn agent_message(&mut self, world: &World, peer: PeerId, joins: bool) -> ToMaster {
        match self.below(if joins { 5 } else { 23 }) {
            0..2 => ToMaster::Register { agent: self.info() },
            2..5 => {
                let tasks = (0..self.below(4)).map(|_| {
                    let (framework, id, _) = self.known_task(world);
                    let mut task = self.task_info(world, peer);
                    task.id = id;
                    let state = self.state();
                    let role = Role::new(["*", "eng", "ops"][self.below(3) as usize]).unwrap();
                    TaskReport::new(framework, role, &task, state)
                });
                let tasks = tasks.collect();
                let frameworks = (0..self.below(3)).map(|_| self.framework_info(world));
                let frameworks = frameworks.collect();
                if self.chance(20) {
                    return ToMaster::Report { frameworks, tasks };
                }
                ToMaster::Reregister {
                    id: self.agent(world),
                    agent: self.info(),
                    frameworks,
                    tasks,
                }
            }
            5 if self.chance(4) => ToMaster::Unregister,
            5..8 => ToMaster::Pong,
            8 => ToMaster::CarriedOut {
                last: u64::from(self.below(4)),
            },
            9 => ToMaster::Converted(self.converted(world, peer)),
            10 => {
                let id = self.operation_id();
                let state = [OperationState::Finished, OperationState::Pending];
                let state = state[(self.below(8) / 7) as usize];
                ToMaster::OperationUpdate {
                    number: u64::from(1 + self.below(3)),
                    framework: self.framework(world),
                    status: OperationStatus {
                        update: Some(UpdateId(u128::from(self.below(4)))),
                        ..OperationStatus::new(id, state, Time::ZERO)
                    },
                }
            }
            _ => {
                let (framework, task, agent) = self.known_task(world);
                let n = u128::from(self.below(4));
                let mut status = news("x", self.state(), &agent, n);
                status.task = task;
                if self.chance(20) {
                    status.update = None;
                }
                ToMaster::Update {
                    framework,
                    status,
                    latest: self.state(),
                }
            }
        }
    }

    fn scheduler_call(&mut self, world: &World, peer: PeerId, joins: bool) -> Call {
        let refuse = [None, Some(Duration::ZERO), Some(Duration::from_secs(3))];
        let refuse = refuse[[1, 1, 1, 1, 0, 2][self.below(6) as usize]];
        match self.below(if joins { 6 } else { 38 }) {
            0..6 => Call::Subscribe {
                framework: self.framework_info(world),
                wishes: self.wishes(),
            },
            6 => Call::Teardown,
            7..18 => {
                let offers = self.offers(world, peer);
                let tasks = (0..self.below(4)).map(|_| self.task_info(world, peer));
                let tasks = tasks.collect();
                let launch = if self.chance(10) {
                    Operation::LaunchGroup(in_group(tasks))
                } else {
                    Operation::Launch(tasks)
                };
                Call::Accept {
                    offers,
                    operations: vec![launch],
                    refuse,
                }
            }
            32..34 => {
                let offers = self.offers(world, peer);
                let operations = (0..1 + self.below(3)).map(|_| Operation::Convert {
                    id: self.chance(50).then(|| self.operation_id()),
                    change: self.change(),
                });
                Call::Accept {
                    offers,
                    operations: operations.collect(),
                    refuse,
                }
            }
            34 => Call::AcknowledgeOperation {
                id: self.operation_id(),
                update: UpdateId(u128::from(self.below(4))),
            },
            35 => Call::ReconcileOperations {
                operations: (0..self.below(3))
                    .map(|_| (self.operation_id(), Some(self.agent(world))))
                    .collect(),
            },
            36 => Call::AcceptInverse {
                offers: self.inverse_offers(world, peer),
                refuse,
            },
            37 => Call::DeclineInverse {
                offers: self.inverse_offers(world, peer),
                refuse,
            },
            18..22 => Call::Decline {
                offers: self.offers(world, peer),
                refuse,
            },
            22 => Call::Suppress {
                roles: self.some_roles(),
            },
            23 => Call::Revive {
                roles: self.some_roles(),
            },
            24 => Call::Update {
                framework: self.framework_info(world),
                wishes: self.wishes(),
            },
            25 => Call::Reconcile {
                tasks: (0..self.below(3))
                    .map(|_| {
                        let (_, task, agent) = self.known_task(world);
                        (task, self.chance(60).then_some(agent))
                    })
                    .collect(),
            },
            26..28 => Call::Kill {
                task: self.known_task(world).1,
                grace: refuse,
            },
            _ => {
                let (_, task, agent) = self.known_task(world);
                Call::Acknowledge {
                    agent,
                    task,
                    update: UpdateId(u128::from(self.below(4))),
                }
            }
        }
    }

    fn operator_call(&mut self, world: &World) -> operator::Call {
        match self.below(22) {
            0 => operator::Call::Summary,
            20 => operator::Call::Snapshot {
                of: Kind::ALL[self.below(6) as usize],
            },
            21 => operator::Call::Watch {
                after: self.chance(80).then(|| Version {
                    epoch: 2,
                    number: self.below(1_000).into(),
                }),
            },
            8 => operator::Call::Convert {
                agent: self.agent(world),
                change: self.change(),
            },
            9 => operator::Call::UpdateReservation {
                agent: self.agent(world),
                from: self.reserved(),
                to: self.reserved(),
            },
            1 => operator::Call::Agents,
            2 => operator::Call::Frameworks,
            3 => operator::Call::Tasks {
                all: self.chance(50),
            },
            4 => operator::Call::Offers,
            5 => operator::Call::Roles,
            6 => operator::Call::UpdateQuota {
                quotas: self.quotas(),
                force: self.chance(50),
            },
            7 => operator::Call::UpdateWeights {
                weights: Vec::from([(
                    self.role(),
                    Milli::from_thousandths(self.below(3_000).into()),
                )]),
            },
            12 if self.chance(20) => operator::Call::MarkGone {
                agent: self.agent(world),
            },
            12 | 13 => operator::Call::Deactivate {
                agent: self.agent(world),
            },
            11 => operator::Call::Drain {
                agent: self.agent(world),
                config: DrainConfig {
                    max_grace: None,
                    mark_gone: self.chance(20),
                },
            },
            15 | 16 => operator::Call::SetSchedule {
                windows: self.windows(),
            },
            17 if self.chance(30) => operator::Call::MachinesDown {
                machines: self.machines(),
            },
            17 | 18 => operator::Call::MachinesUp {
                machines: vec![self.machine()],
            },
            19 => [
                operator::Call::Machines,
                operator::Call::Schedule,
                operator::Call::InverseOffers,
                operator::Call::EndedFrameworks,
                operator::Call::Explain {
                    framework: self.framework(world),
                    role: self.role(),
                },
                operator::Call::Teardown {
                    framework: self.framework(world),
                },
            ][self.below(6) as usize]
                .clone(),
            14 => operator::Call::Reactivate {
                agent: self.agent(world),
            },
            _ => operator::Call::Kill {
                framework: self.chance(50).then(|| self.framework(world)),
                task: [".", "", "a", "b", "zz"][self.below(5) as usize].to_string(),
                grace: None,
            },
        }
    }

    fn machine(&mut self) -> MachineId {
        MachineId {
            hostname: ["host", "OTHER", "third", ""][[0, 0, 1, 1, 1, 2, 3][self.below(7) as usize]]
                .to_string(),
            ip: self.chance(5).then(|| [10, 0, 0, 1].into()),
        }
    }

    fn machines(&mut self) -> Vec<MachineId> {
        (0..self.below(3)).map(|_| self.machine()).collect()
    }

    fn windows(&mut self) -> Vec<Window> {
        let windows = (0..self.below(3)).map(|_| Window {
            machines: self.machines(),
            unavailability: Unavailability {
                start: Time::from_micros(self.below(3).into()),
                duration: None,
            },
        });
        windows.collect()
    }

    /// Inverse offers of a framework, or whatever else has such ids.
    fn inverse_offers(&mut self, world: &World, peer: PeerId) -> Vec<OfferId> {
        let own = world.master.peers.framework(peer);
        let rows = world.master.inverse_offers.iter();
        let rows = rows.filter(|(_, row)| Some(row.framework) == own);
        let mut ids: Vec<OfferId> = rows.filter_map(|(_, row)| row.open().cloned()).collect();
        ids.truncate(self.below(3) as usize);
        if self.chance(15) {
            ids.extend(self.offers(world, peer));
        }
        ids
    }

    /// None, and so all, more often than not.
    fn some_roles(&mut self) -> Vec<Role> {
        let some = self.chance(40);
        (0..u32::from(some)).map(|_| self.role()).collect()
    }

    fn wishes(&mut self) -> Wishes {
        Wishes {
            suppressed: if self.chance(90) {
                BTreeSet::new()
            } else {
                self.some_roles().into_iter().collect()
            },
            ..Wishes::default()
        }
    }

    fn role(&mut self) -> Role {
        Role::new(["*", "eng", "eng/web", "ops"][self.below(4) as usize]).unwrap()
    }

    fn quotas(&mut self) -> Vec<(Role, Quota)> {
        let quotas = (0..self.below(3)).map(|_| {
            // Of what is always an amount here: of ranges, quota counts how many there are.
            let amount = |dice: &mut Self| ["", "mem:20", "mem:64"][dice.below(3) as usize];
            let quota = Quota {
                guarantees: Quantities::parse(amount(self)).unwrap(),
                limits: Ceilings::parse(amount(self)).unwrap(),
            };
            (self.role(), quota)
        });
        quotas.collect()
    }

    fn input(&mut self, world: &World) -> Input {
        // Peers 0 to 3 are agents, 4 to 7 frameworks, 8 an operator; 9 never connects.
        let peer = PeerId(u64::from(self.below(10)));
        let by_number = match peer.0 {
            0..4 => PeerRole::Agent,
            4..8 => PeerRole::Framework,
            _ => PeerRole::Operator,
        };
        let known = world.master.peers.get(peer);
        if self.chance(if known.is_none() { 80 } else { 2 }) && peer.0 != 9 {
            let role = by_number;
            // Two connections have one name.
            let name = ["one", "two"][(peer.0 % 2) as usize].to_string();
            let principal = Principal { role, name };
            return Input::Connected { peer, principal };
        }
        if self.chance(2) {
            return Input::Disconnected { peer };
        }
        // Most know what to say first.
        let joins = known.is_some_and(|peer| peer.part.is_none()) && self.chance(85);
        let speaks = match self.below(500) {
            0 => PeerRole::Agent,
            1 => PeerRole::Framework,
            _ => by_number,
        };
        match speaks {
            PeerRole::Agent => Input::Agent {
                peer,
                message: self.agent_message(world, peer, joins),
            },
            PeerRole::Framework => Input::Scheduler {
                peer,
                call: self.scheduler_call(world, peer, joins),
            },
            PeerRole::Operator | PeerRole::Master => {
                let id = RequestId(0);
                let call = self.operator_call(world);
                let request = operator::Request {
                    id,
                    call,
                    after: self
                        .chance(20)
                        .then_some(operator::Cursor { epoch: 1, last: 0 }),
                };
                Input::Operator { peer, request }
            }
        }
    }
}

/// Runs one script, and returns how often each thing of interest happened.
fn run(mut world: World, script: &[Vec<u32>]) -> ([usize; 4], Reader, Pager) {
    world.drain();
    let mut reader = Reader::new(&mut world);
    let mut pager = Pager::default();
    let [mut offers, mut runs, mut updates, mut inverse] = [0; 4];
    for numbers in script {
        let mut dice = Dice {
            numbers: numbers.iter(),
        };
        let pause = match dice.below(200) {
            0 => 700_000_000,
            1 => 60_000_000,
            2..10 => 1_000_000,
            _ => 1,
        };
        world.now = world.now + Duration::from_micros(pause);
        pager.read(&world, 2);
        let mut outs = if dice.chance(5) {
            world.tick()
        } else {
            let input = dice.input(&world);
            world.input(input)
        };
        pager.look(&world);
        // The allocator has its say before anything else happens.
        world.now = world.now + Duration::from_micros(1);
        outs.extend(world.tick());
        pager.look(&world);
        reader.hear(&world, &outs);
        if dice.chance(50) {
            reader.ask(&mut world);
        } else if dice.chance(5) {
            reader.reconnect(&mut world);
        }
        for out in outs {
            match out {
                Output::Effect(Effect::Scheduler { event, .. }) => match event {
                    Event::Offers(made) => offers += made.len(),
                    Event::Update(_) => updates += 1,
                    Event::InverseOffers(made) => inverse += made.len(),
                    Event::Subscribed { .. }
                    | Event::Heartbeat
                    | Event::Rescind(_)
                    | Event::RescindInverse(_)
                    | Event::OperationUpdate(_)
                    | Event::Message { .. }
                    | Event::ExecutorEnded { .. }
                    | Event::AgentLost { .. }
                    | Event::Error { .. }
                    | Event::Rejected { .. }
                    | Event::Unheard { .. }
                    | Event::Updated
                    | Event::Reconciled(_) => {}
                },
                Output::Effect(Effect::Agent { message, .. }) => {
                    runs += usize::from(matches!(message, ToAgent::RunTask { .. }));
                }
                Output::Effect(
                    Effect::Respond { .. } | Effect::Disconnect { .. } | Effect::Resign { .. },
                )
                | Output::Persist(_)
                | Output::Free(_) => {}
            }
        }
    }
    ([offers, runs, updates, inverse], reader, pager)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_peers_do_breaks_the_master(
        script in prop::collection::vec(prop::collection::vec(any::<u32>(), 40), 1..250)
    ) {
        for world in worlds() {
            run(world, &script);
        }
    }
}

/// Has the agent's own executor run tasks together.
fn in_group(mut tasks: Vec<TaskInfo>) -> TaskGroup {
    for task in &mut tasks {
        task.executor = None;
        task.command = Some(CommandInfo::shell("true"));
    }
    let id = ExecutorId::new("g").unwrap();
    let executor = ExecutorInfo::built_in(id, resources("cpus:0.1;mem:32"));
    TaskGroup { executor, tasks }
}

/// Of the second leadership: an agent is awaited, and ids of the first may come back.
fn worlds() -> [World; 2] {
    [World::recovered, World::drf].map(|make| make(2, recovery::registry()))
}

/// The scripts would prove little if they never got anywhere.
#[test]
fn the_scripts_get_somewhere() {
    let mut rng = crate::rng::Rng::new(1);
    let mut script = Vec::new();
    for _ in 0..6_000 {
        let numbers = (0..40).map(|_| rng.next_u64() as u32);
        script.push(numbers.collect::<Vec<u32>>());
    }
    for world in worlds() {
        let ([offers, runs, updates, inverse], reader, pager) = run(world, &script);
        assert!(offers > 100, "{offers} offers");
        assert!(runs > 40, "{runs} tasks");
        assert!(updates > 100, "{updates} updates");
        assert!(inverse > 10, "{inverse} inverse offers");
        assert!(
            reader.batches > 100,
            "{} answers with events",
            reader.batches
        );
        assert!(reader.compared > 100, "{} comparisons", reader.compared);
        assert!(
            pager.stayed > 1_000,
            "{} rows on several pages",
            pager.stayed
        );
    }
}
