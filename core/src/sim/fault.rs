//! What can go wrong in a simulated cluster, how often, and in which order it does.
//!
//! Read by [`super::trouble`], which does it. Everything that a fault needs is drawn before it
//! happens and from a stream of its own, so that the list of faults follows from seed, weights and
//! sizes alone, whatever the nodes do.
//!
//! What does not happen here, and why:
//!
//! - Messages that arrive twice, or in another order within a connection: a QUIC stream has them
//!   once and in order (RFC 9000, section 2.2). Between connections there is no order.
//! - Partitions like rings: every connection has the master at one end.
//! - Full disks, too few descriptors, short writes, read errors: to a machine each is a journal
//!   that can write no more ([`Kind::DiskFailure`]). Too little memory for a program is
//!   [`Kind::LaunchFailure`].
//! - Bits that flip in a journal: in the last record, [`Kind::TornTail`]; elsewhere the journal
//!   does not open, and who clears it away has [`Kind::DiskLoss`].
//! - A disk that says of what it loses that it is durable: no single journal outlives that.
//! - A wall clock that steps while its node runs: nodes read theirs once, at their start.
//! - Programs that fork away: a container is all that it has started.
//! - Agents that say of their own tasks what is not so: nobody could tell.

use alloc::collections::VecDeque;
use core::fmt;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::queue::Name;
pub use super::weights::Faults;
use crate::rng::Rng;
use crate::time::Time;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The master crashes and comes back.
    MasterCrash,
    /// An agent crashes and comes back; its containers go on meanwhile.
    AgentCrash,
    /// A crash lost records that were not durable yet.
    LostTail,
    /// An agent crashes and loses its disk.
    DiskLoss,
    /// A client is cut off.
    Cut,
    /// What a client sends is lost.
    CutOutgoing,
    /// What is sent to a client is lost.
    CutIncoming,
    /// What is sent to or by all agents is lost, or both.
    AgentsCut,
    /// What is sent to or by all frameworks is lost, or both.
    FrameworksCut,
    /// Each client is cut off in a direction of its own, or not at all.
    AsymmetricCut,
    /// A client's messages take long.
    Slow,
    /// A client reads slowly what it is sent.
    SlowReader,
    /// The master gave up a client that read too slowly.
    Overload,
    /// Nothing gets through between a client and the master for a while, and all of it later.
    Clog,
    /// The same for some of the clients, one by one, and it ends in another order.
    Swizzle,
    /// A message is changed on its way.
    Garble,
    /// All connections end at once.
    Reset,
    /// A journal makes nothing durable for a while.
    Stall,
    /// A container's end is not recorded.
    Vanish,
    /// A program is stopped for using too much memory.
    Breach,
    /// A container cannot be started.
    LaunchFailure,
    /// The program of an executor crashes, and all its tasks with it.
    ExecutorCrash,
    /// An executor is deaf, mute, or dies at the end of a task.
    OddExecutor,
    /// A framework crashes, and another scheduler comes back in its name.
    FrameworkCrash,
    /// Another scheduler comes in a framework's name, beside those that are there.
    SecondInstance,
    /// Several of them come shortly one after the other.
    FailoverStorm,
    /// The master loses the lead and does not know, while another leads.
    LostLead,
    /// A crash left a piece of a record behind those that are durable, or one that was changed.
    TornTail,
    /// A journal takes long for everything.
    SlowDisk,
    /// A journal can write no more, and its node ends.
    DiskFailure,
    /// A node does nothing for a while, and does not know.
    Pause,
    /// A node comes back with its wall clock set forwards or backwards.
    ClockStep,
    /// The machine of an agent ends with all that runs on it, and comes back.
    Reboot,
    /// An operator says that an agent is gone, whether or not it is; another takes its place.
    MarkedGone,
    /// All connections between an agent and its executors end at once.
    CutExecutors,
    /// What an agent and its executors say to each other takes long.
    SlowExecutors,
    /// A container never starts, and nobody says so.
    HungLaunch,
    /// A task is ended for it runs as long as it may.
    RunOut,
    /// The disk of an agent's sandboxes fills up, or is emptied.
    DiskPressure,
    /// Whoever runs a machine takes it out of the cluster, and puts another in its place.
    Leave,
    /// An agent crashes, and ends what it has run when it comes back.
    CleanUp,
    /// An agent crashes, and says something else of its machine when it comes back.
    NewDescription,
    /// An agent claims to be another, or speaks of what is not its own.
    FalseAgent,
    /// A process in a container claims to be another's executor, or speaks of what is not its own.
    FalseExecutor,
    /// Somebody speaks for a framework that is not his.
    FalseFramework,
    /// An operator orders what cannot be.
    FalseOperator,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 46] = [
        Self::MasterCrash,
        Self::AgentCrash,
        Self::LostTail,
        Self::DiskLoss,
        Self::Cut,
        Self::CutOutgoing,
        Self::CutIncoming,
        Self::AgentsCut,
        Self::FrameworksCut,
        Self::AsymmetricCut,
        Self::Slow,
        Self::SlowReader,
        Self::Overload,
        Self::Clog,
        Self::Swizzle,
        Self::Garble,
        Self::Reset,
        Self::Stall,
        Self::Vanish,
        Self::Breach,
        Self::LaunchFailure,
        Self::ExecutorCrash,
        Self::OddExecutor,
        Self::FrameworkCrash,
        Self::SecondInstance,
        Self::FailoverStorm,
        Self::LostLead,
        Self::TornTail,
        Self::SlowDisk,
        Self::DiskFailure,
        Self::Pause,
        Self::ClockStep,
        Self::Reboot,
        Self::MarkedGone,
        Self::CutExecutors,
        Self::SlowExecutors,
        Self::HungLaunch,
        Self::RunOut,
        Self::DiskPressure,
        Self::Leave,
        Self::CleanUp,
        Self::NewDescription,
        Self::FalseAgent,
        Self::FalseExecutor,
        Self::FalseFramework,
        Self::FalseOperator,
    ];

    /// Returns its name in reports and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MasterCrash => "master-crash",
            Self::AgentCrash => "agent-crash",
            Self::LostTail => "lost-tail",
            Self::DiskLoss => "disk-loss",
            Self::Cut => "cut",
            Self::CutOutgoing => "cut-outgoing",
            Self::CutIncoming => "cut-incoming",
            Self::AgentsCut => "agents-cut",
            Self::FrameworksCut => "frameworks-cut",
            Self::AsymmetricCut => "asymmetric-cut",
            Self::Slow => "slow",
            Self::SlowReader => "slow-reader",
            Self::Overload => "overload",
            Self::Clog => "clog",
            Self::Swizzle => "swizzle",
            Self::Garble => "garble",
            Self::Reset => "reset",
            Self::Stall => "stall",
            Self::Vanish => "vanish",
            Self::Breach => "breach",
            Self::LaunchFailure => "launch-failure",
            Self::ExecutorCrash => "executor-crash",
            Self::OddExecutor => "odd-executor",
            Self::FrameworkCrash => "framework-crash",
            Self::SecondInstance => "second-instance",
            Self::FailoverStorm => "failover-storm",
            Self::LostLead => "lost-lead",
            Self::TornTail => "torn-tail",
            Self::SlowDisk => "slow-disk",
            Self::DiskFailure => "disk-failure",
            Self::Pause => "pause",
            Self::ClockStep => "clock-step",
            Self::Reboot => "reboot",
            Self::MarkedGone => "marked-gone",
            Self::CutExecutors => "cut-executors",
            Self::SlowExecutors => "slow-executors",
            Self::HungLaunch => "hung-launch",
            Self::RunOut => "run-out",
            Self::DiskPressure => "disk-pressure",
            Self::Leave => "leave",
            Self::CleanUp => "clean-up",
            Self::NewDescription => "new-description",
            Self::FalseAgent => "false-agent",
            Self::FalseExecutor => "false-executor",
            Self::FalseFramework => "false-framework",
            Self::FalseOperator => "false-operator",
        }
    }

    /// Returns to how many nodes it can happen, and which is the first of them in the order of
    /// master, agents, frameworks.
    fn victims(self, agents: u32, frameworks: u32) -> (u64, u64) {
        let (agents, frameworks) = (u64::from(agents), u64::from(frameworks));
        match self {
            Self::MasterCrash | Self::LostLead => (0, 1),
            Self::AgentCrash
            | Self::DiskLoss
            | Self::Vanish
            | Self::ExecutorCrash
            | Self::Reboot
            | Self::MarkedGone
            | Self::CutExecutors
            | Self::SlowExecutors
            | Self::DiskPressure
            | Self::Leave
            | Self::CleanUp
            | Self::NewDescription
            | Self::FalseAgent
            | Self::FalseExecutor => (1, agents),
            Self::Cut
            | Self::CutOutgoing
            | Self::CutIncoming
            | Self::Slow
            | Self::SlowReader
            | Self::Clog
            | Self::Garble => (1, agents + frameworks),
            Self::FrameworkCrash | Self::SecondInstance | Self::FailoverStorm => {
                (1 + agents, frameworks)
            }
            // These happen around the master.
            Self::AgentsCut
            | Self::FrameworksCut
            | Self::AsymmetricCut
            | Self::Swizzle
            | Self::Reset
            | Self::FalseFramework
            | Self::FalseOperator => (0, 1),
            Self::Stall | Self::SlowDisk | Self::DiskFailure | Self::ClockStep => (0, 1 + agents),
            Self::Pause => (0, 1 + agents + frameworks),
            // Nobody plans these: they come of another fault, or with a program.
            Self::LostTail
            | Self::TornTail
            | Self::Overload
            | Self::Breach
            | Self::LaunchFailure
            | Self::OddExecutor
            | Self::HungLaunch
            | Self::RunOut => (0, 0),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it happens.
    pub at: Time,
    /// What happens.
    pub kind: Kind,
    /// To whom.
    pub node: Name,
    /// How long it lasts, if it lasts.
    pub lasting: Duration,
    /// Seeds all else that it decides: what a crash loses, when others notice.
    pub chance: u64,
}

impl Fault {
    /// Returns whether a cluster of this size has the node, and this can happen to it.
    pub(super) fn hits(&self, agents: u32, frameworks: u32) -> bool {
        let (first, count) = self.kind.victims(agents, frameworks);
        let place = match self.node {
            Name::Master => 0,
            Name::Agent(n) if n > agents => return false,
            Name::Agent(n) => u64::from(n),
            Name::Framework(n) => u64::from(agents) + u64::from(n),
            Name::Executor { .. } => return false,
        };
        place >= first && place - first < count
    }
}

/// Where faults come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Chance decides.
    Drawn(Draws),
    /// They are given, in order of time.
    Listed(VecDeque<Fault>),
}

/// Faults that follow from a seed.
#[derive(Debug)]
pub(super) struct Draws {
    faults: Faults,
    rng: Rng,
    due: Option<Time>,
}

impl Source {
    pub(super) fn drawn(seed: u64, faults: Faults) -> Self {
        let mut draws = Draws {
            faults,
            rng: stream(seed, Purpose::Faults, Name::Master),
            due: None,
        };
        draws.plan(Time::ZERO);
        Self::Drawn(draws)
    }

    /// Returns when something goes wrong next.
    pub(super) fn due(&self) -> Option<Time> {
        match self {
            Self::Drawn(draws) => draws.due,
            Self::Listed(faults) => faults.front().map(|fault| fault.at),
        }
    }

    /// Ends all faults.
    pub(super) fn stop(&mut self) {
        *self = Self::Listed(VecDeque::new());
    }

    /// Takes what goes wrong now, if the cluster has somebody for it.
    pub(super) fn take(&mut self, agents: u32, frameworks: u32) -> Option<Fault> {
        match self {
            Self::Drawn(draws) => draws.take(agents, frameworks),
            Self::Listed(faults) => faults.pop_front(),
        }
    }
}

impl Draws {
    fn take(&mut self, agents: u32, frameworks: u32) -> Option<Fault> {
        let at = self.due?;
        let rng = &mut self.rng;
        let kind = self.faults.kind(rng);
        let lasting = self.faults.lasting.draw(rng);
        let (chance, victim) = (rng.next_u64(), rng.next_u64());
        self.plan(at);
        let kind = kind?;
        let (first, count) = kind.victims(agents, frameworks);
        let drawn = first + Rng::new(victim).below(count);
        let node = match u32::try_from(drawn).ok().filter(|_| count > 0)? {
            0 => Name::Master,
            n if n <= agents => Name::Agent(n),
            n => Name::Framework(n - agents),
        };
        Some(Fault {
            at,
            kind,
            node,
            lasting,
            chance,
        })
    }

    fn plan(&mut self, after: Time) {
        let every = self.faults.every;
        self.due = every.map(|every| after + every.draw(&mut self.rng));
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::sim::options::Span;

    fn all() -> Faults {
        Faults {
            every: Some(Span::secs(1, 3)),
            master_crash: 1,
            agent_crash: 1,
            disk_loss: 1,
            cut: 1,
            class_cut: 1,
            slow: 1,
            clog: 1,
            garble: 1,
            reset: 1,
            stall: 1,
            vanish: 1,
            executor_crash: 1,
            failover: 1,
            lost_lead: 1,
            slow_disk: 1,
            disk_failure: 1,
            pause: 1,
            clock_step: 1,
            reboot: 1,
            marked_gone: 1,
            executors: 1,
            disk_pressure: 1,
            leave: 1,
            new_description: 1,
            lies: 1,
            ..Faults::none()
        }
    }

    fn list(mut source: Source, agents: u32, frameworks: u32) -> Vec<Option<Fault>> {
        (0..3_000)
            .map(|_| source.take(agents, frameworks))
            .collect()
    }

    #[test]
    fn every_kind_hits_everybody_it_can_hit() {
        let faults = list(Source::drawn(1, all()), 2, 1);
        let hit = faults
            .iter()
            .flatten()
            .map(|fault| (fault.kind, fault.node));
        let hit: BTreeSet<(Kind, Name)> = hit.collect();
        let mut expected = BTreeSet::new();
        for kind in Kind::ALL {
            let (first, count) = kind.victims(2, 1);
            let nodes = [
                Name::Master,
                Name::Agent(1),
                Name::Agent(2),
                Name::Framework(1),
            ];
            let nodes = nodes.into_iter().skip(first as usize).take(count as usize);
            expected.extend(nodes.map(|node| (kind, node)));
        }
        assert_eq!(hit, expected);
    }

    #[test]
    fn sizes_move_no_fault_in_time_or_kind() {
        let small = list(Source::drawn(5, all()), 1, 1);
        let large = list(Source::drawn(5, all()), 7, 3);
        assert!(small.iter().all(Option::is_some));
        for (small, large) in small.iter().flatten().zip(large.iter().flatten()) {
            assert_eq!((small.at, small.kind), (large.at, large.kind));
            assert_eq!((small.lasting, small.chance), (large.lasting, large.chance));
        }
    }

    #[test]
    fn a_healthy_cluster_has_no_faults() {
        let mut source = Source::drawn(1, Faults::none());
        assert_eq!((source.due(), source.take(3, 3)), (None, None));
        let mut source = Source::drawn(1, all());
        assert!(source.due().is_some());
        source.stop();
        assert_eq!((source.due(), source.take(3, 3)), (None, None));
        // Weights of zero: time goes on, and nothing happens.
        let every = Some(Span::secs(1, 1));
        let mut source = Source::drawn(
            1,
            Faults {
                every,
                ..Faults::none()
            },
        );
        let first = source.due();
        assert_eq!(source.take(3, 3), None);
        assert!(source.due() > first);
    }
}
