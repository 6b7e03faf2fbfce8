//! Graphics processors of NVIDIA: which ones a machine has, by what its driver shows (CT-62).
//!
//! Used by agents, which offer them, and by the isolator that gives them away. Deliberately not
//! here: the driver's libraries, which images bring or volumes give.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Nodes that every user of one needs beside its own, as far as they are there.
const CONTROLS: [&str; 4] = [
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-modeset",
];
const NODE: &str = "nvidia";

/// The graphics processors of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graphics {
    nodes: PathBuf,
    processors: BTreeSet<u32>,
}

impl Graphics {
    /// Finds those of this machine.
    ///
    /// # Errors
    /// As [`Graphics::find`].
    pub fn detect() -> Result<Self> {
        Self::find(Path::new("/dev"), Path::new("/proc/driver/nvidia"))
    }

    /// Finds those that have a node in `nodes`: of the ones that the driver names in `driver`, or
    /// of any if that is not there. A driver names those too that it may not give to anybody.
    ///
    /// # Errors
    /// If what the driver says cannot be read or is garbled.
    pub fn find(nodes: &Path, driver: &Path) -> Result<Self> {
        let mut processors: BTreeSet<u32> = entries(nodes)?
            .iter()
            .filter_map(|path| number(path.file_name()?.to_str()?))
            .collect();
        let gpus = driver.join("gpus");
        if gpus.exists() {
            let mut named = BTreeSet::new();
            for gpu in entries(&gpus)? {
                named.insert(minor(&gpu.join("information"))?);
            }
            processors.retain(|number| named.contains(number));
        }
        Ok(Self {
            nodes: nodes.to_owned(),
            processors,
        })
    }

    /// Keeps those of these numbers only (`--nvidia_gpu_devices`).
    ///
    /// # Errors
    /// If there is none of such a number.
    pub fn only(mut self, wanted: &BTreeSet<u32>) -> Result<Self> {
        if let Some(missing) = wanted.difference(&self.processors).next() {
            let all: Vec<String> = self.processors.iter().map(u32::to_string).collect();
            return Err(Error::Invalid(format!(
                "there is no graphics processor {missing}: found are {:?}",
                all.join(",")
            )));
        }
        self.processors = wanted.clone();
        Ok(self)
    }

    /// Returns the numbers of its processors, which are those of their nodes.
    pub fn processors(&self) -> &BTreeSet<u32> {
        &self.processors
    }

    /// Returns the node of a processor.
    pub(crate) fn node(&self, processor: u32) -> PathBuf {
        self.nodes.join(format!("{NODE}{processor}"))
    }

    /// Lists the nodes that all of them share.
    pub(crate) fn controls(&self) -> Vec<PathBuf> {
        let paths = CONTROLS.map(|name| self.nodes.join(name));
        paths.into_iter().filter(|path| path.exists()).collect()
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::file("read", directory, error);
    let entries = fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| Ok(entry.map_err(failed)?.path()));
    paths.collect()
}

/// Reads the number in `nvidia0`.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(NODE)?;
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

/// Reads the line `Device Minor: 0`.
fn minor(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("Device Minor:"));
    let value = value.map(|value| value.trim().parse());
    match value {
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) | None => {
            let error = io::Error::other("expected a line `Device Minor: N`");
            Err(Error::file("parse", path, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with nodes 0 to 2, of which the driver names 0 and 2.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let nodes = dir.path().join("dev");
        fs::create_dir(&nodes).unwrap();
        for name in [
            "nvidia0",
            "nvidia1",
            "nvidia2",
            "nvidiactl",
            "nvidia-caps",
            "nvidia",
        ] {
            fs::write(nodes.join(name), "").unwrap();
        }
        for (bus, minor) in [
            ("0000:01:00.0", 0),
            ("0000:02:00.0", 2),
            ("0000:03:00.0", 7),
        ] {
            let gpu = dir.path().join("driver/gpus").join(bus);
            fs::create_dir_all(&gpu).unwrap();
            let text = format!("Model: \t\t Some\nDevice Minor: \t {minor}\n");
            fs::write(gpu.join("information"), text).unwrap();
        }
        dir
    }

    #[test]
    fn those_are_found_that_the_driver_names_and_that_have_a_node() {
        // CT-62
        let dir = machine();
        let (nodes, driver) = (dir.path().join("dev"), dir.path().join("driver"));
        let found = Graphics::find(&nodes, &driver).unwrap();
        assert_eq!(found.processors(), &[0, 2].into());
        assert_eq!(found.controls(), [nodes.join("nvidiactl")]);
        assert_eq!(found.node(2), nodes.join("nvidia2"));
        let without = Graphics::find(&nodes, &dir.path().join("nothing")).unwrap();
        assert_eq!(without.processors(), &[0, 1, 2].into());
        let one = found.clone().only(&[2].into()).unwrap();
        assert_eq!(one.processors(), &[2].into());
        let error = found.only(&[1].into()).unwrap_err().to_string();
        assert!(
            error.contains("no graphics processor 1") && error.contains("0,2"),
            "{error}"
        );
        fs::write(driver.join("gpus/0000:01:00.0/information"), "garbled").unwrap();
        assert!(Graphics::find(&nodes, &driver).is_err());
    }
}
