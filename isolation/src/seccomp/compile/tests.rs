//! What compiled profiles decide, by an interpreter of the few instructions that are used.

use super::*;
use crate::seccomp::DEFAULT;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Runs a filter; `interface` is 0 for the native one, 1 for that of 32 bits.
fn judge(filter: &Filter, interface: usize, number: u32, arguments: [u64; 6]) -> u32 {
    let (program, _) = filter.program();
    let architecture = INTERFACES[interface].architecture;
    let (mut at, mut value) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let k = instruction.k;
        let holds = match instruction.code {
            RETURN => return k,
            LOAD => {
                value = match k {
                    NUMBER => number,
                    ARCHITECTURE => architecture,
                    place => {
                        let argument = arguments[(place as usize - 16) / 8];
                        let half = (place - 16) % 8;
                        let shift = if half == HIGH { 32 } else { 0 };
                        u32::try_from(argument >> shift & 0xffff_ffff).unwrap()
                    }
                };
                continue;
            }
            AND => {
                value &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            EQUAL => value == k,
            ABOVE => value > k,
            AT_LEAST => value >= k,
            other => panic!("{other:#x} is not used"),
        };
        at += usize::from(if holds {
            instruction.jt
        } else {
            instruction.jf
        });
    }
}

fn number(name: &str) -> u32 {
    (INTERFACES[0].number)(name).unwrap_or_else(|| panic!("{name}"))
}

fn compiled(text: &str, bounding: CapabilitySet) -> Filter {
    compile(&Profile::parse(text).unwrap(), bounding).unwrap()
}

#[test]
fn every_comparison_means_what_it_says() {
    // CT-59
    let values = [
        0,
        1,
        5,
        6,
        7,
        1 << 32,
        (1 << 32) + 5,
        (6 << 32) + 6,
        u64::MAX,
    ];
    type Holds = fn(u64, u64) -> bool;
    let comparisons: [(&str, Holds); 6] = [
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("EQ", |a, b| a == b),
        ("GE", |a, b| a >= b),
        ("GT", |a, b| a > b),
    ];
    let profile = |args: &str| {
        let text = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{args}]}}]}}"#
        );
        compiled(&text, CapabilitySet::EMPTY)
    };
    let read = number("read");
    for (name, holds) in comparisons {
        for value in values {
            let argument = format!(r#"{{"index": 2, "value": {value}, "op": "SCMP_CMP_{name}"}}"#);
            let filter = profile(&argument);
            for given in values {
                let expected = if holds(given, value) { EPERM } else { ALLOW };
                let found = judge(&filter, 0, read, [9, 9, given, 9, 9, 9]);
                assert_eq!(found, expected, "{given} {name} {value}");
            }
        }
    }
    let masked =
        profile(r#"{"index": 0, "value": 240, "valueTwo": 32, "op": "SCMP_CMP_MASKED_EQ"}"#);
    for (given, expected) in [(32, EPERM), (0x12f, EPERM), (48, ALLOW), (0, ALLOW)] {
        assert_eq!(judge(&masked, 0, read, [given, 0, 0, 0, 0, 0]), expected);
    }
    // Together on different arguments, any of them on the same.
    let both = profile(
        r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
           {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}"#,
    );
    let any = profile(
        r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
           {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}"#,
    );
    let of = |filter, a, b| judge(filter, 0, read, [a, b, 0, 0, 0, 0]);
    assert_eq!(
        [of(&both, 1, 2), of(&both, 1, 3), of(&both, 2, 2)],
        [EPERM, ALLOW, ALLOW]
    );
    assert_eq!(
        [of(&any, 1, 0), of(&any, 2, 0), of(&any, 3, 0)],
        [EPERM, EPERM, ALLOW]
    );
}

#[test]
fn the_first_rule_that_holds_counts_and_other_calls_get_the_default() {
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"name": "close", "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write"], "action": "SCMP_ACT_TRAP"},
            {"names": ["ioctl"], "action": "SCMP_ACT_LOG",
             "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]},
            {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}"#;
    let filter = compiled(text, CapabilitySet::EMPTY);
    assert_eq!(filter.program().1, libc::SECCOMP_FILTER_FLAG_LOG as u32);
    let of = |name, argument| judge(&filter, 0, number(name), [0, argument, 0, 0, 0, 0]);
    assert_eq!(of("read", 0), ALLOW);
    assert_eq!(of("write", 0), ALLOW);
    assert_eq!(of("close", 0), libc::SECCOMP_RET_KILL_PROCESS);
    assert_eq!(of("ioctl", 7), libc::SECCOMP_RET_LOG);
    assert_eq!(of("ioctl", 8), libc::SECCOMP_RET_ERRNO | 5);
    assert_eq!(of("openat", 0), UNKNOWN);
    assert_eq!(judge(&filter, 0, number("read") | X32, [0; 6]), UNKNOWN);
    // An architecture that the profile does not name runs nothing.
    assert_eq!(judge(&filter, 1, 3, [0; 6]), UNKNOWN);
}

#[test]
fn the_default_profile_lets_programs_live_and_keeps_the_machine() {
    // CT-59
    let filter = compiled(DEFAULT, CapabilitySet::DEFAULT);
    assert!(
        filter.program().0.len() < 1500,
        "{}",
        filter.program().0.len()
    );
    let of = |name, first| judge(&filter, 0, number(name), [first, 0, 0, 0, 0, 0]);
    for name in [
        "read",
        "write",
        "openat",
        "mmap",
        "futex",
        "execve",
        "exit_group",
        "setuid",
        "setgroups",
        "capset",
        "prctl",
        "socket",
        "epoll_wait",
        "getrandom",
        "statx",
        "rseq",
        "close_range",
        "seccomp",
        "wait4",
        "kill",
        "mknodat",
        "chroot",
    ] {
        assert_eq!(of(name, 2), ALLOW, "{name}");
    }
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount_setattr",
        "setns",
        "unshare",
        "bpf",
        "perf_event_open",
        "keyctl",
        "add_key",
        "request_key",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "reboot",
        "swapon",
        "settimeofday",
        "clock_settime",
        "iopl",
        "ioperm",
        "open_by_handle_at",
        "userfaultfd",
        "io_uring_setup",
        "acct",
        "quotactl",
        "syslog",
    ] {
        assert_eq!(of(name, 1 << 20), EPERM, "{name}");
    }
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    assert_eq!(of("clone", user), EPERM);
    assert_eq!(of("clone", 0x11), ALLOW);
    assert_eq!(of("clone3", 0), UNKNOWN, "libraries then use clone");
    assert_eq!(of("socket", 40), EPERM, "AF_VSOCK reaches the hypervisor");
    assert_eq!(of("personality", 0), ALLOW);
    assert_eq!(
        of("personality", 0x0040_0000),
        EPERM,
        "without randomised addresses"
    );
    let admin = compiled(DEFAULT, CapabilitySet::all());
    let of = |name, first| judge(&admin, 0, number(name), [first, 0, 0, 0, 0, 0]);
    for name in ["mount", "unshare", "bpf", "setns", "clone3"] {
        assert_eq!(of(name, user), ALLOW, "{name}");
    }
    // Through the interface of 32 bits the same is refused.
    let mount = (INTERFACES[1].number)("mount").unwrap();
    assert_eq!(judge(&filter, 1, mount, [0; 6]), EPERM);
}

#[test]
fn what_is_too_long_for_the_kernel_is_refused() {
    let argument = |value| format!(r#"{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let many: Vec<String> = (0..2000).map(argument).collect();
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{}]}}]}}"#,
        many.join(",")
    );
    let error = compile(&Profile::parse(&text).unwrap(), CapabilitySet::EMPTY).unwrap_err();
    assert!(error.contains("more than 4096"), "{error}");
}
