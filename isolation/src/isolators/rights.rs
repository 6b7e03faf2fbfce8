//! What a container's programs may do: capabilities, system calls, limits of processes, shared
//! memory (CT-56 to CT-60).

use std::fs;
use std::path::PathBuf;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container_info::{
    Capability, ContainerInfo, IpcMode, RlimitKind as Kind, Seccomp as Asked, Security,
};

use super::memory::Memory;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::{
    Capabilities, CapabilitySet, Launch, Rlimit, RlimitKind, RlimitValues, Seccomp, UserNamespace,
};

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// What an operator allows.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The capabilities that any container can have; who asks for others is refused. Those who
    /// name none have the usual ones of these.
    pub capabilities: CapabilitySet,
    /// Whether system calls of those are filtered who do not say anything about it.
    pub seccomp: bool,
    /// Whether a task may ask for no such filter.
    pub unconfined: bool,
    /// The directory of the profiles that tasks may name; `None` is no others than the usual one.
    pub profiles: Option<PathBuf>,
    /// Whether no container's programs gain rights by being executed.
    pub no_new_privileges: bool,
    /// The size of shared memory of those who name none, in bytes.
    pub shm_size: Option<u64>,
    /// Which users of the machine those of containers are; `None` is the same ones.
    pub user_namespace: Option<UserNamespace>,
    /// What of the machine those on its root do not see, directories and files: nothing is in them
    /// but their own sandbox.
    pub hidden: Vec<PathBuf>,
    /// Whether those on the machine's root have a `/tmp` of their own, in memory that counts as
    /// theirs.
    pub private_tmp: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            capabilities: CapabilitySet::DEFAULT,
            seccomp: true,
            unconfined: false,
            profiles: None,
            no_new_privileges: false,
            shm_size: None,
            user_namespace: None,
            hidden: Vec::new(),
            private_tmp: false,
        }
    }
}

/// Gives containers the rights that they ask for, as far as they are allowed.
#[derive(Debug)]
pub struct Rights {
    allowed: Allowed,
    memory: Option<Memory>,
}

impl Rights {
    /// Gives no more than is allowed.
    pub fn new(allowed: Allowed) -> Self {
        let memory = None;
        Self { allowed, memory }
    }

    /// Has groups share memory where their tasks ask for that; without this they are refused.
    #[must_use]
    pub fn sharing(self, memory: Memory) -> Self {
        let memory = Some(memory);
        Self { memory, ..self }
    }

    /// Gives a container shared memory and IPC objects: its own, or those of its group.
    fn share(
        &self,
        subject: &Subject<'_>,
        asked: &ContainerInfo,
        launch: &mut Launch,
    ) -> Outcome<()> {
        let bytes = |size: u64| size.saturating_mul(MIB);
        match (asked.ipc, subject.spec.group.as_deref(), &self.memory) {
            (IpcMode::Private, _, _) => {
                launch.shm_size = asked.shm_size.map(bytes).or(self.allowed.shm_size);
                Ok(())
            }
            (IpcMode::ShareParent, None, _) => {
                Err("it asks for the machine's shared memory, which no container has".into())
            }
            (IpcMode::ShareParent, Some(_), None) => Err(
                "it asks for its group's shared memory, for which this agent has no place".into(),
            ),
            (IpcMode::ShareParent, Some(group), Some(memory)) => {
                let size = group.container.as_ref().and_then(|common| common.shm_size);
                let size = size.map(bytes).or(self.allowed.shm_size);
                launch.ipc = memory.share(&group.id, subject.id, size)?;
                Ok(())
            }
        }
    }

    fn capabilities(&self, security: &Security) -> Outcome<Capabilities> {
        let set = |asked: &std::collections::BTreeSet<Capability>| -> Outcome<CapabilitySet> {
            let names: Vec<&str> = asked.iter().map(|capability| capability.as_str()).collect();
            let asked: CapabilitySet = names.join(",").parse()?;
            let excess = asked.without(self.allowed.capabilities);
            match excess.is_empty() {
                true => Ok(asked),
                false => Err(format!(
                    "it asks for the capabilities {excess}; this agent gives {} at most",
                    self.allowed.capabilities
                )
                .into()),
            }
        };
        let effective = security.effective.as_ref().map(set).transpose()?;
        let bounding = security.bounding.as_ref().map(set).transpose()?;
        let usual = CapabilitySet::DEFAULT;
        let usual = usual.without(CapabilitySet::all().without(self.allowed.capabilities));
        Ok(Capabilities {
            bounding: bounding.or(effective).unwrap_or(usual),
            effective,
        })
    }

    fn seccomp(&self, asked: &Asked) -> Outcome<Seccomp> {
        match asked {
            Asked::Default if self.allowed.seccomp => Ok(Seccomp::Default),
            Asked::Default => Ok(Seccomp::Unconfined),
            Asked::Unconfined if self.allowed.unconfined => Ok(Seccomp::Unconfined),
            Asked::Unconfined => Err(
                "it asks for system calls without a filter, which this agent does not allow".into(),
            ),
            Asked::Profile(name) => {
                let Some(directory) = &self.allowed.profiles else {
                    return Err(format!(
                        "it asks for the seccomp profile {name:?}; this agent has no directory \
                         of them"
                    )
                    .into());
                };
                // The master has checked that it is the name of a file.
                let path = directory.join(name);
                let text = fs::read_to_string(&path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Seccomp::Profile(text))
            }
        }
    }
}

impl Isolator for Rights {
    fn name(&self) -> &str {
        "rights"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let nothing = ContainerInfo::default();
        let asked = subject.spec.container.as_deref().unwrap_or(&nothing);
        launch.capabilities = self.capabilities(&asked.security)?;
        launch.seccomp = self.seccomp(&asked.security.seccomp)?;
        launch.no_new_privileges |=
            self.allowed.no_new_privileges | asked.security.no_new_privileges;
        let users = launch.user_namespace.take();
        launch.user_namespace = users.or_else(|| self.allowed.user_namespace.clone());
        launch.hidden.extend(self.allowed.hidden.iter().cloned());
        launch.private_tmp |= self.allowed.private_tmp && asked.image.is_none();
        refuse(asked, subject.spec.group.is_some())?;
        launch.take_streams(asked);
        launch
            .rlimits
            .extend(asked.rlimits.iter().map(|limit| Rlimit {
                kind: kind(limit.kind),
                values: limit.bounds.map(|(soft, hard)| RlimitValues { soft, hard }),
            }));
        self.share(subject, asked, launch)
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let memory = self.memory.as_ref();
        memory.map_or_else(|| Ok(Recovered::default()), |memory| memory.recover(live))
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        let memory = self.memory.as_ref();
        memory.map_or(Ok(()), |memory| memory.leave(id))
    }

    fn disband(&self, group: &ContainerId) -> Outcome<()> {
        let memory = self.memory.as_ref();
        memory.map_or(Ok(()), |memory| memory.disband(group))
    }
}

fn kind(kind: Kind) -> RlimitKind {
    match kind {
        Kind::As => RlimitKind::As,
        Kind::Core => RlimitKind::Core,
        Kind::Cpu => RlimitKind::Cpu,
        Kind::Data => RlimitKind::Data,
        Kind::Fsize => RlimitKind::Fsize,
        Kind::Locks => RlimitKind::Locks,
        Kind::Memlock => RlimitKind::Memlock,
        Kind::Msgqueue => RlimitKind::Msgqueue,
        Kind::Nice => RlimitKind::Nice,
        Kind::Nofile => RlimitKind::Nofile,
        Kind::Nproc => RlimitKind::Nproc,
        Kind::Rss => RlimitKind::Rss,
        Kind::Rtprio => RlimitKind::Rtprio,
        Kind::Rttime => RlimitKind::Rttime,
        Kind::Sigpending => RlimitKind::Sigpending,
        Kind::Stack => RlimitKind::Stack,
    }
}

/// Refuses what no container gets: a part of the machine's own, or of what runs beside it.
fn refuse(asked: &ContainerInfo, is_of_group: bool) -> Outcome<()> {
    if asked.share_pid_namespace {
        return Err(match is_of_group {
            true => "it asks to see the processes of its group, which this agent does not give yet",
            false => "it asks to see the machine's processes, which no container does",
        }
        .into());
    }
    let realtime = [Kind::Rtprio, Kind::Rttime, Kind::Nice];
    if let Some(limit) = asked
        .rlimits
        .iter()
        .find(|limit| realtime.contains(&limit.kind))
    {
        let name = limit.kind.as_str();
        return Err(
            format!("it asks for the limit {name}, by which it could come before others").into(),
        );
    }
    Ok(())
}
