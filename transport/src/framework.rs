//! A framework: runs a [`Logic`] against a master, over QUIC, where it comes back when the
//! connection is lost, or within one process.
//!
//! Used by authors of schedulers. Deliberately not here: decisions. What a connection's loss means
//! is the scheduler machine's; this only dials again.

use std::future::pending;
use std::time::Duration;

use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::FrameworkId;
use tepui_core::protocol::framework::{Capabilities, FrameworkInfo, Wishes};
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_core::protocol::scheduler;
use tepui_core::roles::Role;
use tepui_core::scheduler::{Config, Effect, Hosted, Input, Logic, UserCall};
use tepui_core::time::Time;
use tokio::sync::{mpsc, oneshot};

use crate::client::{Channels, Event, Events, Handle};
use crate::clock::Clock;
use crate::codec;
use crate::dialer::Dialer;
use crate::driver::Driver;
use crate::inbox::{self, Inbox, Inputs};
use crate::journal::NoJournal;
use crate::local;
use crate::node::{Inbound, Node, NodeConfig};
use crate::outgoing::LINGER;
use crate::peers::PeerEvent;
use crate::session::Session;
use crate::target::{Error, Target};

/// How many inputs may wait for the machine.
const INBOX: usize = 1_024;

/// A framework to be.
#[derive(Clone, Debug)]
pub struct Framework {
    info: FrameworkInfo,
    wishes: Wishes,
}

impl Framework {
    /// Describes a framework in the role `*`. Its tasks go on for a week while it is away, and end
    /// if it stops.
    pub fn builder(name: impl Into<String>) -> Self {
        Self {
            info: FrameworkInfo::new(name),
            wishes: Wishes::default(),
        }
    }

    /// Takes resources in the name of `role`, and no other.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        self.roles([role])
    }

    /// Takes resources in the name of each of these roles; an offer says in which.
    #[must_use]
    pub fn roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.info.roles = roles.into_iter().collect();
        self
    }

    /// Keeps its tasks while it is away for no longer than `timeout`; without any, they end with
    /// its connection.
    #[must_use]
    pub fn failover_timeout(mut self, timeout: Duration) -> Self {
        self.info.failover_timeout = timeout;
        self
    }

    /// Runs programs as `user` whose tasks name none; otherwise it is as whom the agent runs.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.info.user = Some(user.into());
        self
    }

    /// Can cope with these things, and no others: the default is [`Capabilities::default`].
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.info.capabilities = capabilities;
        self
    }

    /// Wants this to begin with: nothing in some roles, or only some agents.
    #[must_use]
    pub fn wishes(mut self, wishes: Wishes) -> Self {
        self.wishes = wishes;
        self
    }

    /// Comes back as the framework that got `id` before.
    #[must_use]
    pub fn id(mut self, id: FrameworkId) -> Self {
        self.info.id = Some(id);
        self
    }

    /// Runs `logic` until it stops, or the master refuses the framework. Fails at once if there is
    /// no master to begin with; later it keeps trying to reconnect.
    pub async fn run<L: Logic>(self, target: &Target, logic: L) -> Result<(), Error> {
        let (_, calls) = mpsc::unbounded_channel();
        let start = Start::dial(self, target).await?;
        start.run(logic, calls).await
    }

    /// Runs `logic` against a master in this process, over a link without sockets, until it stops,
    /// the master refuses it, or the link ends.
    pub async fn run_within<I: Send + 'static, L: Logic>(
        self,
        master: &Node<I>,
        logic: L,
    ) -> Result<(), Error> {
        let (_, calls) = mpsc::unbounded_channel();
        let start = Start::within(self, master).await?;
        start.run(logic, calls).await
    }

    /// Connects, and returns a handle to act with and the events as a stream.
    pub async fn connect(self, target: &Target) -> Result<(Handle, Events), Error> {
        let (sender, calls) = mpsc::unbounded_channel();
        let handle = Handle::new(sender);
        let (channels, events) = Channels::new(handle.clone());
        let start = Start::dial(self, target).await?;
        let last_words = channels.events();
        let (listened_to, stopping) = (channels.events(), handle.clone());
        tokio::spawn(async move {
            let unheard = async {
                listened_to.closed().await;
                // There may be no event for a long time, by which the logic would notice.
                stopping.stop();
                pending().await
            };
            let ended = tokio::select! {
                ended = start.run(channels, calls) => ended,
                never = unheard => never,
            };
            if let Err(error) = ended {
                let last = Event::Error {
                    reason: None,
                    message: error.to_string(),
                };
                if last_words.send(last).is_err() {
                    tracing::debug!(%error, "nobody listens to the framework any more");
                }
            }
        });
        Ok((handle, events))
    }
}

/// A framework with its first connection.
struct Start {
    framework: Framework,
    node: Node<Input>,
    inbox: Inbox<Input>,
    inputs: Inputs<Input>,
    link: Link,
}

/// How a framework reaches its master.
enum Link {
    /// Over the network, again whenever the connection is lost.
    Dialer(Dialer),
    /// Within this process, once.
    Within(Session),
}

impl Link {
    /// Waits until there is no master any more, and will be none; says why.
    async fn ended(&mut self) -> Error {
        match self {
            Self::Dialer(dialer) => dialer.ended().await,
            Self::Within(session) => Error::Lost(session.closed().await),
        }
    }

    /// Delivers what was sent, and takes leave.
    async fn shut_down(self) {
        match self {
            Self::Dialer(dialer) => dialer.shut_down().await,
            Self::Within(session) => {
                session.close(CloseReason::ShuttingDown);
                session.closed().await;
            }
        }
    }
}

impl Start {
    async fn dial(framework: Framework, target: &Target) -> Result<Self, Error> {
        let credentials = target.credentials(PeerRole::Framework)?;
        let (node, inbox, inputs) = node(&framework.info);
        let dialer = Dialer::connect(node.clone(), &credentials, target.address()).await?;
        Ok(Self {
            framework,
            node,
            inbox,
            inputs,
            link: Link::Dialer(dialer),
        })
    }

    async fn within<I: Send + 'static>(
        framework: Framework,
        master: &Node<I>,
    ) -> Result<Self, Error> {
        let (node, inbox, inputs) = node(&framework.info);
        let principal = |role, name: &str| Principal {
            role,
            name: name.into(),
        };
        let of_master = principal(PeerRole::Master, &master.hello().name);
        let from = (&node, principal(PeerRole::Framework, &framework.info.name));
        let session = local::connect(from, (master, of_master)).await?;
        Ok(Self {
            framework,
            node,
            inbox,
            inputs,
            link: Link::Within(session),
        })
    }

    async fn run<L: Logic>(
        self,
        logic: L,
        mut calls: mpsc::UnboundedReceiver<UserCall>,
    ) -> Result<(), Error> {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let Framework { info, wishes } = self.framework;
        let config = Config {
            wishes,
            ..Config::new(info, seed)
        };
        let hosted = Hosted::new(config, logic);
        let inbox = self.inbox;
        let forwarding = async move {
            while let Some(call) = calls.recv().await {
                if inbox.send(Input::User(call)).await.is_err() {
                    return;
                }
            }
            // Keeps the inbox open: connections deliver to it.
            pending::<()>().await;
        };
        let peers = self.node.peers().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stop = Some(stop);
        let perform = |effect| match effect {
            Effect::Master { peer, call } => peers.perform(peer, &call),
            Effect::Reconnect {
                peer,
                close,
                reason,
            } => {
                tracing::warn!(?peer, reason, "leaving the master");
                peers.disconnect(peer, close);
            }
            Effect::Stop => drop(stop.take()),
            Effect::User(event) => unreachable!("hosted logic was not told of {event:?}"),
        };
        let clock = Clock::start_after(Time::ZERO);
        let driver = Driver::new(hosted, NoJournal, clock, self.inputs);
        let driving = driver.run(perform, |_| {}, async { drop(stopped.await) });
        let mut link = self.link;
        let unconnected = async {
            let error = link.ended().await;
            // The master says what it has to say before it disconnects: the machine hears it first.
            tokio::time::sleep(LINGER).await;
            error
        };
        let result = tokio::select! {
            ended = driving => ended.map(drop).map_err(Error::from),
            error = unconnected => Err(error),
            () = forwarding => Ok(()),
        };
        link.shut_down().await;
        result
    }
}

/// Makes a node for a framework, and the two ends of its inbox.
fn node(info: &FrameworkInfo) -> (Node<Input>, Inbox<Input>, Inputs<Input>) {
    let (inbox, inputs) = inbox::channel(INBOX);
    let node = Node::new(NodeConfig {
        hello: Hello::new(PeerRole::Framework, &info.name),
        accepts: Vec::new(),
        inbound: Inbound::new(
            inbox.clone(),
            |_, body| codec::decode::<scheduler::Event>(body),
            |_, event| Some(input(event)),
        ),
        streams: None,
    });
    (node, inbox, inputs)
}

fn input(event: PeerEvent<scheduler::Event>) -> Input {
    match event {
        PeerEvent::Connected(info) => Input::Connected { peer: info.peer },
        PeerEvent::Message { peer, message } => Input::Master {
            peer,
            event: message,
        },
        PeerEvent::Disconnected { peer, .. } => Input::Disconnected { peer },
    }
}
