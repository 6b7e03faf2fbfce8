//! What a container's programs may do: capabilities, system calls, limits of processes, shared
//! memory (CT-56 to CT-60).

use std::fs;
use std::path::PathBuf;

use tepui_core::protocol::container_info::{
    Capability, ContainerInfo, IpcMode, RlimitKind as Kind, Seccomp as Asked, Security,
};

use crate::isolator::{Isolator, Outcome, Subject};
use crate::launch::{
    Capabilities, CapabilitySet, Launch, Rlimit, RlimitKind, RlimitValues, Seccomp,
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
        }
    }
}

/// Gives containers the rights that they ask for, as far as they are allowed.
#[derive(Debug)]
pub struct Rights(Allowed);

impl Rights {
    /// Gives no more than is allowed.
    pub fn new(allowed: Allowed) -> Self {
        Self(allowed)
    }

    fn capabilities(&self, security: &Security) -> Outcome<Capabilities> {
        let set = |asked: &std::collections::BTreeSet<Capability>| -> Outcome<CapabilitySet> {
            let names: Vec<&str> = asked.iter().map(|capability| capability.as_str()).collect();
            let asked: CapabilitySet = names.join(",").parse()?;
            let excess = asked.without(self.0.capabilities);
            match excess.is_empty() {
                true => Ok(asked),
                false => Err(format!(
                    "it asks for the capabilities {excess}; this agent gives {} at most",
                    self.0.capabilities
                )
                .into()),
            }
        };
        let effective = security.effective.as_ref().map(set).transpose()?;
        let bounding = security.bounding.as_ref().map(set).transpose()?;
        let usual = CapabilitySet::DEFAULT;
        let usual = usual.without(CapabilitySet::all().without(self.0.capabilities));
        Ok(Capabilities {
            bounding: bounding.or(effective).unwrap_or(usual),
            effective,
        })
    }

    fn seccomp(&self, asked: &Asked) -> Outcome<Seccomp> {
        match asked {
            Asked::Default if self.0.seccomp => Ok(Seccomp::Default),
            Asked::Default => Ok(Seccomp::Unconfined),
            Asked::Unconfined if self.0.unconfined => Ok(Seccomp::Unconfined),
            Asked::Unconfined => Err(
                "it asks for system calls without a filter, which this agent does not allow".into(),
            ),
            Asked::Profile(name) => {
                let Some(directory) = &self.0.profiles else {
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
        launch.no_new_privileges |= self.0.no_new_privileges | asked.security.no_new_privileges;
        refuse(asked)?;
        launch.take_streams(asked);
        let size = asked.shm_size.map(|size| size.saturating_mul(MIB));
        launch.shm_size = size.or(self.0.shm_size);
        launch
            .rlimits
            .extend(asked.rlimits.iter().map(|limit| Rlimit {
                kind: kind(limit.kind),
                values: limit.bounds.map(|(soft, hard)| RlimitValues { soft, hard }),
            }));
        Ok(())
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

/// Refuses what no container gets: a part of the machine's own.
fn refuse(asked: &ContainerInfo) -> Outcome<()> {
    if asked.share_pid_namespace {
        return Err("it asks to see the machine's processes, which no container does".into());
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
    match asked.ipc {
        IpcMode::ShareParent => {
            Err("it asks for the machine's shared memory, which no container has".into())
        }
        IpcMode::Private => Ok(()),
    }
}
