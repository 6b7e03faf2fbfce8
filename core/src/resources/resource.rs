//! One resource: what it is called, whose it is, of which disk and sort, and how much there is.
//!
//! Everything but the value is its identity. [`Resource::slot_cmp`] is the one place that knows
//! which entries of a bag are the same, and [`Resource::merge`], [`Resource::covers`] and
//! [`Resource::take`] how the same add up and are taken away (RM-19, RM-20):
//!
//! | sort | adds up | is taken |
//! |---|---|---|
//! | most, among them PATH disks and anonymous RAW ones | the amounts, or the union of sets | in parts |
//! | exclusive: MOUNT, BLOCK, RAW with an id, persistent volumes | never: each is an entry | as a whole |
//! | shared | the copies, if all else is equal | copy by copy |
//!
//! Deliberately not here: bags of resources.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::convert::Infallible;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::invalid::{InvalidResource, Overflow, check_name};
use super::metadata::{DiskKind, Metadata, Unfit};
use super::milli::Milli;
use super::reservation::{Reservation, Reservations};
use super::value::{Kind, Value};
use crate::ids::from_text;
use crate::limits;
use crate::roles::Role;

/// The only name that disks have.
pub(super) const DISK: &str = "disk";

static PLAIN: Metadata = Metadata::PLAIN;

/// A named amount of something (RM-09).
///
/// A plain one, unreserved and of no special sort, is a few words; everything else about others is
/// behind one pointer, which clones share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Resource {
    name: Arc<str>,
    /// Never the plain one.
    metadata: Option<Arc<Metadata>>,
    value: Value,
    /// 1 unless it is shared.
    copies: u32,
}

/// A resource as a peer sends it, before it is checked.
#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "shared_text")]
    name: Arc<str>,
    described: Option<Described<Metadata>>,
    value: Value,
}

fn shared_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    from_text(deserializer, |text| Ok::<_, Infallible>(Arc::from(text)))
}

/// The same as we send it.
#[derive(Serialize)]
#[serde(rename = "Resource")]
struct Sent<'a> {
    name: &'a str,
    described: Option<Described<&'a Metadata>>,
    value: &'a Value,
}

/// What follows the name of a resource that is not plain.
#[derive(Serialize, Deserialize)]
struct Described<M> {
    metadata: M,
    copies: u32,
}

impl Resource {
    /// Makes a plain resource. The name has 1 to 255 bytes, no control characters, none of
    /// `():;` and no blanks at its ends; any such name is legal (RM-08).
    pub fn new(name: &str, value: Value) -> Result<Self, InvalidResource> {
        Self::checked(Arc::from(name), value)
    }

    fn checked(name: Arc<str>, value: Value) -> Result<Self, InvalidResource> {
        check_name(&name)?;
        Ok(Self {
            name,
            metadata: None,
            value,
            copies: 1,
        })
    }

    /// Describes it anew: whose it is, of which disk and sort (RM-14, RM-21, RM-41, RM-53).
    pub fn with_metadata(self, metadata: Metadata) -> Result<Self, InvalidResource> {
        let name = || self.shared_name();
        metadata.check().map_err(|why| match why {
            Unfit::Text(why) => InvalidResource::Text { name: name(), why },
            Unfit::Together(problem) => InvalidResource::Together {
                name: name(),
                problem,
            },
        })?;
        let is_disk = metadata.source.is_some() || metadata.volume.is_some();
        if is_disk && (&*self.name != DISK || self.value.kind() != Kind::Scalar) {
            return Err(InvalidResource::NotADisk { name: name() });
        }
        if self.copies > 1 && !metadata.shared {
            return Err(self.not_copied(self.copies));
        }
        let metadata = (!metadata.is_plain()).then(|| Arc::new(metadata));
        Ok(Self { metadata, ..self })
    }

    /// Makes it so many copies of a shared resource (RM-19).
    pub fn with_copies(self, copies: u32) -> Result<Self, InvalidResource> {
        let most = if self.is_shared() { limits::COPIES } else { 1 };
        if !(1..=most).contains(&copies) {
            return Err(self.not_copied(copies));
        }
        Ok(Self { copies, ..self })
    }

    fn not_copied(&self, copies: u32) -> InvalidResource {
        let name = self.shared_name();
        InvalidResource::Copies { name, copies }
    }

    /// Makes it another amount of the same. What is exclusive or shared has no other: its size
    /// belongs to what it is (RM-19).
    pub fn with_value(self, value: Value) -> Result<Self, InvalidResource> {
        let is_other = self.value != value;
        let other = self.resized(value)?;
        if is_other && (other.is_exclusive() || other.is_shared()) {
            return Err(InvalidResource::Undividable { name: other.name });
        }
        Ok(other)
    }

    /// Makes it another one, of another size.
    pub(super) fn resized(self, value: Value) -> Result<Self, InvalidResource> {
        let plain = Self::checked(Arc::clone(&self.name), value)?;
        let is_disk = self.metadata().source.is_some() || self.metadata().volume.is_some();
        if is_disk && plain.value.kind() != Kind::Scalar {
            return Err(InvalidResource::NotADisk { name: plain.name });
        }
        Ok(Self {
            value: plain.value,
            ..self
        })
    }

    /// Reserves it statically to a role instead, as an agent's configuration does; `*` leaves it
    /// unreserved (RM-10, RM-31).
    pub fn reserved_to(self, role: Role) -> Result<Self, InvalidResource> {
        let reservations = Metadata::reserved_to(role).reservations;
        self.with_reservations(reservations)
    }

    /// Adds a level to its reservation (RM-22, RM-33).
    pub fn push_reservation(self, level: Reservation) -> Result<Self, InvalidResource> {
        let mut reservations = self.metadata().reservations.clone();
        match reservations.push(level) {
            Ok(()) => self.with_reservations(reservations),
            Err(why) => Err(InvalidResource::Reservation {
                name: self.shared_name(),
                why,
            }),
        }
    }

    /// Removes the most refined level of its reservation (RM-22).
    pub fn pop_reservation(self) -> Result<Self, InvalidResource> {
        let mut reservations = self.metadata().reservations.clone();
        match reservations.pop() {
            Some(_) => self.with_reservations(reservations),
            None => Err(InvalidResource::Unreserved { name: self.name }),
        }
    }

    /// Removes all levels of its reservation (RM-22). A persistent volume has to have one.
    pub fn to_unreserved(self) -> Result<Self, InvalidResource> {
        self.with_reservations(Reservations::new())
    }

    pub(super) fn with_reservations(
        self,
        reservations: Reservations,
    ) -> Result<Self, InvalidResource> {
        if self.metadata().reservations == reservations {
            return Ok(self);
        }
        let metadata = Metadata {
            reservations,
            ..self.metadata().clone()
        };
        self.with_metadata(metadata)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its name as a pointer that can be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns how much of it there is.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Returns whose it is, of which disk and sort.
    pub fn metadata(&self) -> &Metadata {
        self.metadata.as_deref().unwrap_or(&PLAIN)
    }

    /// Returns how many copies of what is shared there are; of anything else there is one.
    pub const fn copies(&self) -> u32 {
        self.copies
    }

    /// Returns the role that it is reserved to, that of the most refined level (RM-22); `None` if
    /// it is unreserved.
    pub fn reservation_role(&self) -> Option<&Role> {
        self.metadata().reservations.last().map(Reservation::role)
    }

    /// Returns whether it may be offered to `role`: it is unreserved, or reserved to that role or
    /// one above it (RM-23).
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        let reserved = self.reservation_role();
        reserved.is_none_or(|reserved| role == reserved || role.is_below(reserved))
    }

    /// Returns whether it is reserved to anybody (RM-26).
    pub fn is_reserved(&self) -> bool {
        !self.metadata().reservations.is_empty()
    }

    /// Returns whether its most refined level is to exactly this role (RM-26).
    pub fn is_reserved_to(&self, role: &Role) -> bool {
        self.reservation_role() == Some(role)
    }

    /// Returns whether an operation made its most refined level (RM-26).
    pub fn is_dynamically_reserved(&self) -> bool {
        let last = self.metadata().reservations.last();
        last.is_some_and(Reservation::is_dynamic)
    }

    /// Returns whether its reservation has several levels (RM-26, RM-33).
    pub fn has_refined_reservations(&self) -> bool {
        self.metadata().reservations.levels().len() > 1
    }

    /// Returns whether it is a persistent volume (RM-26).
    pub fn is_persistent_volume(&self) -> bool {
        self.metadata().volume.is_some()
    }

    /// Returns the sort of its disk; `None` for ROOT and for what is no disk (RM-26).
    pub fn disk_kind(&self) -> Option<&DiskKind> {
        self.metadata().source.as_ref().map(|source| &source.kind)
    }

    /// Returns whether it may be taken away at any time (RM-26, RM-53).
    pub fn is_revocable(&self) -> bool {
        self.metadata().revocable
    }

    /// Returns whether several may hold it at once (RM-26, RM-48).
    pub fn is_shared(&self) -> bool {
        self.metadata().shared
    }

    /// Returns whether a resource provider has it (RM-26).
    pub fn has_provider(&self) -> bool {
        self.metadata().provider.is_some()
    }

    /// Returns whether it is a number (RM-26).
    pub fn is_scalar(&self) -> bool {
        self.value.kind() == Kind::Scalar
    }

    /// Returns whether it is given and taken as a whole: MOUNT and BLOCK disks, RAW ones with an
    /// id, and persistent volumes that are not shared (RM-19).
    pub fn is_exclusive(&self) -> bool {
        self.metadata
            .as_ref()
            .is_some_and(|meta| meta.is_exclusive())
    }

    /// Returns as much of it as is at most `most` (RM-27); `None` if it is more and cannot be
    /// divided: an exclusive or shared resource, ranges or a set.
    pub fn shrunk_to(&self, most: Milli) -> Option<Self> {
        if self.value.quantity() <= most {
            return Some(self.clone());
        }
        let divisible = self.is_scalar() && !self.is_exclusive() && !self.is_shared();
        divisible.then(|| Self {
            value: Value::Scalar(most),
            ..self.clone()
        })
    }

    /// Returns whether there is nothing of it.
    pub(super) const fn is_nothing(&self) -> bool {
        self.copies == 0 || self.value.is_zero()
    }

    /// Orders by identity, that is by everything but the value (RM-18), and where values do not
    /// add up by the value as well. Equal, and not exclusive, means that the two merge.
    pub(super) fn slot_cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        super::work::done(1);
        let by_name = if Arc::ptr_eq(&self.name, &other.name) {
            Ordering::Equal
        } else {
            self.name.cmp(&other.name)
        };
        by_name
            .then_with(|| self.value.kind().cmp(&other.value.kind()))
            .then_with(|| match (&self.metadata, &other.metadata) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(mine), Some(theirs)) => {
                    let same = Arc::ptr_eq(mine, theirs);
                    let by_metadata = if same {
                        Ordering::Equal
                    } else {
                        mine.cmp(theirs)
                    };
                    by_metadata.then_with(|| {
                        if mine.shared || mine.is_exclusive() {
                            self.value.cmp(&other.value)
                        } else {
                            Ordering::Equal
                        }
                    })
                }
            })
    }

    /// Returns whether `other`, of the same slot and not exclusive, can be added.
    pub(super) fn fits(&self, other: &Self) -> bool {
        if self.is_shared() {
            let copies = self.copies.checked_add(other.copies);
            return copies.is_some_and(|copies| copies <= limits::COPIES);
        }
        self.value.fits(&other.value)
    }

    /// Adds what has the same slot and is not exclusive.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), Overflow> {
        if !self.fits(other) {
            let name = self.shared_name();
            return Err(Overflow { name });
        }
        if self.is_shared() {
            self.copies += other.copies;
        } else {
            self.value.add(&other.value);
        }
        Ok(())
    }

    /// Returns whether `other`, of the same slot, is a part of it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.is_shared() {
            return self.copies >= other.copies;
        }
        self.value.contains(&other.value)
    }

    /// Takes away `other`, which has the same slot and which it covers.
    pub(super) fn take(&mut self, other: &Self) {
        if self.is_shared() {
            self.copies -= other.copies;
        } else {
            self.value.take(&other.value);
        }
    }

    /// Returns what of it `other` asks for, which is the same thing but for whose it is; `None` if
    /// there is nothing in common.
    pub(super) fn part_for(&self, other: &Self) -> Option<Self> {
        if self.is_shared() || self.is_exclusive() {
            let copies = self.copies.min(other.copies);
            return (self.value == other.value).then(|| Self {
                copies,
                ..self.clone()
            });
        }
        let value = self.value.common(&other.value);
        (!value.is_zero()).then(|| Self {
            value,
            ..self.clone()
        })
    }

    /// Lets it share the pointer of an equal description.
    pub(super) fn describe_as(&mut self, equal: &Arc<Metadata>) {
        self.metadata = Some(Arc::clone(equal));
    }

    pub(super) const fn shared_metadata(&self) -> Option<&Arc<Metadata>> {
        self.metadata.as_ref()
    }
}

impl TryFrom<Raw> for Resource {
    type Error = InvalidResource;

    /// Takes a resource of a peer, who has to send the canonical form: a value has one encoding.
    fn try_from(raw: Raw) -> Result<Self, InvalidResource> {
        let plain = Self::checked(raw.name, raw.value)?;
        let Some(Described { metadata, copies }) = raw.described else {
            return Ok(plain);
        };
        if metadata.is_plain() {
            return Err(InvalidResource::NotCanonical { name: plain.name });
        }
        plain.with_metadata(metadata)?.with_copies(copies)
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let described = self.metadata.as_deref().map(|metadata| Described {
            metadata,
            copies: self.copies,
        });
        let sent = Sent {
            name: &self.name,
            described,
            value: &self.value,
        };
        sent.serialize(serializer)
    }
}

impl fmt::Display for Resource {
    /// Writes `name(role):value`, with details between the two where there are some (see
    /// [`super::Resources::parse`]); what is written reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(metadata) = &self.metadata {
            super::details::write(metadata, self.copies, f)?;
        }
        write!(f, ":{}", self.value)
    }
}
