//! Which container has which cores for itself. A pure table over the machine's topology, which is
//! read once from the files of the kernel.
//!
//! Cores are exclusive among those who ask for some; for whoever places them it remains to keep all
//! others to what is [left](Placement::shared).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::list::CpuList;
use super::settings::Cores;
use crate::error::{Error, Result};

/// The machine's memory nodes with their cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// In the order of their numbers.
    pub nodes: Vec<Node>,
}

/// A memory node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// The hardware threads of each of its cores.
    pub cores: Vec<CpuList>,
    /// Whether there is memory in it.
    pub has_memory: bool,
}

/// What a container was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// All hardware threads of its cores.
    pub cpus: CpuList,
    /// The memory node of its cores; empty if that has no memory.
    pub nodes: CpuList,
}

/// Why there are no cores for a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// It has some.
    #[error("{name} has cores already")]
    Placed {
        /// Whose name it is.
        name: String,
    },
    /// There is no such node.
    #[error("there is no memory node {node}; expected one of {nodes}")]
    NoNode {
        /// Which was wished for.
        node: u32,
        /// Which there are.
        nodes: CpuList,
    },
    /// Too many are taken, or there never were so many.
    #[error("{count} whole cores of one memory node: the most that is free in one is {most}")]
    Full {
        /// How many were wished for.
        count: u32,
        /// How many can be had.
        most: usize,
    },
}

impl Topology {
    /// Reads it from below `/sys/devices/system`.
    ///
    /// # Errors
    /// If a file cannot be read or is garbled. A machine without memory nodes has one with
    /// everything.
    pub fn read(system: &Path) -> Result<Self> {
        let online = list(&system.join("cpu/online"))?;
        let online = online.ok_or_else(|| missing(&system.join("cpu/online")))?;
        let memory = list(&system.join("node/has_memory"))?;
        let has_memory = |id| memory.as_ref().is_none_or(|nodes| nodes.contains(id));
        let mut nodes = Vec::new();
        if let Some(ids) = list(&system.join("node/online"))? {
            for id in ids.iter() {
                let cpus = list(&system.join(format!("node/node{id}/cpulist")))?;
                let cpus = cpus.unwrap_or_default();
                nodes.push((
                    id,
                    online.iter().filter(|cpu| cpus.contains(*cpu)).collect(),
                ));
            }
        }
        if nodes.is_empty() {
            nodes.push((0, online));
        }
        let nodes = nodes.into_iter().map(|(id, cpus)| {
            Ok(Node {
                id,
                cores: cores(system, cpus)?,
                has_memory: has_memory(id),
            })
        });
        Ok(Self {
            nodes: nodes.collect::<Result<_>>()?,
        })
    }

    /// Reads it from the running kernel.
    ///
    /// # Errors
    /// As [`Topology::read`].
    pub fn detect() -> Result<Self> {
        Self::read(Path::new("/sys/devices/system"))
    }
}

fn cores(system: &Path, cpus: CpuList) -> Result<Vec<CpuList>> {
    let mut left = cpus;
    let mut cores = Vec::new();
    while let Some(cpu) = left.first() {
        let path = system.join(format!("cpu/cpu{cpu}/topology/thread_siblings_list"));
        let siblings = list(&path)?.unwrap_or_default();
        // Those that are offline or, in a garbled world, another core's are not of this one.
        let threads = siblings.iter().chain([cpu]);
        let core: CpuList = threads.filter(|thread| left.contains(*thread)).collect();
        left = left.without(&core);
        cores.push(core);
    }
    Ok(cores)
}

fn list(path: &Path) -> Result<Option<CpuList>> {
    match fs::read_to_string(path) {
        Ok(text) => match text.parse() {
            Ok(list) => Ok(Some(list)),
            Err(error) => Err(Error::file("parse", path, io::Error::other(error))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, error)),
    }
}

fn missing(path: &Path) -> Error {
    Error::file("read", path, io::Error::from(io::ErrorKind::NotFound))
}

/// Who has which cores.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    topology: Topology,
    taken: BTreeMap<String, CpuList>,
}

impl Placement {
    /// Makes a table in which all cores are free.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            taken: BTreeMap::new(),
        }
    }

    /// Gives cores to a container: of the node where the fewest others are left over.
    ///
    /// # Errors
    /// If no node has so many free.
    pub fn place(
        &mut self,
        name: &str,
        wish: &Cores,
    ) -> std::result::Result<Grant, PlacementError> {
        if self.taken.contains_key(name) {
            return Err(PlacementError::Placed {
                name: name.to_owned(),
            });
        }
        let nodes = self.topology.nodes.iter();
        let fits = |node: &&Node| wish.node.is_none_or(|id| node.id == id);
        let nodes: Vec<&Node> = nodes.filter(fits).collect();
        if let (Some(node), []) = (wish.node, &*nodes) {
            let nodes = self.topology.nodes.iter().map(|node| node.id).collect();
            return Err(PlacementError::NoNode { node, nodes });
        }
        let count = usize::try_from(wish.count).unwrap_or(usize::MAX);
        let free = nodes.iter().map(|node| (self.free(node), node));
        let free: Vec<_> = free.collect();
        let enough = free.iter().filter(|(cores, _)| cores.len() >= count);
        let Some((cores, node)) = enough.min_by_key(|(cores, node)| (cores.len(), node.id)) else {
            let most = free.iter().map(|(cores, _)| cores.len()).max().unwrap_or(0);
            return Err(PlacementError::Full {
                count: wish.count,
                most,
            });
        };
        let mut cpus = CpuList::default();
        cores[..count].iter().for_each(|core| cpus.add(core));
        let nodes = node.has_memory.then_some(node.id).into_iter().collect();
        self.taken.insert(name.to_owned(), cpus.clone());
        Ok(Grant { cpus, nodes })
    }

    /// Notes what a container has that was placed by a table before this one, as after a restart.
    pub fn claim(&mut self, name: &str, cpus: CpuList) {
        self.taken.insert(name.to_owned(), cpus);
    }

    /// Takes back what a container has, if anything.
    pub fn release(&mut self, name: &str) {
        self.taken.remove(name);
    }

    /// Returns the CPUs that nobody has for himself.
    pub fn shared(&self) -> CpuList {
        let cores = self.topology.nodes.iter().flat_map(|node| &node.cores);
        let mut all = CpuList::default();
        cores.for_each(|core| all.add(core));
        self.taken
            .values()
            .fold(all, |left, taken| left.without(taken))
    }

    fn free(&self, node: &Node) -> Vec<CpuList> {
        let is_free = |core: &&CpuList| self.taken.values().all(|taken| !taken.meets(core));
        node.cores.iter().filter(is_free).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    /// Two nodes: four cores with two threads each, and two without memory.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        write("cpu/online", "0-9");
        write("node/online", "0-1");
        write("node/has_memory", "0");
        write("node/node0/cpulist", "0-3,6-9");
        write("node/node1/cpulist", "4-5");
        for (cpu, siblings) in [
            (0, "0,6"),
            (1, "1,7"),
            (2, "2,8"),
            (3, "3,9"),
            (4, "4"),
            (5, "5"),
        ] {
            write(
                &format!("cpu/cpu{cpu}/topology/thread_siblings_list"),
                siblings,
            );
        }
        dir
    }

    #[test]
    fn the_topology_is_read_and_may_be_incomplete() {
        let dir = machine();
        let topology = Topology::read(dir.path()).unwrap();
        let cores = |texts: &[&str]| texts.iter().map(|text| list(text)).collect::<Vec<_>>();
        let first = Node {
            id: 0,
            cores: cores(&["0,6", "1,7", "2,8", "3,9"]),
            has_memory: true,
        };
        let second = Node {
            id: 1,
            cores: cores(&["4", "5"]),
            has_memory: false,
        };
        assert_eq!(topology.nodes, [first, second]);

        fs::remove_dir_all(dir.path().join("node")).unwrap();
        fs::write(dir.path().join("cpu/online"), "0,4-5,6\n").unwrap();
        let topology = Topology::read(dir.path()).unwrap();
        let only = Node {
            id: 0,
            cores: cores(&["0,6", "4", "5"]),
            has_memory: true,
        };
        assert_eq!(topology.nodes, [only]);

        fs::write(dir.path().join("cpu/online"), "many\n").unwrap();
        let error = Topology::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("cpu/online") && error.contains("many"),
            "{error}"
        );
        assert!(Topology::detect().unwrap().nodes[0].cores[0].contains(0));
    }

    #[test]
    fn cores_are_whole_of_one_node_and_nobody_elses() {
        // CT-64, WK-57
        let mut table = Placement::new(Topology::read(machine().path()).unwrap());
        let any = |count| Cores { count, node: None };
        // The small node first: what is left in the large one may be needed at once.
        let one = table.place("a", &any(1)).unwrap();
        assert_eq!((one.cpus, one.nodes), (list("4"), list("")));
        let two = table.place("b", &any(2)).unwrap();
        assert_eq!((two.cpus, two.nodes), (list("0-1,6-7"), list("0")));
        assert_eq!(table.shared(), list("2-3,5,8-9"));
        let full = PlacementError::Full { count: 3, most: 2 };
        assert_eq!(table.place("c", &any(3)), Err(full));
        let there = Cores {
            count: 1,
            node: Some(0),
        };
        assert_eq!(table.place("c", &there).unwrap().cpus, list("2,8"));
        let again = PlacementError::Placed { name: "c".into() };
        assert_eq!(table.place("c", &there), Err(again));
        let nowhere = table.place(
            "d",
            &Cores {
                count: 1,
                node: Some(7),
            },
        );
        let text = "there is no memory node 7; expected one of 0-1";
        assert_eq!(nowhere.unwrap_err().to_string(), text);

        table.release("b");
        table.release("nobody");
        assert_eq!(table.place("d", &any(3)).unwrap().cpus, list("0-1,3,6-7,9"));
    }

    #[test]
    fn what_was_given_before_a_restart_is_not_given_again() {
        // CT-64
        let mut table = Placement::new(Topology::read(machine().path()).unwrap());
        table.claim("old", list("0,4-5"));
        let all = Cores {
            count: 4,
            node: None,
        };
        let full = PlacementError::Full { count: 4, most: 3 };
        assert_eq!(table.place("new", &all), Err(full));
        table.release("old");
        assert_eq!(table.place("new", &all).unwrap().cpus, list("0-3,6-9"));
    }
}
