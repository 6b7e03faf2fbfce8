//! Cleans up after isolators that an operator does not want any more: what an agent before this one
//! had made with them would stay for ever.

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;

use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::Launch;

/// An isolator that has been asked for something in former lives of the agent, and is asked for
/// nothing new.
#[derive(Debug)]
pub struct Former<I>(I);

impl<I: Isolator> Former<I> {
    /// Has an isolator clean up only.
    pub fn new(isolator: I) -> Self {
        Self(isolator)
    }
}

impl<I: Isolator> Isolator for Former<I> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn concerns(&self, _spec: &ContainerSpec) -> bool {
        false
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        self.0.recover(live)
    }

    fn prepare(&self, _subject: &Subject<'_>, _launch: &mut Launch) -> Outcome<()> {
        Ok(())
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        self.0.cleanup(id)
    }

    fn disband(&self, group: &ContainerId) -> Outcome<()> {
        self.0.disband(group)
    }
}
