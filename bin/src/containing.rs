//! What the containers of an agent may have: its isolators, set up.
//!
//! Deliberately not here: what each of them does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tepui_isolation::fetch::{Config as FetchConfig, Fetcher};
use tepui_isolation::image::{Keyring, Options as ImageOptions, Scheme, Store};
use tepui_isolation::isolators::{
    Allowed, Fetching, Images, Networks, Plain, Rights, Setup, Volumes,
};
use tepui_isolation::network::Namespaces;
use tepui_isolation::network::cni;
use tepui_isolation::{Isolator, Mode};

/// Where what must not outlive a restart of the machine is, for each agent a directory.
const RUNTIME: &str = "/run/tepui";

/// What an operator gives to containers, beside what tasks take of the resources.
#[derive(Clone, Debug, Default)]
pub struct ContainerOptions {
    /// Which rights they may have.
    pub allowed: Allowed,
    /// Which paths of the machine they may see, with what is below.
    pub host_volumes: Vec<PathBuf>,
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
}

/// Sets up the isolators of an agent whose own name among those of the machine is `instance`.
pub(crate) fn isolators(
    work_dir: &Path,
    instance: &str,
    mode: Mode,
    options: &ContainerOptions,
) -> anyhow::Result<Vec<Box<dyn Isolator>>> {
    let fetcher = Fetcher::new(FetchConfig::new(work_dir.join("fetched")))?;
    let fetching = Box::new(Fetching::new(fetcher));
    if mode == Mode::Process {
        return Ok(vec![Box::new(Plain), fetching]);
    }
    let store = Store::open(work_dir.join("images"), image_options(options)?)?;
    let networks = options.networks.as_deref();
    let networks = networks.map(|networks| setup(work_dir, instance, networks, options));
    Ok(vec![
        Box::new(Rights::new(options.allowed.clone())),
        Box::new(Images::new(Some(store), work_dir.join("roots"))),
        Box::new(Networks::new(networks.transpose()?)),
        Box::new(Volumes::new(options.host_volumes.clone())),
        fetching,
    ])
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
        ..cni::Config::new(networks, work_dir.join("networks"))
    };
    if !options.network_plugins.is_empty() {
        config.plugin_dirs.clone_from(&options.network_plugins);
    }
    Ok(Setup {
        namespaces: Namespaces::open(runtime.join("netns"))?,
        networks: cni::Networks::open(config)?,
        files: runtime.join("names"),
        dns: None,
    })
}
