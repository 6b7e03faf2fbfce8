//! Looks now and then which ports containers on the machine's network listen on: those that they
//! take of the agent's resources, and no others (CT-54).
//!
//! Deliberately not here: what a look finds (`network::ports`), and containers with networks of
//! their own, whose ports are theirs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerLimits;
use tepui_core::protocol::status::{Breach, Limited};
use tepui_core::resources::{Milli, Ranges};
use tracing::warn;

use crate::cgroup::Hierarchies;
use crate::error::Result;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::{Launch, Network};
use crate::network::Ports;
use crate::network::ports::{Enforcement, Holder, Listeners, Rule, Verdict};
use crate::records::Records;

/// For so long one list of all sockets serves those that are looked at after each other.
const FRESH: Duration = Duration::from_secs(1);

/// Watches which ports containers listen on.
#[derive(Debug)]
pub struct Listening {
    rule: Rule,
    interval: Duration,
    hierarchies: Hierarchies,
    root: String,
    records: Records<Option<Ranges>>,
    table: Mutex<BTreeMap<ContainerId, Entry>>,
    listed: Mutex<Option<(Instant, Arc<Listeners>)>>,
}

#[derive(Debug)]
struct Entry {
    /// `None` is any.
    ports: Option<Ranges>,
    is_told: bool,
}

impl Listening {
    /// Looks every `interval` at containers whose groups are below `root`; remembers their ports in
    /// `directory`.
    ///
    /// # Errors
    /// If there are no control groups, which tell whose processes are whose, or what is remembered
    /// cannot be read.
    pub fn new(rule: Rule, interval: Duration, root: &str, directory: PathBuf) -> Result<Self> {
        let records = Records::open(directory)?;
        let entry = |ports| Entry {
            ports,
            is_told: false,
        };
        let known = records
            .all()?
            .into_iter()
            .map(|(id, ports)| (id, entry(ports)));
        Ok(Self {
            rule,
            interval,
            hierarchies: Hierarchies::detect()?,
            root: root.to_owned(),
            table: Mutex::new(known.collect()),
            records,
            listed: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, id: &ContainerId, ports: &Option<Ranges>) -> Outcome<()> {
        let mut table = self.lock();
        self.records.write(id, ports)?;
        let (ports, is_told) = (ports.clone(), false);
        table.insert(id.clone(), Entry { ports, is_told });
        Ok(())
    }

    fn end(&self, id: &ContainerId) -> Outcome<()> {
        let mut table = self.lock();
        if table.contains_key(id) {
            self.records.remove(id)?;
            table.remove(id);
        }
        Ok(())
    }

    fn listeners(&self) -> Outcome<Arc<Listeners>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, listeners)) = &*listed
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(listeners));
        }
        let listeners = Arc::new(Listeners::here()?);
        *listed = Some((Instant::now(), Arc::clone(&listeners)));
        Ok(listeners)
    }
}

impl Isolator for Listening {
    fn name(&self) -> &str {
        "ports"
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        let known: Vec<ContainerId> = self.lock().keys().cloned().collect();
        for id in known.iter().filter(|id| !live.contains_key(id)) {
            recovered.note(id.as_str(), self.end(id));
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        match launch.network {
            Network::Host => self.begin(subject.id, &subject.spec.limits.ports),
            Network::Isolated | Network::Namespace(_) | Network::Of(_) => Ok(()),
        }
    }

    fn update(&self, id: &ContainerId, limits: &ContainerLimits) -> Outcome<()> {
        let has_changed = |entry: &Entry| entry.ports != limits.ports;
        let is_changed = self.lock().get(id).is_some_and(has_changed);
        match is_changed {
            true => self.begin(id, &limits.ports),
            false => Ok(()),
        }
    }

    fn watches(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn breach(&self, id: &ContainerId) -> Outcome<Option<Breach>> {
        let own = self
            .lock()
            .get(id)
            .and_then(|entry| entry.ports.as_ref().map(ports));
        let Some(own) = own else {
            return Ok(None);
        };
        let group = self.hierarchies.group(&self.root, id.as_str())?;
        let listeners = self.listeners()?;
        let held = listeners.held_by(&Holder::Processes(group.processes()?))?;
        let Verdict::Wrong {
            ports,
            message,
            enforcement,
        } = self.rule.judge(&held, &own)
        else {
            return Ok(None);
        };
        match enforcement {
            Enforcement::End => Ok(ports.first().map(|(port, _)| Breach {
                resource: Limited::Ports,
                limit: Milli::ZERO,
                used: Milli::from_units(i64::from(*port)),
            })),
            Enforcement::Report => {
                if let Some(entry) = self.lock().get_mut(id)
                    && !std::mem::replace(&mut entry.is_told, true)
                {
                    warn!(%id, "{message}");
                }
                Ok(None)
            }
        }
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        self.end(id)
    }
}

/// Returns what of a set of numbers is ports.
fn ports(ranges: &Ranges) -> Ports {
    let port = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let ranges = ranges
        .iter()
        .filter(|range| *range.start() <= u64::from(u16::MAX));
    ranges
        .map(|range| port(*range.start())..=port(*range.end()))
        .collect()
}
