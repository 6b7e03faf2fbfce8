//! What a containerizer knows of its launcher and of what it has ordered there, and what it says to
//! the next one when a launcher is gone.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerCommand;

use crate::wire::Request;

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

    pub(crate) fn ask(&mut self, id: &ContainerId, asked: Asked) {
        if let Some(before) = self.live.get_mut(id) {
            *before = asked.max(*before);
        }
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
}
