//! What tells apart resources of one name: whose they are, on which disk, and of what sort.
//!
//! Only resources of equal metadata merge (RM-18). These are plain data; the parts that have rules
//! of their own keep them, and [`Metadata::check`] holds those between the parts. Deliberately not
//! here: the allocation role of Mesos. To which role something is allocated is no property of the
//! thing: grants, offers and tasks say it beside the bag that they hold, so that a bag of an agent
//! adds up what all roles hold of it without first rewriting every entry.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::labels::{InvalidText, Labels, check_text};
use super::reservation::{Reservation, Reservations};
use crate::ids::Id;
use crate::roles::Role;

/// The kinds of ids that only resources carry.
pub mod kind {
    use crate::ids::Kind;

    /// Marks the id of a persistent volume.
    #[derive(Debug)]
    pub enum Volume {}
    /// Marks the id of a resource provider.
    #[derive(Debug)]
    pub enum Provider {}
    /// Marks the name of a disk profile.
    #[derive(Debug)]
    pub enum Profile {}

    impl Kind for Volume {
        const NOUN: &'static str = "volume id";
    }
    impl Kind for Provider {
        const NOUN: &'static str = "resource provider id";
    }
    impl Kind for Profile {
        const NOUN: &'static str = "disk profile";
    }
}

/// Names a persistent volume within its role and agent (RM-42).
pub type VolumeId = Id<kind::Volume>;
/// Names who provides a resource beside the agent itself.
pub type ProviderId = Id<kind::Provider>;
/// Names a disk profile: what a new volume shall be like (RM-52).
pub type ProfileId = Id<kind::Profile>;

/// Everything of a resource but its name and its value; the default is a plain resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// Whose it is; none is unreserved.
    pub reservations: Reservations,
    /// Which disk it is of; `None` is the one of the agent's work directory, ROOT (RM-39).
    pub source: Option<Source>,
    /// The persistent volume that it is.
    pub volume: Option<Volume>,
    /// Who provides it beside the agent itself.
    pub provider: Option<ProviderId>,
    /// Whether it may be taken away at any time (RM-53).
    pub revocable: bool,
    /// Whether several may hold it at once (RM-48).
    pub shared: bool,
}

/// What sort of disk it is (RM-39). A root is relative to the work directory or absolute; it is
/// missing where the provider has not told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DiskKind {
    /// A directory on some file system, which can be divided.
    Path {
        /// Where it is.
        root: Option<Arc<str>>,
    },
    /// A whole file system, which cannot.
    Mount {
        /// Where it is mounted.
        root: Option<Arc<str>>,
    },
    /// A block device.
    Block,
    /// Unformatted space: a pool that can be divided or, with an id, a volume that cannot.
    Raw,
}

/// Which disk something is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Of what sort.
    pub kind: DiskKind,
    /// Which plugin made it.
    pub vendor: Option<Arc<str>>,
    /// What its plugin calls it.
    pub id: Option<Arc<str>>,
    /// What its plugin says about it.
    pub metadata: Labels,
    /// After which profile it was made, or can be.
    pub profile: Option<ProfileId>,
}

/// What a task may do with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Read and write.
    ReadWrite,
    /// Only read.
    ReadOnly,
}

/// A persistent volume: data that outlive the task (RM-41).
///
/// Two volumes are equal if their ids are: who made it and where a container sees it are no part
/// of its identity (RM-18), so that a task may mount read-only what was offered for writing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// What it is called within its role and agent.
    pub id: VolumeId,
    /// Who made it.
    pub principal: Option<Arc<str>>,
    /// What the container may do with it.
    pub access: Access,
    /// Where the container sees it.
    pub container_path: Arc<str>,
}

impl Source {
    /// Makes a disk of a sort, of which nothing else is known.
    pub const fn of(kind: DiskKind) -> Self {
        Self {
            kind,
            vendor: None,
            id: None,
            metadata: Labels::new(),
            profile: None,
        }
    }

    /// Returns whether it is given and taken as a whole (RM-19, RM-20).
    pub const fn is_exclusive(&self) -> bool {
        match self.kind {
            DiskKind::Path { .. } => false,
            DiskKind::Mount { .. } | DiskKind::Block => true,
            DiskKind::Raw => self.id.is_some(),
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidText> {
        let root = match &self.kind {
            DiskKind::Path { root } | DiskKind::Mount { root } => root.as_deref(),
            DiskKind::Block | DiskKind::Raw => None,
        };
        for (what, text) in [
            ("disk root", root),
            ("disk vendor", self.vendor.as_deref()),
            ("disk id", self.id.as_deref()),
        ] {
            text.map_or(Ok(()), |text| check_text(what, text))?;
        }
        Ok(())
    }
}

impl Volume {
    /// Makes a volume that is written to.
    pub fn new(id: VolumeId, container_path: &str) -> Self {
        Self {
            id,
            principal: None,
            access: Access::ReadWrite,
            container_path: Arc::from(container_path),
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidText> {
        if let Some(principal) = &self.principal {
            check_text("principal", principal)?;
        }
        check_text("container path", &self.container_path)
    }
}

impl PartialEq for Volume {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl Eq for Volume {}
impl PartialOrd for Volume {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Volume {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}
impl Hash for Volume {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Metadata {
    /// Describes a plain resource: unreserved, of no special disk, of no special sort.
    pub const PLAIN: Self = Self {
        reservations: Reservations::new(),
        source: None,
        volume: None,
        provider: None,
        revocable: false,
        shared: false,
    };

    /// Describes what an agent's configuration reserves to a role; `*` leaves it unreserved.
    pub fn reserved_to(role: Role) -> Self {
        let mut plain = Self::PLAIN;
        if !role.is_any() {
            plain
                .reservations
                .push(Reservation::Static { role })
                .expect("a static level to a role that is not \"*\" may be the first");
        }
        plain
    }

    /// Returns whether nothing sets it apart.
    pub fn is_plain(&self) -> bool {
        *self == Self::PLAIN
    }

    /// Returns whether it is given and taken as a whole and has no copies (RM-19, RM-20).
    pub fn is_exclusive(&self) -> bool {
        let whole = self.volume.is_some() || self.source.as_ref().is_some_and(Source::is_exclusive);
        whole && !self.shared
    }

    /// Returns whether it is the same but for whose it is.
    pub fn is_same_thing(&self, other: &Self) -> bool {
        (&self.source, &self.volume, &self.provider)
            == (&other.source, &other.volume, &other.provider)
            && (self.revocable, self.shared) == (other.revocable, other.shared)
    }

    /// Checks the texts, and what may go together (RM-14, RM-41, RM-53).
    pub(super) fn check(&self) -> Result<(), Unfit> {
        if let Some(source) = &self.source {
            source.check()?;
        }
        if let Some(volume) = &self.volume {
            volume.check()?;
        }
        let reserved = !self.reservations.is_empty();
        Err(Unfit::Together(if self.shared && self.volume.is_none() {
            "is shared but no persistent volume"
        } else if self.revocable && self.volume.is_some() {
            "is revocable and a persistent volume"
        } else if self.revocable && reserved {
            "is revocable and reserved"
        } else if self.volume.is_some() && !reserved {
            "is a persistent volume but not reserved"
        } else {
            return Ok(());
        }))
    }
}

/// Why metadata do not make sense.
pub(super) enum Unfit {
    Text(InvalidText),
    Together(&'static str),
}

impl From<InvalidText> for Unfit {
    fn from(why: InvalidText) -> Self {
        Self::Text(why)
    }
}
