//! The program that guards devices in version 2: made of rules, loaded and attached. The only file
//! that calls `bpf`.
//!
//! The kernel runs it for each device that a process of the group opens or makes, and refuses if
//! it returns 0. It lives as long as the group.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::devices::{DeviceKind, DeviceRule};
use crate::error::{Error, Result};

/// The kind of program, and where it is attached, as the kernel numbers them.
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_DEVICE: u32 = 6;
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
/// Others may attach programs too; all must agree.
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;
/// The name by which ours are known; the kernel holds 15 characters.
const NAME: [u8; 16] = *b"tepui_devices\0\0\0";
/// More programs than a group of ours has.
const MOST_PROGRAMS: usize = 64;

/// One instruction: the code, the two registers, the jump and the number.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    jump: i16,
    number: i32,
}

/// The codes that are used.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb7;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The registers: the result, what is told, a copy of it, and what is asked for.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, to: u8, from: u8, jump: i16, number: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        jump,
        number,
    }
}

/// Makes the program that allows what one of the rules allows.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let load = |to, offset| instruction(LOAD_WORD, to, CONTEXT, offset, 0);
    let with = |code, to, number| instruction(code, to, 0, 0, number);
    // Told are three words: kind of device and, above that, of access; the numbers of the device.
    let mut program = vec![
        load(KIND, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        with(AND, KIND, 0xffff),
        with(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules {
        let kind = match rule.kind {
            DeviceKind::Block => 1,
            DeviceKind::Char => 2,
        };
        let signed = u32::cast_signed;
        // What is left when the allowed is taken away must be nothing.
        let forbidden = !signed(rule.access.bits());
        let mut tests = vec![(KIND, kind)];
        tests.extend(rule.major.map(|major| (MAJOR, signed(major))));
        tests.extend(rule.minor.map(|minor| (MINOR, signed(minor))));
        tests.push((CONTEXT, 0));
        // The instructions that are left in this rule after each test, the last two included.
        let mut left = i16::try_from(tests.len() + 4).unwrap_or(i16::MAX);
        for (register, number) in tests {
            if register == CONTEXT {
                program.push(instruction(MOVE, CONTEXT, ACCESS, 0, 0));
                program.push(with(AND, CONTEXT, forbidden));
                left -= 2;
            }
            left -= 1;
            program.push(instruction(JUMP_UNLESS_EQUAL, register, 0, left, number));
        }
        program.push(with(MOVE_NUMBER, RESULT, 1));
        program.push(with(EXIT, 0, 0));
    }
    program.push(with(MOVE_NUMBER, RESULT, 0));
    program.push(with(EXIT, 0, 0));
    program
}

/// Attaches a program for these rules to a group, in the place of one that was there of ours.
pub(super) fn attach(group: &Path, rules: &[DeviceRule]) -> Result<()> {
    let failed = |call| move |error: io::Error| refused(call, &error);
    let directory = File::open(group).map_err(|error| Error::file("open", group, error))?;
    let program = load(&program(rules)).map_err(failed("load"))?;
    let mut request = Attach {
        group: directory.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_DEVICE,
        flags: ALLOW_MULTI,
        replaced: 0,
    };
    let before = ours(&directory).map_err(failed("look for"))?;
    if let Some(before) = &before {
        request.flags |= REPLACE;
        request.replaced = before.as_raw_fd();
    }
    bpf(PROG_ATTACH, &mut request).map_err(failed("attach"))?;
    Ok(())
}

/// Returns whether we can have such programs: the kernel may lack them, or not let us.
pub(super) fn is_possible() -> bool {
    load(&program(&[])).is_ok()
}

/// Takes our program from a group, if it has one.
pub(super) fn detach(group: &Path) -> Result<()> {
    let failed = |call| move |error: io::Error| refused(call, &error);
    let directory = File::open(group).map_err(|error| Error::file("open", group, error))?;
    let program = match ours(&directory) {
        Ok(Some(program)) => program,
        Ok(None) => return Ok(()),
        // A kernel that cannot have such programs, or a directory that is no group: there is none.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::EBADF | libc::ENOSYS)
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(refused("look for", &error)),
    };
    let mut request = Attach {
        group: directory.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: ATTACH_DEVICE,
        flags: 0,
        replaced: 0,
    };
    bpf(PROG_DETACH, &mut request).map_err(failed("detach"))?;
    Ok(())
}

fn refused(step: &str, error: &io::Error) -> Error {
    Error::Unsupported {
        knob: "a choice of devices",
        controller: "devices",
        message: format!("the kernel will not {step} a program for it: {error}"),
    }
}

/// What the kernel is told to load.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attached_as: u32,
}

/// What is attached to what.
#[repr(C)]
struct Attach {
    group: i32,
    program: i32,
    kind: u32,
    flags: u32,
    replaced: i32,
}

/// Which programs are attached.
#[repr(C)]
struct Query {
    group: i32,
    kind: u32,
    flags: u32,
    attached_with: u32,
    ids: u64,
    count: u32,
    unused: u32,
}

/// Which program is to be opened.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut request = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        version: 0,
        flags: 0,
        name: NAME,
        interface: 0,
        attached_as: ATTACH_DEVICE,
    };
    // The program and the license live through the call.
    let program = bpf(PROG_LOAD, &mut request)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// Finds the program that an earlier call of ours has attached.
fn ours(group: &File) -> io::Result<Option<OwnedFd>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut request = Query {
        group: group.as_raw_fd(),
        kind: ATTACH_DEVICE,
        flags: 0,
        attached_with: 0,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST_PROGRAMS).unwrap_or(0),
        unused: 0,
    };
    bpf(PROG_QUERY, &mut request)?;
    let count = usize::try_from(request.count).unwrap_or(0);
    for &id in ids.iter().take(count) {
        let mut request = ById {
            id,
            next: 0,
            flags: 0,
        };
        let program = bpf(PROG_GET_FD_BY_ID, &mut request)?;
        // SAFETY: as above.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        if name_of(&program)? == NAME {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Where in what the kernel tells of a program its name is, and how much is read for that.
const NAME_AT: usize = 64;
const INFO_BYTES: usize = NAME_AT + 16;

/// About what is asked, and where the answer goes.
#[repr(C)]
struct InfoByFd {
    program: i32,
    length: u32,
    info: u64,
}

fn name_of(program: &OwnedFd) -> io::Result<[u8; 16]> {
    let mut info = [0_u64; INFO_BYTES / 8];
    let mut request = InfoByFd {
        program: program.as_raw_fd(),
        length: u32::try_from(INFO_BYTES).unwrap_or(0),
        info: info.as_mut_ptr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut request)?;
    let mut name = [0; 16];
    name[..8].copy_from_slice(&info[NAME_AT / 8].to_ne_bytes());
    name[8..].copy_from_slice(&info[NAME_AT / 8 + 1].to_ne_bytes());
    Ok(name)
}

/// Calls the kernel with a request, which it may change; what the request points to must live and
/// be as large as it says.
fn bpf<T>(call: libc::c_int, request: &mut T) -> io::Result<i32> {
    // SAFETY: the request is a structure of the call, and its size is told; the pointers in it
    // are to memory of the caller's, see above.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            call,
            std::ptr::from_mut(request),
            size_of::<T>(),
        )
    };
    match i32::try_from(done) {
        Ok(done) if done >= 0 => Ok(done),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices::{Access, Devices};
    use super::*;

    /// Runs a program as the kernel does; returns its result.
    fn run(program: &[Instruction], asked: [u32; 3]) -> u64 {
        let mut registers = [0xdead_beef_u64; 11];
        let mut at = 0;
        loop {
            let one = program[at];
            let (to, from) = (one.registers & 15, one.registers >> 4);
            let (to, from) = (usize::from(to), usize::from(from));
            let word = |value: u64| u64::from(value as u32);
            at += 1;
            match one.code {
                LOAD_WORD => registers[to] = asked[usize::try_from(one.jump).unwrap() / 4].into(),
                AND => registers[to] = word(registers[to]) & word(one.number as u64),
                SHIFT_RIGHT => registers[to] = word(registers[to]) >> one.number,
                MOVE => registers[to] = word(registers[from]),
                MOVE_NUMBER => registers[to] = one.number as u64,
                JUMP_UNLESS_EQUAL if registers[to] != i64::from(one.number) as u64 => {
                    at += usize::try_from(one.jump).unwrap();
                }
                JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;
    const MKNOD: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;

    fn allows(rules: &[DeviceRule], kind: u32, access: u32, device: (u32, u32)) -> bool {
        run(&program(rules), [access << 16 | kind, device.0, device.1]) == 1
    }

    #[test]
    fn what_no_rule_allows_is_refused() {
        // CT-33
        for access in 1..8 {
            assert!(!allows(&[], CHAR, access, (1, 3)));
        }
        let usual = Devices::usual().merged();
        for access in 1..8 {
            assert!(allows(&usual, CHAR, access, (1, 3)), "null {access}");
            assert!(
                allows(&usual, CHAR, access, (136, 77)),
                "a terminal {access}"
            );
            let only_made = access == MKNOD;
            assert_eq!(allows(&usual, BLOCK, access, (8, 0)), only_made);
            assert_eq!(allows(&usual, BLOCK, access, (1, 3)), only_made);
            assert_eq!(allows(&usual, CHAR, access, (1, 11)), only_made, "kmsg");
            assert_eq!(allows(&usual, CHAR, access, (5, 3)), only_made);
        }
    }

    #[test]
    fn all_of_what_is_asked_for_must_be_allowed() {
        let rule = DeviceRule {
            kind: DeviceKind::Block,
            major: None,
            minor: Some(1_048_575),
            access: Access {
                read: true,
                write: false,
                mknod: true,
            },
        };
        let device = (4095, 1_048_575);
        for access in 1..8 {
            let allowed = access & WRITE == 0;
            assert_eq!(allows(&[rule], BLOCK, access, device), allowed);
        }
        assert!(allows(&[rule], BLOCK, READ, (7, 1_048_575)));
        assert!(!allows(&[rule], BLOCK, READ, (7, 1)));
    }
}
