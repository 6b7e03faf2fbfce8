//! Why a subscription ended, and why a call was turned down.
//!
//! Names are stable: programs go by them. What people read stands beside them, in a message.
//! Deliberately not here: what becomes of tasks, which is told by their states (`status`).

use core::fmt;

use serde::{Deserialize, Serialize};

use super::scheduler::Call;

/// Why the master ended a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// A call came before the subscription (FW-27).
    NotSubscribed,
    /// The connection is subscribed as another framework.
    AlreadySubscribed,
    /// What the framework says about itself cannot be (VA-29).
    Invalid(RejectKind),
    /// A newer connection speaks for the framework (FW-28).
    FailedOver,
    /// The framework has ended by request (FW-32).
    TornDown,
    /// The framework was away for longer than its failover timeout (SM-06).
    TimedOut,
    /// The framework was away with nothing running, and another needed its place.
    Replaced,
    /// The framework has ended, so long ago that it is not known why.
    Removed,
    /// The id is another principal's.
    SomebodyElses,
    /// The id is not of this cluster, or the cluster has lost its memory.
    OtherCluster,
    /// There are as many frameworks as may be.
    TooManyFrameworks,
}

impl EndReason {
    /// Returns the stable name, in lower case with dashes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not-subscribed",
            Self::AlreadySubscribed => "already-subscribed",
            Self::Invalid(_) => "invalid",
            Self::FailedOver => "failed-over",
            Self::TornDown => "torn-down",
            Self::TimedOut => "timed-out",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::SomebodyElses => "somebody-elses",
            Self::OtherCluster => "other-cluster",
            Self::TooManyFrameworks => "too-many-frameworks",
        }
    }

    /// Says in one line how to proceed.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotSubscribed => "subscribe first, once a connection",
            Self::AlreadySubscribed => "use a connection of its own for each framework",
            Self::Invalid(_) => "correct the description and subscribe again",
            Self::FailedOver => "leave the framework to its newer instance",
            Self::TornDown | Self::Replaced | Self::Removed | Self::OtherCluster => {
                "subscribe without an id, as a new framework"
            }
            Self::TimedOut => {
                "subscribe without an id, as a new framework, and with a longer failover timeout"
            }
            Self::SomebodyElses => "use the certificate that the id was given to, or no id",
            Self::TooManyFrameworks => "end frameworks that are not needed any more",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is wrong with what a peer said, without the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectKind {
    /// Something is missing that must be there.
    Empty,
    /// A text is too long.
    TooLong,
    /// A text has a NUL byte.
    Nul,
    /// A list is too long.
    TooMany,
    /// The name of an environment variable is not one.
    VariableName,
    /// A task has neither a command nor an executor.
    NothingToRun,
    /// A task has both a command and an executor.
    TwiceToRun,
    /// A description is too long as a whole.
    TooLarge,
    /// What there is once is there twice.
    Doubled,
    /// A task or an agent comes with nothing.
    NoResources,
    /// An offer is not, or no longer, the framework's.
    NotOffered,
    /// Offers of several agents are used together.
    OtherAgent,
    /// Offers in several roles are used together.
    OtherRole,
    /// Amounts cannot be added up.
    Overflow,
    /// What an operation needs is not there.
    NotContained,
    /// What an operation would make is no resource.
    NotAResource,
    /// Resources of one operation have several resource providers.
    SeveralProviders,
    /// A reservation was not made by an operation.
    NotDynamic,
    /// A persistent volume has to be destroyed first.
    IsVolume,
    /// What is revocable cannot be reserved.
    IsRevocable,
    /// Resources of one operation are reserved in several ways.
    SeveralReservations,
    /// Resources differ in more than their reservations.
    NotTheSame,
    /// Something is no persistent volume.
    NotAVolume,
    /// A volume that is made has to be for writing.
    ReadOnly,
    /// A volume of this id is there already.
    VolumeExists,
    /// A shared volume has further copies.
    StillShared,
    /// It cannot be done with such a disk.
    Unfit,
    /// Resources are of different disks.
    OtherDisk,
    /// An amount is nothing, or too much.
    BadAmount,
    /// A reservation or volume does not name who asks for it.
    WrongPrincipal,
    /// A reservation is to another role than that of the offers, or one that the framework left.
    WrongRole,
    /// A task may use less than it takes, or more of what it does not take.
    LimitTooLow,
    /// A part of what is whole.
    PartOfDevice,
    /// Sorts of a resource that are not taken together.
    Mixed,
    /// A shared resource where it cannot be.
    Shared,
    /// Something that only operations make.
    NotConfigurable,
    /// An address without a port.
    NoPort,
    /// Somebody uses what is to be destroyed.
    InUse,
    /// A role is named that the framework is not in.
    ForeignRole,
    /// Something is changed that never changes.
    Unchangeable,
    /// A text or a number is not of the form that it must have.
    Malformed,
    /// Something is asked for without what it needs.
    Needs,
    /// A time is too short.
    TooShort,
}

impl RejectKind {
    /// Returns the stable name, in lower case with dashes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too-long",
            Self::Nul => "nul",
            Self::TooMany => "too-many",
            Self::VariableName => "variable-name",
            Self::NothingToRun => "nothing-to-run",
            Self::TwiceToRun => "twice-to-run",
            Self::TooLarge => "too-large",
            Self::Doubled => "doubled",
            Self::NoResources => "no-resources",
            Self::NotOffered => "not-offered",
            Self::OtherAgent => "other-agent",
            Self::OtherRole => "other-role",
            Self::Overflow => "overflow",
            Self::NotContained => "not-contained",
            Self::NotAResource => "not-a-resource",
            Self::SeveralProviders => "several-providers",
            Self::NotDynamic => "not-dynamic",
            Self::IsVolume => "is-volume",
            Self::IsRevocable => "is-revocable",
            Self::SeveralReservations => "several-reservations",
            Self::NotTheSame => "not-the-same",
            Self::NotAVolume => "not-a-volume",
            Self::ReadOnly => "read-only",
            Self::VolumeExists => "volume-exists",
            Self::StillShared => "still-shared",
            Self::Unfit => "unfit",
            Self::OtherDisk => "other-disk",
            Self::BadAmount => "bad-amount",
            Self::WrongPrincipal => "wrong-principal",
            Self::WrongRole => "wrong-role",
            Self::LimitTooLow => "limit-too-low",
            Self::PartOfDevice => "part-of-device",
            Self::Mixed => "mixed",
            Self::Shared => "shared",
            Self::NotConfigurable => "not-configurable",
            Self::NoPort => "no-port",
            Self::InUse => "in-use",
            Self::ForeignRole => "foreign-role",
            Self::Unchangeable => "unchangeable",
            Self::Malformed => "malformed",
            Self::Needs => "needs",
            Self::TooShort => "too-short",
        }
    }
}

impl fmt::Display for RejectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A call without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CallKind {
    /// [`Call::Subscribe`].
    Subscribe,
    /// [`Call::Teardown`].
    Teardown,
    /// [`Call::Accept`].
    Accept,
    /// [`Call::Decline`].
    Decline,
    /// [`Call::Suppress`].
    Suppress,
    /// [`Call::Revive`].
    Revive,
    /// [`Call::Kill`].
    Kill,
    /// [`Call::Acknowledge`].
    Acknowledge,
    /// [`Call::AcknowledgeOperation`].
    AcknowledgeOperation,
    /// [`Call::ReconcileOperations`].
    ReconcileOperations,
    /// [`Call::Update`].
    Update,
    /// [`Call::Reconcile`].
    Reconcile,
    /// [`Call::Message`].
    Message,
    /// [`Call::ShutdownExecutor`].
    ShutdownExecutor,
    /// [`Call::Demand`].
    Demand,
    /// [`Call::AcceptInverse`].
    AcceptInverse,
    /// [`Call::DeclineInverse`].
    DeclineInverse,
}

impl CallKind {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Teardown => "teardown",
            Self::Accept => "accept",
            Self::Decline => "decline",
            Self::Suppress => "suppress",
            Self::Revive => "revive",
            Self::Kill => "kill",
            Self::Acknowledge => "acknowledge",
            Self::AcknowledgeOperation => "acknowledge-operation",
            Self::ReconcileOperations => "reconcile-operations",
            Self::Update => "update",
            Self::Reconcile => "reconcile",
            Self::Message => "message",
            Self::ShutdownExecutor => "shutdown-executor",
            Self::Demand => "demand",
            Self::AcceptInverse => "accept-inverse",
            Self::DeclineInverse => "decline-inverse",
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Call {
    /// Returns which call it is.
    pub const fn kind(&self) -> CallKind {
        match self {
            Self::Subscribe { .. } => CallKind::Subscribe,
            Self::Teardown => CallKind::Teardown,
            Self::Accept { .. } => CallKind::Accept,
            Self::Decline { .. } => CallKind::Decline,
            Self::Suppress { .. } => CallKind::Suppress,
            Self::Revive { .. } => CallKind::Revive,
            Self::Kill { .. } => CallKind::Kill,
            Self::Acknowledge { .. } => CallKind::Acknowledge,
            Self::AcknowledgeOperation { .. } => CallKind::AcknowledgeOperation,
            Self::ReconcileOperations { .. } => CallKind::ReconcileOperations,
            Self::Update { .. } => CallKind::Update,
            Self::Reconcile { .. } => CallKind::Reconcile,
            Self::Message { .. } => CallKind::Message,
            Self::ShutdownExecutor { .. } => CallKind::ShutdownExecutor,
            Self::Demand { .. } => CallKind::Demand,
            Self::AcceptInverse { .. } => CallKind::AcceptInverse,
            Self::DeclineInverse { .. } => CallKind::DeclineInverse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_for_good_is_begun_anew_without_its_id() {
        // FW-27
        for gone in [
            EndReason::TornDown,
            EndReason::TimedOut,
            EndReason::Replaced,
            EndReason::Removed,
            EndReason::OtherCluster,
        ] {
            let advice = gone.advice();
            assert!(advice.starts_with("subscribe without an id"), "{gone}");
        }
        let advice = EndReason::FailedOver.advice();
        assert!(!advice.contains("subscribe"), "two would take turns");
    }
}
