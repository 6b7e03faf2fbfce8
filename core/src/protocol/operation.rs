//! Operations on what an agent has: what is asked for, and what has become of its resources.
//!
//! Operations of one agent are numbered: its master orders them, the agent carries them out in
//! that order, and both keep [`Converted`], so that they never differ about more than what is on
//! its way. Deliberately not here: what each operation does to resources
//! ([`crate::resources::operations`]), and who may ask for it.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::disk::DiskChange;
use super::refusal::RejectKind;
use crate::ids::{AgentId, FrameworkId, OperationId, UpdateId};
use crate::resources::operations::{self, OperationError};
use crate::resources::{Milli, Overflow, Resource, Resources};
use crate::time::Time;

/// What is to become of resources of one agent (OF-24 to OF-28).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conversion {
    /// Adds a level of reservation, so that they become these.
    Reserve(Resources),
    /// Removes the most refined level of the reservation of these.
    Unreserve(Resources),
    /// Makes these persistent volumes of reserved disk.
    Create(Resources),
    /// Makes reserved disk of these persistent volumes, and deletes what is on them.
    Destroy(Resources),
    /// Makes a volume larger.
    Grow {
        /// Which volume.
        volume: Resource,
        /// Reserved disk that becomes a part of it.
        addition: Resource,
    },
    /// Makes a volume smaller.
    Shrink {
        /// Which volume.
        volume: Resource,
        /// How much of it becomes reserved disk again.
        amount: Milli,
    },
    /// Has the provider of a disk make something of it, or take it back. The source is there no
    /// more at once, and what comes of it only when the provider has said so (OF-15).
    Disk(DiskChange),
}

impl Conversion {
    /// Returns which operation it is.
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Reserve(_) => OperationKind::Reserve,
            Self::Unreserve(_) => OperationKind::Unreserve,
            Self::Create(_) => OperationKind::Create,
            Self::Destroy(_) => OperationKind::Destroy,
            Self::Grow { .. } => OperationKind::Grow,
            Self::Shrink { .. } => OperationKind::Shrink,
            Self::Disk(change) => change.kind(),
        }
    }

    /// Returns what a provider of disks is to do, if it is that.
    pub const fn disk(&self) -> Option<&DiskChange> {
        match self {
            Self::Disk(change) => Some(change),
            Self::Reserve(_)
            | Self::Unreserve(_)
            | Self::Create(_)
            | Self::Destroy(_)
            | Self::Grow { .. }
            | Self::Shrink { .. } => None,
        }
    }

    /// Returns what resources become, at once.
    pub fn apply(&self, to: &Resources) -> Result<Resources, OperationError> {
        match self {
            Self::Reserve(wanted) => operations::reserve(to, wanted),
            Self::Unreserve(resources) => operations::unreserve(to, resources),
            Self::Create(volumes) => operations::create(to, volumes),
            Self::Destroy(volumes) => operations::destroy(to, volumes),
            Self::Grow { volume, addition } => operations::grow_volume(to, volume, addition),
            Self::Shrink { volume, amount } => operations::shrink_volume(to, volume, *amount),
            Self::Disk(change) => {
                change.check()?;
                Ok(to.checked_sub(&change.source()?)?)
            }
        }
    }

    /// Returns which part of resources, to which it can be applied, becomes what.
    pub fn turns(&self, of: &Resources) -> Result<(Resources, Resources), OperationError> {
        let named = |volume: &Resource| of.filter(|entry| is_alike(entry, volume));
        match self {
            // What one of two operations makes, the other unmakes.
            Self::Reserve(wanted) => Ok((operations::unreserve(wanted, wanted)?, wanted.clone())),
            Self::Unreserve(gone) => Ok((gone.clone(), operations::unreserve(gone, gone)?)),
            Self::Create(volumes) => Ok((operations::destroy(volumes, volumes)?, volumes.clone())),
            Self::Destroy(gone) => Ok((gone.clone(), operations::destroy(gone, gone)?)),
            Self::Grow { volume, addition } => {
                let mut before = named(volume);
                before.insert(addition.clone())?;
                let after = self.apply(&before)?;
                Ok((before, after))
            }
            Self::Shrink { volume, .. } => {
                let before = named(volume);
                let after = self.apply(&before)?;
                Ok((before, after))
            }
            Self::Disk(change) => Ok((change.source()?, Resources::new())),
        }
    }
}

/// An operation without what it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationKind {
    /// [`Conversion::Reserve`].
    Reserve,
    /// [`Conversion::Unreserve`].
    Unreserve,
    /// [`Conversion::Create`].
    Create,
    /// [`Conversion::Destroy`].
    Destroy,
    /// [`Conversion::Grow`].
    Grow,
    /// [`Conversion::Shrink`].
    Shrink,
    /// [`DiskChange::Create`].
    CreateDisk,
    /// [`DiskChange::Destroy`].
    DestroyDisk,
}

impl OperationKind {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Unreserve => "unreserve",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
            Self::CreateDisk => "create-disk",
            Self::DestroyDisk => "destroy-disk",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who asked for an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Which framework.
    pub framework: FrameworkId,
    /// What it calls the operation, if it wants to hear what became of it (OF-52).
    pub id: Option<OperationId>,
}

/// One operation, as the master orders it of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number: one more than that of the operation before it on this agent.
    pub number: u64,
    /// Who asked for it; `None` is an operator.
    pub owner: Option<Owner>,
    /// Which operation it is.
    pub kind: OperationKind,
    /// What it is done to.
    pub before: Resources,
    /// What becomes of that.
    pub after: Resources,
}

/// How far an operation is (OF-53).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationState {
    /// The master has accepted it, and the agent has not yet said more (SM-30).
    Pending,
    /// Done (SM-31).
    Finished,
    /// It could not be done (SM-32).
    Failed,
    /// The master has turned it down (SM-33).
    Error,
    /// It was never begun (SM-34).
    Dropped,
    /// Its agent is away, and may come back (SM-35).
    Unreachable,
    /// Its agent is gone for good.
    GoneByOperator,
    /// The master is new, and its agent has not come back yet (OF-56).
    Recovering,
    /// Nobody knows it (OF-56).
    Unknown,
}

impl OperationState {
    /// Returns whether nothing follows any more.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Finished | Self::Failed | Self::Error | Self::Dropped | Self::GoneByOperator => {
                true
            }
            Self::Pending | Self::Unreachable | Self::Recovering | Self::Unknown => false,
        }
    }

    /// Returns the stable name, in lower case with dashes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Unreachable => "unreachable",
            Self::GoneByOperator => "gone-by-operator",
            Self::Recovering => "recovering",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// News about an operation that has an id (OF-54).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStatus {
    /// Which operation.
    pub id: OperationId,
    /// How far it is.
    pub state: OperationState,
    /// Why it was turned down, for programs.
    pub reason: Option<RejectKind>,
    /// What there is to say about it, for people.
    pub message: String,
    /// What it has made.
    pub converted: Resources,
    /// On which agent; `None` if it never came that far.
    pub agent: Option<AgentId>,
    /// When.
    pub at: Time,
    /// The name of this news, if it has to be acknowledged.
    pub update: Option<UpdateId>,
}

impl OperationStatus {
    /// Says in which state an operation is, and no more.
    pub fn new(id: OperationId, state: OperationState, at: Time) -> Self {
        Self {
            id,
            state,
            reason: None,
            message: String::new(),
            converted: Resources::new(),
            agent: None,
            at,
            update: None,
        }
    }
}

/// What operations have made of an agent's resources so far: `after` stands where its own
/// description says `before`. What was made and unmade again is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converted {
    /// The number of the last operation; zero if there was none.
    pub last: u64,
    /// What of the description is not there as such any more.
    pub before: Resources,
    /// What there is instead.
    pub after: Resources,
}

impl Converted {
    /// Returns what an agent has that describes itself with these resources.
    ///
    /// An error means that it has less, or something else, than what operations have made something
    /// of.
    pub fn total(&self, described: &Resources) -> Result<Resources, OperationError> {
        let mut total = described.checked_sub(&self.before)?;
        if let Some(both) = total.overlap(&self.after) {
            return Err(OperationError::Overlap { both });
        }
        total.add(&self.after)?;
        Ok(total)
    }

    /// Notes that an operation has made `after` of `before`, a part of the total; or that there is
    /// more of something than a number holds, and then changes nothing.
    pub fn note(
        &mut self,
        number: u64,
        before: &Resources,
        after: &Resources,
    ) -> Result<(), Overflow> {
        // What an earlier operation has made is not described, and what is given back to what is
        // described needs no word.
        let described = before.less(&self.after);
        let made = self.after.less(before);
        let mut owed = self.before.clone();
        owed.add(&described)?;
        let new = after.less(&owed);
        let owed = owed.less(after);
        let mut all = made;
        all.add(&new)?;
        (self.last, self.before, self.after) = (number, owed, all);
        Ok(())
    }
}

/// Returns whether two amounts are of the same, so that one may be a part of the other.
fn is_alike(one: &Resource, other: &Resource) -> bool {
    let whole = one.is_exclusive() || one.is_shared();
    (one.name(), one.metadata()) == (other.name(), other.metadata())
        && (!whole || one.value() == other.value())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn res(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    /// Notes conversions one after the other, and returns what an agent has then.
    fn after(described: &str, steps: &[(&str, &str)]) -> (Converted, Resources) {
        let mut converted = Converted::default();
        let mut total = res(described);
        for (number, (before, after)) in (1..).zip(steps) {
            let (before, after) = (res(before), res(after));
            converted.note(number, &before, &after).unwrap();
            total.subtract(&before).unwrap();
            total.add(&after).unwrap();
            assert_eq!(converted.last, number);
            assert_eq!(converted.total(&res(described)).unwrap(), total);
        }
        (converted, total)
    }

    const RESERVED: &str = r#"cpus(*)<dynamic="eng">:2"#;

    #[test]
    fn the_total_is_what_conversions_have_made_of_the_description() {
        // OF-14, RM-32
        let (converted, total) = after("cpus:4;mem:64", &[("cpus:2", RESERVED)]);
        assert_eq!(total.to_string(), format_reserved("cpus:2;", ":2;mem:64"));
        // The same conversions of a machine that has grown meanwhile.
        let larger = converted.total(&res("cpus:8;mem:64")).unwrap();
        assert_eq!(larger.to_string(), format_reserved("cpus:6;", ":2;mem:64"));
        // What was reserved is still owed by one that has shrunk.
        assert!(converted.total(&res("cpus:1;mem:64")).is_err());
    }

    fn format_reserved(before: &str, after: &str) -> String {
        alloc::format!(r#"{before}cpus(*)<dynamic="eng">{after}"#)
    }

    #[test]
    fn what_is_unmade_leaves_no_trace() {
        // RM-37
        let back = (r#"cpus(*)<dynamic="eng">:1"#, "cpus:1");
        let (converted, total) = after("cpus:4", &[("cpus:2", RESERVED), back, back]);
        assert_eq!(total, res("cpus:4"));
        let none = Converted {
            last: 3,
            ..Converted::default()
        };
        assert_eq!(converted, none);
    }

    #[test]
    fn numbers_and_volumes_are_told_apart() {
        // RM-19, RM-44, RM-46
        let disk = r#"disk(*)<dynamic="eng">"#;
        let volume = r#"disk(*)<dynamic="eng",volume="v",rw="/data">"#;
        let steps = [
            ("ports:[3-5]", r#"ports(*)<dynamic="eng">:[3-5]"#),
            (r#"ports(*)<dynamic="eng">:[4-4]"#, "ports:[4-4]"),
            ("disk:9", &alloc::format!("{disk}:9")),
            (&alloc::format!("{disk}:4"), &alloc::format!("{volume}:4")),
            (
                &alloc::format!("{volume}:4;{disk}:2"),
                &alloc::format!("{volume}:6"),
            ),
        ];
        let (converted, total) = after("ports:[1-9];disk:10", &steps);
        assert_eq!(converted.before, res("ports:[3-3,5-5];disk:9"));
        assert_eq!(converted.total(&res("ports:[1-9];disk:10")).unwrap(), total);
    }

    #[test]
    fn an_operation_turns_a_part_into_something() {
        // OF-24 to OF-27
        let all =
            "cpus:4;disk(*)<dynamic=\"eng\">:8;disk(*)<dynamic=\"eng\",volume=\"v\",rw=\"/v\">:2";
        let disk = |more: &str, n: u32| res(&alloc::format!("disk(*)<dynamic=\"eng\"{more}>:{n}"));
        let volume = |n| disk(",volume=\"v\",rw=\"/v\"", n);
        let other = disk(",volume=\"w\",rw=\"/w\"", 3);
        let one = |bag: Resources| bag.iter().next().unwrap().clone();
        let reserved = res("cpus(*)<dynamic=\"eng\">:1");
        let cases = [
            (
                Conversion::Reserve(reserved.clone()),
                res("cpus:1"),
                reserved,
            ),
            (
                Conversion::Unreserve(disk("", 3)),
                disk("", 3),
                res("disk:3"),
            ),
            (Conversion::Create(other.clone()), disk("", 3), other),
            (Conversion::Destroy(volume(2)), volume(2), disk("", 2)),
            (
                Conversion::Grow {
                    volume: one(volume(2)),
                    addition: one(disk("", 1)),
                },
                Resources::of(volume(2).iter().chain(&disk("", 1)).cloned()).unwrap(),
                volume(3),
            ),
            (
                Conversion::Shrink {
                    volume: one(volume(2)),
                    amount: Milli::from_units(1),
                },
                volume(2),
                Resources::of(volume(1).iter().chain(&disk("", 1)).cloned()).unwrap(),
            ),
        ];
        for (conversion, before, after) in cases {
            let kind = conversion.kind();
            assert_eq!(
                conversion.turns(&res(all)).unwrap(),
                (before.clone(), after.clone()),
                "{kind}"
            );
            let mut expected = res(all);
            expected.subtract(&before).unwrap();
            expected.add(&after).unwrap();
            assert_eq!(conversion.apply(&res(all)).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut converted = Converted::default();
        let most = res("cpus(eng):9000000000000000");
        converted.note(1, &Resources::new(), &most).unwrap();
        let before = converted.clone();
        assert!(converted.note(2, &Resources::new(), &most).is_err());
        assert_eq!(converted, before);
    }
}
