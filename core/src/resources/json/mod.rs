//! Resources as JSON, with the names of Mesos' v1 API (RM-11).
//!
//! The types here have the shape of the JSON and nothing else: whatever reads bytes makes them
//! with serde, then [`read_bag`], [`read_entries`] or [`read_configured`] check them, and an error
//! names the field. [`write()`] and [`Resource::legacy`] go the other way. Both formats of
//! reservations are understood (RM-15). A field that is not known is refused, since skipping it
//! could change what is meant.
//!
//! The shapes do not nest in themselves and are at most eight levels deep, so no input makes the
//! stack grow. How long an input may be is for the caller to bound before it is read, as
//! [`crate::limits::FRAME_BYTES`] does on the wire. Deliberately not here: bytes, and the choice
//! between text and JSON.
//!
//! ```
//! use tepui_core::resources::{Resources, json};
//!
//! let given = r#"[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.5},
//!                  "reservations": [{"type": "STATIC", "role": "eng"}]}]"#;
//! let shapes: Vec<json::Resource> = serde_json::from_str(given)?;
//! let resources = json::read_bag(&shapes)?;
//! assert_eq!(resources, Resources::parse("cpus(eng):2.5")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod read;
#[cfg(test)]
mod tests;
mod write;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::invalid::{InvalidResource, Overflow};
use super::items::InvalidItem;
use super::labels::{InvalidLabels, InvalidText};
use super::milli::InvalidScalar;
use super::reservation::InvalidReservation;
use crate::ids::InvalidId;
use crate::roles::InvalidRole;

pub use read::{Entry, read_bag, read_configured, read_entries};
pub use write::write;

/// A resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resource {
    /// Who provides it beside the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<Value>,
    /// What it is called.
    pub name: String,
    /// `SCALAR`, `RANGES` or `SET`; says which of the next three is there.
    #[serde(rename = "type")]
    pub kind: String,
    /// How much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scalar: Option<Scalar>,
    /// Which numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Ranges>,
    /// Which names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Set>,
    /// Whose it is, in the older format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its dynamic reservation, in the older format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// Its reservation, level by level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// To which role it is allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_info: Option<AllocationInfo>,
    /// Of which disk it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// There if it may be taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocable: Option<Marker>,
    /// There if several may hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Marker>,
}

/// An object without fields, which says something by being there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {}

/// A text in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Value {
    /// The text.
    pub value: String,
}

/// A number in an object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scalar {
    /// The number.
    pub value: Number,
}

/// A number as it stands in JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Written without point and sign, so that no float loses its last digits.
    Whole(u64),
    /// Anything else.
    Float(f64),
}

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ranges {
    /// Its ranges, in any order.
    pub range: Vec<Range>,
}

/// A range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first one.
    pub begin: u64,
    /// The last one.
    pub end: u64,
}

/// A set of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Set {
    /// Its names, in any order.
    pub item: Vec<String>,
}

/// One level of a reservation, or all of it in the older format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reservation {
    /// `STATIC` or `DYNAMIC`; not there in the older format.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whose it is; not there in the older format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What whoever made it says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// Labels in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Labels {
    /// The labels, in any order.
    pub labels: Vec<Label>,
}

/// A key, and perhaps a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Label {
    /// What it says something about.
    pub key: String,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// To which role something is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllocationInfo {
    /// Which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// What makes a persistent volume of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Where a container sees the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The identity of a persistent volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Persistence {
    /// Its id.
    pub id: String,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// Where a container sees a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Volume {
    /// `RW` or `RO`.
    pub mode: String,
    /// The path in the container.
    pub container_path: String,
    /// Not to be there (RM-41); known so that the error can say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
}

/// Where a disk comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// `PATH`, `MOUNT`, `BLOCK` or `RAW`.
    #[serde(rename = "type")]
    pub kind: String,
    /// More about a `PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Root>,
    /// More about a `MOUNT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<Root>,
    /// Which plugin made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// What its plugin calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What its plugin says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Labels>,
    /// After which profile it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// A directory in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Root {
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// JSON that has the shape but makes no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid resource at {path}: {problem}")]
pub struct InvalidJson {
    /// Which field, such as `[2].disk.source.type`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its text is none of a few, it must be there or must not, or it contradicts another.
    #[error("expected {0}")]
    Expected(&'static str),
    /// It is no number of a resource.
    #[error(transparent)]
    Scalar(#[from] InvalidScalar),
    /// It is no item.
    #[error(transparent)]
    Item(#[from] InvalidItem),
    /// It is no role.
    #[error(transparent)]
    Role(#[from] InvalidRole),
    /// It is no id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// It is not fit as a text.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// They are no labels.
    #[error(transparent)]
    Labels(#[from] InvalidLabels),
    /// It does not fit onto the levels before it.
    #[error(transparent)]
    Reservation(#[from] InvalidReservation),
    /// Its fields, each fine, make no resource together.
    #[error(transparent)]
    Resource(#[from] InvalidResource),
    /// With those before, it is too much.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl InvalidJson {
    fn at(path: &str, problem: impl Into<Problem>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }

    fn expected(path: &str, expected: &'static str) -> Self {
        Self::at(path, Problem::Expected(expected))
    }

    /// Says in which field or element it was.
    fn within(self, outer: &str) -> Self {
        let path = if self.path.is_empty() || self.path.starts_with('[') {
            format!("{outer}{}", self.path)
        } else {
            format!("{outer}.{}", self.path)
        };
        Self { path, ..self }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Whole(number) => serializer.serialize_u64(number),
            Self::Float(number) => serializer.serialize_f64(number),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(u64::try_from(number).map_or(Number::Float(number as f64), Number::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number::Float(number))
    }
}
