//! What is known of a task that lives beside its state, for people and as JSON.
//!
//! Used by `views`. Deliberately not here: what the check of a framework has found out.

use tepui_core::protocol::status::TaskStatus;

/// Returns whether a task is healthy; `None` is not known, or not checked.
pub(super) fn healthy(status: &TaskStatus) -> Option<bool> {
    status.observed.as_ref()?.healthy
}

/// Returns the addresses of a task that has networks of its own.
pub(super) fn addresses(status: &TaskStatus) -> &[String] {
    let observed = status.observed.as_deref();
    observed.map_or(&[], |observed| &observed.addresses)
}

/// Says whether a task is healthy, as far as that is known.
pub(super) fn health(status: &TaskStatus) -> String {
    let known = healthy(status).map(|healthy| if healthy { "yes" } else { "no" });
    known.unwrap_or_default().to_owned()
}
