//! A master as a running node: machine, journal, endpoint.
//!
//! Used by the daemon and by the embedded cluster alike. Deliberately not here: signals and flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tepui_core::allocator::drf::{DemandRule, Drf, Options, Packing};
use tepui_core::auth::PeerRole;
use tepui_core::ids::MasterId;
use tepui_core::machine::Outbox;
use tepui_core::master::{CallRates, Config, Effect, Input, Master, Rate};
use tepui_core::protocol::agent::ToMaster;
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::node::Domain;
use tepui_core::protocol::{operator, scheduler};
use tepui_core::registry::Registry;
use tepui_core::resources::Quantities;
use tepui_core::roles::Role;
use tepui_core::time::Time;
use tepui_transport::clock::Clock;
use tepui_transport::codec::{self, FrameError};
use tepui_transport::driver::Driver;
use tepui_transport::inbox;
use tepui_transport::journal::FileJournal;
use tepui_transport::node::{Inbound, Node, NodeConfig};
use tepui_transport::peers::{PeerEvent, Peers};
use tepui_transport::quic::Endpoint;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::{dev_authority, identity, loopback};

/// How many inputs may wait for the machine.
const INBOX: usize = 8_192;

/// How a master runs.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to keep the registry.
    pub work_dir: PathBuf,
    /// The directory with the master's certificate, or with one directory a role.
    pub tls_dir: PathBuf,
    /// The cluster's name, with which ids begin.
    pub cluster: String,
    /// How often all free resources are looked at again.
    pub allocation_interval: Duration,
    /// When an offer that nobody answers is taken back.
    pub offer_timeout: OfferTimeout,
    /// The most that one framework may hold in offers that it has not answered; `None` is no bound.
    pub most_offered: Option<Quantities>,
    /// What becomes of the demands that frameworks state.
    pub demands: DemandRule,
    /// After how long without an offer a framework comes before all others; `None` is never.
    pub ageing: Option<Duration>,
    /// Which agents a role is offered first, and the roles below it.
    pub packing: BTreeMap<Role, Packing>,
    /// How fast silent agents become unreachable; `None` is as fast as they fall silent.
    pub unreachable_rate: Option<Rate>,
    /// How fast agents are removed that were unreachable for two weeks; `None` is at once.
    pub removal_rate: Option<Rate>,
    /// How many of the agents, in percent, may fail to come back to a new master; beyond it the
    /// master ends instead of giving them up.
    pub recovery_removal_percent: u8,
    /// How fast frameworks are heard.
    pub call_rates: CallRates,
    /// Where the master stands.
    pub domain: Option<Domain>,
    /// Whether agents must say where they stand.
    pub requires_domain: bool,
}

/// After how long an offer that its framework does not answer is taken back and offered to others
/// (OF-06); `None` is never.
///
/// Five minutes, unless something else is said: a scheduler that hangs must not keep others
/// waiting for ever, and one that answers by hand has time to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferTimeout(pub Option<Duration>);

impl Default for OfferTimeout {
    fn default() -> Self {
        Self(Some(Duration::from_secs(300)))
    }
}

/// A master that runs.
#[derive(Debug)]
pub(crate) struct MasterNode {
    address: SocketAddr,
    node: Node<Input>,
    stop: oneshot::Sender<()>,
    /// Until its end was told.
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What a peer of a master says, by its role.
enum Said {
    Agent(ToMaster),
    Framework(scheduler::Call),
    Operator(operator::Request),
}

impl MasterNode {
    /// Recovers the registry, begins a new epoch, and listens.
    pub(crate) async fn start(options: MasterOptions) -> anyhow::Result<Self> {
        let began = Instant::now();
        let credentials = identity::load(&options.tls_dir, PeerRole::Master)?;
        let opened = FileJournal::<Registry>::open(&options.work_dir.join("registry"))?;
        let id =
            MasterId::of(&options.cluster, opened.epoch).context("--cluster makes no valid ids")?;
        let (inbox, inputs) = inbox::channel(INBOX);
        let mut hello = Hello::new(PeerRole::Master, &credentials.principal().name);
        hello.cluster = Some(options.cluster.clone());
        hello.epoch = opened.epoch;
        let node = Node::new(NodeConfig {
            hello,
            accepts: vec![PeerRole::Agent, PeerRole::Framework, PeerRole::Operator],
            inbound: Inbound::new(inbox, decode, |_, event| Some(input(event))),
            streams: None,
        });
        let endpoint = Endpoint::bind(options.listen, &credentials, node.clone())?;
        let address = endpoint.local_address()?;
        if options.tls_dir == dev_authority::tls_dir(&options.work_dir)
            && let Err(error) = loopback::note(address, &options.tls_dir)
        {
            tracing::warn!(%error, "local clients must be told where the certificates are");
        }

        let clock = Clock::start_after(opened.state.last_time());
        let mut rng = crate::seed::fresh();
        let allocator = Drf::new(policies(&options, rng.next_u64()));
        let config = Config {
            unreachable_rate: options.unreachable_rate,
            removal_rate: options.removal_rate,
            recovery_removal_percent: options.recovery_removal_percent,
            call_rates: options.call_rates.clone(),
            domain: options.domain.clone(),
            requires_domain: options.requires_domain,
            inverse_offer_timeout: options.offer_timeout.0,
            // Where it listens on all of its addresses it does not know how others call it.
            address: (!address.ip().is_unspecified()).then(|| address.to_string()),
            started_at: Some(before(clock.now(), began.elapsed())),
            ..Config::new(id.clone(), opened.epoch, rng.next_u64())
        };
        let mut out = Outbox::new();
        let master = Master::recover(
            config,
            opened.state,
            Box::new(allocator),
            clock.now(),
            &mut out,
        );
        tracing::info!(%address, master = %id, "leading");

        let (stop, stopped) = oneshot::channel::<()>();
        let driver = Driver::new(master, opened.journal, clock, inputs).with_outbox(out);
        let peers = node.peers().clone();
        let task = tokio::spawn(async move {
            let ended = lead(driver, &peers, stopped).await;
            endpoint.shut_down().await;
            ended
        });
        Ok(Self {
            address,
            node,
            stop,
            task: Some(task),
        })
    }

    /// Returns its node, to connect with from within this process.
    pub(crate) fn node(&self) -> &Node<Input> {
        &self.node
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs it until `shutdown` completes, or it ends by itself.
    pub(crate) async fn run_until(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            ended = self.ended() => ended,
            () = shutdown => self.shut_down().await,
        }
    }

    /// Waits for its end, which is a failure unless it was asked for. It is told once.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        let ended = task.await;
        self.task = None;
        ended.context("the master's task failed")?
    }

    /// Takes leave of all peers and ends it.
    pub(crate) async fn shut_down(mut self) -> anyhow::Result<()> {
        let (unused, _) = oneshot::channel();
        drop(std::mem::replace(&mut self.stop, unused));
        self.ended().await
    }
}

/// Runs a master until it is told to stop, or resigns: that is a failure.
async fn lead(
    driver: Driver<Master, FileJournal<Registry>>,
    peers: &Peers,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let (resigned, mut why) = (Notify::new(), None);
    let shutdown = async {
        tokio::select! {
            stopped = stopped => drop(stopped),
            () = resigned.notified() => {}
        }
    };
    let carry_out = |effect| {
        if let Some(reason) = perform(peers, effect) {
            why = Some(reason);
            resigned.notify_one();
        }
    };
    let ended = driver.run(carry_out, |_| {}, shutdown).await;
    ended.map(drop).context("the master has ended")?;
    why.map_or(Ok(()), |reason| {
        bail!("the master gives up its lead: {reason}")
    })
}

fn before(now: Time, elapsed: Duration) -> Time {
    let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(now.as_micros().saturating_sub(elapsed))
}

/// Returns what a master asks of its allocator.
fn policies(options: &MasterOptions, seed: u64) -> Options {
    Options {
        interval: options.allocation_interval,
        lease: options.offer_timeout.0,
        most_offered: options.most_offered.clone(),
        demands: options.demands,
        ageing: options.ageing,
        packing: options.packing.clone(),
        region: options.domain.as_ref().map(|domain| domain.region.clone()),
        seed,
        ..Options::default()
    }
}

fn decode(role: PeerRole, body: &[u8]) -> Result<Said, FrameError> {
    match role {
        PeerRole::Agent => codec::decode(body).map(Said::Agent),
        PeerRole::Framework => codec::decode(body).map(Said::Framework),
        PeerRole::Operator => codec::decode(body).map(Said::Operator),
        PeerRole::Master => unreachable!("masters do not accept masters"),
    }
}

fn input(event: PeerEvent<Said>) -> Input {
    match event {
        PeerEvent::Connected(info) => Input::Connected {
            peer: info.peer,
            principal: info.principal.clone(),
        },
        PeerEvent::Disconnected { peer, .. } => Input::Disconnected { peer },
        PeerEvent::Message { peer, message } => match message {
            Said::Agent(message) => Input::Agent { peer, message },
            Said::Framework(call) => Input::Scheduler { peer, call },
            Said::Operator(request) => Input::Operator { peer, request },
        },
    }
}

/// Carries an effect out. Returns why the master resigns, if it does.
fn perform(peers: &Peers, effect: Effect) -> Option<String> {
    match effect {
        Effect::Agent { peer, message } => peers.perform(peer, &message),
        Effect::Scheduler { peer, event } => peers.perform(peer, &event),
        Effect::Respond { peer, response } => peers.perform(peer, &response),
        Effect::Disconnect {
            peer,
            close,
            reason,
        } => {
            tracing::info!(?peer, reason, "disconnecting");
            peers.disconnect(peer, close);
        }
        Effect::Resign { reason } => return Some(reason),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_that_nobody_answers_is_taken_back_after_five_minutes() {
        // OF-06: off in the library, on in the master unless it is told otherwise.
        let mut options = MasterOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            work_dir: PathBuf::new(),
            tls_dir: PathBuf::new(),
            cluster: "rio".to_owned(),
            allocation_interval: Duration::from_secs(1),
            offer_timeout: OfferTimeout::default(),
            most_offered: None,
            demands: DemandRule::Ignored,
            ageing: None,
            packing: BTreeMap::new(),
            unreachable_rate: None,
            removal_rate: None,
            recovery_removal_percent: 100,
            call_rates: CallRates::default(),
            domain: None,
            requires_domain: false,
        };
        assert_eq!(policies(&options, 1).lease, Some(Duration::from_secs(300)));
        assert_eq!(Options::default().lease, None);
        options.offer_timeout = OfferTimeout(None);
        assert_eq!(policies(&options, 1).lease, None);
    }
}
