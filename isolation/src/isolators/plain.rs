//! Refuses what only containers can have, where tasks are plain processes.

use tepui_core::protocol::container_info::ContainerInfo;

use super::persistent::{self, Persistent};
use crate::isolator::{Isolator, Outcome, Subject};
use crate::launch::Launch;

/// Refuses tasks that ask for a container.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    persistent: Option<Persistent>,
}

impl Plain {
    /// Links persistent volumes into sandboxes; without it tasks with such are refused too.
    pub fn keeping(self, persistent: Persistent) -> Self {
        let persistent = Some(persistent);
        Self { persistent }
    }
}

impl Isolator for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        refuse_containers(subject, launch)?;
        match &self.persistent {
            Some(persistent) => persistent.link(subject),
            None => persistent::refuse(subject),
        }
    }
}

fn refuse_containers(subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
    let group = subject.spec.group.as_deref();
    if group.is_some_and(|group| group.container.is_some()) {
        return Err("its group asks for networks, and this agent runs plain processes".into());
    }
    let Some(asked) = subject.spec.container.as_deref() else {
        return Ok(());
    };
    // What it reads and writes is no part of a container.
    let possible = ContainerInfo {
        terminal: asked.terminal,
        interactive: asked.interactive,
        logs: asked.logs,
        ..ContainerInfo::default()
    };
    if *asked != possible {
        return Err("it asks for a container, and this agent runs plain processes".into());
    }
    launch.take_streams(asked);
    Ok(())
}
