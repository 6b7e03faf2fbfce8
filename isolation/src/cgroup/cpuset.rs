//! On which CPUs and from which memory nodes a group runs.

use std::path::Path;

use cgroups_rs::cpuset::CpuSetController;

use super::files::{failed, read, read_if_there, write};
use super::hierarchies::Version;
use super::list::CpuList;
use crate::error::{Error, Result};

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Writes CPUs and memory nodes; an empty list is all that the group above has.
///
/// In version 1 processes can enter only when both are set, and nothing is inherited.
pub(super) fn apply(group: &Path, version: Version, cpus: &CpuList, nodes: &CpuList) -> Result<()> {
    let controller = CpuSetController::new(group.to_owned(), version == Version::Two);
    let set = [CpuSetController::set_cpus, CpuSetController::set_mems];
    for ((file, set), list) in FILES.into_iter().zip(set).zip([cpus, nodes]) {
        let text = match (version, list.is_empty()) {
            (Version::One, true) => above(group, file)?,
            // The kernel takes a line for no list, and nothing at all for no write.
            (Version::Two, true) => "\n".to_owned(),
            (_, false) => list.to_string(),
        };
        if text == "\n" {
            // What a new group has is not written.
            if read_if_there(group, file)?.is_some_and(|now| !now.trim().is_empty()) {
                write(group, file, &text)?;
            }
            continue;
        }
        set(&controller, &text).map_err(|e| failed(group, file, text.clone(), &e))?;
    }
    Ok(())
}

/// Writes the CPUs of a group that is there, which must be some.
pub(super) fn set_cpus(group: &Path, version: Version, cpus: &CpuList) -> Result<()> {
    let controller = CpuSetController::new(group.to_owned(), version == Version::Two);
    let text = cpus.to_string();
    let set = controller.set_cpus(&text);
    set.map_err(|e| failed(group, FILES[0], text, &e))
}

/// Gives a group of version 1 what the one above it has, if it has nothing yet (CT-32).
pub(super) fn inherit(group: &Path) -> Result<()> {
    for file in FILES {
        let now = read_if_there(group, file)?.unwrap_or_default();
        if now.trim().is_empty() {
            write(group, file, &above(group, file)?)?;
        }
    }
    Ok(())
}

/// Reads on which CPUs a group may run; empty if that was left open.
pub(super) fn cpus(group: &Path) -> Result<CpuList> {
    list(group, FILES[0])
}

fn list(group: &Path, file: &str) -> Result<CpuList> {
    let text = read_if_there(group, file)?.unwrap_or_default();
    let parsed = text.parse();
    parsed.map_err(|error| Error::file("parse", &group.join(file), std::io::Error::other(error)))
}

fn above(group: &Path, file: &str) -> Result<String> {
    let parent = group.parent().unwrap_or(group);
    Ok(read(parent, file)?.trim().to_owned())
}
