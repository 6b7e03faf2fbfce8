//! Disks that a resource provider makes and takes back (RM-51): what is asked for, and what came of
//! it.
//!
//! Unlike other operations these take time and may fail, and what they make only the provider
//! knows. So each is two orders in the log of its agent: with the first the source is there no
//! more, so that nobody else can have it, and the provider is asked ([`DiskJob`]); with the second,
//! once the provider has said how it ended, there is what it made, or the source again
//! ([`DiskEnd`]). In between it counts against nobody's share or quota (OF-15). As with volumes, an
//! agent goes on to describe itself as it was set up, and not with what was made of that.
//!
//! Deliberately not here: what providers do, and the checks of [`crate::resources::operations`].

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::operation::{OperationKind, Order, Owner};
use super::wire::{cut_text, size};
use crate::ids::AgentId;
use crate::limits;
use crate::resources::operations::{
    Formatted, MadeDisk, OperationError, Returned, check_create_disk, check_destroy_disk,
    create_disk, destroy_disk,
};
use crate::resources::{ProfileId, Resource, Resources};

/// What a raw disk shall be made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskTarget {
    /// A file system, mounted somewhere.
    Mount,
    /// A block device.
    Block,
}

/// What is asked of a resource provider (OF-28).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskChange {
    /// Makes a file system or a block device of a raw disk, or of a part of a pool.
    Create {
        /// Which one, and how much of it.
        source: Resource,
        /// What it shall be.
        target: DiskTarget,
        /// After which profile, exactly if the source has none.
        profile: Option<ProfileId>,
    },
    /// Takes a disk back, and deletes what is on it.
    Destroy {
        /// Which one: it has an id, and no volume.
        source: Resource,
    },
}

impl DiskChange {
    /// Returns which operation it is.
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Create { .. } => OperationKind::CreateDisk,
            Self::Destroy { .. } => OperationKind::DestroyDisk,
        }
    }

    /// Returns what it is done to: what is there no more as soon as it has begun.
    pub fn source(&self) -> Result<Resources, OperationError> {
        let (Self::Create { source, .. } | Self::Destroy { source }) = self;
        Ok(Resources::of([source.clone()])?)
    }

    /// Checks that a provider can be asked for it (VA-23, VA-24).
    pub fn check(&self) -> Result<(), OperationError> {
        match self {
            Self::Create {
                source, profile, ..
            } => check_create_disk(source, profile.as_ref()),
            Self::Destroy { source } => check_destroy_disk(source),
        }
    }

    /// Returns how many bytes, on the wire, what comes of it may take at most: the source with what
    /// its provider says.
    pub fn most_bytes(&self) -> usize {
        size(self) + limits::DISK_BYTES
    }

    /// Returns what there is in the place of the source now that it has ended, or why that is the
    /// source.
    pub fn result(&self, outcome: &DiskOutcome) -> Result<Resources, String> {
        let made = match outcome {
            DiskOutcome::Failed(why) => return Err(cut_text(why.clone())),
            DiskOutcome::Made(_) | DiskOutcome::Returned(_)
                if size(outcome) > limits::DISK_BYTES =>
            {
                let most = limits::DISK_BYTES;
                return Err(format!("the provider says more than {most} bytes about it"));
            }
            DiskOutcome::Made(made) => Some(made),
            DiskOutcome::Returned(_) => None,
        };
        let returned = match outcome {
            DiskOutcome::Returned(returned) => Some(*returned),
            DiskOutcome::Made(_) | DiskOutcome::Failed(_) => None,
        };
        let from = self.source();
        let came = match self {
            Self::Create {
                source,
                target,
                profile,
            } => made
                .filter(|made| made.is(*target))
                .map(|made| from.and_then(|it| create_disk(&it, source, profile.as_ref(), made))),
            Self::Destroy { source } => {
                returned.map(|returned| from.and_then(|it| destroy_disk(&it, source, returned)))
            }
        };
        let came = came.ok_or_else(|| {
            let text = format!("the provider has done something else: {outcome:?}");
            cut_text(text)
        })?;
        came.map_err(|error| cut_text(error.to_string()))
    }
}

impl MadeDisk {
    /// Returns whether it is what was asked for.
    fn is(&self, target: DiskTarget) -> bool {
        match self.formatted {
            Formatted::Mount { .. } => target == DiskTarget::Mount,
            Formatted::Block => target == DiskTarget::Block,
        }
    }
}

/// How it ended, by the word of the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskOutcome {
    /// The disk is made.
    Made(MadeDisk),
    /// The disk is taken back.
    Returned(Returned),
    /// Neither, and the source is as it was; says why, for people.
    Failed(String),
}

/// Something that an agent's provider is to do: an order of the agent, after which the source is
/// not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskJob {
    /// The number of the order, and what the job is called on its agent for ever.
    pub number: u64,
    /// Who asked for it.
    pub owner: Owner,
    /// What is to be done.
    pub change: DiskChange,
}

impl DiskJob {
    /// Returns the order that begins it.
    pub fn order(&self) -> Result<Order, OperationError> {
        Ok(Order {
            number: self.number,
            owner: Some(self.owner.clone()),
            kind: self.change.kind(),
            before: self.change.source()?,
            after: Resources::new(),
        })
    }

    /// Returns the order of a number that ends it: `after` is what there is now.
    pub fn end(&self, number: u64, after: Resources) -> Order {
        Order {
            number,
            owner: Some(self.owner.clone()),
            kind: self.change.kind(),
            before: Resources::new(),
            after,
        }
    }
}

/// The end of a job: an order of its agent, after which there is what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEnd {
    /// The number of the job.
    pub job: u64,
    /// Why it has failed, if it has.
    pub failed: Option<String>,
    /// The order: `before` is nothing.
    pub order: Order,
}

/// What an agent calls a job before its provider. Never used for another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiskJobId {
    /// Which agent: another one on the same machine has another id.
    pub agent: AgentId,
    /// The number of the job there.
    pub number: u64,
}

impl fmt::Display for DiskJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-D{}", self.agent, self.number)
    }
}

/// What an agent tells the provider of its disks.
///
/// A provider goes by the ids of jobs and remembers them as long as its disks: whatever is asked
/// for twice it does once, and says again how it ended. So neither a crash of the agent nor one of
/// the provider makes a disk twice, or loses one. An agent without a provider answers `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskCommand {
    /// Does something, if it was not begun, and says how it ended.
    Do {
        /// What the job is called.
        job: DiskJobId,
        /// What is to be done.
        change: DiskChange,
    },
    /// Nobody will ask for a job any more: it can be forgotten.
    Forget {
        /// Which one.
        job: DiskJobId,
    },
    /// An agent has come up, or has left for good, and of its jobs it knows no others than these.
    /// Its others can be forgotten, and what they made, without the agent having heard of it, can
    /// be taken back. Nothing is said about jobs of other agents.
    Recover {
        /// Which agent.
        agent: AgentId,
        /// Those that are not over for it.
        known: Vec<DiskJobId>,
    },
    /// A job has failed, whatever came of it: what it has made, its agent does not have. That is
    /// taken back, or the job called off. Answered with [`DiskOutcome::Failed`] once nothing is
    /// left of it; asked again it is answered again.
    Undo {
        /// Which one.
        job: DiskJobId,
    },
}

/// A provider says how a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEvent {
    /// Which one.
    pub job: DiskJobId,
    /// How.
    pub outcome: DiskOutcome,
}
