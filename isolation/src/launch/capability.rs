//! Capabilities by name, as sets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The names, in the kernel's order.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities. Written as names, with or without `CAP_`, joined by commas.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CapabilitySet(u64);

/// What programs may do (CT-58).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities {
    /// What no program of the container can ever have more than.
    pub bounding: CapabilitySet,
    /// What its program has, whichever user it runs as: effective, permitted and ambient. Must be
    /// part of the bounding set. `None` is the kernel's rule: all of the bounding set for root,
    /// nothing for others.
    pub effective: Option<CapabilitySet>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            bounding: CapabilitySet::DEFAULT,
            effective: None,
        }
    }
}

impl Capabilities {
    pub(super) fn check(&self) -> Result<()> {
        let excess = self.effective.unwrap_or_default().without(self.bounding);
        match excess.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "effective capabilities beyond its bounding set: {excess}"
            ))),
        }
    }
}

impl CapabilitySet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// What container runtimes leave, without `CAP_MKNOD`, which is harmless only where control
    /// groups guard the devices, and `CAP_NET_RAW`, which is so only on a network of its own.
    pub const DEFAULT: Self = Self(0xa004_05fb);

    /// All that this version knows.
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Returns whether it has the one of this name, with or without `CAP_`.
    pub fn has(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.contains(number))
    }

    /// Returns what of it is not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns what is in either.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether it has the one of this number.
    pub(crate) fn contains(self, number: u32) -> bool {
        self.0.checked_shr(number).unwrap_or(0) & 1 == 1
    }

    /// Returns it as the kernel's two words.
    pub(crate) fn words(self) -> [u32; 2] {
        let bytes = self.0.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        ]
    }
}

/// Returns the kernel's number of a name, with or without `CAP_`, in any case.
pub(crate) fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let index = NAMES.iter().position(|known| *known == bare)?;
    u32::try_from(index).ok()
}

impl FromStr for CapabilitySet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .map(|name| {
                let unknown = || Error::Invalid(format!("{name:?} is no capability"));
                number(name).ok_or_else(unknown)
            })
            .try_fold(Self::EMPTY, |set, number| Ok(Self(set.0 | 1 << number?)))
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (number, name) in (0..).zip(NAMES) {
            if self.contains(number) {
                write!(f, "{separator}CAP_{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_written_by_name() {
        // CT-58
        let set: CapabilitySet = "CAP_NET_RAW, sys_admin".parse().unwrap();
        assert_eq!(set.to_string(), "CAP_NET_RAW,CAP_SYS_ADMIN");
        assert!(set.has("net_raw") && set.has("CAP_SYS_ADMIN") && !set.has("BPF"));
        assert!(set.contains(21) && !set.contains(64) && !set.contains(1000));
        assert_eq!(set.words(), [1 << 13 | 1 << 21, 0]);
        assert_eq!("BPF".parse::<CapabilitySet>().unwrap().words(), [0, 1 << 7]);
        assert!("CAP_FLY".parse::<CapabilitySet>().is_err());
        assert_eq!(CapabilitySet::all().words(), [u32::MAX, 0x1ff]);
        let kept = "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,\
                    NET_BIND_SERVICE,SYS_CHROOT,AUDIT_WRITE,SETFCAP";
        assert_eq!(CapabilitySet::DEFAULT, kept.parse().unwrap());
        let beyond = Capabilities {
            effective: Some(set),
            ..Capabilities::default()
        };
        assert_eq!(
            beyond.check().unwrap_err().to_string(),
            "invalid container: effective capabilities beyond its bounding set: CAP_NET_RAW,\
             CAP_SYS_ADMIN"
        );
    }
}
