//! What the tests of limits need of the machine: groups that go with the test.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tepui_isolation::cgroup::{Group, Hierarchies, Limits, Settings};

use super::common::{PATIENCE, skipped};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A group root of a test, which goes with it.
pub(crate) struct Root {
    pub(crate) hierarchies: Hierarchies,
    name: String,
}

impl Root {
    /// Makes one; `None`, with the reason printed, where that is impossible.
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let hierarchies = match Hierarchies::detect() {
            Ok(hierarchies) => hierarchies,
            Err(error) => {
                skipped(&error.to_string());
                return None;
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tepui-test-limits-{}-{number}", std::process::id());
        hierarchies.prepare(&name).unwrap();
        Some(Self { hierarchies, name })
    }

    pub(crate) fn group(&self, name: &str) -> Group {
        self.hierarchies.group(&self.name, name).unwrap()
    }

    pub(crate) fn make(&self, name: &str, limits: &Limits, settings: &Settings) -> Group {
        let group = self.group(name);
        group.create(limits, settings).unwrap();
        group
    }

    /// Reads a file of a group, wherever it is; `None` if it is nowhere.
    pub(crate) fn read(&self, group: &Group, file: &str) -> Option<String> {
        let made = group.made_directories().into_iter();
        let mut paths = made.map(|(path, _)| path.join(file));
        let text = paths.find_map(|path| fs::read_to_string(path).ok())?;
        Some(text.trim().to_owned())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let names = self.hierarchies.groups(&self.name).unwrap_or_default();
        for name in names {
            let group = self.group(&name);
            while group.remove().is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let removed = self.hierarchies.remove_root(&self.name);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Whether this is the virtual machine of these tests, of which everything may be used.
pub(crate) fn is_virtual() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == "tepui_test")
}
