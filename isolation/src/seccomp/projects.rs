//! The filter of those whose files are limited by a quota of projects, or of subvolumes: they stay
//! in theirs.
//!
//! The kernel lets whoever owns a file take it out of its project, unless that is in a user
//! namespace; and whoever owns a directory say that what is made in it belongs to none. No profile
//! lifts this, for it is a limit and no matter of taste.

use super::words::{
    ARCHITECTURE, ARGUMENTS, AT_LEAST, EQUAL, LOAD, LOW, NUMBER, RETURN, UNKNOWN, X32, branch,
    plain,
};

/// What is asked of a file by `ioctl`: the kernel looks at the lower half only.
const REQUEST: u32 = ARGUMENTS + 8 + LOW;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// Set the project and the flags of a file: `FS_IOC_FSSETXATTR`, and `FS_IOC_SETFLAGS` as it is for
/// programs of 64 and of 32 bits; make subvolumes of btrfs, or copies of them, which would be in no
/// group, in each of two ways.
const REQUESTS: [u32; 7] = [
    0x401c_5820,
    0x4008_6602,
    0x4004_6602,
    0x5000_940e,
    0x5000_9418,
    0x5000_9401,
    0x5000_9417,
];
/// Of every interface.
const FILE_SETATTR: u32 = 469;

/// For each interface to the kernel what it is called, and the number of `ioctl`.
#[cfg(target_arch = "x86_64")]
const INTERFACES: [(u32, u32); 2] = [(0xC000_003E, 16), (0x4000_0003, 54)];
#[cfg(target_arch = "aarch64")]
const INTERFACES: [(u32, u32); 2] = [(0xC000_00B7, 29), (0x4000_0028, 54)];

pub(super) fn program() -> Vec<libc::sock_filter> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for (architecture, ioctl) in INTERFACES {
        let mut block = vec![
            plain(LOAD, NUMBER),
            branch(AT_LEAST, X32, 1, 0),
            branch(EQUAL, FILE_SETATTR, 0, 1),
            plain(RETURN, UNKNOWN),
            branch(EQUAL, ioctl, 1, 0),
            plain(RETURN, ALLOW),
            plain(LOAD, REQUEST),
        ];
        for request in REQUESTS {
            block.push(branch(EQUAL, request, 0, 1));
            block.push(plain(RETURN, REFUSE));
        }
        block.push(plain(RETURN, ALLOW));
        let length = u8::try_from(block.len()).expect("a block is short");
        program.push(branch(EQUAL, architecture, 0, length));
        program.extend(block);
    }
    program.push(plain(RETURN, UNKNOWN));
    program
}

#[cfg(test)]
mod tests {
    use super::super::words::judged;
    use super::*;

    #[test]
    fn a_file_stays_in_its_project_through_every_interface_and_all_else_is_allowed() {
        for (architecture, ioctl) in INTERFACES {
            let judge = |number, request| {
                judged(&program(), |at| match at {
                    ARCHITECTURE => architecture,
                    NUMBER => number,
                    REQUEST => request,
                    other => panic!("nothing is at {other}"),
                })
            };
            for request in REQUESTS {
                assert_eq!(judge(ioctl, request), REFUSE);
                assert_eq!(judge(ioctl + 1, request), ALLOW);
            }
            // Those that read what these set, and one of terminals.
            for request in [0x801c_581f, 0x8008_6601, 0x5401] {
                assert_eq!(judge(ioctl, request), ALLOW);
            }
            assert_eq!(judge(FILE_SETATTR, 0), UNKNOWN);
            assert_eq!(judge(FILE_SETATTR - 1, 0), ALLOW);
            assert_eq!(judge(ioctl | X32, 0), UNKNOWN);
        }
        let elsewhere = judged(&program(), |at| if at == ARCHITECTURE { 7 } else { 0 });
        assert_eq!(elsewhere, UNKNOWN);
        assert_eq!(i64::from(INTERFACES[0].1), libc::SYS_ioctl);
    }
}
