//! Filters of system calls: profiles in Docker's and OCI's JSON, compiled to what the kernel runs,
//! and the guards that no profile lifts.
//!
//! The launcher compiles ([`Compiler`]), once for each profile and set of capabilities; what a
//! container's program installs is a list of instructions.

mod compile;
mod guard;
mod profile;
mod projects;
mod words;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::launch::{CapabilitySet, Seccomp};

pub(crate) use self::guard::forbid_user_namespaces;
use self::profile::Profile;

/// The profile of containers that name none: data, to be read and copied.
const DEFAULT: &str = include_str!("default.json");
/// The longest profile, in bytes.
const PROFILE_BYTES: usize = 1024 * 1024;
/// How many compiled profiles are kept.
const KEPT: usize = 64;

/// A filter, as the kernel's instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    instructions: Vec<(u16, u8, u8, u32)>,
    /// What is asked of the kernel besides.
    flags: u32,
}

impl Filter {
    pub(crate) fn new(instructions: &[libc::sock_filter], flags: u32) -> Self {
        let plain = instructions.iter().map(|i| (i.code, i.jt, i.jf, i.k));
        let instructions = plain.collect();
        Self {
            instructions,
            flags,
        }
    }

    /// Returns it as the kernel reads it, and its flags.
    pub(crate) fn program(&self) -> (Vec<libc::sock_filter>, u32) {
        let plain = self.instructions.iter();
        let program = plain.map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
        (program.collect(), self.flags)
    }
}

/// Returns the filter without which a program could undo its limits.
pub(crate) fn guard() -> Filter {
    Filter::new(&guard::program(), guard::FLAGS)
}

/// Returns the filter without which a program's files could leave their project.
pub(crate) fn of_projects() -> Filter {
    Filter::new(&projects::program(), guard::FLAGS)
}

/// Compiles profiles, and remembers the last ones.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    compiled: HashMap<(Seccomp, CapabilitySet), Filter>,
}

impl Compiler {
    /// Returns the filter of a container with this bounding set; `None` if it has none.
    pub(crate) fn filter(
        &mut self,
        seccomp: &Seccomp,
        bounding: CapabilitySet,
    ) -> Result<Option<Filter>> {
        let text = match seccomp {
            Seccomp::Unconfined => return Ok(None),
            Seccomp::Default => DEFAULT,
            Seccomp::Profile(text) => text,
        };
        let key = (seccomp.clone(), bounding);
        if let Some(filter) = self.compiled.get(&key) {
            return Ok(Some(filter.clone()));
        }
        if text.len() > PROFILE_BYTES {
            let length = text.len();
            return Err(Error::Invalid(format!(
                "a seccomp profile of {length} bytes, more than {PROFILE_BYTES}"
            )));
        }
        let failed = |why| Error::Invalid(format!("its seccomp profile: {why}"));
        let profile = Profile::parse(text).map_err(failed)?;
        let filter = compile::compile(&profile, bounding).map_err(failed)?;
        if self.compiled.len() >= KEPT {
            self.compiled.clear();
        }
        self.compiled.insert(key, filter.clone());
        Ok(Some(filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_compiled_once_and_bad_ones_are_refused() {
        // CT-59
        let mut compiler = Compiler::default();
        let bounding = CapabilitySet::DEFAULT;
        let unconfined = compiler.filter(&Seccomp::Unconfined, bounding).unwrap();
        assert_eq!(unconfined, None);
        let first = compiler.filter(&Seccomp::Default, bounding).unwrap();
        let again = compiler.filter(&Seccomp::Default, bounding).unwrap();
        assert_eq!(first, again);
        assert_eq!(compiler.compiled.len(), 1);
        let other = compiler
            .filter(&Seccomp::Default, CapabilitySet::all())
            .unwrap();
        assert_ne!(first, other, "capabilities are part of the question");
        let long = "x".repeat(PROFILE_BYTES + 1);
        for text in ["", "{}", "[]", long.as_str()] {
            let bad = Seccomp::Profile(text.to_owned());
            assert!(compiler.filter(&bad, bounding).is_err());
        }
        assert_eq!(compiler.compiled.len(), 2);
    }
}
