//! Checks of operations: who asks for what.
//!
//! Called by the master when it plans. Deliberately not here: whether the resources are there, and
//! what becomes of them ([`crate::resources::operations`]).

use alloc::string::String;
use alloc::sync::Arc;

use super::operation::{Conversion, OperationKind};
use super::refusal::RejectKind;
use crate::ids::OperationId;
use crate::resources::operations::OperationError;
use crate::resources::{Reservation, Resource};
use crate::roles::Role;

/// Who asks for an operation.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The name in its certificate.
    pub principal: Option<&'a str>,
    /// The role of the offers that it uses.
    pub role: &'a Role,
    /// All roles that it is in now.
    pub roles: &'a [Role],
}

/// Why an operation is turned down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOperation {
    /// It cannot be done with these resources.
    #[error(transparent)]
    Resources(#[from] OperationError),
    /// A reservation or a volume names somebody else, or nobody (RM-36, RM-44).
    #[error("{resource} has to name principal {principal:?}")]
    WrongPrincipal {
        /// What does not.
        resource: Resource,
        /// Who asks.
        principal: String,
    },
    /// What is reserved is not for the role of the offers (RM-36).
    #[error("{resource} is reserved to another role than {role}, that of the offers")]
    OtherRole {
        /// What is.
        resource: Resource,
        /// The role of the offers.
        role: Role,
    },
    /// The framework is not in the role any more (VA-16).
    #[error("the framework is not in role {role}")]
    LeftRole {
        /// Which role.
        role: Role,
    },
    /// The framework has named another operation so, and not confirmed its end.
    #[error("its name {id} is another operation's")]
    NameTaken {
        /// Which name.
        id: OperationId,
    },
    /// Somebody uses a volume that is to be destroyed (VA-20).
    #[error("{resource} is in use")]
    InUse {
        /// Which volume.
        resource: Resource,
    },
    /// There are too many of them.
    #[error("more than {limit} operations {of}")]
    TooMany {
        /// The most.
        limit: usize,
        /// Of what.
        of: &'static str,
    },
    /// What is to be said of them would be too long.
    #[error(
        "operations that the framework has not confirmed the end of make more than {limit} bytes"
    )]
    TooMuchNews {
        /// The most.
        limit: usize,
    },
    /// A description would be too long for a frame.
    #[error("the agent would have resources of more than {limit} bytes")]
    TooLarge {
        /// The most.
        limit: usize,
    },
}

impl BadOperation {
    /// Returns what is wrong, without the details.
    pub const fn kind(&self) -> RejectKind {
        match self {
            Self::Resources(error) => kind_of(error),
            Self::WrongPrincipal { .. } => RejectKind::WrongPrincipal,
            Self::OtherRole { .. } | Self::LeftRole { .. } => RejectKind::WrongRole,
            Self::NameTaken { .. } => RejectKind::Doubled,
            Self::InUse { .. } => RejectKind::InUse,
            Self::TooMany { .. } | Self::TooMuchNews { .. } => RejectKind::TooMany,
            Self::TooLarge { .. } => RejectKind::TooLarge,
        }
    }
}

const fn kind_of(error: &OperationError) -> RejectKind {
    match error {
        OperationError::Nothing => RejectKind::Empty,
        OperationError::NotContained(_) => RejectKind::NotContained,
        OperationError::Overflow(_) => RejectKind::Overflow,
        OperationError::Invalid(_) => RejectKind::NotAResource,
        OperationError::Overlap { .. } => RejectKind::Doubled,
        OperationError::SeveralProviders { .. } => RejectKind::SeveralProviders,
        OperationError::NotDynamic { .. } => RejectKind::NotDynamic,
        OperationError::IsVolume { .. } => RejectKind::IsVolume,
        OperationError::IsRevocable { .. } => RejectKind::IsRevocable,
        OperationError::SeveralReservations { .. } => RejectKind::SeveralReservations,
        OperationError::NotTheSame { .. } => RejectKind::NotTheSame,
        OperationError::NotAVolume { .. } => RejectKind::NotAVolume,
        OperationError::ReadOnly { .. } => RejectKind::ReadOnly,
        OperationError::VolumeExists { .. } => RejectKind::VolumeExists,
        OperationError::StillShared { .. } => RejectKind::StillShared,
        OperationError::Unfit { .. } => RejectKind::Unfit,
        OperationError::OtherDisk { .. } => RejectKind::OtherDisk,
        OperationError::BadAmount { .. } => RejectKind::BadAmount,
    }
}

/// Checks that whoever asks for an operation may say what it says (VA-16, VA-19).
pub fn check_caller(change: &Conversion, caller: &Caller<'_>) -> Result<(), BadOperation> {
    if let Conversion::Reserve(wanted) = change {
        if !caller.roles.contains(caller.role) {
            let role = caller.role.clone();
            return Err(BadOperation::LeftRole { role });
        }
        if let Some(odd) = wanted.iter().find(|it| !it.is_reserved_to(caller.role)) {
            let (resource, role) = (odd.clone(), caller.role.clone());
            return Err(BadOperation::OtherRole { resource, role });
        }
    }
    check_names(change, caller.principal)
}

/// Checks that an operator may say what his operation says (RM-36, RM-44): what he reserves or
/// makes names him.
pub fn check_operator(change: &Conversion, principal: &str) -> Result<(), BadOperation> {
    check_names(change, Some(principal))
}

/// Checks that what is reserved or made names exactly who asks, if he has a name.
fn check_names(change: &Conversion, principal: Option<&str>) -> Result<(), BadOperation> {
    let Some(principal) = principal else {
        return Ok(());
    };
    let made = match change {
        Conversion::Reserve(made) | Conversion::Create(made) => made,
        Conversion::Unreserve(_)
        | Conversion::Destroy(_)
        | Conversion::Grow { .. }
        | Conversion::Shrink { .. }
        | Conversion::Disk(_) => return Ok(()),
    };
    let is_reserve = change.kind() == OperationKind::Reserve;
    let is_other = |entry: &&Resource| {
        let by = if is_reserve {
            reserved_by(entry)
        } else {
            made_by(entry)
        };
        by.map(|by| &**by) != Some(principal)
    };
    match made.iter().find(is_other) {
        None => Ok(()),
        Some(odd) => Err(BadOperation::WrongPrincipal {
            resource: odd.clone(),
            principal: principal.into(),
        }),
    }
}

fn reserved_by(entry: &Resource) -> Option<&Arc<str>> {
    match entry.metadata().reservations.last()? {
        Reservation::Dynamic { principal, .. } => principal.as_ref(),
        Reservation::Static { .. } => None,
    }
}

fn made_by(entry: &Resource) -> Option<&Arc<str>> {
    let volume = entry.metadata().volume.as_ref();
    volume.and_then(|volume| volume.principal.as_ref())
}
