//! Places where a test can have the agent die, so that it is seen what the next one makes of it.
//!
//! Without the feature `kill-points`, which only this crate's own tests have, nothing of this is in
//! the program. With it the variable `TEPUI_KILL_POINT`, read once, names the place at which the
//! process kills itself: no destructor runs, and nothing is written any more. A place that each
//! isolator comes by has the isolator's name after a colon. `isolation/tests/kill_points.rs` has an
//! agent die at all of them.

/// All places, in the order in which a container comes by them. Those that isolators come by end
/// with a colon.
#[cfg(feature = "kill-points")]
pub const POINTS: &[&str] = &[
    "launch.ordered",
    "journal.begun",
    "journal.written",
    "prepare.begun:",
    "images.noted",
    "images.mounted",
    "networks.namespace",
    "networks.attached",
    "networks.files",
    "group.noted",
    "group.ipc",
    "group.memory",
    "group.namespace",
    "group.attached",
    "fetch.brought",
    "prepare.done:",
    "launch.decided",
    "launch.sent",
    "held.heard",
    "attach.begun:",
    "attach.done:",
    "release.decided",
    "release.sent",
    "started.heard",
    "started.told",
    "resize.ordered",
    "resize.sent",
    "update.done:",
    "terminate.ordered",
    "terminate.sent",
    "destroy.ordered",
    "destroy.sent",
    "end.heard",
    "cleanup.begun:",
    "cleanup.done:",
    "disband.begun:",
    "disband.done:",
    "journal.removed",
    "end.told",
    "forget.ordered",
    "forget.sent",
    "recover.ordered",
    "recover.heard",
    "recover.begun:",
    "recover.done:",
    "recover.told",
];

/// The variable that names the place.
#[cfg(feature = "kill-points")]
pub const VARIABLE: &str = "TEPUI_KILL_POINT";

/// The process is at this place.
#[cfg(feature = "kill-points")]
pub(crate) fn reached(point: &str) {
    debug_assert!(POINTS.contains(&point), "{point} is not listed");
    if chosen() == Some(point) {
        die();
    }
}

/// The process is at this place, on behalf of an isolator.
#[cfg(feature = "kill-points")]
pub(crate) fn reached_by(point: &str, isolator: &str) {
    debug_assert!(POINTS.contains(&point), "{point} is not listed");
    if chosen().and_then(|chosen| chosen.strip_prefix(point)) == Some(isolator) {
        die();
    }
}

#[cfg(feature = "kill-points")]
fn chosen() -> Option<&'static str> {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN
        .get_or_init(|| std::env::var(VARIABLE).ok())
        .as_deref()
}

#[cfg(feature = "kill-points")]
fn die() {
    use nix::sys::signal::{Signal, kill};
    // If it fails the test that waits for this death does too.
    let _ = kill(nix::unistd::Pid::this(), Signal::SIGKILL);
}

/// Notes what is asked for at a later place.
#[cfg(feature = "kill-points")]
pub(crate) fn noted(places: impl FnOnce() -> Vec<&'static str>) -> Vec<&'static str> {
    places()
}

/// Nothing, without the feature `kill-points`.
#[cfg(not(feature = "kill-points"))]
pub(crate) fn noted(_: impl FnOnce() -> Vec<&'static str>) -> Vec<&'static str> {
    Vec::new()
}

/// Nothing, without the feature `kill-points`.
#[cfg(not(feature = "kill-points"))]
pub(crate) const fn reached(_: &str) {}

/// Nothing, without the feature `kill-points`.
#[cfg(not(feature = "kill-points"))]
pub(crate) const fn reached_by(_: &str, _: &str) {}
