//! From the shape of the JSON to checked resources.
//!
//! Deliberately not here: anything that needs to know more than the one field or its neighbours.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::gather::{APART, doubled_at, gathered};
use super::super::labels::{self, Labels};
use super::super::metadata::{
    Access, DiskKind, Metadata, ProfileId, ProviderId, Source, Volume, VolumeId,
};
use super::super::milli::{InvalidScalar, Milli};
use super::super::reservation::{Reservation, Reservations};
use super::super::{Items, Kinds, Ranges, Resource, Resources, Value, check_configured};
use super::{InvalidJson, Number};
use crate::roles::Role;

type Read<T> = Result<T, InvalidJson>;

/// A resource, and to which role the sender says that it is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The resource.
    pub resource: Resource,
    /// The role; no part of what the resource is.
    pub allocated_to: Option<Role>,
}

/// Reads each resource by itself, zeros among them.
pub fn read_entries(shapes: &[super::Resource]) -> Read<Vec<Entry>> {
    let read = |(n, shape): (usize, &super::Resource)| {
        shape.read().map_err(|why| why.within(&format!("[{n}]")))
    };
    shapes.iter().enumerate().map(read).collect()
}

/// Reads a bag: entries that merge are summed, zeros are dropped (RM-13). None of them may be
/// allocated to a role.
pub fn read_bag(shapes: &[super::Resource]) -> Read<Resources> {
    let entries = unallocated(shapes)?.into_iter().enumerate().collect();
    gathered(entries).map_err(|(n, why)| InvalidJson::at(&format!("[{n}]"), why))
}

/// Reads what the flag of an agent gives it, zeros among it (RM-11, RM-13). What only operations
/// make is refused, and so are one name with two kinds of values (RM-12), and numbers and names
/// that stand twice, reserved differently.
pub fn read_configured(shapes: &[super::Resource]) -> Read<Vec<Resource>> {
    let resources = unallocated(shapes)?;
    let mut kinds = Kinds::new();
    for (n, resource) in resources.iter().enumerate() {
        let fit = check_configured(resource, &mut kinds);
        fit.map_err(|expected| InvalidJson::expected(&format!("[{n}]"), expected))?;
    }
    if let Some(n) = doubled_at(resources.iter()) {
        return Err(InvalidJson::expected(&format!("[{n}]"), APART));
    }
    Ok(resources)
}

fn unallocated(shapes: &[super::Resource]) -> Read<Vec<Resource>> {
    let entries = read_entries(shapes)?;
    if let Some(n) = entries
        .iter()
        .position(|entry| entry.allocated_to.is_some())
    {
        let path = format!("[{n}].allocation_info");
        return Err(InvalidJson::expected(&path, "no allocation to a role here"));
    }
    Ok(entries.into_iter().map(|entry| entry.resource).collect())
}

impl super::Resource {
    /// Checks it (RM-14, RM-15).
    pub fn read(&self) -> Read<Entry> {
        let plain = Resource::new(&self.name, self.read_value()?);
        let plain = plain.map_err(|why| InvalidJson::at("name", why))?;
        let disk = self.disk.clone().unwrap_or_default();
        let metadata = Metadata {
            reservations: self.read_reservations()?,
            source: match &disk.source {
                Some(source) => Some(source.read().map_err(|why| why.within("disk.source"))?),
                None => None,
            },
            volume: disk.read_volume().map_err(|why| why.within("disk"))?,
            provider: match &self.provider_id {
                Some(id) => Some(
                    ProviderId::new(&id.value)
                        .map_err(|why| InvalidJson::at("provider_id.value", why))?,
                ),
                None => None,
            },
            revocable: self.revocable.is_some(),
            shared: self.shared.is_some(),
        };
        let allocation = self.allocation_info.as_ref();
        let allocated_to = match allocation.and_then(|info| info.role.as_deref()) {
            Some(role) => Some(read_role("allocation_info.role", role)?),
            None => None,
        };
        let resource = plain.with_metadata(metadata);
        Ok(Entry {
            resource: resource.map_err(|why| InvalidJson::at("", why))?,
            allocated_to,
        })
    }

    fn read_value(&self) -> Read<Value> {
        let present = (
            self.scalar.is_some(),
            self.ranges.is_some(),
            self.set.is_some(),
        );
        match (self.kind.as_str(), present) {
            ("SCALAR", (true, false, false)) => {}
            ("RANGES", (false, true, false)) => {}
            ("SET", (false, false, true)) => {}
            ("SCALAR" | "RANGES" | "SET", _) => {
                let expected = "a type whose field, and no other of \"scalar\", \"ranges\" and \
                                \"set\", is there";
                return Err(InvalidJson::expected("type", expected));
            }
            _ => {
                let expected = "\"SCALAR\", \"RANGES\" or \"SET\"";
                return Err(InvalidJson::expected("type", expected));
            }
        }
        if let Some(scalar) = &self.scalar {
            return read_scalar(scalar.value).map(Value::Scalar);
        }
        if let Some(ranges) = &self.ranges {
            return read_ranges(&ranges.range).map(Value::Ranges);
        }
        let items = self.set.as_ref().map_or(&[][..], |set| &set.item);
        read_items(items).map(Value::Items)
    }

    /// Reads both formats; where both are there, they have to say the same (RM-15).
    fn read_reservations(&self) -> Read<Reservations> {
        let mut stack = Reservations::new();
        for (n, level) in self.reservations.iter().enumerate() {
            let path = format!("reservations[{n}]");
            let level = level.read().map_err(|why| why.within(&path))?;
            let pushed = stack.push(level);
            pushed.map_err(|why| InvalidJson::at(&path, why))?;
        }
        if self.role.is_none() && self.reservation.is_none() {
            return Ok(stack);
        }
        let older = self.read_older_format()?;
        if self.reservations.is_empty() {
            return Ok(older);
        }
        // Neither says that it is dynamic: then it must not be.
        if stack.levels().len() > 1 || older != stack {
            let expected = "the same reservation in \"reservations\" as in \"role\" and \
                            \"reservation\"";
            return Err(InvalidJson::expected("reservations", expected));
        }
        Ok(stack)
    }

    fn read_older_format(&self) -> Read<Reservations> {
        let role = match &self.role {
            Some(role) => read_role("role", role)?,
            None => Role::any(),
        };
        let mut stack = Reservations::new();
        let Some(dynamic) = &self.reservation else {
            return Ok(Metadata::reserved_to(role).reservations);
        };
        if dynamic.kind.is_some() || dynamic.role.is_some() {
            let expected = "no type and no role, which only \"reservations\" have";
            return Err(InvalidJson::expected("reservation", expected));
        }
        let level = Reservation::Dynamic {
            role,
            principal: dynamic.principal.as_deref().map(Arc::from),
            labels: read_labels(dynamic.labels.as_ref())
                .map_err(|why| why.within("reservation"))?,
        };
        let pushed = stack.push(level);
        pushed.map_err(|why| InvalidJson::at("reservation", why))?;
        Ok(stack)
    }
}

impl super::Reservation {
    fn read(&self) -> Read<Reservation> {
        let role = match &self.role {
            Some(role) => read_role("role", role)?,
            None => return Err(InvalidJson::expected("role", "a role")),
        };
        match self.kind.as_deref() {
            Some("STATIC") if self.principal.is_some() || self.labels.is_some() => {
                let expected = "no principal and no labels, which only dynamic levels have";
                Err(InvalidJson::expected("", expected))
            }
            Some("STATIC") => Ok(Reservation::Static { role }),
            Some("DYNAMIC") => Ok(Reservation::Dynamic {
                role,
                principal: self.principal.as_deref().map(Arc::from),
                labels: read_labels(self.labels.as_ref())?,
            }),
            Some(_) | None => Err(InvalidJson::expected("type", "\"STATIC\" or \"DYNAMIC\"")),
        }
    }
}

impl super::Disk {
    fn read_volume(&self) -> Read<Option<Volume>> {
        let (persistence, volume) = match (&self.persistence, &self.volume) {
            (None, None) => return Ok(None),
            (Some(persistence), Some(volume)) => (persistence, volume),
            (Some(_), None) => {
                let expected = "where a container sees the persistent volume";
                return Err(InvalidJson::expected("volume", expected));
            }
            (None, Some(_)) => {
                let expected = "the id of a persistent volume, as there is a volume";
                return Err(InvalidJson::expected("persistence", expected));
            }
        };
        let id = VolumeId::new(&persistence.id);
        let id = id.map_err(|why| InvalidJson::at("persistence.id", why))?;
        if volume.host_path.is_some() {
            return Err(InvalidJson::expected("volume.host_path", "no such field"));
        }
        let access = match volume.mode.as_str() {
            "RW" => Access::ReadWrite,
            "RO" => Access::ReadOnly,
            _ => return Err(InvalidJson::expected("volume.mode", "\"RW\" or \"RO\"")),
        };
        Ok(Some(Volume {
            id,
            principal: read_text("persistence.principal", persistence.principal.as_ref())?,
            access,
            container_path: read_text("volume.container_path", Some(&volume.container_path))?
                .expect("there is a text"),
        }))
    }
}

impl super::Source {
    fn read(&self) -> Read<Source> {
        let root = |path, root: &Option<super::Root>| {
            let root = root.as_ref().and_then(|root| root.root.as_ref());
            read_text(path, root)
        };
        let unused = |path, field: &Option<super::Root>| match field {
            Some(_) => Err(InvalidJson::expected(
                path,
                "no such field for this type of disk",
            )),
            None => Ok(()),
        };
        let kind = match self.kind.as_str() {
            "PATH" => DiskKind::Path {
                root: root("path.root", &self.path)?,
            },
            "MOUNT" => DiskKind::Mount {
                root: root("mount.root", &self.mount)?,
            },
            "BLOCK" => DiskKind::Block,
            "RAW" => DiskKind::Raw,
            _ => {
                let expected = "\"PATH\", \"MOUNT\", \"BLOCK\" or \"RAW\"";
                return Err(InvalidJson::expected("type", expected));
            }
        };
        if self.kind != "PATH" {
            unused("path", &self.path)?;
        }
        if self.kind != "MOUNT" {
            unused("mount", &self.mount)?;
        }
        let profile = self.profile.as_deref().map(ProfileId::new).transpose();
        let metadata = read_labels(self.metadata.as_ref());
        Ok(Source {
            kind,
            vendor: read_text("vendor", self.vendor.as_ref())?,
            id: read_text("id", self.id.as_ref())?,
            metadata: metadata.map_err(|why| InvalidJson::at("metadata", why.problem))?,
            profile: profile.map_err(|why| InvalidJson::at("profile", why))?,
        })
    }
}

fn read_role(path: &str, text: &str) -> Read<Role> {
    Role::new(text).map_err(|why| InvalidJson::at(path, why))
}

fn read_text(path: &'static str, text: Option<&String>) -> Read<Option<Arc<str>>> {
    let Some(text) = text else { return Ok(None) };
    labels::check_text("text", text).map_err(|why| InvalidJson::at(path, why))?;
    Ok(Some(Arc::from(text.as_str())))
}

fn read_labels(shape: Option<&super::Labels>) -> Read<Labels> {
    let given = shape.map_or(&[][..], |labels| &labels.labels);
    let made = given.iter().map(|label| labels::Label {
        key: Arc::from(label.key.as_str()),
        value: label.value.as_deref().map(Arc::from),
    });
    let labels = Labels::from_unordered(made.collect());
    labels.map_err(|why| InvalidJson::at("labels", why))
}

/// Rounds a number to thousandths; one that is not zero may not vanish (RM-03).
fn read_scalar(number: Number) -> Read<Milli> {
    let at = |why: InvalidScalar| InvalidJson::at("scalar.value", why);
    match number {
        Number::Whole(units) => {
            let units = i64::try_from(units).map_err(|_| at(InvalidScalar::TooLarge))?;
            Milli::try_from_units(units).map_err(at)
        }
        Number::Float(float) => {
            let amount = Milli::from_f64(float).map_err(at)?;
            if amount.is_zero() && float > 0.0 {
                let expected = "0, or a number of at least 0.0005";
                return Err(InvalidJson::expected("scalar.value", expected));
            }
            Ok(amount)
        }
    }
}

/// Reads ranges in any order, of which none is inverted and none overlaps (RM-05).
fn read_ranges(shapes: &[super::Range]) -> Read<Ranges> {
    let mut order: Vec<usize> = (0..shapes.len()).collect();
    order.sort_by_key(|n| shapes[*n].begin);
    let mut before: Option<u64> = None;
    for n in order {
        let range = shapes[n];
        let path = || format!("ranges.range[{n}]");
        if range.begin > range.end {
            let expected = "a range whose end is not below its begin";
            return Err(InvalidJson::expected(&path(), expected));
        }
        if before.is_some_and(|end| range.begin <= end) {
            let expected = "a range that does not overlap another";
            return Err(InvalidJson::expected(&path(), expected));
        }
        before = Some(range.end);
    }
    Ok(shapes.iter().map(|range| range.begin..=range.end).collect())
}

/// Reads names in any order, of which none repeats (RM-06).
fn read_items(names: &[String]) -> Read<Items> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|n| &names[*n]);
    let mut items: Vec<Arc<str>> = Vec::with_capacity(names.len());
    for n in order {
        let path = || format!("set.item[{n}]");
        super::super::items::check(&names[n]).map_err(|why| InvalidJson::at(&path(), why))?;
        if items.last().is_some_and(|last| **last == names[n]) {
            return Err(InvalidJson::expected(
                &path(),
                "an item that is not there yet",
            ));
        }
        items.push(Arc::from(names[n].as_str()));
    }
    Ok(Items::try_from(items).expect("the items are checked, sorted and there once"))
}
