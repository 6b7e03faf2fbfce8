//! A whole cluster in this process: a master, agents, real QUIC on loopback, certificates of its
//! own.
//!
//! `tepui run` without a master, `tepui dev`, examples and tests use it. It is put together from
//! the same nodes as the daemons. Deliberately not here: anything that a cluster of daemons lacks.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tempfile::TempDir;
use tepui_core::agent::{Policy, Recover};
use tepui_core::allocator::drf::DemandRule;
use tepui_core::attributes::Attributes;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::master::CallRates;
use tepui_core::resources::{Quantities, Resource};
use tepui_core::scheduler::Logic;
use tepui_isolation::AgentLoss;
use tepui_transport::authority::Authority;
use tepui_transport::framework::Framework;
use tepui_transport::target::{Error, Target};

use crate::agent_node::{AgentNode, AgentOptions, Isolation};
use crate::containing::ContainerOptions;
use crate::dev_authority;
pub use crate::master_node::OfferTimeout;
use crate::master_node::{MasterNode, MasterOptions};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How an embedded cluster runs.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// What the first agent has to offer. What is not named is detected.
    pub resources: Vec<Resource>,
    /// What the agents say about themselves.
    pub attributes: Attributes,
    /// Where to keep state; `None` is a private directory that is removed at the end.
    pub work_dir: Option<PathBuf>,
    /// How agents isolate their tasks.
    pub isolation: Isolation,
    /// What containers may have.
    pub containers: ContainerOptions,
    /// Where the master listens; `None` is a free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// When an offer that nobody answers is taken back.
    pub offer_timeout: OfferTimeout,
    /// The most that one framework may hold in offers that it has not answered; `None` is no bound.
    pub most_offered: Option<Quantities>,
}

/// A cluster in this process.
#[derive(Debug)]
pub struct Embedded {
    options: EmbeddedOptions,
    work_dir: PathBuf,
    tls_dir: PathBuf,
    master: MasterNode,
    agents: Vec<AgentNode>,
    /// Removed at the end.
    private: Option<TempDir>,
}

impl Embedded {
    /// Starts a master and one agent.
    pub async fn start(options: EmbeddedOptions) -> anyhow::Result<Self> {
        let resources = options.resources.clone();
        let mut cluster = Self::without_agents(options).await?;
        cluster.add_agent(resources).await?;
        Ok(cluster)
    }

    /// Starts a master.
    pub async fn without_agents(options: EmbeddedOptions) -> anyhow::Result<Self> {
        let (work_dir, private) = match &options.work_dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let dir = tempfile::Builder::new().prefix("tepui-").tempdir();
                let dir = dir.context("cannot create a temporary directory")?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        let tls_dir = dev_authority::ensure(&work_dir)?;
        let master = MasterNode::start(MasterOptions {
            listen: options.listen.unwrap_or(ANY_PORT),
            work_dir: work_dir.join("master"),
            tls_dir: tls_dir.clone(),
            cluster: "tepui".into(),
            allocation_interval: Duration::from_secs(1),
            offer_timeout: options.offer_timeout,
            unreachable_rate: None,
            removal_rate: None,
            recovery_removal_percent: 100,
            call_rates: CallRates::default(),
            domain: None,
            requires_domain: false,
            most_offered: options.most_offered.clone(),
            demands: DemandRule::Ignored,
            ageing: None,
            packing: BTreeMap::new(),
        })
        .await?;
        Ok(Self {
            options,
            work_dir,
            tls_dir,
            master,
            agents: Vec::new(),
            private,
        })
    }

    /// Starts one more agent. What `resources` does not name is detected.
    pub async fn add_agent(&mut self, resources: Vec<Resource>) -> anyhow::Result<()> {
        let name = format!("agent-{}", self.agents.len() + 1);
        let agent = AgentNode::start(AgentOptions {
            master: self.master.address().to_string(),
            listen: ANY_PORT,
            work_dir: self.work_dir.join(&name),
            tls_dir: self.certificate_for(&name)?,
            resources,
            attributes: self.options.attributes.clone(),
            domain: None,
            hostname: None,
            isolation: self.options.isolation,
            containers: self.containers(),
            agent_loss: AgentLoss::End {
                remove: self.private.as_ref().map(|dir| dir.path().to_owned()),
            },
            registration_backoff: Duration::ZERO,
            gc_delay: AgentNode::GC_DELAY,
            reconfiguration: Policy::Any,
            recover: Recover::Reconnect,
        })
        .await?;
        self.agents.push(agent);
        Ok(())
    }

    /// Returns what containers may have: nothing of the cluster's own, all below one directory.
    fn containers(&self) -> ContainerOptions {
        let mut containers = self.options.containers.clone();
        containers.hidden.push(self.work_dir.clone());
        containers
    }

    /// The registry knows an agent by its certificate's name, so each has its own.
    fn certificate_for(&self, agent: &str) -> anyhow::Result<PathBuf> {
        let out = self.tls_dir.join(agent);
        let principal = Principal {
            role: PeerRole::Agent,
            name: agent.into(),
        };
        let authority = Authority::open(&dev_authority::ca_dir(&self.work_dir))?;
        dev_authority::ensure_issued(&authority, &principal, &out)?;
        Ok(out)
    }

    /// Runs a framework over a link without sockets, until it stops. Otherwise it is as if it ran
    /// against [`Embedded::target`].
    pub async fn run<L: Logic>(&self, framework: Framework, logic: L) -> Result<(), Error> {
        framework.run_within(self.master.node(), logic).await
    }

    /// Returns where it is, with certificates for all roles.
    pub fn target(&self) -> Target {
        Target {
            master: self.master.address().to_string(),
            tls_dir: self.tls_dir.clone(),
        }
    }

    /// Returns the directory of the authority that issues its certificates.
    pub fn ca_dir(&self) -> PathBuf {
        dev_authority::ca_dir(&self.work_dir)
    }

    /// Returns the directory with all state.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Returns how tasks are isolated, for people.
    pub fn isolation(&self) -> &str {
        self.agents.first().map_or("none", AgentNode::isolation)
    }

    /// Waits until the master or an agent has ended, though nobody asked it to; says why. A cluster
    /// with such a gap does not heal: shut it down.
    pub async fn ended(&mut self) -> anyhow::Error {
        type Ended<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;
        let mut nodes: Vec<Ended<'_>> = vec![Box::pin(self.master.ended())];
        for agent in &mut self.agents {
            nodes.push(Box::pin(agent.ended()));
        }
        let first = poll_fn(|cx| {
            let mut ended = nodes.iter_mut().map(|node| node.as_mut().poll(cx));
            ended.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        let ended = first.await;
        ended
            .err()
            .unwrap_or_else(|| anyhow!("one of its nodes has ended"))
    }

    /// Ends all tasks, all agents and the master.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        for agent in self.agents {
            agent.destroy().await?;
        }
        self.master.shut_down().await?;
        if let Some(private) = self.private {
            let at = private.path().display().to_string();
            private
                .close()
                .with_context(|| format!("cannot remove {at}"))?;
        }
        Ok(())
    }
}
