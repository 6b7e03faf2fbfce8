//! How often which kind of fault happens beside the others.
//!
//! Read by [`super::fault`], and by whoever makes faults that come with a program or a dial.

use super::chance::{Purpose, stream};
use super::fault::Kind;
use super::options::Span;
use super::queue::Name;
use crate::rng::Rng;

/// What goes wrong, and how often. The weights say how often one kind happens beside the others;
/// a kind of weight zero never happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The time between two faults; `None` is a healthy cluster.
    pub every: Option<Span>,
    /// How long a fault lasts: a node is down or cut off, a disk is stuck.
    pub lasting: Span,
    /// The master crashes and comes back.
    pub master_crash: u64,
    /// An agent crashes and comes back; its containers go on meanwhile.
    pub agent_crash: u64,
    /// An agent crashes and loses its disk: it comes back as a new one, and its containers end.
    pub disk_loss: u64,
    /// An agent or a framework is cut off, in both directions or in one.
    pub cut: u64,
    /// All agents are cut off, or all frameworks, or each client in a direction of its own.
    pub class_cut: u64,
    /// A client's messages take long, or it reads slowly until the master gives it up.
    pub slow: u64,
    /// Nothing gets through to a client, or to some of them, and all of it later.
    pub clog: u64,
    /// A message is changed on its way.
    pub garble: u64,
    /// All connections end at once, and everybody comes back.
    pub reset: u64,
    /// A journal makes nothing durable for a while.
    pub stall: u64,
    /// A container's end is not recorded.
    pub vanish: u64,
    /// The program of an executor crashes.
    pub executor_crash: u64,
    /// A framework crashes and another scheduler comes in its place, or beside it.
    pub failover: u64,
    /// The master loses the lead, and goes on for a while beside its successor.
    pub lost_lead: u64,
    /// A journal takes long for everything, for a while.
    pub slow_disk: u64,
    /// A journal can write no more, and its node ends and is started again.
    pub disk_failure: u64,
    /// A node does nothing for a while.
    pub pause: u64,
    /// A node ends, and comes back with its wall clock set by up to an hour, either way.
    pub clock_step: u64,
    /// An agent's machine ends and comes back, without what ran on it.
    pub reboot: u64,
    /// One program in so many is stopped for using too much memory; zero is none.
    pub breach_one_in: u64,
    /// One container in so many cannot be started; zero is none.
    pub launch_failure_one_in: u64,
    /// One executor in so many misbehaves; zero is none.
    pub odd_executor_one_in: u64,
    /// An operator says that an agent is gone.
    pub marked_gone: u64,
    /// One client in so many that dials reaches a master without the lead, if there is one; zero is
    /// none.
    pub old_master_one_in: u64,
    /// The connections between an agent and its executors end, or their messages take long.
    pub executors: u64,
    /// One container in so many never starts; zero is none.
    pub hang_one_in: u64,
    /// The disk of an agent's sandboxes fills up, or is emptied.
    pub disk_pressure: u64,
    /// An agent is taken out of the cluster, with what it runs.
    pub leave: u64,
    /// An agent comes back with another description of its machine.
    pub new_description: u64,
    /// Somebody says what is not his to say, or cannot be.
    pub lies: u64,
}

impl Faults {
    /// Describes a healthy cluster.
    pub const fn none() -> Self {
        Self {
            every: None,
            lasting: Span::secs(1, 30),
            master_crash: 0,
            agent_crash: 0,
            disk_loss: 0,
            cut: 0,
            class_cut: 0,
            slow: 0,
            clog: 0,
            garble: 0,
            reset: 0,
            stall: 0,
            vanish: 0,
            executor_crash: 0,
            failover: 0,
            lost_lead: 0,
            slow_disk: 0,
            disk_failure: 0,
            pause: 0,
            clock_step: 0,
            reboot: 0,
            breach_one_in: 0,
            launch_failure_one_in: 0,
            odd_executor_one_in: 0,
            marked_gone: 0,
            old_master_one_in: 0,
            executors: 0,
            hang_one_in: 0,
            disk_pressure: 0,
            leave: 0,
            new_description: 0,
            lies: 0,
        }
    }

    /// Draws what goes wrong from a seed: each kind of fault may be missing, so that the seeds
    /// differ in kind and not only in order.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = stream(seed, Purpose::Weights, Name::Master);
        let mut weight = || rng.below(4);
        let [master_crash, agent_crash, cut, stall, vanish] = core::array::from_fn(|_| weight());
        let [class_cut, slow, clog, garble, reset] = core::array::from_fn(|_| weight());
        let disk_loss = weight() / 2;
        let mean = 2 + rng.below(20);
        let mut faults = Self {
            every: Some(Span::secs(mean / 2, mean + mean / 2)),
            lasting: Span::millis(100, 1_000 << rng.below(8)),
            master_crash,
            agent_crash,
            disk_loss,
            cut,
            class_cut: class_cut / 2,
            slow,
            clog,
            garble: garble / 2,
            reset: reset / 2,
            stall,
            vanish,
            breach_one_in: rng.below(3) * 10,
            launch_failure_one_in: rng.below(3) * 10,
            executor_crash: rng.below(4),
            odd_executor_one_in: rng.below(3) * 2,
            failover: rng.below(3),
            lost_lead: rng.below(3),
            ..Self::none()
        };
        faults.slow_disk = rng.below(3);
        faults.disk_failure = rng.below(3);
        faults.pause = rng.below(4);
        faults.clock_step = rng.below(3);
        faults.reboot = rng.below(3);
        faults.marked_gone = rng.below(2);
        faults.old_master_one_in = rng.below(3) * 2;
        faults.executors = rng.below(4);
        faults.hang_one_in = rng.below(3) * 20;
        faults.disk_pressure = rng.below(3);
        faults.leave = rng.below(2);
        faults.new_description = rng.below(2);
        faults.lies = rng.below(3);
        faults
    }

    /// Kinds that have a weight in common, each as likely as the others.
    fn weights(&self) -> [(&'static [Kind], u64); 25] {
        [
            (&[Kind::MasterCrash], self.master_crash),
            (&[Kind::AgentCrash], self.agent_crash),
            (&[Kind::DiskLoss], self.disk_loss),
            (&[Kind::Cut, Kind::CutOutgoing, Kind::CutIncoming], self.cut),
            (
                &[Kind::AgentsCut, Kind::FrameworksCut, Kind::AsymmetricCut],
                self.class_cut,
            ),
            (&[Kind::Slow, Kind::SlowReader], self.slow),
            (&[Kind::Clog, Kind::Swizzle], self.clog),
            (&[Kind::Garble], self.garble),
            (&[Kind::Reset], self.reset),
            (&[Kind::Stall], self.stall),
            (&[Kind::Vanish], self.vanish),
            (&[Kind::ExecutorCrash], self.executor_crash),
            (&[Kind::LostLead], self.lost_lead),
            (&[Kind::SlowDisk], self.slow_disk),
            (&[Kind::DiskFailure], self.disk_failure),
            (&[Kind::Pause], self.pause),
            (&[Kind::ClockStep], self.clock_step),
            (&[Kind::Reboot], self.reboot),
            (&[Kind::MarkedGone], self.marked_gone),
            (&[Kind::CutExecutors, Kind::SlowExecutors], self.executors),
            (&[Kind::DiskPressure], self.disk_pressure),
            (&[Kind::Leave, Kind::CleanUp], self.leave),
            (&[Kind::NewDescription], self.new_description),
            (
                &[
                    Kind::FalseAgent,
                    Kind::FalseExecutor,
                    Kind::FalseFramework,
                    Kind::FalseOperator,
                ],
                self.lies,
            ),
            (
                &[
                    Kind::FrameworkCrash,
                    Kind::SecondInstance,
                    Kind::FailoverStorm,
                ],
                self.failover,
            ),
        ]
    }

    /// Draws which kind of fault is next, if any can be.
    pub(super) fn kind(&self, rng: &mut Rng) -> Option<Kind> {
        let weights = self.weights();
        let mut drawn = rng.below(weights.iter().map(|(_, weight)| weight).sum());
        let one = rng.next_u64();
        for (kinds, weight) in weights {
            if drawn < weight {
                let one = Rng::new(one).below(kinds.len() as u64) as usize;
                return kinds.get(one).copied();
            }
            drawn -= weight;
        }
        None
    }
}
