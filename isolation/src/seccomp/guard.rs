//! The filter that no container is without: no user namespaces.
//!
//! In a user namespace of its own a root task has all capabilities again. They reach far enough to
//! mount its control group anew, writable, where it may raise its limits as the files' owner.
//! Deliberately not here: what a profile forbids besides.

use nix::errno::Errno;

use crate::error::{Error, Result};

/// Where the kernel puts the number, the architecture and the first argument of a call.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
#[cfg(target_endian = "little")]
const FIRST_ARGUMENT: u32 = 16;
#[cfg(target_endian = "big")]
const FIRST_ARGUMENT: u32 = 20;

/// Numbers from here on are of the x32 interface, a second set beside the first.
const X32: u32 = 0x4000_0000;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// For `clone3`, whose flags are in memory where a filter cannot look: every library then uses
/// `clone`.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The numbers of an interface to the kernel.
struct Interface {
    architecture: u32,
    clone: u32,
    unshare: u32,
    clone3: u32,
}

/// The native interface and that of 32 bits, through which the same calls can be made.
#[cfg(target_arch = "x86_64")]
const INTERFACES: [Interface; 2] = [
    Interface {
        architecture: 0xC000_003E,
        clone: 56,
        unshare: 272,
        clone3: 435,
    },
    Interface {
        architecture: 0x4000_0003,
        clone: 120,
        unshare: 310,
        clone3: 435,
    },
];
#[cfg(target_arch = "aarch64")]
const INTERFACES: [Interface; 2] = [
    Interface {
        architecture: 0xC000_00B7,
        clone: 220,
        unshare: 97,
        clone3: 435,
    },
    Interface {
        architecture: 0x4000_0028,
        clone: 120,
        unshare: 337,
        clone3: 435,
    },
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("name the numbers of clone, unshare and clone3 on this architecture");

/// Forbids new user namespaces for the calling process and all that it starts, for ever.
pub(crate) fn forbid_user_namespaces() -> Result<()> {
    let mut instructions = program();
    let filter = libc::sock_fprog {
        len: u16::try_from(instructions.len()).expect("the program is short"),
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the program lives through the call, which copies it.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            FLAGS,
            &raw const filter,
        )
    };
    Errno::result(set).map_err(|errno| Error::system("seccomp", errno))?;
    Ok(())
}

/// What the filter is set with. Without it older kernels would slow down all that runs under it.
pub(super) const FLAGS: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;

pub(super) fn program() -> Vec<libc::sock_filter> {
    let mut program = vec![step(LOAD, ARCHITECTURE)];
    for interface in INTERFACES {
        let flags = libc::CLONE_NEWUSER.cast_unsigned();
        let block = [
            step(LOAD, NUMBER),
            jump(AT_LEAST, X32, 0, 1),
            step(RETURN, UNKNOWN),
            jump(EQUAL, interface.clone3, 0, 1),
            step(RETURN, UNKNOWN),
            jump(EQUAL, interface.clone, 2, 0),
            jump(EQUAL, interface.unshare, 1, 0),
            step(RETURN, ALLOW),
            step(LOAD, FIRST_ARGUMENT),
            jump(ANY_BIT, flags, 0, 1),
            step(RETURN, REFUSE),
            step(RETURN, ALLOW),
        ];
        let length = u8::try_from(block.len()).expect("a block is short");
        program.push(jump(EQUAL, interface.architecture, 0, length));
        program.extend(block);
    }
    program.push(step(RETURN, UNKNOWN));
    program
}

fn step(code: u16, operand: u32) -> libc::sock_filter {
    jump(code, operand, 0, 0)
}

/// Skips so many instructions if it holds, and so many if not.
fn jump(code: u16, operand: u32, holds: u8, fails: u8) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: holds,
        jf: fails,
        k: operand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do: the few instructions that are used, by their meaning.
    fn judge(architecture: u32, number: u32, argument: u32) -> u32 {
        let program = program();
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
                        FIRST_ARGUMENT => argument,
                        other => panic!("nothing is at {other}"),
                    };
                    continue;
                }
                EQUAL => value == k,
                AT_LEAST => value >= k,
                ANY_BIT => value & k != 0,
                other => panic!("{other:#x} is not used"),
            };
            let skipped = if holds {
                instruction.jt
            } else {
                instruction.jf
            };
            at += usize::from(skipped);
        }
    }

    #[test]
    fn user_namespaces_are_refused_through_every_interface_and_nothing_else_is() {
        let user = libc::CLONE_NEWUSER.cast_unsigned();
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD).cast_unsigned();
        for interface in INTERFACES {
            let judge = |number, argument| judge(interface.architecture, number, argument);
            for number in [interface.clone, interface.unshare] {
                assert_eq!(judge(number, user | thread), REFUSE);
                assert_eq!(judge(number, thread), ALLOW);
                assert_eq!(judge(number | X32, user), UNKNOWN);
            }
            assert_eq!(judge(interface.clone3, 0), UNKNOWN);
            assert_eq!(judge(0, user), ALLOW);
        }
        assert_eq!(judge(7, 0, 0), UNKNOWN, "an interface that is not known");
        let native = libc::SYS_clone;
        assert_eq!(i64::from(INTERFACES[0].clone), native);
        assert_eq!(i64::from(INTERFACES[0].unshare), libc::SYS_unshare);
        assert_eq!(i64::from(INTERFACES[0].clone3), libc::SYS_clone3);
    }
}
