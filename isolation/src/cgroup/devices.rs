//! Which device files a group may open or make: rules, the files of version 1, and by which
//! program the kernel asks in version 2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bpf;
use super::files::{read, write};
use super::hierarchies::Version;
use crate::error::{Error, Result};

/// The numbers of a device have 12 and 20 bits.
const MAJORS: u32 = 1 << 12;
const MINORS: u32 = 1 << 20;
/// More rules than anybody has devices; the program for them is what the kernel takes from anyone.
const MOST_RULES: usize = 500;

/// Which device files may be used; all others are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Those that may be used. [`Devices::usual`] has what programs need everywhere.
    pub allowed: Vec<DeviceRule>,
}

/// A device, or many, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// What kind it is.
    pub kind: DeviceKind,
    /// Its major number; `None` is any.
    pub major: Option<u32>,
    /// Its minor number; `None` is any.
    pub minor: Option<u32>,
    /// What may be done with it.
    pub access: Access,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A block device, as a disk.
    Block,
    /// A character device, as a terminal.
    Char,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Making a file for it.
    pub mknod: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        mknod: true,
    };
    /// Only making a file for it.
    pub const MKNOD: Self = Self {
        read: false,
        write: false,
        mknod: true,
    };

    /// The bits by which the kernel tells what is asked for.
    pub(super) fn bits(self) -> u32 {
        u32::from(self.mknod) | u32::from(self.read) << 1 | u32::from(self.write) << 2
    }

    fn of_bits(bits: u32) -> Self {
        Self {
            mknod: bits & 1 != 0,
            read: bits & 2 != 0,
            write: bits & 4 != 0,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.mknod, "m")];
        let mut set = letters.into_iter().filter(|(is_set, _)| *is_set);
        set.try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl fmt::Display for DeviceRule {
    /// As version 1 has it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

impl Devices {
    /// Returns what every program needs, and what nobody's machine is reached by: making any device
    /// file, and using terminals, `null`, `zero`, `full`, `random` and `urandom`: OCI's list.
    /// Mesos allows the machine's own console, its virtual terminals and `net/tun` besides (CT-33);
    /// here they are given by name.
    pub fn usual() -> Self {
        const USUAL: [(u32, Option<u32>); 8] = [
            (5, Some(0)), // tty
            (136, None),  // pts/*
            (5, Some(2)), // ptmx
            (1, Some(3)), // null
            (1, Some(5)), // zero
            (1, Some(7)), // full
            (1, Some(8)), // random
            (1, Some(9)), // urandom
        ];
        let any = [DeviceKind::Char, DeviceKind::Block].map(|kind| DeviceRule {
            kind,
            major: None,
            minor: None,
            access: Access::MKNOD,
        });
        let usual = USUAL.map(|(major, minor)| DeviceRule {
            kind: DeviceKind::Char,
            major: Some(major),
            minor,
            access: Access::ALL,
        });
        Self {
            allowed: any.into_iter().chain(usual).collect(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.allowed.len() > MOST_RULES {
            let count = self.allowed.len();
            return Err(Error::Invalid(format!(
                "{count} rules for devices: at most {MOST_RULES} are expected"
            )));
        }
        for rule in &self.allowed {
            let fits = rule.major.is_none_or(|major| major < MAJORS)
                && rule.minor.is_none_or(|minor| minor < MINORS);
            if !fits || rule.access == Access::default() {
                return Err(Error::Invalid(format!(
                    "the rule {:?} for devices: expected numbers below {MAJORS}:{MINORS} \
                     and one of r, w, m",
                    rule.to_string()
                )));
            }
        }
        Ok(())
    }

    /// Returns each device once, with all that may be done with it: the kernel looks for one rule
    /// that allows all that is asked for.
    pub(super) fn merged(&self) -> Vec<DeviceRule> {
        let mut bits: BTreeMap<_, u32> = BTreeMap::new();
        for rule in &self.allowed {
            let key = (rule.kind, rule.major, rule.minor);
            *bits.entry(key).or_default() |= rule.access.bits();
        }
        let rules = bits
            .into_iter()
            .map(|((kind, major, minor), bits)| DeviceRule {
                kind,
                major,
                minor,
                access: Access::of_bits(bits),
            });
        rules.collect()
    }
}

/// Lets a new group use these devices only.
pub(super) fn apply(group: &Path, version: Version, devices: &Devices) -> Result<()> {
    match version {
        Version::One => {
            write(group, "devices.deny", "a")?;
            let mut rules = devices.merged().into_iter();
            rules.try_for_each(|rule| write(group, "devices.allow", &rule.to_string()))
        }
        Version::Two => bpf::attach(group, &devices.merged()),
    }
}

/// Changes which devices a group may use; `None` is all. In version 2 it is one step; in version 1
/// nothing that may be used before and after is refused in between, unless all was allowed before.
pub(super) fn change(group: &Path, version: Version, devices: Option<&Devices>) -> Result<()> {
    match (version, devices) {
        (Version::One, None) => write(group, "devices.allow", "a"),
        (Version::One, Some(devices)) => change_1(group, devices),
        (Version::Two, None) => bpf::detach(group),
        (Version::Two, Some(devices)) => bpf::attach(group, &devices.merged()),
    }
}

fn change_1(group: &Path, devices: &Devices) -> Result<()> {
    let before = read(group, "devices.list")?;
    if before.lines().any(|line| line.starts_with('a')) {
        return apply(group, Version::One, devices);
    }
    let before: BTreeSet<&str> = before.lines().collect();
    let after: Vec<DeviceRule> = devices.merged();
    let lines: BTreeSet<String> = after.iter().map(ToString::to_string).collect();
    for rule in lines.iter().filter(|rule| !before.contains(rule.as_str())) {
        write(group, "devices.allow", rule)?;
    }
    for rule in before.into_iter().filter(|rule| !lines.contains(*rule)) {
        // What is still allowed of the same device was allowed by itself, and goes with it.
        write(group, "devices.deny", rule)?;
        let device = rule.rsplit_once(' ').map(|(device, _)| device);
        let again = |rule: &&String| rule.rsplit_once(' ').map(|(device, _)| device) == device;
        for rule in lines.iter().filter(again) {
            write(group, "devices.allow", rule)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_devices_reach_nothing_of_the_machine() {
        // CT-33
        let rules: Vec<String> = Devices::usual()
            .allowed
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            rules,
            [
                "c *:* m",
                "b *:* m",
                "c 5:0 rwm",
                "c 136:* rwm",
                "c 5:2 rwm",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
            ]
        );
        Devices::usual().check().unwrap();
    }

    #[test]
    fn rules_for_one_device_are_one_rule() {
        let rule = |minor, access| DeviceRule {
            kind: DeviceKind::Block,
            major: Some(8),
            minor,
            access,
        };
        let read = Access {
            read: true,
            ..Access::default()
        };
        let write = Access {
            write: true,
            ..Access::default()
        };
        let devices = Devices {
            allowed: vec![rule(Some(1), read), rule(None, read), rule(Some(1), write)],
        };
        let merged: Vec<String> = devices.merged().iter().map(ToString::to_string).collect();
        assert_eq!(merged, ["b 8:* r", "b 8:1 rw"]);
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let rule = DeviceRule {
            kind: DeviceKind::Char,
            major: Some(MAJORS),
            minor: None,
            access: Access::ALL,
        };
        let of = |allowed| Devices { allowed }.check();
        assert!(
            of(vec![rule])
                .unwrap_err()
                .to_string()
                .contains("c 4096:* rwm")
        );
        let (major, access) = (Some(1), Access::default());
        assert!(
            of(vec![DeviceRule {
                major,
                access,
                ..rule
            }])
            .is_err()
        );
        assert!(of(vec![DeviceRule { major, ..rule }; MOST_RULES + 1]).is_err());
        assert!(of(vec![DeviceRule { major, ..rule }; MOST_RULES]).is_ok());
    }

    #[test]
    fn a_change_takes_nothing_away_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text| std::fs::write(dir.path().join("devices.list"), text).unwrap();
        write("c 1:3 rwm\nc 1:5 rwm\n");
        let mut devices = Devices::usual();
        devices
            .allowed
            .retain(|rule| rule.major == Some(1) && rule.minor == Some(3));
        change(dir.path(), Version::One, Some(&devices)).unwrap();
        let read = |file| std::fs::read_to_string(dir.path().join(file)).ok();
        assert_eq!(read("devices.deny").as_deref(), Some("c 1:5 rwm"));
        assert_eq!(read("devices.allow"), None);
        change(dir.path(), Version::One, None).unwrap();
        assert_eq!(read("devices.allow").as_deref(), Some("a"));
    }
}
