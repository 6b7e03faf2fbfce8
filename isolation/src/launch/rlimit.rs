//! Limits of processes (CT-57).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The kinds of limits: what is bounded for one process, or for one user. Units are the kernel's:
/// bytes, seconds, or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are named as in getrlimit(2)")]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// All kinds with their names and what the kernel calls them.
const KINDS: [(RlimitKind, &str, libc::__rlimit_resource_t); 16] = [
    (RlimitKind::As, "limit AS of", libc::RLIMIT_AS),
    (RlimitKind::Core, "limit CORE of", libc::RLIMIT_CORE),
    (RlimitKind::Cpu, "limit CPU of", libc::RLIMIT_CPU),
    (RlimitKind::Data, "limit DATA of", libc::RLIMIT_DATA),
    (RlimitKind::Fsize, "limit FSIZE of", libc::RLIMIT_FSIZE),
    (RlimitKind::Locks, "limit LOCKS of", libc::RLIMIT_LOCKS),
    (
        RlimitKind::Memlock,
        "limit MEMLOCK of",
        libc::RLIMIT_MEMLOCK,
    ),
    (
        RlimitKind::Msgqueue,
        "limit MSGQUEUE of",
        libc::RLIMIT_MSGQUEUE,
    ),
    (RlimitKind::Nice, "limit NICE of", libc::RLIMIT_NICE),
    (RlimitKind::Nofile, "limit NOFILE of", libc::RLIMIT_NOFILE),
    (RlimitKind::Nproc, "limit NPROC of", libc::RLIMIT_NPROC),
    (RlimitKind::Rss, "limit RSS of", libc::RLIMIT_RSS),
    (RlimitKind::Rtprio, "limit RTPRIO of", libc::RLIMIT_RTPRIO),
    (RlimitKind::Rttime, "limit RTTIME of", libc::RLIMIT_RTTIME),
    (
        RlimitKind::Sigpending,
        "limit SIGPENDING of",
        libc::RLIMIT_SIGPENDING,
    ),
    (RlimitKind::Stack, "limit STACK of", libc::RLIMIT_STACK),
];

/// A limit. Setting one above the agent's own hard limit takes `CAP_SYS_RESOURCE`; without it the
/// launch fails with an [`Error::Spawn`] that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Of what.
    pub kind: RlimitKind,
    /// How much; `None` is no limit. There is no way to give only one of the two.
    pub values: Option<RlimitValues>,
}

/// How much of something a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RlimitValues {
    /// What counts; a process may raise it to `hard`.
    pub soft: u64,
    /// What a process can only lower.
    pub hard: u64,
}

impl RlimitKind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(kind, ..)| kind)
    }

    /// Returns the name: what follows `RLIMIT_` in the kernel's.
    pub fn name(self) -> &'static str {
        let step = self.step();
        step.split(' ').nth(1).unwrap_or(step)
    }

    /// Returns what a program that cannot be given this limit is told.
    pub(crate) fn step(self) -> &'static str {
        self.row().1
    }

    /// Returns what the kernel calls it.
    pub(crate) fn number(self) -> libc::__rlimit_resource_t {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, libc::__rlimit_resource_t) {
        KINDS[self as usize]
    }
}

impl FromStr for RlimitKind {
    type Err = Error;

    /// Reads a name, with or without what is before it in Mesos (`RLMT_`) and the kernel.
    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("RLMT_").unwrap_or(&upper);
        let bare = bare.strip_prefix("RLIMIT_").unwrap_or(bare);
        let unknown = || Error::Invalid(format!("{text:?} is no limit of processes"));
        Self::all()
            .find(|kind| kind.name() == bare)
            .ok_or_else(unknown)
    }
}

impl Rlimit {
    pub(super) fn check(&self) -> Result<()> {
        match self.values {
            Some(RlimitValues { soft, hard }) if soft > hard => Err(Error::Invalid(format!(
                "limit {}: soft {soft} is above hard {hard}",
                self.kind.name()
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_sixteen_and_each_is_where_its_number_says() {
        // CT-57
        for (index, (kind, ..)) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(kind.name().parse::<RlimitKind>().unwrap(), kind);
        }
        assert_eq!(RlimitKind::all().count(), 16);
        assert_eq!(
            "RLMT_NOFILE".parse::<RlimitKind>().unwrap(),
            RlimitKind::Nofile
        );
        assert!("RLMT_FLY".parse::<RlimitKind>().is_err());
        let values = Some(RlimitValues { soft: 2, hard: 1 });
        let kind = RlimitKind::Core;
        let error = Rlimit { kind, values }.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid container: limit CORE: soft 2 is above hard 1"
        );
    }
}
