//! Joins containers to networks by the plugins of the Container Network Interface, versions 0.3.1
//! to 1.0.0 (CT-52).
//!
//! A container joins all networks that it asks for or none: what a failure leaves is undone, and
//! what cannot be undone stays on record, so that [`Networks::detach`] or [`Networks::recover`]
//! goes on with it. A network is left with the very configuration with which it was joined.
//! Whatever happens to the agent, after a recovery nothing is left of containers that it does not
//! know.
//!
//! Leaving stops at the first plugin that fails, the later ones of the chain first: an address that
//! is freed while a port of the host still leads to it would lead to another container. It is begun
//! anew by the next call, for plugins must stand that.
//!
//! Deliberately not here: networks and interfaces of our own, the verb `GC` of CNI 1.1.

mod config;
mod input;
mod outcome;
mod plugin;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::Value;
use tepui_core::ids::ContainerId;

pub use config::{Catalogue, VERSIONS};
pub use input::Join;
pub use outcome::{Address, Attached, Route};

use super::enter::is_namespace;
use super::error::{NetworkError, PluginFailure, Result};
use plugin::Call;
use record::{Joined, Record, Stage, Store};

/// The most networks of one container.
const NETWORKS: usize = 32;

/// How networks are joined.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where networks are configured (`--network_cni_config_dir`).
    pub config_dir: PathBuf,
    /// Where plugins are, the first one first (`--network_cni_plugins_dir`).
    pub plugin_dirs: Vec<PathBuf>,
    /// Where it is remembered which container is in which networks. It has to outlive restarts of
    /// the machine where the plugins' own memory does, like `/var/lib/cni`.
    pub state_dir: PathBuf,
    /// What the names of containers begin with that plugins are told. Plugins share networks
    /// between all agents of a machine, so each needs another one.
    pub container_prefix: String,
    /// How long one plugin may take.
    pub timeout: Duration,
}

impl Config {
    /// Makes a configuration with the usual directories of plugins, no prefix and a minute for each
    /// plugin.
    pub fn new(config_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            config_dir: config_dir.into(),
            plugin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            state_dir: state_dir.into(),
            container_prefix: String::new(),
            timeout: Duration::from_secs(60),
        }
    }
}

/// What a recovery did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// The containers that have left their networks now: unknown ones, and those that had not
    /// joined all of them or had begun to leave.
    pub detached: Vec<String>,
    /// The containers that have not, and why; the next recovery tries again.
    pub failed: Vec<(String, NetworkError)>,
}

/// The networks that containers of one agent can join.
///
/// Calls block: for as long as plugins take. Those for one container wait for each other; others go
/// on at the same time. All that is known is on disk, so a new value for the same directories goes
/// on where the former one ended. Use one value at a time: the next one ends plugins of the former.
#[derive(Debug)]
pub struct Networks {
    config: Config,
    store: Store,
    /// The containers for which something is being done, and how to end that early.
    busy: Mutex<BTreeMap<String, Arc<EventFd>>>,
    idle: Condvar,
}

/// What a plugin is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Del,
    Check,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
        }
    }
}

/// The right to do something for a container.
struct Turn<'a> {
    networks: &'a Networks,
    name: &'a str,
    /// Readable once somebody wants it to end early.
    cancel: Arc<EventFd>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let busy = self.networks.busy.lock();
        busy.unwrap_or_else(PoisonError::into_inner)
            .remove(self.name);
        self.networks.idle.notify_all();
    }
}

impl Networks {
    /// Opens the directory of what is remembered; makes it if need be.
    pub fn open(config: Config) -> Result<Self> {
        for dir in &config.plugin_dirs {
            if dir.to_str().is_none_or(|text| text.contains(':')) {
                let value = dir.to_string_lossy();
                let expected = "a path in UTF-8 without colons";
                return Err(NetworkError::invalid(
                    "directory of plugins",
                    value,
                    expected,
                ));
            }
        }
        let store = Store::open(config.state_dir.clone())?;
        Ok(Self {
            config,
            store,
            busy: Mutex::default(),
            idle: Condvar::new(),
        })
    }

    /// Reads which networks there are now.
    pub fn catalogue(&self) -> Result<Catalogue> {
        config::catalogue(&self.config.config_dir)
    }

    /// Joins networks, in this order, with the network namespace that is bound at `namespace`.
    ///
    /// Configurations are read now (CT-52). If one of them cannot be joined none is. After
    /// [`NetworkError::NotUndone`] it has to be detached before it can be attached again.
    pub fn attach(
        &self,
        id: &ContainerId,
        namespace: &Path,
        joins: &[Join],
    ) -> Result<Vec<Attached>> {
        let name = id.as_str();
        let turn = self.turn(name)?;
        if self.store.read(name)?.is_some() {
            return Err(NetworkError::Attached {
                id: name.to_owned(),
            });
        }
        let mut record = self.plan(name, namespace, joins)?;
        self.store.write(name, &record)?;
        let mut attached = Vec::new();
        for n in 0..record.joins.len() {
            let mut ran = 0;
            match self.join(&turn, &mut record, n, &mut ran) {
                Ok(joined) => attached.push(joined),
                Err(failure) => return Err(self.undo(name, record, (n, ran), failure)),
            }
        }
        record.stage = Stage::Joined;
        match self.store.write(name, &record) {
            Ok(()) => Ok(attached),
            Err(failure) => {
                let last = record.joins.len();
                Err(self.undo(name, record, (last, 0), failure))
            }
        }
    }

    /// Leaves all networks of a container, the last one first; fine if it is in none.
    ///
    /// If it is being attached that is ended and undone first (CT-03).
    pub fn detach(&self, id: &ContainerId) -> Result<()> {
        self.detach_name(id.as_str())
    }

    /// Asks the plugins whether all is still as it was made (`CHECK`), where they know that.
    pub fn check(&self, id: &ContainerId) -> Result<()> {
        let name = id.as_str();
        let _turn = self.turn(name)?;
        let record = self.store.read(name)?;
        let record = record.filter(|record| record.stage == Stage::Joined);
        let record = record.ok_or_else(|| NetworkError::NotAttached {
            id: name.to_owned(),
        })?;
        for join in &record.joins {
            if join.unchecked || !config::knows_check(&join.version) {
                continue;
            }
            for plugin in 0..join.plugins.len() {
                let prior = join.result.as_ref();
                self.call(name, &record, join, plugin, (Verb::Check, prior), None)?;
            }
        }
        Ok(())
    }

    /// Returns the networks that a container is in; none, if it is in none or has not joined all.
    pub fn attached(&self, id: &ContainerId) -> Result<Vec<Attached>> {
        let record = self.store.read(id.as_str())?;
        let Some(record) = record.filter(|record| record.stage == Stage::Joined) else {
            return Ok(Vec::new());
        };
        let attached = record.joins.iter().map(|join| {
            let result = join.result.as_ref().unwrap_or(&Value::Null);
            outcome::read(join, result).map_err(|problem| NetworkError::Record {
                path: self.config.state_dir.join(id.as_str()),
                problem,
            })
        });
        attached.collect()
    }

    /// Leaves the networks of all containers that are not `known`, or that were interrupted while
    /// they joined or left. One that fails does not keep the others. To be called before anything
    /// else: what is being attached is interrupted too.
    pub fn recover(&self, known: &BTreeSet<ContainerId>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for name in self.store.names()? {
            let is_known = known.iter().any(|id| id.as_str() == name);
            let whole = |record: &Record| record.stage == Stage::Joined;
            if is_known && matches!(self.store.read(&name), Ok(Some(record)) if whole(&record)) {
                continue;
            }
            match self.detach_name(&name) {
                Ok(()) => recovered.detached.push(name),
                Err(error) => recovered.failed.push((name, error)),
            }
        }
        Ok(recovered)
    }

    /// Waits until nothing else is being done for a container.
    fn turn<'a>(&'a self, name: &'a str) -> Result<Turn<'a>> {
        let cancel = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let cancel = cancel.map_err(|errno| NetworkError::system("eventfd", errno))?;
        let cancel = Arc::new(cancel);
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = self.idle.wait_while(busy, |busy| busy.contains_key(name));
        let mut busy = busy.unwrap_or_else(PoisonError::into_inner);
        busy.insert(name.to_owned(), Arc::clone(&cancel));
        Ok(Turn {
            networks: self,
            name,
            cancel,
        })
    }

    /// Has an attachment of a container end early, if one is under way.
    fn cancel(&self, name: &str) -> Result<()> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cancel) = busy.get(name) else {
            return Ok(());
        };
        let written = cancel.write(1).map(drop);
        written.map_err(|errno| NetworkError::system("write an eventfd", errno))
    }

    /// Decides all that plugins will be told, before any of them runs.
    fn plan(&self, name: &str, namespace: &Path, joins: &[Join]) -> Result<Record> {
        let container = format!("{}{name}", self.config.container_prefix);
        if !config::is_name(&container) {
            let expected = "a letter or digit, then letters, digits, '_', '.' and '-'";
            return Err(NetworkError::invalid("container", container, expected));
        }
        if !(1..=NETWORKS).contains(&joins.len()) {
            let value = joins.len().to_string();
            return Err(NetworkError::invalid(
                "number of networks",
                value,
                "1 to 32",
            ));
        }
        if namespace.to_str().is_none() || !is_namespace(namespace) {
            let value = namespace.to_string_lossy();
            let expected = "a path in UTF-8 where a namespace is bound";
            return Err(NetworkError::invalid("network namespace", value, expected));
        }
        let mut planned: Vec<Joined> = Vec::new();
        for (n, join) in joins.iter().enumerate() {
            let network = config::find(&self.config.config_dir, &join.network)?;
            let interface = join.interface(n)?;
            // A network twice has no meaning (TK-17), an interface can be only one.
            let clashes =
                |other: &Joined| other.network == join.network || other.interface == interface;
            if planned.iter().any(clashes) {
                let value = format!("{} as {interface}", join.network);
                let expected = "each network and each interface only once";
                return Err(NetworkError::invalid("networks", value, expected));
            }
            let plugins = input::plugins(&network, join)?;
            for plugin in &plugins {
                self.program(config::kind(plugin), &network.name)?;
            }
            planned.push(Joined {
                interface,
                arguments: join.arguments()?,
                plugins,
                result: None,
                version: network.version,
                unchecked: network.unchecked,
                network: network.name,
            });
        }
        Ok(Record {
            container,
            namespace: namespace.to_owned(),
            stage: Stage::Joining,
            joins: planned,
        })
    }

    /// Joins the `n`th network; `ran` tells also in a failure how many of its plugins were run.
    fn join(
        &self,
        turn: &Turn<'_>,
        record: &mut Record,
        n: usize,
        ran: &mut usize,
    ) -> Result<Attached> {
        let (name, cancel) = (turn.name, Some(&*turn.cancel));
        let mut result = Value::Null;
        let join = &record.joins[n];
        let bad =
            |plugin, problem| failed(Verb::Add, join, plugin, PluginFailure::Result { problem });
        for plugin in 0..join.plugins.len() {
            let prior = (plugin > 0).then_some(&result);
            let answer = self.call(name, record, join, plugin, (Verb::Add, prior), cancel);
            *ran = plugin + usize::from(has_run(&answer));
            let answer = serde_json::from_slice(&answer?);
            result = answer.map_err(|error| bad(plugin, format!("is no JSON: {error}")))?;
        }
        let attached = outcome::read(join, &result).map_err(|problem| bad(*ran - 1, problem))?;
        record.joins[n].result = Some(result);
        // Plugins are told it when it is undone, also after a crash.
        self.store.write(name, record)?;
        Ok(attached)
    }

    /// Undoes an attachment of which the `n`th network was not joined: `ran` of its plugins ran.
    fn undo(
        &self,
        name: &str,
        mut record: Record,
        (n, ran): (usize, usize),
        failure: NetworkError,
    ) -> NetworkError {
        record.joins.truncate(n + 1);
        if let Some(join) = record.joins.get_mut(n) {
            join.plugins.truncate(ran);
        }
        match self.leave(name, record) {
            Ok(()) => failure,
            Err(undo) => NetworkError::NotUndone {
                failure: Box::new(failure),
                undo: Box::new(undo),
            },
        }
    }

    fn detach_name(&self, name: &str) -> Result<()> {
        self.cancel(name)?;
        let _turn = self.turn(name)?;
        match self.store.read(name)? {
            Some(mut record) => {
                record.stage = Stage::Leaving;
                self.store.write(name, &record)?;
                self.leave(name, record)
            }
            // Perhaps there is what a crash left of one.
            None => self.store.remove(name),
        }
    }

    /// Leaves the networks of a record, the last one first, and forgets it.
    fn leave(&self, name: &str, mut record: Record) -> Result<()> {
        while let Some(join) = record.joins.last() {
            let prior = join.result.as_ref();
            let prior = prior.filter(|_| config::knows_check(&join.version));
            for plugin in (0..join.plugins.len()).rev() {
                self.call(name, &record, join, plugin, (Verb::Del, prior), None)?;
            }
            record.joins.pop();
        }
        self.store.remove(name)
    }

    /// Runs one plugin of a network.
    fn call(
        &self,
        name: &str,
        record: &Record,
        join: &Joined,
        plugin: usize,
        (verb, prior): (Verb, Option<&Value>),
        cancel: Option<&EventFd>,
    ) -> Result<Vec<u8>> {
        let mut input = join.plugins[plugin].clone();
        let program = self.program(config::kind(&input), &join.network)?;
        if let Some(prior) = prior {
            input.insert("prevResult".to_owned(), prior.clone());
        }
        // A namespace that is gone, as after a restart of the machine, is none to plugins; a file
        // that is no namespace they would take for an error.
        let is_gone = verb == Verb::Del && !is_namespace(&record.namespace);
        let namespace = record.namespace.to_string_lossy();
        let dirs = self.config.plugin_dirs.iter();
        let dirs: Vec<_> = dirs.map(|dir| dir.to_string_lossy()).collect();
        let mut variables = vec![
            ("CNI_COMMAND", verb.name().to_owned()),
            ("CNI_CONTAINERID", record.container.clone()),
            ("CNI_IFNAME", join.interface.clone()),
            ("CNI_PATH", dirs.join(":")),
        ];
        if !is_gone {
            variables.push(("CNI_NETNS", namespace.into_owned()));
        }
        if !join.arguments.is_empty() {
            variables.push(("CNI_ARGS", join.arguments.clone()));
        }
        let call = Call {
            program: &program,
            variables: &variables,
            input: &Value::Object(input),
            file: &self.store.input(name),
            timeout: self.config.timeout,
            cancel,
        };
        plugin::run(&call)?.map_err(|failure| failed(verb, join, plugin, failure))
    }

    /// Finds the file of a plugin.
    fn program(&self, kind: &str, network: &str) -> Result<PathBuf> {
        let dirs = &self.config.plugin_dirs;
        let is_program = |path: &PathBuf| {
            let found = path.metadata();
            found.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let mut paths = dirs.iter().map(|dir| dir.join(kind));
        paths.find(is_program).ok_or_else(|| {
            let dirs: Vec<_> = dirs.iter().map(|dir| dir.to_string_lossy()).collect();
            NetworkError::NoPlugin {
                plugin: kind.to_owned(),
                network: network.to_owned(),
                dirs: dirs.join(", "),
            }
        })
    }
}

/// Returns whether a plugin was there to do something. One that could not even be executed can
/// neither undo anything, and must not keep others from it.
fn has_run(answer: &Result<Vec<u8>>) -> bool {
    let Err(error) = answer else { return true };
    matches!(error, NetworkError::Plugin { failure, .. }
        if !matches!(failure, PluginFailure::Exec(_)))
}

fn failed(verb: Verb, join: &Joined, plugin: usize, failure: PluginFailure) -> NetworkError {
    NetworkError::Plugin {
        command: verb.name(),
        plugin: config::kind(&join.plugins[plugin]).to_owned(),
        network: join.network.clone(),
        failure,
    }
}
