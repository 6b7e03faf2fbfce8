//! What the allocator has to know of a resource beside its name and amount.
//!
//! This is the one place that asks a [`Resource`] what it is; everything else goes by [`Kind`].
//! Deliberately not here: what is done about it.

use crate::allocator::FrameworkCapabilities;
use crate::resources::{Resource, Value};
use crate::roles::Role;

/// How a resource may be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    /// Whose it is, if it is reserved.
    pub(super) reserved: Option<&'a Role>,
    /// It can be taken back at any time.
    pub(super) revocable: bool,
    /// Several may hold it at once.
    pub(super) shared: bool,
    /// It is reserved within a reservation.
    pub(super) refined: bool,
    /// It is offered whole or not at all, though it is a scalar.
    pub(super) whole: bool,
}

/// Says what a resource is.
pub(super) fn kind(resource: &Resource) -> Kind<'_> {
    Kind {
        reserved: resource.reservation_role(),
        revocable: resource.is_revocable(),
        shared: resource.is_shared(),
        refined: resource.has_refined_reservations(),
        whole: resource.is_exclusive(),
    }
}

/// Returns the same resource with another value.
pub(super) fn with_value(entry: &Resource, value: Value) -> Option<Resource> {
    entry.clone().with_value(value).ok()
}

impl Kind<'_> {
    /// Returns whether quota counts it when it is held: everything else is either counted when it
    /// is reserved, or not at all (AL-23).
    pub(super) const fn is_open(&self) -> bool {
        self.reserved.is_none() && !self.revocable
    }

    /// Returns whether a framework can cope with it (AL-32).
    pub(super) const fn suits(&self, framework: &FrameworkCapabilities) -> bool {
        (framework.revocable || !self.revocable)
            && (framework.shared || !self.shared)
            && (framework.reservation_refinement || !self.refined)
    }

    /// Returns whether anybody may have it, in any part.
    pub(super) const fn is_plain(&self) -> bool {
        self.is_open() && !self.shared && !self.refined && !self.whole
    }
}
