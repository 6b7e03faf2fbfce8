//! Samples of what containers use: CPU time, memory, processes and block devices by their control
//! groups, their disks, their networks, and how long they wait (CT-78 to CT-82).
//!
//! Only the containers' own files are read, and no process is looked for, so that it costs the same
//! however many the machine has. Deliberately not here: what happens with samples, and what the
//! kernel counts with `perf` (CT-83).

use std::fmt;
use std::thread;

use tepui_core::ids::ContainerId;

use crate::cgroup::{Hierarchies, Pressure, Usage};
use crate::error::Result;
use crate::isolators::{DiskMeter, DiskUse};
use crate::network::{Namespaces, statistics};

/// The most threads that sample: the kernel takes about 0.1 ms for each container.
const THREADS: usize = 4;

/// What one container uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// CPU time, memory, processes, block devices.
    pub usage: Usage,
    /// How long it waited, where that is counted.
    pub pressure: Option<Pressure>,
    /// What its files take, if somebody looks after that.
    pub disk: Option<DiskUse>,
    /// Its network, if it has one of its own.
    pub network: Option<statistics::Statistics>,
}

/// Takes samples of the containers of one agent. Clones are cheap enough for a thread each.
#[derive(Clone)]
pub struct Sampler {
    hierarchies: Hierarchies,
    root: String,
    disks: Option<DiskMeter>,
    networks: Option<Namespaces>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// Samples containers whose groups are below `root`.
    ///
    /// # Errors
    /// If there are no control groups: plain processes, and the containers of an agent without
    /// privileges, are counted by nobody.
    pub fn new(root: &str) -> Result<Self> {
        Ok(Self {
            hierarchies: Hierarchies::detect()?,
            root: root.to_owned(),
            disks: None,
            networks: None,
        })
    }

    /// Tells what files take, too.
    #[must_use]
    pub fn with_disks(mut self, meter: DiskMeter) -> Self {
        self.disks = Some(meter);
        self
    }

    /// Tells of networks, too, whose namespaces are there.
    #[must_use]
    pub fn with_networks(mut self, namespaces: Namespaces) -> Self {
        self.networks = Some(namespaces);
        self
    }

    /// Samples these containers, in their order: on several threads. One that has ended meanwhile
    /// has an error.
    pub fn sample(&self, ids: &[ContainerId]) -> Vec<Result<Sample>> {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
        let each = ids.len().div_ceil(threads).max(1);
        let some = |ids: &[ContainerId]| ids.iter().map(|id| self.one(id)).collect::<Vec<_>>();
        thread::scope(|scope| {
            let parts = ids.chunks(each).map(|part| scope.spawn(move || some(part)));
            let parts: Vec<_> = parts.collect();
            let parts = parts.into_iter().map(|part| part.join());
            parts
                .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn one(&self, id: &ContainerId) -> Result<Sample> {
        let group = self.hierarchies.group(&self.root, id.as_str())?;
        let namespace = self
            .networks
            .as_ref()
            .and_then(|networks| networks.find(id));
        let network = namespace.and_then(|path| {
            let read = statistics::read(Some(&path));
            // It may be on its way out; all else is told.
            read.inspect_err(|error| tracing::debug!(%id, %error, "a network is not sampled"))
                .ok()
        });
        Ok(Sample {
            usage: group.usage()?,
            pressure: group.pressure()?,
            disk: self.disks.as_ref().and_then(|disks| disks.usage(id)),
            network,
        })
    }
}
