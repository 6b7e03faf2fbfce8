//! An agent's turn, and what is looked at in it.

use super::{confirmed, deliveries, health, leaders};
use crate::agent::{self, Agent, AgentRecord};
use crate::ids::PeerId;
use crate::machine::Output;
use crate::protocol::agent::ToMaster;
use crate::sim::fault::Kind;
use crate::sim::options::Checking;
use crate::sim::queue::Name;
use crate::sim::world::{AgentSeat, World, at};

fn registered(agent: &Agent) -> bool {
    agent.view().is_registered()
}

/// What is looked at in every turn of an agent, whatever causes it.
struct Turn {
    confirmed: confirmed::Turn,
    /// How many tasks it has ended for they ran as long as they may.
    ran_out: u32,
}

impl Turn {
    /// Begins a turn that no master causes.
    fn local() -> Self {
        Self::of(confirmed::Turn::new(None, None, 0))
    }

    fn of(confirmed: confirmed::Turn) -> Self {
        Self {
            confirmed,
            ran_out: 0,
        }
    }

    fn saw(&mut self, output: &Output<AgentRecord, agent::Effect>, health: &mut health::Health) {
        self.confirmed.saw(output);
        health.saw(output);
        let runs_out = matches!(output, Output::Persist(AgentRecord::RanOut { .. }));
        self.ran_out += u32::from(runs_out);
    }
}

impl World {
    /// Notes what an agent tells the master.
    pub(in crate::sim) fn note_sent(&mut self, message: &ToMaster) {
        if self.options.checking != Checking::Off {
            self.streams.sends(message);
        }
    }

    /// Lets an agent hear a master, and checks that it obeys no earlier one than it knows of.
    pub(in crate::sim) fn agent_hears(&mut self, n: u32, peer: PeerId, input: agent::Input) {
        let speaks = if self.is_of_zombie(peer) {
            self.zombie
                .as_ref()
                .and_then(|zombie| zombie.node.machine())
        } else {
            self.master.machine()
        };
        let speaks = speaks.map(|master| master.registry().epoch());
        let mut heard = Ok(());
        if self.options.checking != Checking::Off
            && let agent::Input::Master { message, .. } = &input
        {
            self.agents[at(n)].waits.hears(self.shared.now, message);
            let now = self.shared.now;
            self.agents[at(n)].graces.hears(now, message);
            heard = self.identities.agent_hears(n, message);
        }
        let seat = &mut self.agents[at(n)];
        let message = match &input {
            agent::Input::Master { message, .. } => Some(message),
            agent::Input::MasterFound { .. }
            | agent::Input::MasterLost { .. }
            | agent::Input::ExecutorConnected { .. }
            | agent::Input::ExecutorDisconnected { .. }
            | agent::Input::Executor { .. }
            | agent::Input::Container(_)
            | agent::Input::DiskUsed { .. }
            | agent::Input::SandboxDeleted { .. }
            | agent::Input::VolumesDeleted { .. }
            | agent::Input::Leave
            | agent::Input::Disk(_)
            | agent::Input::Departed(_)
            | agent::Input::Follow => None,
        };
        let mut turn = Turn::of(confirmed::Turn::new(message, speaks, seat.seen));
        let mut led = leaders::Turn::new(speaks, seat.seen);
        seat.node.handle(input, &mut self.shared, |_, output| {
            led.saw(output);
            turn.saw(output, &mut seat.health);
        });
        let healthy = seat.health.end();
        let (seen, result) = led.end(seat.node.machine().is_some_and(registered));
        seat.seen = seen;
        self.count_run_outs(n, turn.ran_out);
        if self.options.checking == Checking::Off {
            return;
        }
        let delivered = match turn.confirmed.end() {
            Ok(Some(said)) => {
                let delivered = deliveries::check(self, n, &said);
                self.streams.forgets(&said);
                delivered
            }
            Ok(None) => Ok(()),
            Err(broken) => Err(broken),
        };
        let result = result.and(healthy);
        self.note(Name::Agent(n), heard.and(result).and(delivered));
    }

    /// Lets an agent hear somebody else than a master.
    pub(in crate::sim) fn agent_hears_locally(&mut self, n: u32, input: agent::Input) {
        self.agent_hears_locally_and(n, input, |_| {});
    }

    /// As [`World::agent_hears_locally`]; `saw` is shown what comes of it.
    pub(super) fn agent_hears_locally_and(
        &mut self,
        n: u32,
        input: agent::Input,
        mut saw: impl FnMut(&Output<AgentRecord, agent::Effect>),
    ) {
        let mut turn = Turn::local();
        let AgentSeat { node, health, .. } = &mut self.agents[at(n)];
        health.hears(&input);
        node.handle(input, &mut self.shared, |_, output| {
            turn.saw(output, health);
            saw(output);
        });
        self.end_turn(n, turn);
    }

    /// Wakes an agent; returns whether it was time.
    pub(in crate::sim) fn agent_wakes(&mut self, n: u32) -> bool {
        let mut turn = Turn::local();
        let AgentSeat { node, health, .. } = &mut self.agents[at(n)];
        let woken = node.wake(&mut self.shared, |_, output| turn.saw(output, health));
        self.end_turn(n, turn);
        woken
    }

    /// Ends a turn that no master has caused.
    fn end_turn(&mut self, n: u32, turn: Turn) {
        self.count_run_outs(n, turn.ran_out);
        let healthy = self.agents[at(n)].health.end();
        self.note(Name::Agent(n), turn.confirmed.end().map(drop).and(healthy));
    }

    /// Counts tasks that an agent ends for they ran as long as they may.
    fn count_run_outs(&mut self, n: u32, ran_out: u32) {
        for _ in 0..ran_out {
            self.shared.hit(Name::Agent(n), Kind::RunOut);
        }
    }
}
