//! The few things read of processes: who is whose child, of which group and session, and with which
//! mark.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::process::{CONTAINER_VARIABLE, DIRECTORY_VARIABLE, SANDBOX_VARIABLE};

/// A process, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) group: Pid,
    pub(crate) session: Pid,
}

/// Lists our own children, except `known` ones.
///
/// Kernels without `/proc/PID/task/TID/children` are searched through all processes.
pub(crate) fn other_children(known: impl Fn(Pid) -> bool) -> Vec<Process> {
    let own = Pid::this();
    let pids = match fs::read_to_string(format!("/proc/{own}/task/{own}/children")) {
        Ok(children) => children.split_whitespace().filter_map(parse).collect(),
        Err(_) => all_pids(),
    };
    let unknown = pids.into_iter().filter(|&pid| !known(pid));
    let user_space = unknown.filter(|&pid| !is_kernel_thread(pid));
    let processes = user_space.filter_map(read);
    processes.filter(|process| process.parent == own).collect()
}

/// Lists the children of a process, of all its threads; `None` where the kernel does not.
pub(crate) fn children(pid: Pid) -> Option<Vec<Pid>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut children = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(listed) => children.extend(listed.split_whitespace().filter_map(parse)),
            // The thread has ended; its children are another's then.
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Lists all processes.
pub(crate) fn everybody() -> Vec<Process> {
    all_pids().into_iter().filter_map(read).collect()
}

/// Lists all processes whose mark says that their sandbox is below `sandboxes`.
pub(crate) fn marked_below(sandboxes: &Path) -> Vec<Pid> {
    let names = [SANDBOX_VARIABLE, DIRECTORY_VARIABLE];
    let prefixes = names.map(|name| format!("{name}={}/", sandboxes.display()));
    let is_mark = |entry: &[u8]| {
        prefixes
            .iter()
            .any(|mark| entry.starts_with(mark.as_bytes()))
    };
    let marked = |pid: &Pid| has_variable(*pid, is_mark);
    all_pids().into_iter().filter(marked).collect()
}

/// Returns the container that a process is marked with.
pub(crate) fn mark_of(pid: Pid) -> Option<String> {
    let prefix = format!("{CONTAINER_VARIABLE}=");
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|&byte| byte == 0);
    let mark = entries.find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(mark.to_vec()).ok()
}

/// Returns how much memory the machine has.
pub(crate) fn machine_bytes() -> Result<u64> {
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
    let total = parse_total(&text);
    total.ok_or_else(|| Error::file("parse", path, std::io::Error::other("it has no MemTotal")))
}

fn parse_total(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let kib = lines.find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"))?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn has_variable(pid: Pid, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|&byte| byte == 0).any(wanted)
}

/// Kernel threads have no session; asking for it costs a tenth of reading `stat`.
fn is_kernel_thread(pid: Pid) -> bool {
    nix::unistd::getsid(Some(pid)).is_ok_and(|session| session.as_raw() == 0)
}

fn all_pids() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids: BTreeSet<Pid> = names.filter_map(|name| parse(&name)).collect();
    pids.into_iter().collect()
}

fn parse(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

/// Reads who a process is, if it is there.
pub(crate) fn read(pid: Pid) -> Option<Process> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns when a process was started, in ticks since the machine was.
pub(crate) fn began(pid: Pid) -> Option<u64> {
    parse_began(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_began(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Reads `pid (name) state ppid pgrp session ...`; the name may itself contain parentheses.
fn parse_stat(pid: Pid, stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(1);
    let parent = parse(fields.next()?)?;
    let group = parse(fields.next()?)?;
    let session = parse(fields.next()?)?;
    Some(Process {
        pid,
        parent,
        group,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_known() {
        let meminfo = "MemFree: 7 kB\nMemTotal:       24683520 kB\n";
        assert_eq!(parse_total(meminfo), Some(24_683_520 * 1024));
        assert_eq!(parse_total("MemTotal: much kB\n"), None);
        assert!(machine_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn a_name_cannot_forge_the_fields_after_it() {
        let pid = Pid::from_raw(7);
        let stat = "7 (a) S 1 1 1 (b) S 5 6 9 0 -1";
        let expected = Process {
            pid,
            parent: Pid::from_raw(5),
            group: Pid::from_raw(6),
            session: Pid::from_raw(9),
        };
        assert_eq!(parse_stat(pid, stat), Some(expected));
        assert_eq!(parse_stat(pid, "7 (cut"), None);
        let stat = "7 (a) b) S 5 6 9 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 4711 99";
        assert_eq!(parse_began(stat), Some(4711));
        assert_eq!(parse_began("7 (cut) S 5"), None);
        assert!(began(Pid::this()).is_some_and(|began| began > 0));
    }
}
