//! An agent as a running node: machine, journal, containerizer, endpoint, task output.
//!
//! Used by the daemon and by the embedded cluster alike. Deliberately not here: signals and flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tepui_core::agent::{Agent, AgentState, Config, Effect, Input, Policy, Recover};
use tepui_core::attributes::Attributes;
use tepui_core::auth::PeerRole;
use tepui_core::machine::Outbox;
use tepui_core::protocol::agent::ToAgent;
use tepui_core::protocol::disk::{DiskCommand, DiskEvent, DiskOutcome};
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::node::{AgentInfo, Domain};
use tepui_core::resources::Resource;
use tepui_isolation::graphics::Graphics;
use tepui_isolation::image::Store;
use tepui_isolation::isolators::Persistent;
use tepui_isolation::{AgentLoss, Containerizer, Mode, Sampler};
use tepui_transport::clock::Clock;
use tepui_transport::codec;
use tepui_transport::dialer::Dialer;
use tepui_transport::driver::Driver;
use tepui_transport::inbox::{self, Inbox};
use tepui_transport::journal::FileJournal;
use tepui_transport::node::{Inbound, Node, NodeConfig};
use tepui_transport::peers::{PeerEvent, PeerInfo, Peers};
use tepui_transport::target::Address;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::containing::{ContainerOptions, Ground, isolators};
use crate::removal::Remover;
use crate::sandboxes::Sandboxes;
use crate::serving::serve_streams;
use crate::using::Using;
use crate::{detect, identity, port, seed, watches};

/// How many inputs may wait for the machine.
const INBOX: usize = 4_096;

/// The most processes and threads of a task that names no limit: a fork bomb stays small.
const DEFAULT_PIDS: u32 = 4_096;

/// How an agent isolates its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// In containers if that is possible here, else as plain processes.
    #[default]
    Auto,
    /// As plain processes.
    Process,
    /// In containers, or not at all.
    Container,
}

/// How an agent runs.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The master, as `host:port`.
    pub master: String,
    /// Where to listen for those who read task output. Any port is the same one after a restart.
    pub listen: SocketAddr,
    /// Where to keep sandboxes, and what must outlive a restart.
    pub work_dir: PathBuf,
    /// The directory with the agent's certificate, or with one directory a role.
    pub tls_dir: PathBuf,
    /// What there is to offer. What is not named is detected.
    pub resources: Vec<Resource>,
    /// What to say about the machine.
    pub attributes: Attributes,
    /// Where the machine stands, if that is said.
    pub domain: Option<Domain>,
    /// The machine's name; `None` asks the system.
    pub hostname: Option<String>,
    /// How to isolate tasks.
    pub isolation: Isolation,
    /// What containers may have.
    pub containers: ContainerOptions,
    /// What becomes of tasks when the process is killed.
    pub agent_loss: AgentLoss,
    /// The most that it waits before it registers for the first time.
    pub registration_backoff: Duration,
    /// How much of what it says of the machine may be other than it was before.
    pub reconfiguration: Policy,
    /// How long the sandbox of what has ended is kept on an empty disk.
    pub gc_delay: Duration,
    /// What becomes of what runs already.
    pub recover: Recover,
}

/// An agent that runs.
#[derive(Debug)]
pub(crate) struct AgentNode {
    isolation: String,
    inbox: Inbox<Input>,
    stop: oneshot::Sender<WhatRuns>,
    /// Until its end was told.
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

/// What becomes of running tasks when the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhatRuns {
    GoesOn,
    IsDestroyed,
}

impl AgentNode {
    /// How long the sandbox of what has ended is kept where nobody says.
    pub(crate) const GC_DELAY: Duration = Duration::from_secs(7 * 24 * 3_600);

    /// Recovers what was running, listens, and looks for its master.
    pub(crate) async fn start(options: AgentOptions) -> anyhow::Result<Self> {
        let credentials = identity::load(&options.tls_dir, PeerRole::Agent)?;
        let name = credentials.principal().name.clone();
        std::fs::create_dir_all(&options.work_dir)
            .with_context(|| format!("cannot create {}", options.work_dir.display()))?;
        let master = Address::new(&options.master);
        let opened = FileJournal::<AgentState>::open(&options.work_dir.join("journal"))?;
        let (inbox, inputs) = inbox::channel(INBOX);

        let sandboxes = Arc::new(Sandboxes::open(&options.work_dir)?);
        let (mode, isolation) = choose(options.isolation)?;
        let graphics = options.containers.gpus.find(mode)?;
        let gpus = graphics.processors().len();
        let (events, places) = (inbox.clone(), Arc::clone(&sandboxes));
        let made = containerizer(&options, (mode, graphics), events, places)?;
        let (containerizer, images, sampler) = made;

        let using = Arc::new(Using::new(Arc::clone(&sandboxes), sampler));
        let serve = serve_streams(Arc::clone(&sandboxes), containerizer.enterer(), using);
        let node = Node::new(NodeConfig {
            hello: Hello::new(PeerRole::Agent, &name),
            accepts: vec![PeerRole::Framework, PeerRole::Operator],
            inbound: inbound(inbox.clone(), Arc::clone(&sandboxes)),
            streams: Some(serve),
        });
        node.remember_epoch(opened.state.epoch());
        let endpoint = port::bind(options.listen, &options.work_dir, &credentials, &node)?;
        let info = describe(&options, endpoint.local_address()?, gpus)?;
        tracing::info!(address = info.address, isolation, "agent {name}");

        let clock = Clock::start_after(opened.state.last_time());
        let config = Config {
            // Plain processes have no limits.
            resizes: mode == Mode::Container,
            ..machine_config(&options, info, name)?
        };
        let mut out = Outbox::new();
        let agent = Agent::recover(config, opened.state, clock.now(), &mut out);
        for (task, principal) in agent.view().unfinished() {
            sandboxes.owned(task.framework, principal);
            let sandbox = agent.view().sandbox(task.framework, &task.task.id);
            if let Some((container, sandbox)) = task.container.as_ref().zip(sandbox) {
                sandboxes.runs(container, &sandbox.components);
            }
        }

        let (stop, stopped) = oneshot::channel();
        let dialer = Dialer::start(endpoint, master);
        let driver = Driver::new(agent, opened.journal, clock, inputs).with_outbox(out);
        let task = tokio::spawn(run(Running {
            driver,
            peers: node.peers().clone(),
            containerizer,
            remover: remover(&options.work_dir, Arc::clone(&sandboxes), inbox.clone())?,
            disk_watch: tokio::spawn(watches::disk(Arc::clone(&sandboxes), inbox.clone())),
            image_watch: images.map(|images| {
                tokio::spawn(watches::images(images, options.containers.image_headroom))
            }),
            inbox: inbox.clone(),
            sandboxes,
            dialer,
            stopped,
        }));
        Ok(Self {
            isolation,
            inbox,
            stop,
            task: Some(task),
        })
    }

    /// Returns how tasks are isolated, for people.
    pub(crate) fn isolation(&self) -> &str {
        &self.isolation
    }

    /// Has it end what it runs, take leave of the master for good, and end.
    pub(crate) async fn leave(&self) {
        if self.inbox.send(Input::Leave).await.is_err() {
            tracing::debug!("the agent has ended already");
        }
    }

    /// Waits for its end, which is a failure unless it was asked for. It is told once.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(task) = &mut self.task else {
            return Ok(());
        };
        let ended = task.await;
        self.task = None;
        ended.context("the agent's task failed")?
    }

    /// Ends it; what it runs goes on, and an agent on the same directory takes it over (AG-09).
    pub(crate) async fn shut_down(self) -> anyhow::Result<()> {
        self.end(WhatRuns::GoesOn).await
    }

    /// Ends it and everything that it runs.
    pub(crate) async fn destroy(self) -> anyhow::Result<()> {
        self.end(WhatRuns::IsDestroyed).await
    }

    async fn end(mut self, what_runs: WhatRuns) -> anyhow::Result<()> {
        let (unused, _) = oneshot::channel();
        let stop = std::mem::replace(&mut self.stop, unused);
        if stop.send(what_runs).is_err() {
            tracing::debug!("the agent has ended by itself");
        }
        self.ended().await
    }
}

struct Running {
    driver: Driver<Agent, FileJournal<AgentState>>,
    peers: Peers,
    containerizer: Containerizer,
    sandboxes: Arc<Sandboxes>,
    remover: Remover,
    disk_watch: JoinHandle<()>,
    image_watch: Option<JoinHandle<()>>,
    inbox: Inbox<Input>,
    dialer: Dialer,
    stopped: oneshot::Receiver<WhatRuns>,
}

async fn run(running: Running) -> anyhow::Result<()> {
    let Running {
        driver,
        peers,
        containerizer,
        sandboxes,
        remover,
        disk_watch,
        image_watch,
        inbox,
        mut dialer,
        stopped,
    } = running;
    let (refuse, refused) = oneshot::channel::<()>();
    let mut refuse = Some(refuse);
    let (mut why, mut lost) = (None, None);
    let mut what_runs = WhatRuns::GoesOn;
    let perform = |effect| match effect {
        Effect::Master { peer, message } => peers.perform(peer, &message),
        Effect::Executor { peer, event } => peers.perform(peer, &event),
        Effect::Container(command) => {
            sandboxes.ordered(&command);
            containerizer.send(command);
        }
        Effect::DeleteSandbox { container, sandbox } => remover.remove(container, sandbox),
        Effect::DeleteVolumes { order, volumes } => remover.remove_volumes(order, volumes),
        Effect::Disk(command) => refuse_disk(&inbox, command),
        Effect::Echo(departure) => tell(&inbox, Input::Departed(departure)),
        Effect::Disconnect {
            peer,
            close,
            reason,
        } => {
            tracing::warn!(?peer, reason, "disconnecting");
            peers.disconnect(peer, close);
        }
        Effect::Stop { reason } => {
            why = Some(reason);
            drop(refuse.take());
        }
        Effect::Left => {
            tracing::info!("has left the cluster");
            drop(refuse.take());
        }
    };
    let shutdown = async {
        tokio::select! {
            asked = stopped => what_runs = asked.unwrap_or(WhatRuns::GoesOn),
            _ = refused => {}
            error = dialer.ended() => lost = Some(error),
        }
    };
    let ended = driver.run(perform, |_| {}, shutdown).await;
    disk_watch.abort();
    if let Some(watch) = image_watch {
        watch.abort();
    }
    dialer.shut_down().await;
    if what_runs == WhatRuns::IsDestroyed {
        tokio::task::spawn_blocking(move || containerizer.shutdown()).await??;
    }
    ended.context("the agent has ended")?;
    match (why, lost) {
        (Some(reason), _) => bail!("the agent cannot go on: {reason}"),
        (None, Some(error)) => Err(error).context("the agent has no master any more"),
        (None, None) => Ok(()),
    }
}

/// Answers for the provider of disks, which this agent does not have yet.
fn refuse_disk(inbox: &Inbox<Input>, command: DiskCommand) {
    let job = match command {
        DiskCommand::Do { job, .. } | DiskCommand::Undo { job } => job,
        // What was never begun needs no remembering.
        DiskCommand::Forget { .. } | DiskCommand::Recover { .. } => return,
    };
    tracing::warn!(%job, "there is no provider of disks");
    let outcome = DiskOutcome::Failed("the agent has no provider of disks".into());
    tell(inbox, Input::Disk(DiskEvent { job, outcome }));
}

/// Answers an effect. The inbox may be full, and is emptied by whoever is here now.
fn tell(inbox: &Inbox<Input>, input: Input) {
    let inbox = inbox.clone();
    tokio::spawn(async move {
        if inbox.send(input).await.is_err() {
            tracing::debug!("the agent has ended: its next life asks again");
        }
    });
}

/// Turns what happens on connections into inputs. Readers of output are nothing to the machine.
fn inbound(inbox: Inbox<Input>, sandboxes: Arc<Sandboxes>) -> Inbound<Input> {
    let translate = move |info: &Arc<PeerInfo>, event: PeerEvent<ToAgent>| {
        if info.principal.role != PeerRole::Master {
            return None;
        }
        Some(match event {
            PeerEvent::Connected(info) => Input::MasterFound { peer: info.peer },
            PeerEvent::Message { peer, message } => {
                if let ToAgent::UpdateFramework(framework) = &message
                    && let Some(id) = &framework.id
                {
                    sandboxes.owned(id, framework.principal.as_deref());
                }
                Input::Master { peer, message }
            }
            PeerEvent::Disconnected { peer, .. } => Input::MasterLost { peer },
        })
    };
    Inbound::new(inbox, |_, body| codec::decode(body), translate)
}

fn choose(isolation: Isolation) -> anyhow::Result<(Mode, String)> {
    let detected = Mode::detect();
    let describe = |mode| match mode {
        Mode::Container => format!("container ({})", detected.reason),
        Mode::Process => format!("process ({})", detected.reason),
    };
    match (isolation, detected.mode) {
        (Isolation::Auto, mode) => Ok((mode, describe(mode))),
        (Isolation::Process, _) => Ok((Mode::Process, "process (as asked for)".into())),
        (Isolation::Container, Mode::Container) => Ok((Mode::Container, describe(Mode::Container))),
        (Isolation::Container, Mode::Process) => {
            bail!("containers are not possible here: {}", detected.reason)
        }
    }
}

/// Starts what runs the containers of an agent.
fn containerizer(
    options: &AgentOptions,
    (mode, graphics): (Mode, Graphics),
    inbox: Inbox<Input>,
    sandboxes: Arc<Sandboxes>,
) -> anyhow::Result<(Containerizer, Option<Store>, Option<Sampler>)> {
    let sink = move |event| {
        sandboxes.happened(&event);
        if inbox.blocking_send(Input::Container(event)).is_err() {
            tracing::debug!("the agent has ended: the launcher keeps what happens");
        }
    };
    let (instance, config) = container_config(&options.work_dir, mode)?;
    let ground = Ground {
        work_dir: &config.work_dir,
        runtime_dir: &config.runtime_dir,
        tls_dir: &options.tls_dir,
        instance: &instance,
        cgroup_root: &config.cgroup_root,
        mode,
        graphics,
    };
    let makers = isolators(ground, &options.containers)?;
    let config = tepui_isolation::Config {
        default_pids: options.containers.default_pids.or(Some(DEFAULT_PIDS)),
        logs: options.containers.logs,
        agent_loss: options.agent_loss.clone(),
        ..config
    };
    let containerizer = Containerizer::start_with(config, makers.isolators, Box::new(sink))?;
    Ok((containerizer, makers.images, makers.sampler))
}

/// Starts what deletes for an agent.
fn remover(
    work_dir: &Path,
    sandboxes: Arc<Sandboxes>,
    inbox: Inbox<Input>,
) -> anyhow::Result<Remover> {
    let volumes = Persistent::new(&resolved(work_dir)?);
    Ok(Remover::start(sandboxes, volumes, inbox)?)
}

fn resolved(work_dir: &Path) -> anyhow::Result<PathBuf> {
    let resolved = work_dir.canonicalize();
    resolved.with_context(|| format!("cannot resolve {}", work_dir.display()))
}

/// Says how containers are run, and what the agent is called among those of the machine.
fn container_config(
    work_dir: &Path,
    mode: Mode,
) -> anyhow::Result<(String, tepui_isolation::Config)> {
    let work_dir = resolved(work_dir)?;
    // Two agents on one machine must not touch each other's control groups; the same agent must
    // find its own again.
    let instance = crc32fast::hash(work_dir.as_os_str().as_encoded_bytes());
    let instance = format!("{instance:08x}");
    let config = tepui_isolation::Config {
        cgroup_root: format!("tepui/{instance}"),
        ..tepui_isolation::Config::new(work_dir, mode)
    };
    Ok((instance, config))
}

fn machine_config(options: &AgentOptions, info: AgentInfo, name: String) -> anyhow::Result<Config> {
    Ok(Config {
        boot: Some(detect::boot()?),
        registration_backoff: options.registration_backoff,
        gc_delay: options.gc_delay,
        reconfiguration: options.reconfiguration,
        recover: options.recover,
        ..Config::new(info, name, seed::fresh().next_u64())
    })
}

fn describe(options: &AgentOptions, address: SocketAddr, gpus: usize) -> anyhow::Result<AgentInfo> {
    let hostname = match &options.hostname {
        Some(hostname) => hostname.clone(),
        None => nix::unistd::gethostname()
            .context("cannot tell the host's name; --hostname does")?
            .to_string_lossy()
            .into_owned(),
    };
    let address = match address.ip().is_unspecified() {
        true => format!("{hostname}:{}", address.port()),
        false => address.to_string(),
    };
    let resources = detect::complete(&options.resources, &options.work_dir, gpus)?;
    Ok(AgentInfo {
        attributes: options.attributes.clone(),
        domain: options.domain.clone(),
        ..AgentInfo::new(hostname, address, resources)
    })
}
