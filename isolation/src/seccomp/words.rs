//! The words that filters of system calls are written in: instructions, and where the kernel puts
//! what they look at.
//!
//! Deliberately not here: any filter.

/// Where the kernel puts the number of a call, its architecture, and its first argument.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;
/// Which half of an argument comes first.
pub(super) const LOW: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };
pub(super) const HIGH: u32 = 4 - LOW;
/// Numbers from here on are of the x32 interface, a second set beside the first.
pub(super) const X32: u32 = 0x4000_0000;
/// What calls get that nothing is known about. For `clone3`, whose flags are in memory where a
/// filter cannot look, every library then uses `clone`.
pub(super) const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Does one thing.
pub(super) fn plain(code: u16, operand: u32) -> libc::sock_filter {
    branch(code, operand, 0, 0)
}

/// Skips so many instructions if it holds, and so many if not.
pub(super) fn branch(code: u16, operand: u32, holds: u8, fails: u8) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: holds,
        jf: fails,
        k: operand,
    }
}

/// Says what the kernel would do, of programs of the few instructions that the guards use: `word`
/// is what it finds at a place.
#[cfg(test)]
pub(super) fn judged(program: &[libc::sock_filter], word: impl Fn(u32) -> u32) -> u32 {
    let (mut at, mut value) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let k = instruction.k;
        let holds = match instruction.code {
            RETURN => return k,
            LOAD => {
                value = word(k);
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
