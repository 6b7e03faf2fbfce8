//! What a pipeline knows of containers, and what is to be done for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits, ContainerSpec as Spec};
use tepui_core::protocol::status::Breach;

use crate::isolator::{Cancel, Usage};

#[derive(Default)]
pub(super) struct Table {
    pub(super) containers: BTreeMap<ContainerId, Entry>,
    /// What begins waits for others only; what may take long does not hold up ends.
    pub(super) begin: Lane,
    pub(super) rest: Lane,
    /// Launches that wait until what was there before is found out.
    pub(super) held: Vec<(ContainerId, Box<Spec>)>,
    pub(super) recovery: Recovery,
    /// The isolators that do not know what was there before, and why. Nothing is prepared by them.
    pub(super) unready: BTreeMap<usize, String>,
    /// The isolators that are to recover again.
    pub(super) again: Vec<Again>,
    /// What could not be cleaned up.
    pub(super) left: BTreeSet<ContainerId>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) is_closed: bool,
}

/// Containers that have something to be done, each once, and who does it.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) ready: VecDeque<ContainerId>,
    pub(super) workers: usize,
    pub(super) idle: usize,
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Rest,
}

impl Table {
    pub(super) fn lane(&mut self, kind: Kind) -> &mut Lane {
        match kind {
            Kind::Begin => &mut self.begin,
            Kind::Rest => &mut self.rest,
        }
    }

    /// A container is cleaned up. Returns its group if that was the last one of it; `noted` is the
    /// group of one of which only the journal tells.
    pub(super) fn leave_group(
        &mut self,
        id: &ContainerId,
        noted: Option<ContainerId>,
    ) -> Option<ContainerId> {
        let entry = self.containers.get_mut(id);
        let group = entry.and_then(|entry| entry.group.take());
        let group = group.or(noted)?;
        let is_of_it = |entry: &Entry| entry.group.as_ref() == Some(&group);
        let is_alive = self.containers.values().any(is_of_it)
            || self
                .held
                .iter()
                .any(|(_, spec)| group_of(spec) == Some(&group));
        (!is_alive).then_some(group)
    }

    /// Returns how much work waits in a lane.
    pub(super) fn waiting(&self, kind: Kind) -> usize {
        match kind {
            Kind::Begin => self.begin.ready.len(),
            Kind::Rest => self.rest.ready.len() + usize::from(self.recovery == Recovery::Due),
        }
    }
}

/// An isolator whose recovery has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) index: usize,
    pub(super) pause: Duration,
    pub(super) due: Instant,
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
    /// Its group, until it is cleaned up.
    pub(super) group: Option<ContainerId>,
    /// What was asked for, as long as isolators are to attach.
    pub(super) spec: Option<Box<Spec>>,
    /// Its init, once it is known.
    pub(super) pid: Option<u32>,
    /// What it may use from now on, if that was said before it was launched.
    pub(super) resized: Option<ContainerLimits>,
    /// A limit that it broke, for which it is being ended.
    pub(super) breach: Option<Breach>,
    /// Why it does not start, if we know better than the launcher.
    pub(super) refused: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The launcher does not have it yet.
    #[default]
    Preparing,
    /// It does, and holds it.
    Holding,
    /// It does.
    Launched,
    /// Its program runs.
    Running,
    /// It is over, and is being cleaned up.
    Ended,
}

/// Who hears what a container has used; `None` if it is not there any more.
pub(crate) type Answer = Box<dyn FnOnce(Option<Usage>) + Send>;

/// Something to be done for a container.
pub(super) enum Job {
    Prepare(Box<Spec>),
    /// Its init waits, of this process id and begin.
    Attach(u32, u64),
    Update(ContainerLimits),
    Usage(Answer),
    Conclude(ContainerEvent),
}

impl Job {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Prepare(_) | Self::Attach(..) => Kind::Begin,
            Self::Update(_) | Self::Usage(_) | Self::Conclude(_) => Kind::Rest,
        }
    }
}

/// Returns the group of a container.
pub(super) fn group_of(spec: &Spec) -> Option<&ContainerId> {
    spec.group.as_ref().map(|group| &group.id)
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
