//! The filter that no container is without: no user namespaces.
//!
//! In a user namespace of its own a root task has all capabilities again. They reach far enough to
//! mount its control group anew, writable, where it may raise its limits as the files' owner.
//! Deliberately not here: what a profile forbids besides.

use nix::errno::Errno;

use super::words::{
    ANY_BIT, ARCHITECTURE, ARGUMENTS, AT_LEAST, EQUAL, LOAD, LOW, NUMBER, RETURN, UNKNOWN, X32,
    branch, plain,
};
use crate::error::{Error, Result};

/// The half of the first argument that has flags.
const FIRST_ARGUMENT: u32 = ARGUMENTS + LOW;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
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
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for interface in INTERFACES {
        let flags = libc::CLONE_NEWUSER.cast_unsigned();
        let block = [
            plain(LOAD, NUMBER),
            branch(AT_LEAST, X32, 0, 1),
            plain(RETURN, UNKNOWN),
            branch(EQUAL, interface.clone3, 0, 1),
            plain(RETURN, UNKNOWN),
            branch(EQUAL, interface.clone, 2, 0),
            branch(EQUAL, interface.unshare, 1, 0),
            plain(RETURN, ALLOW),
            plain(LOAD, FIRST_ARGUMENT),
            branch(ANY_BIT, flags, 0, 1),
            plain(RETURN, REFUSE),
            plain(RETURN, ALLOW),
        ];
        let length = u8::try_from(block.len()).expect("a block is short");
        program.push(branch(EQUAL, interface.architecture, 0, length));
        program.extend(block);
    }
    program.push(plain(RETURN, UNKNOWN));
    program
}

#[cfg(test)]
mod tests {
    use super::super::words::judged;
    use super::*;

    fn judge(architecture: u32, number: u32, argument: u32) -> u32 {
        judged(&program(), |at| match at {
            NUMBER => number,
            ARCHITECTURE => architecture,
            FIRST_ARGUMENT => argument,
            other => panic!("nothing is at {other}"),
        })
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
