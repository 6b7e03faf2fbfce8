//! What a run can break, and how it is told.
//!
//! Deliberately not here: how it is found out ([`super::check`]).

use alloc::string::String;
use core::fmt;

use crate::time::Time;

/// Something that must always hold; the table of `check` says what each states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// Each machine's own invariants.
    Machines,
    /// What is durable reads back as what the machine believes.
    Replay,
    /// A task is started once.
    Tasks,
    /// Updates come in order and without gaps, and a task ends once.
    Updates,
    /// Nothing is given twice.
    Conservation,
    /// No unit of a resource is in two offers or tasks.
    Holders,
    /// A dead offer launches nothing.
    Offers,
    /// A framework has one scheduler, and who was replaced hears no more.
    Sessions,
    /// One master acts, and the next knows what it promised.
    Leaders,
    /// Ids are given once.
    Identity,
    /// No task stays in staging.
    Staging,
    /// What is to end ends.
    Kills,
    /// Questions are answered, and truthfully.
    Answers,
    /// Snapshot and events add up to what the master has.
    Mirrors,
    /// When faults stop, everybody is back within a bound.
    Liveness,
    /// When faults stop, all views agree.
    Convergence,
    /// The same seed gives the same run.
    Determinism,
    /// What is reserved stays, and stays with its role.
    Reserved,
    /// No role is offered more than its limit.
    Quota,
    /// What is refused changes nothing.
    Refusals,
    /// Who is promised something is offered it.
    Promises,
    /// Updates are told before they are confirmed, and confirmed at last.
    Deliveries,
    /// An agent forgets an update only when it is confirmed.
    Confirmations,
    /// Queues and tables stay within their bounds.
    Bounds,
    /// When faults stop, every finite workload completes.
    Completion,
    /// An agent that restarts knows all that still runs.
    Adoption,
    /// Who always wants more gets as much as others who do.
    Fairness,
    /// Disks are made once, and none is lost.
    Disks,
    /// What is out of service is not used.
    Maintenance,
    /// Who is to leave an agent is asked, once.
    Vacating,
    /// A drain that is ordered ends, in its time.
    Drains,
    /// What an operator was answered holds.
    Orders,
    /// Nobody is told what is of a later version than its own.
    Versions,
    /// Who is asked to end has its time.
    Graces,
    /// A task is unhealthy after so many failures in a row, and not looked at when it is to end.
    Health,
    /// A framework is offered something only in roles that it has and wants offers in.
    Wishes,
    /// What frameworks and executors say to each other comes to whom it is for, once at most.
    Messages,
}

impl Property {
    /// Every property.
    pub const ALL: [Self; 37] = [
        Self::Machines,
        Self::Replay,
        Self::Tasks,
        Self::Updates,
        Self::Conservation,
        Self::Holders,
        Self::Offers,
        Self::Sessions,
        Self::Leaders,
        Self::Identity,
        Self::Staging,
        Self::Kills,
        Self::Answers,
        Self::Mirrors,
        Self::Liveness,
        Self::Convergence,
        Self::Determinism,
        Self::Reserved,
        Self::Quota,
        Self::Promises,
        Self::Refusals,
        Self::Deliveries,
        Self::Confirmations,
        Self::Bounds,
        Self::Completion,
        Self::Adoption,
        Self::Fairness,
        Self::Disks,
        Self::Maintenance,
        Self::Vacating,
        Self::Drains,
        Self::Orders,
        Self::Versions,
        Self::Graces,
        Self::Health,
        Self::Wishes,
        Self::Messages,
    ];

    /// Returns its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Replay => "replay",
            Self::Tasks => "tasks",
            Self::Updates => "updates",
            Self::Conservation => "conservation",
            Self::Holders => "holders",
            Self::Offers => "offers",
            Self::Sessions => "sessions",
            Self::Leaders => "leaders",
            Self::Identity => "identity",
            Self::Staging => "staging",
            Self::Kills => "kills",
            Self::Answers => "answers",
            Self::Mirrors => "mirrors",
            Self::Liveness => "liveness",
            Self::Convergence => "convergence",
            Self::Determinism => "determinism",
            Self::Reserved => "reserved",
            Self::Quota => "quota",
            Self::Promises => "promises",
            Self::Refusals => "refusals",
            Self::Deliveries => "deliveries",
            Self::Confirmations => "confirmations",
            Self::Bounds => "bounds",
            Self::Completion => "completion",
            Self::Adoption => "adoption",
            Self::Fairness => "fairness",
            Self::Disks => "disks",
            Self::Maintenance => "maintenance",
            Self::Vacating => "vacating",
            Self::Drains => "drains",
            Self::Orders => "orders",
            Self::Versions => "versions",
            Self::Graces => "graces",
            Self::Health => "health",
            Self::Wishes => "wishes",
            Self::Messages => "messages",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A property that did not hold, with what is needed to see it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed} at {at}: {property}: {text}")]
pub struct Violation {
    /// The seed of the cluster.
    pub seed: u64,
    /// When it was seen, in virtual time.
    pub at: Time,
    /// What was broken.
    pub property: Property,
    /// By whom and how.
    pub text: String,
}
