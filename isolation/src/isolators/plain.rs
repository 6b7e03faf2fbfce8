//! Refuses what only containers can have, where tasks are plain processes.

use tepui_core::protocol::container_info::ContainerInfo;

use crate::isolator::{Isolator, Outcome, Subject};
use crate::launch::Launch;

/// Refuses tasks that ask for a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Isolator for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn prepare(&self, subject: &Subject<'_>, _launch: &mut Launch) -> Outcome<()> {
        let asked = subject.spec.container.as_deref();
        match asked.is_some_and(|asked| *asked != ContainerInfo::default()) {
            true => Err("it asks for a container, and this agent runs plain processes".into()),
            false => Ok(()),
        }
    }
}
