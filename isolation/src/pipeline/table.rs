//! What a pipeline knows of containers, and what is to be done for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits, ContainerSpec as Spec};
use tepui_core::protocol::status::Breach;

use crate::isolator::Cancel;

#[derive(Default)]
pub(super) struct Table {
    pub(super) containers: BTreeMap<ContainerId, Entry>,
    /// Containers that have something to be done, each once.
    pub(super) ready: VecDeque<ContainerId>,
    /// Launches that wait until what was there before is found out.
    pub(super) held: Vec<(ContainerId, Box<Spec>)>,
    pub(super) recovery: Recovery,
    /// What could not be cleaned up.
    pub(super) left: BTreeSet<ContainerId>,
    pub(super) workers: usize,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) idle: usize,
    pub(super) is_closed: bool,
}

/// Whether it is being found out what was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Recovery {
    /// No.
    #[default]
    Done,
    /// The launcher has been asked.
    Asked,
    /// It has said all; what has ended is being cleaned up.
    Told,
    /// Isolators are to remove what belongs to nobody.
    Due,
    /// They do.
    Removing,
}

/// A container that is not over.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) stage: Stage,
    pub(super) cancel: Arc<Cancel>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) is_busy: bool,
    /// What it may use from now on, if that was said before it was launched.
    pub(super) resized: Option<ContainerLimits>,
    /// A limit that it broke, for which it is being ended.
    pub(super) breach: Option<Breach>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The launcher does not have it yet.
    #[default]
    Preparing,
    /// It does.
    Launched,
    /// Its program runs.
    Running,
    /// It is over, and is being cleaned up.
    Ended,
}

/// Something to be done for a container.
pub(super) enum Job {
    Prepare(Box<Spec>),
    Update(ContainerLimits),
    Conclude(ContainerEvent),
}

/// Why a container does not start that is not wanted any more.
pub(super) const GIVEN_UP: &str = "it was ended before its program was started";

/// Says so.
pub(super) fn given_up(id: &ContainerId) -> ContainerEvent {
    ContainerEvent::LaunchFailed {
        id: id.clone(),
        message: GIVEN_UP.to_owned(),
    }
}
