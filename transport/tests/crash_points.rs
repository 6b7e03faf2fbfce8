//! A journal whose process is killed before each of its system calls that change a file: all that
//! it has acknowledged is there afterwards, nothing else than what it was given, and it goes on
//! from there (I17, AG-13, R13). What a crash of the machine may leave besides, cut at any byte, is
//! in the unit tests of the journal.
//!
//! The process is this program again, traced by the test, which counts its calls and kills it at
//! one more of them each time.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tepui_core::gate::Seq;
use tepui_core::machine::Durable;
use tepui_transport::journal::{FileJournal, FileOptions, Journal, JournalEvent, Opened};

/// Where the traced process has its journal.
const DIR: &str = "TEPUI_TEST_DIR";
/// How many batches it appends.
const BATCHES: usize = 24;
/// So small that several snapshots are made on the way.
const OPTIONS: FileOptions = FileOptions {
    snapshot_from_bytes: 512,
};
/// The calls that change files: before each of these the process is killed once.
const CALLS: [libc::c_long; 15] = [
    libc::SYS_openat,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
];
/// Those of the same kind that only some architectures have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: [libc::c_long; 4] = [
    libc::SYS_open,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_mkdir,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: [libc::c_long; 0] = [];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Words(Vec<String>);

impl Durable for Words {
    type Record = String;

    const LAYOUT: u32 = 1;

    fn apply(&mut self, record: &String) {
        self.0.push(record.clone());
    }
}

/// Returns the words of a batch: not all of one length.
fn batch(n: usize) -> Vec<String> {
    (0..=n % 3)
        .map(|part| format!("{n}.{part}{}", "x".repeat(n * 7)))
        .collect()
}

/// Not a test of its own: the process that is traced.
#[test]
fn a_node() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    // Until it is traced.
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let opened = FileJournal::<Words>::open_with(Path::new(&dir), OPTIONS).unwrap();
        let mut journal = opened.journal;
        let mut last = 0;
        for n in 0..BATCHES {
            let words = batch(n);
            last += words.len() as u64;
            journal.append(Seq(last), words);
            loop {
                match journal.next().await {
                    JournalEvent::Durable(seq) if seq == Seq(last) => break,
                    JournalEvent::Durable(_) => {}
                    lost @ (JournalEvent::Leading { .. } | JournalEvent::Lost(_)) => {
                        panic!("{lost:?}")
                    }
                }
            }
            // What it says has been heard, whatever becomes of it.
            let mut out = std::io::stdout();
            out.write_all(format!("acknowledged {n}\n").as_bytes())
                .unwrap();
            out.flush().unwrap();
        }
    });
}

/// Traces all threads of a process that waits.
fn seize(child: &Child) {
    let options =
        Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
    for entry in fs::read_dir(format!("/proc/{}/task", child.id())).unwrap() {
        let name = entry.unwrap().file_name();
        let thread = Pid::from_raw(name.to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, options).unwrap();
        ptrace::interrupt(thread).unwrap();
    }
}

/// Returns whether a thread that is stopped is about to change a file.
fn changes_files(thread: Pid) -> bool {
    let Ok(info) = ptrace::syscall_info(thread) else {
        return false;
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return false;
    }
    // SAFETY: the kernel has said which member of the union it has filled in.
    let number = unsafe { info.u.entry.nr };
    let number = libc::c_long::try_from(number).unwrap_or(-1);
    CALLS.contains(&number) || OLD_CALLS.contains(&number)
}

/// Lets the process run until it is about to make its call number `fatal`; returns how many of
/// them it came to.
fn trace(child: &mut Child, fatal: usize) -> usize {
    seize(child);
    child.stdin.as_mut().unwrap().write_all(b".").unwrap();
    let process = Pid::from_raw(child.id().cast_signed());
    let go_on = |thread, signal: Option<Signal>| match ptrace::syscall(thread, signal) {
        // Killed meanwhile.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{error}"),
    };
    let mut calls = 0;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceSyscall(thread) => {
                if changes_files(thread) {
                    if calls == fatal {
                        nix::sys::signal::kill(process, Signal::SIGKILL).unwrap();
                        // All threads end, and are waited for, that of the process last.
                        while !matches!(
                            waitpid(None, Some(WaitPidFlag::__WALL)),
                            Ok(WaitStatus::Signaled(pid, ..)) if pid == process
                        ) {}
                        return calls;
                    }
                    calls += 1;
                }
                go_on(thread, None);
            }
            WaitStatus::Stopped(thread, Signal::SIGTRAP) | WaitStatus::PtraceEvent(thread, ..) => {
                go_on(thread, None);
            }
            WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
            WaitStatus::Exited(pid, code) if pid == process => {
                assert_eq!(code, 0, "the process that is traced has failed");
                return calls;
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
            odd @ (WaitStatus::Continued(_) | WaitStatus::StillAlive) => panic!("{odd:?}"),
        }
    }
}

/// Runs a node up to one of its calls, and looks at what it leaves. Returns how many calls it made.
fn attempt(fatal: usize) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_node", "--nocapture", "--quiet"])
        .env(DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let calls = trace(&mut child, fatal);
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let acknowledged = said.matches("acknowledged").count();
    let all: Vec<String> = (0..BATCHES).flat_map(batch).collect();
    let due: usize = (0..acknowledged).map(|n| batch(n).len()).sum();
    let Opened { state, epoch, .. } = FileJournal::<Words>::open_with(dir.path(), OPTIONS)
        .unwrap_or_else(|error| {
            panic!("killed before call {fatal}: {error}");
        });
    let words = state.0;
    assert!(
        words.len() >= due,
        "killed before call {fatal}: {} words of {due}",
        words.len()
    );
    assert_eq!(words, all[..words.len()], "killed before call {fatal}");
    // And no batch in part.
    let ends: Vec<usize> = (0..=BATCHES)
        .map(|n| (0..n).map(|n| batch(n).len()).sum())
        .collect();
    assert!(ends.contains(&words.len()), "killed before call {fatal}");
    // It goes on, with an epoch that nobody had.
    let again = FileJournal::<Words>::open_with(dir.path(), OPTIONS).unwrap();
    assert_eq!(again.state.0, words, "killed before call {fatal}");
    assert!(again.epoch > epoch && epoch >= 1);
    calls
}

#[test]
fn a_node_that_is_killed_before_any_of_its_calls_loses_nothing() {
    // I17, AG-13, R13
    let all = attempt(usize::MAX);
    assert!(all > 2 * BATCHES, "{all} calls change files");
    for fatal in 0..all {
        attempt(fatal);
    }
    let mut out = std::io::stderr();
    writeln!(out, "crash points: {all}, lost: 0").unwrap();
}
