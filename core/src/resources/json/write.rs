//! From resources to the shape of their JSON.
//!
//! What is written reads back. Of numbers this holds up to 2^42, and for whole ones everywhere:
//! beyond that the nearest float of a fraction is another number of thousandths. Deliberately not
//! here: whom it is sent to.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::labels::Labels;
use super::super::metadata::{Access, DiskKind, Source, Volume};
use super::super::milli::Milli;
use super::super::reservation::Reservation;
use super::super::{Resource, Resources, Value};
use super::{
    AllocationInfo, Disk, Label, Marker, Number, Persistence, Range, Ranges, Root, Scalar, Set,
};
use crate::roles::Role;

/// Writes a bag, allocated to a role or to none. Each copy of what is shared is written, as Mesos
/// does, since JSON has no counts.
pub fn write(resources: &Resources, allocated_to: Option<&Role>) -> Vec<super::Resource> {
    let copies = resources.iter().flat_map(|resource| {
        let shape = super::Resource::of(resource, allocated_to);
        core::iter::repeat_n(shape, resource.copies() as usize)
    });
    copies.collect()
}

impl super::Resource {
    /// Writes one copy of a resource, allocated to a role or to none.
    pub fn of(resource: &Resource, allocated_to: Option<&Role>) -> Self {
        let metadata = resource.metadata();
        let mut shape = Self::valued(resource.value());
        shape.name = resource.name().to_string();
        let levels = metadata.reservations.levels();
        shape.reservations = levels.iter().map(level).collect();
        shape.allocation_info = allocated_to.map(|role| AllocationInfo {
            role: Some(role.to_string()),
        });
        if metadata.source.is_some() || metadata.volume.is_some() {
            shape.disk = Some(Disk {
                persistence: metadata.volume.as_ref().map(persistence),
                volume: metadata.volume.as_ref().map(mounted),
                source: metadata.source.as_ref().map(source),
            });
        }
        shape.provider_id = metadata.provider.as_ref().map(|id| super::Value {
            value: id.to_string(),
        });
        shape.revocable = metadata.revocable.then_some(Marker {});
        shape.shared = metadata.shared.then_some(Marker {});
        shape
    }

    /// Writes it in the older format, for a peer that knows no refined reservations; `None` if it
    /// has one, as such a peer is never sent it (RM-15).
    pub fn legacy(resource: &Resource, allocated_to: Option<&Role>) -> Option<Self> {
        let mut shape = Self::of(resource, allocated_to);
        let levels = resource.metadata().reservations.levels();
        if levels.len() > 1 {
            return None;
        }
        shape.reservations.clear();
        let role = levels.first().map_or_else(Role::any, |l| l.role().clone());
        shape.role = Some(role.to_string());
        shape.reservation = levels.iter().find(|l| l.is_dynamic()).map(|dynamic| {
            let written = level(dynamic);
            super::Reservation {
                kind: None,
                role: None,
                ..written
            }
        });
        Some(shape)
    }

    fn valued(value: &Value) -> Self {
        let mut shape = Self::default();
        match value {
            Value::Scalar(amount) => {
                shape.kind = "SCALAR".into();
                shape.scalar = Some(Scalar {
                    value: number(*amount),
                });
            }
            Value::Ranges(ranges) => {
                shape.kind = "RANGES".into();
                let range = |range: core::ops::RangeInclusive<u64>| Range {
                    begin: *range.start(),
                    end: *range.end(),
                };
                shape.ranges = Some(Ranges {
                    range: ranges.iter().map(range).collect(),
                });
            }
            Value::Items(items) => {
                shape.kind = "SET".into();
                shape.set = Some(Set {
                    item: items.iter().map(String::from).collect(),
                });
            }
        }
        shape
    }
}

/// From here on, whole numbers are written as such: readers of JSON may lose digits of a float.
const LARGE: u64 = 1 << 42;

/// Returns the float that is this amount, or the whole number where floats are too coarse.
fn number(amount: Milli) -> Number {
    let one = Milli::from_units(1).thousandths().unsigned_abs();
    match amount.thousandths().unsigned_abs() / one {
        units if amount.is_whole() && units >= LARGE => Number::Whole(units),
        _ => Number::Float(amount.to_f64()),
    }
}

fn level(level: &Reservation) -> super::Reservation {
    let (kind, principal, labels) = match level {
        Reservation::Static { .. } => ("STATIC", None, None),
        Reservation::Dynamic {
            principal, labels, ..
        } => ("DYNAMIC", principal.as_deref(), written(labels)),
    };
    super::Reservation {
        kind: Some(kind.into()),
        role: Some(level.role().to_string()),
        principal: principal.map(String::from),
        labels,
    }
}

fn written(labels: &Labels) -> Option<super::Labels> {
    let label = |label: &super::super::Label| Label {
        key: label.key.to_string(),
        value: label.value.as_deref().map(String::from),
    };
    (!labels.is_empty()).then(|| super::Labels {
        labels: labels.iter().map(label).collect(),
    })
}

fn persistence(volume: &Volume) -> Persistence {
    Persistence {
        id: volume.id.to_string(),
        principal: volume.principal.as_deref().map(String::from),
    }
}

fn mounted(volume: &Volume) -> super::Volume {
    let mode = match volume.access {
        Access::ReadWrite => "RW",
        Access::ReadOnly => "RO",
    };
    super::Volume {
        mode: mode.into(),
        container_path: volume.container_path.to_string(),
        host_path: None,
    }
}

fn source(source: &Source) -> super::Source {
    let rooted = |root: &Option<_>| {
        let root: Option<&alloc::sync::Arc<str>> = root.as_ref();
        root.map(|root| Root {
            root: Some(root.to_string()),
        })
    };
    let mut shape = super::Source {
        vendor: source.vendor.as_deref().map(String::from),
        id: source.id.as_deref().map(String::from),
        metadata: written(&source.metadata),
        profile: source.profile.as_ref().map(ToString::to_string),
        ..super::Source::default()
    };
    match &source.kind {
        DiskKind::Path { root } => (shape.kind, shape.path) = ("PATH".into(), rooted(root)),
        DiskKind::Mount { root } => (shape.kind, shape.mount) = ("MOUNT".into(), rooted(root)),
        DiskKind::Block => shape.kind = "BLOCK".into(),
        DiskKind::Raw => shape.kind = "RAW".into(),
    }
    shape
}
