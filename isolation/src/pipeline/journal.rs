//! Which containers isolators have something for: written before they are asked, removed when all
//! is cleaned up. So an agent that comes after a crash knows what may be left, and what was asked
//! for.
//!
//! A file for each container, `<directory>/<id>`. It need not outlive the machine: then nothing
//! that it tells of does. Variables and secrets are left out.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec as Spec;
use tepui_core::protocol::container_info::VolumeSource;
use tracing::warn;

use crate::error::{Error, Result};
use crate::kill_point;
use crate::wire::VERSION;

/// The directory below that of the agent.
const PREPARED: &str = "prepared";

#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
}

/// What is known of a container.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The isolators that were asked.
    pub(super) isolators: Vec<String>,
    pub(super) spec: Spec,
}

impl Journal {
    pub(crate) fn open(work_dir: &Path) -> Result<Self> {
        let directory = work_dir.join(PREPARED);
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| Error::file("create", &directory, error))?;
        Ok(Self { directory })
    }

    /// Notes a container that is about to be prepared.
    pub(super) fn write(
        &self,
        id: &ContainerId,
        isolators: Vec<String>,
        spec: &Spec,
    ) -> Result<()> {
        let record = Record {
            version: VERSION,
            isolators,
            spec: without_secrets(spec),
        };
        let bytes = postcard::to_allocvec(&record);
        let bytes = bytes.map_err(|error| Error::Frame(error.to_string()))?;
        let path = self.directory.join(id.as_str());
        let failed = |error| Error::file("write", &path, error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        kill_point::reached("journal.begun");
        file.write_all(&bytes).map_err(failed)
    }

    /// Forgets a container.
    pub(super) fn remove(&self, id: &ContainerId) -> Result<()> {
        let path = self.directory.join(id.as_str());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Returns of which group a container is, as far as that is noted.
    pub(super) fn group_of(&self, id: &ContainerId) -> Option<ContainerId> {
        let record = read_at(&self.directory.join(id.as_str()))?;
        Some(record.spec.group?.id)
    }

    /// Reads all that is noted. Of what cannot be read the id is known still.
    pub(super) fn read(&self) -> Result<BTreeMap<ContainerId, Option<Record>>> {
        let failed = |error| Error::file("read", &self.directory, error);
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Ok(id) = ContainerId::new(&name) else {
                warn!(path = %path.display(), "no container's: it stays");
                continue;
            };
            records.insert(id, read_at(&path));
        }
        Ok(records)
    }
}

fn read_at(path: &Path) -> Option<Record> {
    let bytes = fs::read(path).ok()?;
    let record: Record = postcard::from_bytes(&bytes).ok()?;
    (record.version == VERSION).then_some(record)
}

fn without_secrets(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    spec.environment.clear();
    spec.command.environment.clear();
    let volumes = spec
        .container
        .iter_mut()
        .flat_map(|asked| &mut asked.volumes);
    for volume in volumes {
        if let VolumeSource::Secret(secret) = &mut volume.source {
            secret.0.clear();
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use tepui_core::protocol::container_info::{Access, ContainerInfo, Secret, Volume};
    use tepui_core::protocol::task::CommandInfo;

    use super::*;

    fn spec() -> Spec {
        let secret = Volume {
            path: "key".into(),
            access: Access::Read,
            source: VolumeSource::Secret(Secret(b"hunter2".to_vec())),
        };
        let asked = ContainerInfo {
            volumes: vec![secret],
            ..ContainerInfo::default()
        };
        let mut spec = Spec::new(CommandInfo::shell("true"), vec!["x".to_owned()]);
        spec.command.environment = vec![("PASSWORD".into(), "hunter2".into())];
        spec.environment = vec![("TOKEN".into(), "hunter2".into())];
        spec.container = Some(Box::new(asked));
        spec
    }

    // AG-57: whatever of it has reached the disk, it is known that there is something
    #[test]
    fn a_torn_record_still_names_its_container_and_secrets_are_in_none() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let (one, two) = (ContainerId::numbered(1), ContainerId::numbered(2));
        journal.write(&one, vec!["a".into()], &spec()).unwrap();
        journal.write(&two, vec!["a".into()], &spec()).unwrap();
        let path = dir.path().join(PREPARED).join(one.as_str());
        let whole = fs::read(&path).unwrap();
        assert!(!whole.windows(7).any(|bytes| bytes == b"hunter2"));
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let records = journal.read().unwrap();
            assert_eq!(records[&one], None, "cut at {cut}");
            let record = records[&two].as_ref().unwrap();
            assert_eq!(record.isolators, ["a"]);
            assert_eq!(record.spec.sandbox, ["x"]);
        }
        journal.remove(&one).unwrap();
        journal.remove(&one).unwrap();
        assert_eq!(journal.read().unwrap().len(), 1);
    }
}
