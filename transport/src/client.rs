//! The async client of a framework: owned offers, a stream of events, and a handle to act with.
//!
//! It is one more [`Logic`]: what happens goes into a channel, and what the user wants comes back
//! through the machine's inputs. Offers and updates are values with an owner, so that none is
//! forgotten: a dropped [`Offer`] is declined, a dropped [`Update`] acknowledged.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tepui_core::demand::Demand;
use tepui_core::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
use tepui_core::protocol::node::AgentLoss;
use tepui_core::protocol::offer;
use tepui_core::protocol::operation::OperationStatus;
use tepui_core::protocol::refusal::{CallKind, EndReason, RejectKind};
use tepui_core::protocol::scheduler::{ExecutorEnd, ExecutorMessage};
use tepui_core::protocol::status::TaskStatus;
use tepui_core::protocol::task::TaskInfo;
use tepui_core::roles::Role;
use tepui_core::scheduler::{Acknowledging, Logic, UserCall, UserEvent};
use tepui_core::time::Time;
use tokio::sync::mpsc;

pub use crate::output::{Output, OutputClient, read_output};
pub use crate::target::Error;

/// Something that happened to the framework.
#[derive(Debug)]
pub enum Event {
    /// A master knows the framework, for the first time or again.
    Subscribed {
        /// The framework's id.
        framework: FrameworkId,
    },
    /// The master is out of reach. All offers are void; tasks go on.
    Disconnected,
    /// New offers.
    Offers(Vec<Offer>),
    /// An offer is void; launching on it gives [`Rescinded`].
    Rescinded(OfferId),
    /// News about a task.
    Update(Update),
    /// The framework is at its end.
    Error {
        /// The master's reason, which says how to proceed; `None` if no master had a say in it.
        reason: Option<EndReason>,
        /// Why, for people.
        message: String,
    },
    /// A call was turned down, and nothing has changed. The framework goes on.
    Rejected {
        /// Which call.
        call: CallKind,
        /// What is wrong with it.
        reason: RejectKind,
        /// What is wrong with it, for people.
        message: String,
    },
    /// An executor has something to say. Told once, if at all.
    Message(ExecutorMessage),
    /// An executor has ended. Told once, if at all; of its tasks their updates tell.
    ExecutorEnded(ExecutorEnd),
    /// News about an operation that the framework has named.
    Operation(OperationNews),
    /// What the last [`Handle::update`] said holds.
    Updated,
    /// Agents are to be left, for their machines are to be out of service; see
    /// [`Handle::accept_inverse`]. One that is not answered stays open.
    InverseOffers(Vec<offer::InverseOffer>),
    /// This inverse offer is void.
    InverseRescinded(OfferId),
    /// An agent is lost on which the framework has tasks, executors, or operations that it has
    /// named. Told once, if at all; of its tasks and operations their updates tell.
    AgentLost {
        /// Which one.
        agent: AgentId,
        /// Why.
        why: AgentLoss,
    },
}

/// Acts for the framework. Clones act for the same.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::UnboundedSender<UserCall>,
    live: Arc<Mutex<BTreeSet<OfferId>>>,
}

impl Handle {
    pub(crate) fn new(calls: mpsc::UnboundedSender<UserCall>) -> Self {
        Self {
            calls,
            live: Arc::default(),
        }
    }

    /// Ends a task; its last update tells when that is done.
    pub fn kill(&self, task: TaskId, grace: Option<Duration>) {
        self.call(UserCall::Kill { task, grace });
    }

    /// Says something to an executor, which may or may not hear it.
    pub fn message(&self, agent: AgentId, executor: ExecutorId, data: Vec<u8>) {
        self.call(UserCall::Message {
            agent,
            executor,
            data,
        });
    }

    /// Ends an executor with all its tasks.
    pub fn shut_down_executor(&self, agent: AgentId, executor: ExecutorId) {
        self.call(UserCall::ShutdownExecutor { agent, executor });
    }

    /// Says that the framework is going to leave the agents of inverse offers, and for how long not
    /// to ask again; `None` is five seconds. Operators see that, and tasks go on.
    pub fn accept_inverse(&self, offers: Vec<OfferId>, refuse: Option<Duration>) {
        self.call(UserCall::AcceptInverse { offers, refuse });
    }

    /// Says that the framework is not going to leave the agents of inverse offers, and for how long
    /// not to ask again; `None` is five seconds.
    pub fn decline_inverse(&self, offers: Vec<OfferId>, refuse: Option<Duration>) {
        self.call(UserCall::DeclineInverse { offers, refuse });
    }

    /// Wants no offers in any role until [`Handle::revive`].
    pub fn suppress(&self) {
        let roles = Vec::new();
        self.call(UserCall::Suppress { roles });
    }

    /// Wants offers again, and forgets what it declined.
    pub fn revive(&self) {
        let roles = Vec::new();
        self.call(UserCall::Revive { roles });
    }

    /// Says how much is wanted in a role from now on; `None` is anything. The next subscription
    /// says it once more, as it is: who counts says what is left then.
    pub fn demand(&self, role: Role, demand: Option<Demand>) {
        self.call(UserCall::Demand { role, demand });
    }

    /// Says anew what the framework is and wants; its id, principal and user stay. The answer is
    /// [`Event::Updated`] or [`Event::Rejected`].
    pub fn update(&self, framework: FrameworkInfo, wishes: Wishes) {
        self.call(UserCall::Update { framework, wishes });
    }

    /// Asks how far operations are, all that are known if none is named; answers come as events.
    pub fn reconcile_operations(&self, operations: Vec<(OperationId, Option<AgentId>)>) {
        self.call(UserCall::ReconcileOperations { operations });
    }

    /// Leaves the framework and its tasks to go on alone, for as long as its failover timeout says.
    /// What was asked and acknowledged before is told to the master first; the events end after it.
    pub fn leave(&self) {
        self.call(UserCall::Leave);
    }

    /// Ends the framework and all its tasks. The events end after it.
    pub fn stop(&self) {
        self.call(UserCall::Stop);
    }

    fn call(&self, call: UserCall) {
        if self.calls.send(call).is_err() {
            tracing::debug!("the framework has ended: nothing to act for");
        }
    }
}

/// The offer is void: rescinded, or the master is out of reach. Nothing was launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offer was rescinded")]
pub struct Rescinded;

/// Resources of one agent that are held for this framework.
#[derive(Debug)]
pub struct Offer {
    offer: offer::Offer,
    handle: Handle,
}

impl Deref for Offer {
    type Target = offer::Offer;

    fn deref(&self) -> &offer::Offer {
        &self.offer
    }
}

impl Offer {
    /// Launches tasks; what is left of the offer is declined for five seconds. Whether the master
    /// accepts is told by the tasks' updates.
    pub fn launch(self, tasks: Vec<TaskInfo>) -> Result<(), Rescinded> {
        self.launch_and_refuse(tasks, None)
    }

    /// Launches tasks; what is left of the offer is declined for `refuse`.
    pub fn launch_and_refuse(
        self,
        tasks: Vec<TaskInfo>,
        refuse: Option<Duration>,
    ) -> Result<(), Rescinded> {
        if !self.use_up() {
            return Err(Rescinded);
        }
        let call = UserCall::launch(&self.offer, tasks, refuse);
        self.handle.call(call);
        Ok(())
    }

    /// Does operations with it in their order, such as to reserve, to make a volume, and to launch
    /// a task that uses it. What is left of the offer is declined for `refuse`.
    pub fn accept(
        self,
        operations: Vec<offer::Operation>,
        refuse: Option<Duration>,
    ) -> Result<(), Rescinded> {
        if !self.use_up() {
            return Err(Rescinded);
        }
        self.handle.call(UserCall::Accept {
            offers: vec![self.offer.id.clone()],
            operations,
            refuse,
        });
        Ok(())
    }

    /// Gives it back, not to be offered the same again for `refuse` (five seconds if `None`).
    pub fn decline(self, refuse: Option<Duration>) {
        if self.use_up() {
            self.handle.call(UserCall::decline(&self.offer, refuse));
        }
    }

    /// Returns whether the offer was still good, and makes it void.
    fn use_up(&self) -> bool {
        self.handle.live.lock().remove(&self.offer.id)
    }
}

impl Drop for Offer {
    /// Declines it, unless it was used.
    fn drop(&mut self) {
        if self.use_up() {
            self.handle.call(UserCall::decline(&self.offer, None));
        }
    }
}

/// News about a task that is acknowledged when it is dropped. If the thread panics it is not, and
/// comes again.
#[derive(Debug)]
pub struct Update {
    status: TaskStatus,
    handle: Handle,
}

impl Deref for Update {
    type Target = TaskStatus;

    fn deref(&self) -> &TaskStatus {
        &self.status
    }
}

impl Drop for Update {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let (Some(agent), Some(update)) = (self.status.agent.clone(), self.status.update) {
            self.handle.call(UserCall::Acknowledge {
                agent,
                task: self.status.task.clone(),
                update,
            });
        }
    }
}

/// News about an operation, acknowledged when it is dropped as an [`Update`] is.
#[derive(Debug)]
pub struct OperationNews {
    status: OperationStatus,
    handle: Handle,
}

impl Deref for OperationNews {
    type Target = OperationStatus;

    fn deref(&self) -> &OperationStatus {
        &self.status
    }
}

impl Drop for OperationNews {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Some(update) = self.status.update {
            let id = self.status.id.clone();
            let call = UserCall::AcknowledgeOperation { id, update };
            self.handle.call(call);
        }
    }
}

/// The events of a framework, in order. Dropping them ends the framework.
#[derive(Debug)]
pub struct Events {
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
}

impl Events {
    /// Waits for the next event; `None` once the framework has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// The logic that turns a machine's events into a stream of owned values.
///
/// The stream needs no bound of its own: a task has one unacknowledged update at a time, and an
/// offer that is not taken from the stream keeps its resources from being offered again.
#[derive(Debug)]
pub(crate) struct Channels {
    handle: Handle,
    events: mpsc::UnboundedSender<Event>,
}

impl Channels {
    pub(crate) fn new(handle: Handle) -> (Self, Events) {
        let (sender, events) = mpsc::unbounded_channel();
        let channels = Self {
            handle,
            events: sender,
        };
        (channels, Events { events })
    }

    /// Returns where events go, for what is to be said after the machine's end.
    pub(crate) fn events(&self) -> mpsc::UnboundedSender<Event> {
        self.events.clone()
    }

    fn own(&self, offer: offer::Offer) -> Offer {
        self.handle.live.lock().insert(offer.id.clone());
        Offer {
            offer,
            handle: self.handle.clone(),
        }
    }
}

impl Logic for Channels {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let event = match event {
            UserEvent::Subscribed { framework, .. } => Event::Subscribed { framework },
            UserEvent::Disconnected => {
                self.handle.live.lock().clear();
                Event::Disconnected
            }
            UserEvent::Offers(offers) => {
                Event::Offers(offers.into_iter().map(|offer| self.own(offer)).collect())
            }
            UserEvent::Rescinded(offer) => {
                self.handle.live.lock().remove(&offer);
                Event::Rescinded(offer)
            }
            UserEvent::Update(status) => Event::Update(Update {
                status,
                handle: self.handle.clone(),
            }),
            UserEvent::Operation(status) => Event::Operation(OperationNews {
                status,
                handle: self.handle.clone(),
            }),
            UserEvent::Error { reason, message } => Event::Error {
                reason: Some(reason),
                message,
            },
            UserEvent::Message(message) => Event::Message(message),
            UserEvent::ExecutorEnded(end) => Event::ExecutorEnded(end),
            UserEvent::Rejected {
                call,
                reason,
                message,
            } => Event::Rejected {
                call,
                reason,
                message,
            },
            UserEvent::Updated => Event::Updated,
            UserEvent::InverseOffers(offers) => Event::InverseOffers(offers),
            UserEvent::InverseRescinded(offer) => Event::InverseRescinded(offer),
            UserEvent::AgentLost { agent, why } => Event::AgentLost { agent, why },
        };
        self.pass_on(event, calls);
    }

    fn acknowledging(&self) -> Acknowledging {
        Acknowledging::ByUser
    }
}

impl Channels {
    fn pass_on(&self, event: Event, calls: &mut Vec<UserCall>) {
        if let Err(unheard) = self.events.send(event) {
            // Nobody listens any more. Offers are void with the framework, and an update that
            // nobody has seen must not be acknowledged.
            self.handle.live.lock().clear();
            match unheard.0 {
                Event::Update(update) => std::mem::forget(update),
                Event::Operation(news) => std::mem::forget(news),
                Event::Subscribed { .. }
                | Event::Disconnected
                | Event::Offers(_)
                | Event::Rescinded(_)
                | Event::Error { .. }
                | Event::Message { .. }
                | Event::ExecutorEnded { .. }
                | Event::AgentLost { .. }
                | Event::Rejected { .. }
                | Event::Updated
                | Event::InverseOffers(_)
                | Event::InverseRescinded(_) => {}
            }
            calls.push(UserCall::Stop);
        }
    }
}
