//! What the containers of an agent may have: its isolators, set up.
//!
//! Deliberately not here: what each of them does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tepui_core::auth::PeerRole;
use tepui_isolation::cgroup::Settings;
use tepui_isolation::fetch::{Config as FetchConfig, Fetcher};
use tepui_isolation::graphics::Graphics;
use tepui_isolation::image::{Keyring, Options as ImageOptions, Scheme, Store};
use tepui_isolation::isolators::{
    Allowed, DiskRule, Disks, Fetching, Former, Groups, Images, Listening, Members, Memory,
    Networks, Nodes, Persistent, Plain, Processors, Rights, Setup, Volumes,
};
use tepui_isolation::network::Namespaces;
use tepui_isolation::network::bandwidth::Rate;
use tepui_isolation::network::cni;
use tepui_isolation::network::ports::Rule;
use tepui_isolation::{Isolator, Logs, Mode, Sampler};
use tepui_transport::authority::KEY_FILE;
use tepui_transport::target::identity_dir;

/// Where what must not outlive a restart of the machine is, for each agent a directory.
const RUNTIME: &str = "/run/tepui";

/// What is remembered of networks that containers have joined, below the agent's directory.
const NETWORKS: &str = "networks";

/// Where containers' roots are, below the agent's directory.
const ROOTS: &str = "roots";

/// What is remembered of groups of tasks, below the agent's directory, and of their memory, below
/// that and in the launcher's.
const GROUPS: &str = "groups";
const MEMORY: &str = "memory";

/// What an operator gives to containers, beside what tasks take of the resources.
#[derive(Clone, Debug, Default)]
pub struct ContainerOptions {
    /// Which rights they may have.
    pub allowed: Allowed,
    /// Which paths of the machine they may see, with what is below.
    pub host_volumes: Vec<PathBuf>,
    /// What of the machine tasks on its root do not see, beside the agent's own: directories and
    /// files.
    pub hidden: Vec<PathBuf>,
    /// Below which directories there are images in files.
    pub image_directories: Vec<PathBuf>,
    /// The registry of images that name none.
    pub default_registry: Option<String>,
    /// Registries that are asked over HTTP.
    pub insecure_registries: Vec<String>,
    /// A file with names and passwords for registries, as Docker's `config.json`.
    pub registry_credentials: Option<PathBuf>,
    /// A directory with the configurations of networks (CNI).
    pub networks: Option<PathBuf>,
    /// Where the plugins of networks are; empty is the usual places.
    pub network_plugins: Vec<PathBuf>,
    /// The most bytes that a task sends over each of its networks in a second.
    pub network_egress: Option<u64>,
    /// What each container's control group has beside its limits.
    pub groups: Settings,
    /// Whether tasks that take whole CPUs have cores of their own.
    pub places_cores: bool,
    /// The most processes and threads of a task that names no limit; `None` is 4,096: a fork bomb
    /// stays small.
    pub default_pids: Option<u32>,
    /// How much is kept of what they write.
    pub logs: Logs,
    /// Devices of the machine that all containers may use.
    pub devices: Vec<PathBuf>,
    /// How it is looked after what their files take.
    pub disks: DiskRule,
    /// Which graphics processors there are for them.
    pub gpus: Gpus,
    /// Whether it is watched which ports they listen on, and how often.
    pub ports: Option<(Rule, Duration)>,
    /// How much of the disk is kept free, in percent, by removing images that nobody has.
    pub image_headroom: u8,
}

/// Which graphics processors of the machine an agent has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gpus {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// Those of these numbers.
    Only(BTreeSet<u32>),
}

impl Gpus {
    /// Finds them; plain processes have none for themselves.
    pub(crate) fn find(&self, mode: Mode) -> anyhow::Result<Graphics> {
        if mode == Mode::Process {
            return Ok(Graphics::default());
        }
        match self {
            Self::None => Ok(Graphics::default()),
            Self::All => Ok(Graphics::detect()?),
            Self::Only(numbers) => Ok(Graphics::detect()?.only(numbers)?),
        }
    }
}

/// What makes the containers of an agent.
pub(crate) struct Makers {
    /// Their isolators.
    pub(crate) isolators: Vec<Box<dyn Isolator>>,
    /// Where their images are; plain processes have none.
    pub(crate) images: Option<Store>,
    /// What says how much they use; `None` where nobody counts it.
    pub(crate) sampler: Option<Sampler>,
}

/// What an agent's containers are made on: where, and what was found of the machine.
pub(crate) struct Ground<'a> {
    /// The agent's directory.
    pub(crate) work_dir: &'a Path,
    /// The launcher's, which containers do not see.
    pub(crate) runtime_dir: &'a Path,
    /// Where its certificate is, or those of all roles.
    pub(crate) tls_dir: &'a Path,
    /// What the agent is called among those of the machine.
    pub(crate) instance: &'a str,
    /// Below which control group those of its containers are.
    pub(crate) cgroup_root: &'a str,
    /// How programs are run.
    pub(crate) mode: Mode,
    /// Its graphics processors.
    pub(crate) graphics: Graphics,
}

/// Sets up the isolators of an agent.
pub(crate) fn isolators(ground: Ground<'_>, options: &ContainerOptions) -> anyhow::Result<Makers> {
    let fetcher = Fetcher::new(FetchConfig::new(ground.work_dir.join("fetched")))?;
    let fetching = Box::new(Fetching::new(fetcher));
    let persistent = Persistent::new(ground.work_dir);
    let mut all = formers(&ground, options)?;
    if ground.mode == Mode::Process {
        all.push(Box::new(Plain::default().keeping(persistent)));
        all.push(fetching);
        return Ok(Makers {
            isolators: all,
            images: None,
            sampler: None,
        });
    }
    let rights = rights(&ground, options)?;
    let Ground {
        work_dir,
        runtime_dir: _,
        tls_dir: _,
        instance,
        cgroup_root,
        mode: _,
        graphics,
    } = ground;
    let store = Store::open(work_dir.join("images"), image_options(options)?)?;
    let networks = options.networks.as_deref();
    let networks = networks.map(|networks| setup(work_dir, instance, networks, options));
    all.push(Box::new(rights));
    let images = Images::new(Some(store.clone()), work_dir.join(ROOTS));
    all.push(Box::new(images.found_in(options.image_directories.clone())));
    // An agent without privileges has no groups, and needs none for this.
    let (groups, places) = (&options.groups, options.places_cores);
    if places || *groups != Settings::default() {
        all.push(Box::new(Groups::new(groups.clone(), places, cgroup_root)?));
    }
    let disks = Disks::new(options.disks, work_dir, work_dir.join("disks"))?;
    let meter = disks.meter();
    all.push(Box::new(disks));
    all.push(Box::new(Nodes::new(options.devices.clone())));
    all.push(Box::new(Processors::new(graphics, work_dir.join("gpus"))?));
    let networks = networks.transpose()?;
    let namespaces = networks.as_ref().map(|setup| setup.namespaces.clone());
    all.push(Box::new(Networks::new(networks)));
    if let Some((rule, interval)) = &options.ports {
        let directory = work_dir.join("ports");
        let listening = Listening::new(rule.clone(), *interval, cgroup_root, directory)?;
        all.push(Box::new(listening));
    }
    let volumes = Volumes::new(options.host_volumes.clone());
    all.push(Box::new(volumes.keeping(persistent)));
    all.push(fetching);
    // An agent without privileges has no groups.
    let sampler = Sampler::new(cgroup_root).ok();
    let sampler = sampler.map(|sampler| sampler.with_disks(meter));
    let sampler = sampler.map(|sampler| match namespaces {
        Some(namespaces) => sampler.with_networks(namespaces),
        None => sampler,
    });
    Ok(Makers {
        isolators: all,
        images: Some(store),
        sampler,
    })
}

/// Sets up what removes what the agent had made when it was started otherwise.
fn formers(
    ground: &Ground<'_>,
    options: &ContainerOptions,
) -> anyhow::Result<Vec<Box<dyn Isolator>>> {
    let (work_dir, is_plain) = (ground.work_dir, ground.mode == Mode::Process);
    let mut all: Vec<Box<dyn Isolator>> = Vec::new();
    if (is_plain || options.networks.is_none()) && work_dir.join(NETWORKS).exists() {
        let nowhere = work_dir.join("no-networks");
        let setup = setup(work_dir, ground.instance, &nowhere, options)?;
        all.push(Box::new(Former::new(Networks::new(Some(setup)))));
    }
    if is_plain && work_dir.join(GROUPS).join(MEMORY).exists() {
        all.push(Box::new(Former::new(rights(ground, options)?)));
    }
    let roots = work_dir.join(ROOTS);
    if is_plain && roots.exists() {
        all.push(Box::new(Former::new(Images::new(None, roots))));
    }
    Ok(all)
}

fn image_options(options: &ContainerOptions) -> anyhow::Result<ImageOptions> {
    let keyring = match &options.registry_credentials {
        Some(path) => {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Keyring::from_docker_config(&text).with_context(|| path.display().to_string())?
        }
        None => Keyring::default(),
    };
    let insecure = options.insecure_registries.iter();
    Ok(ImageOptions {
        default_registry: options.default_registry.clone(),
        schemes: insecure.map(|name| (name.clone(), Scheme::Http)).collect(),
        keyring,
        ..ImageOptions::default()
    })
}

/// Gives rights, and memory to groups.
fn rights(ground: &Ground<'_>, options: &ContainerOptions) -> anyhow::Result<Rights> {
    let members = Members::open(ground.work_dir.join(GROUPS).join(MEMORY))?;
    let memory = Memory::open(ground.runtime_dir.join(GROUPS), members)?;
    let mut allowed = options.allowed.clone();
    ensure!(
        allowed.user_namespace.is_none() || nix::unistd::geteuid().is_root(),
        "only an agent of root can have its tasks' users be others of the machine's"
    );
    allowed.hidden.extend(hidden(ground, options)?);
    Ok(Rights::new(allowed).sharing(memory))
}

/// Lists what tasks on the machine's root are not to see: what others' sandboxes and secrets are
/// in, and keys and passwords of the agent.
fn hidden(ground: &Ground<'_>, options: &ContainerOptions) -> anyhow::Result<Vec<PathBuf>> {
    let own = identity_dir(ground.tls_dir, PeerRole::Agent);
    let keys = match own == ground.tls_dir {
        true => own.join(KEY_FILE),
        // Those of all roles.
        false => ground.tls_dir.to_owned(),
    };
    let mut all = vec![ground.work_dir.to_owned(), keys];
    all.extend(options.registry_credentials.clone());
    all.extend(options.hidden.iter().cloned());
    let found = all.into_iter().map(|path| match fs::canonicalize(&path) {
        // What comes later is hidden then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        found => found.with_context(|| format!("cannot find {}", path.display())),
    });
    found.collect()
}

fn setup(
    work_dir: &Path,
    instance: &str,
    networks: &Path,
    options: &ContainerOptions,
) -> anyhow::Result<Setup> {
    let runtime = Path::new(RUNTIME).join(instance);
    let mut config = cni::Config {
        // Plugins share addresses between all agents of a machine.
        container_prefix: format!("tepui-{instance}-"),
        ..cni::Config::new(networks, work_dir.join(NETWORKS))
    };
    if !options.network_plugins.is_empty() {
        config.plugin_dirs.clone_from(&options.network_plugins);
    }
    Ok(Setup {
        namespaces: Namespaces::open(runtime.join("netns"))?,
        networks: cni::Networks::open(config)?,
        files: runtime.join("names"),
        dns: None,
        egress: options.network_egress.map(Rate::of),
        groups: Members::open(work_dir.join(GROUPS).join(NETWORKS))?,
    })
}
