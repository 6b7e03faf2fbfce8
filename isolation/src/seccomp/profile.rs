//! Reads a profile in Docker's JSON, or in OCI's, which names architectures another way (CT-59).

use serde::Deserialize;

use crate::launch::CapabilitySet;

/// A profile, as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) default_action: Action,
    pub(super) default_errno_ret: Option<u32>,
    /// OCI's list of architectures.
    pub(super) architectures: Option<Vec<String>>,
    /// Docker's.
    pub(super) arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    #[serde(default)]
    pub(super) syscalls: Vec<Rule>,
}

/// An architecture with those whose programs it runs too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Architecture {
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) sub_architectures: Option<Vec<String>>,
}

/// What becomes of some calls.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) names: Vec<String>,
    /// What older profiles have in place of `names`.
    name: Option<String>,
    pub(super) action: Action,
    pub(super) errno_ret: Option<u32>,
    #[serde(default)]
    pub(super) args: Option<Vec<Argument>>,
    /// For people.
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

/// A demand on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

/// When a rule counts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl Action {
    /// Returns it as the kernel's; `errno` is what goes with some of them.
    pub(super) fn value(self, errno: Option<u32>) -> Result<u32, String> {
        let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
        if errno > 4095 {
            return Err(format!("{errno} is no error number"));
        }
        Ok(match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Log => libc::SECCOMP_RET_LOG,
            Self::Errno => libc::SECCOMP_RET_ERRNO | errno,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::Trace => libc::SECCOMP_RET_TRACE | errno,
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        })
    }
}

impl Profile {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut profile: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if profile.architectures.is_some() && profile.arch_map.is_some() {
            return Err("it has both `architectures` and `archMap`".to_owned());
        }
        for rule in &mut profile.syscalls {
            rule.names.extend(rule.name.take());
            let arguments = rule.args.iter().flatten();
            if let Some(bad) = arguments.into_iter().find(|argument| argument.index > 5) {
                return Err(format!("{} is no index of an argument: 0 to 5", bad.index));
            }
        }
        Ok(profile)
    }

    /// Returns whether calls of this architecture are let through to the rules.
    pub(super) fn allows(&self, native: &str, wanted: &str) -> bool {
        if let Some(list) = &self.architectures {
            return list.iter().any(|name| name == wanted);
        }
        let Some(map) = &self.arch_map else {
            return wanted == native;
        };
        map.iter()
            .filter(|entry| entry.architecture == native)
            .any(|entry| {
                let mut below = entry.sub_architectures.iter().flatten();
                wanted == native || below.any(|name| name == wanted)
            })
    }
}

impl Rule {
    /// Returns whether it counts for these capabilities, on this machine and kernel.
    pub(super) fn counts(
        &self,
        bounding: CapabilitySet,
        machine: &str,
        kernel: (u32, u32),
    ) -> Result<bool, String> {
        let includes = match &self.includes {
            Some(condition) => condition.holds(bounding, machine, kernel)?,
            None => true,
        };
        let excludes = match &self.excludes {
            Some(condition) => condition.any(bounding, machine)?,
            None => false,
        };
        Ok(includes && !excludes)
    }
}

impl Condition {
    /// Returns whether all that it names is so.
    fn holds(
        &self,
        bounding: CapabilitySet,
        machine: &str,
        kernel: (u32, u32),
    ) -> Result<bool, String> {
        let mut capabilities = self.caps.iter().flatten();
        let has_all = capabilities.all(|name| bounding.has(name));
        let has_machine = match &self.arches {
            Some(names) => names.is_empty() || names.iter().any(|name| name == machine),
            None => true,
        };
        let has_kernel = match &self.min_kernel {
            Some(text) => version(text)? <= kernel,
            None => true,
        };
        Ok(has_all && has_machine && has_kernel)
    }

    /// Returns whether something that it names is so.
    fn any(&self, bounding: CapabilitySet, machine: &str) -> Result<bool, String> {
        if self.min_kernel.is_some() {
            return Err("`minKernel` is for `includes`".to_owned());
        }
        let mut capabilities = self.caps.iter().flatten();
        let mut machines = self.arches.iter().flatten();
        Ok(capabilities.any(|name| bounding.has(name)) || machines.any(|name| name == machine))
    }
}

/// Reads the first two numbers of a kernel's version.
pub(super) fn version(text: &str) -> Result<(u32, u32), String> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|digits| digits.parse().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        (None, _) | (_, None) => Err(format!("{text:?} is no version of a kernel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_by_capability_machine_and_kernel() {
        let rule = |conditions: &str| -> Rule {
            let text = format!(
                r#"{{"names": ["x"], "action": "SCMP_ACT_ALLOW", "args": null, {conditions}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let admin: CapabilitySet = "SYS_ADMIN".parse().unwrap();
        let counts = |conditions: &str, set| rule(conditions).counts(set, "amd64", (5, 10));
        let none = CapabilitySet::EMPTY;
        let with_admin = r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#;
        assert_eq!(counts(with_admin, admin), Ok(true));
        assert_eq!(counts(with_admin, none), Ok(false));
        let without = r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#;
        assert_eq!(counts(without, admin), Ok(false));
        assert_eq!(counts(without, none), Ok(true));
        assert_eq!(
            counts(r#""includes": {"arches": ["s390x"]}"#, none),
            Ok(false)
        );
        assert_eq!(
            counts(r#""excludes": {"arches": ["amd64"]}"#, none),
            Ok(false)
        );
        assert_eq!(
            counts(r#""includes": {"minKernel": "4.8"}"#, none),
            Ok(true)
        );
        assert_eq!(
            counts(r#""includes": {"minKernel": "5.11"}"#, none),
            Ok(false)
        );
        assert!(counts(r#""includes": {"minKernel": "new"}"#, none).is_err());
        assert_eq!(version("6.18.44-fc-v669"), Ok((6, 18)));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_passed_over() {
        let with = |rest: &str| Profile::parse(&format!(r#"{{{rest}}}"#));
        let allow = r#""defaultAction": "SCMP_ACT_ALLOW""#;
        assert!(with(allow).is_ok());
        let bad = [
            r#""defaultAction": "SCMP_ACT_FLY""#.to_owned(),
            r#""defaultAction": "SCMP_ACT_NOTIFY""#.to_owned(),
            format!(r#"{allow}, "unknown": 1"#),
            format!(r#"{allow}, "architectures": [], "archMap": []"#),
            format!(
                r#"{allow}, "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}}]}}]"#
            ),
        ];
        for bad in bad {
            assert!(with(&bad).is_err(), "{bad}");
        }
    }
}
