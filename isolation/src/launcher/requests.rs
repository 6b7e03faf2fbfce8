//! What the launcher does when its agent asks for something.

use std::collections::BTreeSet;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::check::ProbeOutcome;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};

use super::exits::Outcome;
use super::{Awaited, Launcher, State, log};
use crate::launch::Launch;
use crate::process::refuse_unknown;
use crate::wire::{Answer, Request};

/// The most requests of a turn: what was started is told before more is.
const REQUESTS_PER_TURN: usize = 64;

impl Launcher {
    /// Takes a bounded number of requests; returns whether there may be more.
    pub(super) fn take_requests(&mut self) -> bool {
        for _ in 0..REQUESTS_PER_TURN {
            match self.link.next() {
                Ok(Some(request)) => self.on_request(request),
                Ok(None) => return false,
                Err(error) => {
                    log(&error.to_string());
                    return false;
                }
            }
        }
        true
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Hello { logs } => {
                self.logs = logs;
                self.link.tell(&Answer::Hello {
                    settings: self.settings.clone(),
                    live: u32::try_from(self.containers.len()).unwrap_or(u32::MAX),
                });
            }
            Request::Command(command) => self.on_command(command),
            Request::Launch {
                id,
                spec,
                launch,
                hold,
            } => self.on_launch(&id, &spec, &launch, hold),
            Request::Release { id } => {
                if let Some(&key) = self.by_id.get(&id) {
                    self.release(key);
                }
            }
            Request::Enter { id, entry } => self.on_enter(&id, &entry),
            Request::Input { id } => self.on_input(&id),
            Request::EndInput { id } => self.on_end_input(&id),
            Request::Resync { known } => self.report_on(&known, Answer::Synced),
            Request::Shutdown { patience } => self.stop(patience),
        }
    }

    fn on_launch(&mut self, id: &ContainerId, spec: &ContainerSpec, launch: &Launch, hold: bool) {
        if self.by_id.contains_key(id) {
            let (id, message) = (id.clone(), "a container of this id is running".to_owned());
            return self.tell(ContainerEvent::LaunchFailed { id, message });
        }
        self.exits.forget(id);
        if let Err(error) = self.start(id, spec, launch, hold) {
            self.conclude(id, true, Outcome::failed(error.to_string()));
        }
    }

    /// Unknown ids are ignored throughout: the container has ended, and its end was told.
    fn on_command(&mut self, command: ContainerCommand) {
        match command {
            ContainerCommand::Launch { id, spec } => match refuse_unknown(&spec) {
                Ok(()) => self.on_launch(&id, &spec, &Launch::default(), false),
                Err(error) => self.conclude(&id, true, Outcome::failed(error.to_string())),
            },
            ContainerCommand::Terminate { id } => {
                if let Some(&key) = self.by_id.get(&id) {
                    self.terminate(key);
                }
            }
            ContainerCommand::Destroy { id } => {
                if let Some(&key) = self.by_id.get(&id) {
                    self.destroy(key);
                }
            }
            ContainerCommand::Forget { id } => {
                self.exits.forget(&id);
            }
            ContainerCommand::Recover { known } => {
                let set: BTreeSet<&ContainerId> = known.iter().collect();
                self.exits.retain(&set);
                for key in self.keys() {
                    let container = self.containers.get_mut(&key).expect("the key was listed");
                    if !set.contains(&container.id) {
                        container.disowned = true;
                        self.destroy(key);
                    }
                }
                self.report_on(&known, Answer::Event(ContainerEvent::Recovered))
            }
            ContainerCommand::Resize { id, limits } => {
                let key = self.by_id.get(&id).copied();
                let resized = key.map(|key| self.resize(key, limits));
                if let Some(Err(error)) = resized {
                    let message = error.to_string();
                    self.tell(ContainerEvent::ResizeFailed { id, message });
                }
            }
            ContainerCommand::Probe { id, number, .. } => {
                let why = "nothing is tried by launchers, but by their agent".to_owned();
                let outcome = ProbeOutcome::Failed(why);
                self.tell(ContainerEvent::Probed {
                    id,
                    number,
                    outcome,
                });
            }
            ContainerCommand::Unprobe { .. } => {}
        }
    }

    /// Tells about each known container, then `answer` when all others are gone and those that
    /// are on their way have arrived.
    fn report_on(&mut self, known: &[ContainerId], answer: Answer) {
        for id in known {
            let container = self.by_id.get(id).map(|key| {
                let container = self.containers.get_mut(key);
                container.expect("every id in the index has its container")
            });
            let event = match container {
                Some(container) => {
                    container.known = true;
                    match container.state {
                        State::Running => Some(container.started()),
                        State::Starting | State::Draining(_) | State::Closing(_) => None,
                    }
                }
                None => Some(match self.exits.outcome(id) {
                    Some(outcome) => outcome.event(id),
                    None => ContainerEvent::Lost { id: id.clone() },
                }),
            };
            if let Some(event) = event {
                self.tell(event);
            }
        }
        let unsettled = self
            .containers
            .values()
            .filter(|container| match container.state {
                State::Running => container.disowned,
                State::Starting | State::Draining(_) | State::Closing(_) => true,
            });
        let ids = unsettled.map(|container| container.id.clone()).collect();
        self.awaited = Some(Awaited { ids, answer });
    }

    /// Gives the answer that has waited, if nothing holds it back any more.
    pub(super) fn settle(&mut self) {
        let Some(mut awaited) = self.awaited.take() else {
            return;
        };
        let (by_id, containers) = (&self.by_id, &self.containers);
        awaited.ids.retain(|id| {
            let container = by_id.get(id).and_then(|key| containers.get(key));
            container.is_some_and(|c| c.disowned || !matches!(c.state, State::Running))
        });
        if awaited.ids.is_empty() {
            return self.link.tell(&awaited.answer);
        }
        self.awaited = Some(awaited);
    }
}
