//! Which devices a container may use, as rules for its control group (CT-33).
//!
//! Decided by the launcher, which knows what the machine has. Deliberately not here: the nodes
//! ([`crate::devices`]) and how a group keeps the rules ([`crate::cgroup`]).

use nix::sys::stat::{SFlag, major, minor, stat};

use crate::cgroup::{Access, DeviceKind as Kind, DeviceRule, Devices};
use crate::error::{Error, Result};
use crate::launch::{Device, DeviceGuard, DeviceKind, Launch};
use crate::place::kind_of;

/// Returns the devices that a launch may use; `None` is all that its user may.
///
/// # Errors
/// [`Error::Unsupported`] if there is no controller for them and its programs could make a node of
/// any: then only that capability stands between them and the machine's disks.
pub(super) fn devices(launch: &Launch, has_controller: bool) -> Result<Option<Devices>> {
    let DeviceGuard::Guarded { beside } = &launch.device_guard else {
        return Ok(None);
    };
    // In users of its own the kernel lets nobody make a node.
    let makes_nodes = launch.capabilities.bounding.has("MKNOD") && launch.user_namespace.is_none();
    match (has_controller, makes_nodes) {
        (false, true) => Err(Error::Unsupported {
            knob: "the capability MKNOD",
            controller: "devices",
            message: "nothing would keep it from the machine's disks".to_owned(),
        }),
        (false, false) => Ok(None),
        (true, _) => {
            let mut devices = Devices::usual();
            devices.allowed.extend(beside);
            for device in &launch.devices {
                devices.allowed.push(rule(device)?);
            }
            Ok(Some(devices))
        }
    }
}

/// Allows all of a device that a container has a node of.
pub(crate) fn rule(device: &Device) -> Result<DeviceRule> {
    let (kind, number) = match &device.kind {
        DeviceKind::Character(major, minor) => (Kind::Char, (*major, *minor)),
        DeviceKind::Block(major, minor) => (Kind::Block, (*major, *minor)),
        DeviceKind::Host(path) => {
            let found = stat(path).map_err(|errno| Error::file("look at", path, errno))?;
            let kind = match kind_of(&found) {
                SFlag::S_IFCHR => Kind::Char,
                SFlag::S_IFBLK => Kind::Block,
                _ => return Err(Error::file("look at", path, nix::errno::Errno::ENODEV)),
            };
            let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            let number = (narrow(major(found.st_rdev)), narrow(minor(found.st_rdev)));
            (kind, number)
        }
    };
    Ok(DeviceRule {
        kind,
        major: Some(number.0),
        minor: Some(number.1),
        access: Access::ALL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making_nodes() -> Launch {
        let mut launch = Launch::default();
        launch.capabilities.bounding = "MKNOD".parse().unwrap();
        launch
    }

    #[test]
    fn who_could_make_any_node_is_refused_where_nothing_guards_them() {
        // CT-33
        let error = devices(&making_nodes(), false).unwrap_err().to_string();
        assert!(
            error.contains("MKNOD") && error.contains("devices"),
            "{error}"
        );
        assert_eq!(devices(&Launch::default(), false).unwrap(), None);
        assert_eq!(
            devices(&making_nodes(), true).unwrap(),
            Some(Devices::usual())
        );
        let open = Launch {
            device_guard: DeviceGuard::Off,
            ..making_nodes()
        };
        assert_eq!(devices(&open, false).unwrap(), None);
    }

    #[test]
    fn what_a_container_has_a_node_of_it_may_use() {
        // CT-61
        let node = |path: &str, kind| Device {
            kind,
            ..Device::host(path)
        };
        let launch = Launch {
            devices: vec![
                Device::host("/dev/null"),
                node("/dev/disk", DeviceKind::Block(8, 1)),
            ],
            ..Launch::default()
        };
        let found = devices(&launch, true).unwrap().unwrap();
        let rules: Vec<String> = found.allowed.iter().map(ToString::to_string).collect();
        assert!(
            rules.ends_with(&["c 1:3 rwm".to_owned(), "b 8:1 rwm".to_owned()]),
            "{rules:?}"
        );
        let wrong = Launch {
            devices: vec![Device::host("/")],
            ..Launch::default()
        };
        assert!(devices(&wrong, true).is_err());
    }
}
