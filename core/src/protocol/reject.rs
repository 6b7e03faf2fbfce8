//! What is wrong with what peers send, as far as the data alone can tell.
//!
//! Said by the checks of `validate` and its kind. Deliberately not here: what is wrong with it in a
//! cluster's state.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use super::container_info::{Capability, RlimitKind};
use super::refusal::RejectKind;
use crate::constraints::InvalidConstraints;
use crate::resources::{Milli, Resource};
use crate::roles::Role;

/// What is wrong with a peer's data. Texts name what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// A text is missing.
    #[error("{what} is empty")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// A text is too long.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A text has a NUL byte, which no program can be given.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Which text.
        what: &'static str,
    },
    /// A list is too long.
    #[error("{what} has {count} entries, more than the limit of {limit}")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many entries it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The name of an environment variable is not one.
    #[error("invalid environment variable name {name:?}: it is empty or contains '=' or NUL")]
    VariableName {
        /// The name.
        name: String,
    },
    /// A task has neither a command nor an executor.
    #[error("task has neither a command nor an executor, exactly one is expected")]
    NothingToRun,
    /// A task has both a command and an executor.
    #[error("task has both a command and an executor, exactly one is expected")]
    TwiceToRun,
    /// A description is too long as a whole.
    #[error("{what} takes {bytes} bytes on the wire, more than the limit of {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Numbers or names of an agent stand in two entries of one name.
    #[error("{what} has {twice} and the same in another entry")]
    Doubled {
        /// Whose.
        what: &'static str,
        /// What it has twice.
        twice: Box<Resource>,
    },
    /// A framework names a role twice.
    #[error("role {role} is named twice")]
    RoleTwice {
        /// Which role.
        role: Role,
    },
    /// A role is named that the framework is not in.
    #[error("{what} for role {role}, which the framework is not in")]
    ForeignRole {
        /// What is said of the role.
        what: &'static str,
        /// Which role.
        role: Role,
    },
    /// A task or an agent comes with nothing.
    #[error("{what} has no resources")]
    NoResources {
        /// Task or agent.
        what: &'static str,
    },
    /// A limit does not leave a task what it takes (TK-06).
    #[error("the limit of {what} is {limit}, but the task takes {takes}")]
    LimitTooLow {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: Milli,
        /// What the task takes.
        takes: Milli,
    },
    /// A device is named in parts (RM-55).
    #[error("{what} has gpus:{amount}: expected whole devices")]
    PartOfDevice {
        /// Whose.
        what: &'static str,
        /// How many.
        amount: Milli,
    },
    /// A task, with its executor, names a volume twice.
    #[error("{volume} names a volume that is named before")]
    VolumeTwice {
        /// The later one.
        volume: Box<Resource>,
    },
    /// A task, with its executor, takes both what may be taken away and what may not.
    #[error("some of {name} is revocable, and some is not")]
    Mixed {
        /// Of which resource.
        name: Arc<str>,
    },
    /// An executor has something shared, which only tasks may.
    #[error("executor has {shared}, which is shared")]
    SharedInExecutor {
        /// What it has.
        shared: Box<Resource>,
    },
    /// An agent is set up with what only operations make.
    #[error("agent is set up with {made}, which only operations make")]
    NotConfigurable {
        /// What it is.
        made: Box<Resource>,
    },
    /// An address has no port.
    #[error("the agent's address {address:?} has no port: expected HOST:PORT")]
    NoPort {
        /// The address.
        address: String,
    },
    /// A limit leaves nothing.
    #[error("{what} is zero")]
    Zero {
        /// Which limit.
        what: &'static str,
    },
    /// A time is too long.
    #[error("{what} is {time:?}, more than the limit of {limit:?}")]
    TooLongTime {
        /// Which time.
        what: &'static str,
        /// How long it is.
        time: Duration,
        /// How long it may be.
        limit: Duration,
    },
    /// A limit stands for something that a task does not take (TK-06).
    #[error("{what} has a limit, but the task takes none of it")]
    LimitOfNothing {
        /// Of what.
        what: &'static str,
    },
    /// The agent's own executor runs groups only (TK-12).
    #[error("the agent's own executor runs groups of tasks only")]
    NoGroup,
    /// The executor of a group has too little (TK-14).
    #[error("the executor of a group has {has} {what}, less than {least}")]
    SmallExecutor {
        /// Of what.
        what: &'static str,
        /// How much it has.
        has: Milli,
        /// How much it should have.
        least: Milli,
    },
    /// A text is not of the form that it must have.
    #[error("{what} is {value:?}: expected {expected}")]
    Malformed {
        /// Which text.
        what: &'static str,
        /// The begin of it.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Something is asked for without what it needs.
    #[error("{what} needs {needed}")]
    Needs {
        /// What is asked for.
        what: &'static str,
        /// What it needs.
        needed: &'static str,
    },
    /// A network is joined twice (TK-17).
    #[error("network {name:?} is joined twice")]
    NetworkTwice {
        /// Which one.
        name: String,
    },
    /// A port of the machine leads to two ports.
    #[error("port {port} of the machine is mapped twice")]
    PortTwice {
        /// Which one.
        port: u16,
    },
    /// A port of the machine is mapped that the task does not take.
    #[error("port {port} of the machine is mapped, but the task does not take it")]
    PortNotTaken {
        /// Which one.
        port: u16,
    },
    /// A process limit is set twice.
    #[error("the limit {} is set twice", kind.as_str())]
    RlimitTwice {
        /// Which one.
        kind: RlimitKind,
    },
    /// A soft limit is above its hard one.
    #[error("the limit {} is {soft}, above its hard limit of {hard}", kind.as_str())]
    SoftAboveHard {
        /// Which one.
        kind: RlimitKind,
        /// The bound that holds.
        soft: u64,
        /// Up to where it may be raised.
        hard: u64,
    },
    /// A program is to have a right that it can never have (CT-58).
    #[error("capability {} is not in the bounding set", capability.as_str())]
    BeyondBounding {
        /// Which right.
        capability: Capability,
    },
    /// A task of a framework's own executor has a check, which only the agent's own make.
    #[error("a check needs a command: a framework's own executor checks its tasks itself")]
    CheckedByNobody,
    /// A time is too short.
    #[error("{what} is {time:?}, less than {least:?}")]
    TooShortTime {
        /// Which time.
        what: &'static str,
        /// How long it is.
        time: Duration,
        /// How long it has to be.
        least: Duration,
    },
    /// A pattern in a constraint is none, or is too large once it is compiled (OF-44).
    #[error(transparent)]
    Constraints(#[from] InvalidConstraints),
}

impl Reject {
    /// Returns what is wrong, without the details.
    pub const fn kind(&self) -> RejectKind {
        match self {
            Self::Empty { .. } => RejectKind::Empty,
            Self::TooLong { .. } => RejectKind::TooLong,
            Self::Nul { .. } => RejectKind::Nul,
            Self::TooMany { .. } => RejectKind::TooMany,
            Self::VariableName { .. } => RejectKind::VariableName,
            Self::NothingToRun => RejectKind::NothingToRun,
            Self::TwiceToRun => RejectKind::TwiceToRun,
            Self::TooLarge { .. } => RejectKind::TooLarge,
            Self::Doubled { .. } | Self::RoleTwice { .. } => RejectKind::Doubled,
            Self::NoResources { .. } => RejectKind::NoResources,
            Self::PartOfDevice { .. } => RejectKind::PartOfDevice,
            Self::VolumeTwice { .. } => RejectKind::Doubled,
            Self::Mixed { .. } => RejectKind::Mixed,
            Self::SharedInExecutor { .. } => RejectKind::Shared,
            Self::NotConfigurable { .. } => RejectKind::NotConfigurable,
            Self::NoPort { .. } => RejectKind::NoPort,
            Self::Zero { .. } => RejectKind::Empty,
            Self::TooLongTime { .. } => RejectKind::TooLong,
            Self::LimitTooLow { .. } | Self::LimitOfNothing { .. } => RejectKind::LimitTooLow,
            Self::ForeignRole { .. } => RejectKind::ForeignRole,
            Self::NoGroup => RejectKind::NothingToRun,
            Self::SmallExecutor { .. } => RejectKind::NoResources,
            Self::Constraints(invalid) => match invalid {
                InvalidConstraints::Empty => RejectKind::Empty,
                InvalidConstraints::TooMany => RejectKind::TooMany,
                InvalidConstraints::Mismatch(..) | InvalidConstraints::Pattern { .. } => {
                    RejectKind::Malformed
                }
                InvalidConstraints::Patterns => RejectKind::TooLarge,
            },
            Self::Malformed { .. } | Self::SoftAboveHard { .. } | Self::BeyondBounding { .. } => {
                RejectKind::Malformed
            }
            Self::Needs { .. } => RejectKind::Needs,
            Self::NetworkTwice { .. } | Self::PortTwice { .. } | Self::RlimitTwice { .. } => {
                RejectKind::Doubled
            }
            Self::PortNotTaken { .. } => RejectKind::NotContained,
            Self::CheckedByNobody => RejectKind::NothingToRun,
            Self::TooShortTime { .. } => RejectKind::TooShort,
        }
    }
}
