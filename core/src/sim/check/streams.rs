//! News on their way from an agent to a framework: it hears what the agent sends of a task in the
//! agent's order, and without gaps (I11). It may hear something again.
//!
//! Goes by what agents send and what schedulers were told, over all masters between them. What a
//! master says by itself has no place in an agent's order, and is left out.

use alloc::collections::BTreeMap;
use alloc::format;

use smallvec::SmallVec;

use super::Broken;
use super::confirmed::Said;
use crate::ids::{FrameworkId, TaskId, UpdateId};
use crate::protocol::agent::ToMaster;
use crate::protocol::status::TaskState;
use crate::sim::property::Property;

/// The updates of one task, in the order in which its agent first sent them.
#[derive(Debug, Default)]
struct Stream {
    updates: SmallVec<[(UpdateId, TaskState); 4]>,
    /// How many of them the framework has heard.
    heard: usize,
}

impl Stream {
    fn place(&self, update: UpdateId) -> Option<usize> {
        let mut updates = self.updates.iter();
        updates.position(|(known, _)| *known == update)
    }
}

/// The updates of all tasks.
#[derive(Debug, Default)]
pub(in crate::sim) struct Streams {
    tasks: BTreeMap<FrameworkId, BTreeMap<TaskId, Stream>>,
}

impl Streams {
    /// An agent sends something.
    pub(in crate::sim) fn sends(&mut self, message: &ToMaster) {
        if let ToMaster::Update {
            framework, status, ..
        } = message
            && let Some(update) = status.update
        {
            let tasks = self.tasks.entry(framework.clone()).or_default();
            let stream = tasks.entry(status.task.clone()).or_default();
            if !stream.updates.iter().any(|(known, _)| *known == update) {
                stream.updates.push((update, status.state));
            }
        }
    }

    /// Returns what an update says that an agent has sent and its framework was not told.
    pub(in crate::sim) fn unheard(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        update: UpdateId,
    ) -> Option<TaskState> {
        let stream = self.tasks.get(framework)?.get(task)?;
        let place = stream.place(update)?;
        (place >= stream.heard).then(|| stream.updates[place].1)
    }

    /// An agent forgets an update. If it was not told, and rightly so ([`super::deliveries`]), what
    /// comes after it may be: the framework knew more by the master's word.
    pub(in crate::sim) fn forgets(&mut self, (framework, task, update): &Said) {
        let tasks = self.tasks.get_mut(framework);
        if let Some(stream) = tasks.and_then(|tasks| tasks.get_mut(task))
            && let Some(place) = stream.place(*update)
        {
            stream.heard = stream.heard.max(place + 1);
        }
    }

    /// A scheduler of a framework was told an update.
    pub(in crate::sim) fn heard(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        update: UpdateId,
    ) -> Result<(), Broken> {
        let tasks = self.tasks.get_mut(framework);
        let Some(stream) = tasks.and_then(|tasks| tasks.get_mut(task)) else {
            return Ok(());
        };
        let Some(place) = stream.place(update) else {
            return Ok(());
        };
        if place > stream.heard {
            let heard = stream.heard;
            let problem =
                format!("update {place} of {task} of {framework} is heard, and {heard} was not");
            return Err((Property::Updates, problem));
        }
        stream.heard = stream.heard.max(place + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::status::{Source, TaskStatus};
    use crate::time::Time;

    struct Scene {
        streams: Streams,
        framework: FrameworkId,
        task: TaskId,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                streams: Streams::default(),
                framework: FrameworkId::new("m-0000").unwrap(),
                task: TaskId::new("t").unwrap(),
            }
        }

        fn sends(&mut self, update: u128) {
            let (state, source) = (TaskState::Running, Source::Executor);
            let status = TaskStatus {
                update: Some(UpdateId(update)),
                ..TaskStatus::new(self.task.clone(), state, source, Time::ZERO)
            };
            let message = ToMaster::Update {
                framework: self.framework.clone(),
                status,
                latest: state,
            };
            self.streams.sends(&message);
        }

        fn hears(&mut self, update: u128) -> Result<(), Property> {
            let heard = self
                .streams
                .heard(&self.framework, &self.task, UpdateId(update));
            heard.map_err(|(property, _)| property)
        }
    }

    // TK-66, TK-68
    #[test]
    fn what_was_left_out_is_found_and_what_comes_again_is_not() {
        let mut scene = Scene::new();
        scene.sends(1);
        scene.sends(1);
        let unheard = |scene: &Scene, update| {
            let (framework, task) = (&scene.framework, &scene.task);
            scene.streams.unheard(framework, task, UpdateId(update))
        };
        assert_eq!(unheard(&scene, 1), Some(TaskState::Running));
        assert_eq!(scene.hears(1), Ok(()));
        assert_eq!(unheard(&scene, 1), None);
        scene.sends(2);
        assert_eq!(unheard(&scene, 2), Some(TaskState::Running));
        assert_eq!(unheard(&scene, 7), None, "no agent has said that");
        assert_eq!(scene.hears(1), Ok(()), "it may be heard again");
        assert_eq!(scene.hears(7), Ok(()), "a master says something itself");
        assert_eq!(scene.hears(2), Ok(()));

        let mut scene = Scene::new();
        scene.sends(1);
        scene.sends(2);
        assert_eq!(scene.hears(2), Err(Property::Updates));
        assert_eq!(scene.hears(1), Ok(()));
        assert_eq!(scene.hears(2), Ok(()));

        let mut scene = Scene::new();
        scene.sends(1);
        scene.sends(2);
        let forgotten = (scene.framework.clone(), scene.task.clone(), UpdateId(1));
        scene.streams.forgets(&forgotten);
        assert_eq!(scene.hears(2), Ok(()), "it was not told, and need not be");
    }
}
