//! What a containerizer knows of its launcher and of what it has ordered there, and what it says to
//! the next one when a launcher is gone.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::check::ProbeOutcome;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tracing::warn;

use crate::error::Result;
use crate::wire::{Request, encode};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) stream: Option<UnixStream>,
    /// The containers whose end has not been told, and how they were asked to end: that an order
    /// was written does not mean that it was read.
    pub(crate) live: BTreeMap<ContainerId, Asked>,
    /// What is to be forgotten and was not written.
    pub(crate) forgets: Vec<ContainerId>,
    /// Whether a `Recover` is unanswered.
    pub(crate) recovering: bool,
    /// What the launcher could not end.
    pub(crate) left: Vec<String>,
    pub(crate) phase: Phase,
}

/// How a container was asked to end; a stronger order takes the place of a weaker one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Nothing,
    Terminate,
    Destroy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A launcher that is gone is replaced.
    Open,
    /// It is asked to go.
    ShuttingDown,
    /// The threads end.
    Closed,
}

impl State {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Some(stream),
            live: BTreeMap::new(),
            forgets: Vec::new(),
            recovering: false,
            left: Vec::new(),
            phase: Phase::Open,
        }
    }

    fn ask(&mut self, id: &ContainerId, asked: Asked) {
        if let Some(before) = self.live.get_mut(id) {
            *before = asked.max(*before);
        }
    }

    /// Takes note of an order that was put into words for the launcher, or could not be. Returns
    /// what is told of the latter.
    fn ordered(
        &mut self,
        command: ContainerCommand,
        written: Result<()>,
    ) -> Option<ContainerEvent> {
        match (command, written) {
            (ContainerCommand::Launch { id, .. }, Ok(())) => {
                self.live.insert(id, Asked::Nothing);
            }
            (ContainerCommand::Launch { id, .. }, Err(error)) => {
                let message = error.to_string();
                return Some(ContainerEvent::LaunchFailed { id, message });
            }
            (ContainerCommand::Recover { known }, Ok(())) => {
                for id in known {
                    self.live.entry(id).or_insert(Asked::Nothing);
                }
                self.recovering = true;
            }
            (ContainerCommand::Terminate { id }, Ok(())) => self.ask(&id, Asked::Terminate),
            (ContainerCommand::Destroy { id }, Ok(())) => self.ask(&id, Asked::Destroy),
            (ContainerCommand::Forget { id }, Ok(())) => self.forgets.push(id),
            (
                ContainerCommand::Resize { .. }
                | ContainerCommand::Probe { .. }
                | ContainerCommand::Unprobe { .. },
                Ok(()),
            ) => {}
            (ContainerCommand::Probe { id, number, .. }, Err(error)) => {
                return Some(ContainerEvent::Probed {
                    id,
                    number,
                    outcome: ProbeOutcome::Failed(error.to_string()),
                });
            }
            (ContainerCommand::Resize { id, .. }, Err(error)) => {
                let message = error.to_string();
                return Some(ContainerEvent::ResizeFailed { id, message });
            }
            (
                ContainerCommand::Recover { .. }
                | ContainerCommand::Terminate { .. }
                | ContainerCommand::Destroy { .. }
                | ContainerCommand::Forget { .. }
                | ContainerCommand::Unprobe { .. },
                Err(error),
            ) => warn!(%error, "an order is dropped"),
        }
        None
    }

    /// Lists what a launcher is told at the begin of a connection: whom we know, and what it may
    /// not have heard. Being asked to end twice does no harm.
    pub(crate) fn resumption(&self) -> Vec<Request> {
        let known = self.live.keys().cloned().collect();
        let mut requests = vec![match self.recovering {
            true => Request::Command(ContainerCommand::Recover { known }),
            false => Request::Resync { known },
        }];
        let orders = self.live.iter().filter_map(|(id, asked)| {
            let id = id.clone();
            match asked {
                Asked::Nothing => None,
                Asked::Terminate => Some(ContainerCommand::Terminate { id }),
                Asked::Destroy => Some(ContainerCommand::Destroy { id }),
            }
        });
        requests.extend(orders.map(Request::Command));
        let forgets = self.forgets.iter().cloned();
        let forgets = forgets.map(|id| ContainerCommand::Forget { id });
        requests.extend(forgets.map(Request::Command));
        requests
    }

    /// Encodes an order, and notes what it means. What is too long is `refused`.
    pub(crate) fn encode(
        &mut self,
        mut request: Request,
        default_pids: Option<u32>,
        bytes: &mut Vec<u8>,
        refused: &mut Vec<ContainerEvent>,
    ) {
        if let Request::Command(ContainerCommand::Launch { spec, .. })
        | Request::Launch { spec, .. } = &mut request
        {
            spec.limits.pids = spec.limits.pids.or(default_pids);
        }
        let encoded = encode(&request, bytes);
        let command = match request {
            Request::Command(command) => command,
            Request::Launch { id, spec, .. } => ContainerCommand::Launch { id, spec },
            Request::Hello { .. }
            | Request::Enter { .. }
            | Request::Input { .. }
            | Request::EndInput { .. }
            | Request::Resync { .. }
            | Request::Release { .. }
            | Request::Shutdown { .. } => {
                encoded.expect("what is not a command is short");
                return;
            }
        };
        refused.extend(self.ordered(command, encoded));
    }
}

/// Names where an order has been written.
pub(crate) fn place_of(request: &Request) -> Option<&'static str> {
    Some(match request {
        Request::Launch { .. } => "launch.sent",
        Request::Release { .. } => "release.sent",
        Request::Command(command) => match command {
            ContainerCommand::Terminate { .. } => "terminate.sent",
            ContainerCommand::Destroy { .. } => "destroy.sent",
            ContainerCommand::Forget { .. } => "forget.sent",
            ContainerCommand::Resize { .. } => "resize.sent",
            ContainerCommand::Launch { .. }
            | ContainerCommand::Recover { .. }
            | ContainerCommand::Probe { .. }
            | ContainerCommand::Unprobe { .. } => return None,
        },
        Request::Hello { .. }
        | Request::Enter { .. }
        | Request::Input { .. }
        | Request::EndInput { .. }
        | Request::Resync { .. }
        | Request::Shutdown { .. } => return None,
    })
}
