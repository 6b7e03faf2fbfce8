//! Starts a program without a copy of the caller's address space, and copies a nursery. The only
//! file that clones; what the new process does before it executes is in [`crate::child`].
//!
//! Called by the launcher (whose only other thread sleeps), by its nursery and by a container's
//! init. Nothing here decides what to run.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;
use tepui_core::protocol::status::Exit;

use crate::child::{self, Child, Failure};
use crate::error::{Error, Result};
use crate::launch::{CapabilitySet, Rlimit};
use crate::seccomp::Filter;
use crate::wait;

/// Where the child's open files go.
pub(crate) struct Files<'a> {
    /// Becomes 0, 1, 2 and so on; all others are closed by the exec.
    pub(crate) inherited: &'a [BorrowedFd<'a>],
}

/// What to execute.
pub(crate) enum Image<'a> {
    /// The first of these paths that can be executed.
    Paths(&'a [CString]),
    /// An open file.
    Open(BorrowedFd<'a>),
}

/// Whom the child becomes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// The limit on open files that a program gets; the launcher raises its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Whether the child starts with all signals blocked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// Nothing is blocked: for programs.
    Open,
    /// Everything stays blocked: for an init, which must not lose one before it listens.
    Blocked,
}

/// Everything about a child.
pub(crate) struct Plan<'a> {
    pub(crate) image: Image<'a>,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    pub(crate) directory: Option<&'a CString>,
    pub(crate) files: Files<'a>,
    /// Whether the first file is a terminal that is to be its session's.
    pub(crate) terminal: bool,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) signals: Signals,
    pub(crate) open_files: Option<OpenFiles>,
    pub(crate) confinement: Option<&'a Confinement<'a>>,
}

/// What is taken from a program before it is executed.
pub(crate) struct Confinement<'a> {
    /// The namespace of users that it enters.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    pub(crate) rlimits: &'a [Rlimit],
    /// What it, and all that it starts, can never have more than.
    pub(crate) bounding: CapabilitySet,
    /// What it has, whichever user it is; `None` is the kernel's rule.
    pub(crate) effective: Option<CapabilitySet>,
    pub(crate) no_new_privileges: bool,
    pub(crate) filters: &'a [Filter],
}

/// Closes all files from a number on, at the start of a process that owns none of them.
pub(crate) fn close_from(first: u32) {
    // SAFETY: called before anything here has opened a file. A kernel without the call leaves
    // them open, which costs files and harms nothing: they are not for the programs.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Bits of the child's stack: it only makes system calls.
const STACK_BYTES: usize = 64 * 1024;
/// The flag of clone3 as the kernel defines it; libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The most files a child inherits.
pub(crate) const MAX_FILES: usize = 8;

/// Sets every signal to its default, so that no program inherits what was ignored when the agent
/// was started. Launcher and init block what they listen for instead of handling it.
pub(crate) fn reset_dispositions() {
    /// The size of the kernel's signal set.
    const SET_BYTES: usize = 8;
    /// The default handler without flags, as the kernel's structure: all zero.
    static DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        let none: *mut u64 = ptr::null_mut();
        // SAFETY: the structure lives through the call; the default disposition runs no code of
        // ours. A raw call, because libc hides two signals that can be inherited as ignored.
        // SIGKILL and SIGSTOP refuse, which is as good.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const DEFAULT,
                none,
                SET_BYTES,
            )
        };
    }
}

/// Starts a child and returns when it runs its program, or has failed and is reaped.
pub(crate) fn spawn(plan: &Plan<'_>, subject: &str) -> Result<Pid> {
    assert!(
        plan.files.inherited.len() <= MAX_FILES,
        "the child has no room for more files"
    );
    let mut failure = Failure::NONE;
    let report = &raw mut failure;
    let arguments = pointers(plan.arguments);
    let environment = pointers(plan.environment);
    let filters = plan.confinement.map_or(&[][..], |c| c.filters);
    let mut filters: Vec<_> = filters.iter().map(Filter::program).collect();
    let filters = filters
        .iter_mut()
        .map(|(program, flags)| child::filter(program, *flags));
    let filters: Vec<_> = filters.collect::<Result<_>>()?;
    let child = Child {
        plan,
        arguments: &arguments,
        environment: &environment,
        filters: &filters,
        report,
    };
    let pid = clone_sharing(&child).map_err(|source| Error::Spawn {
        step: "clone for",
        subject: subject.to_owned(),
        source,
    })?;
    // SAFETY: our stack is ours, and the child, the only other writer, has either replaced its
    // address space or exited: vfork returns only then.
    let failure = unsafe { ptr::read_volatile(report) };
    if failure.errno == 0 {
        return Ok(pid);
    }
    wait::reap_at_last(pid).map_err(|error| Error::system("waitid", error))?;
    Err(Error::Spawn {
        step: failure.step,
        subject: subject.to_owned(),
        source: io::Error::from_raw_os_error(failure.errno),
    })
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// Clones with shared memory: the cost does not depend on our size.
fn clone_sharing(child: &Child<'_>) -> io::Result<Pid> {
    clone_with(CloneFlags::empty(), || child.run())
}

fn clone_with(namespaces: CloneFlags, mut work: impl FnMut() -> isize) -> io::Result<Pid> {
    let mut stack = vec![0; STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | namespaces;
    // SAFETY: the caller sleeps until the child has executed or exited, so stack and borrowed data
    // outlive the child's use of them; the child only makes raw system calls and neither
    // allocates nor unwinds.
    let pid = unsafe { clone(Box::new(&mut work), &mut stack, flags, Some(libc::SIGCHLD)) };
    Ok(pid?)
}

/// Does `work`, which may only make system calls, in a process with new namespaces that shares our
/// memory and then ends; returns what it returned, at most a byte.
pub(crate) fn visit(namespaces: CloneFlags, mut work: impl FnMut() -> u8) -> io::Result<u8> {
    let pid = clone_with(namespaces, || isize::from(work()))?;
    match wait::reap_at_last(pid)? {
        Some((_, Exit::Code(code))) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        Some((_, Exit::Signal(_))) | None => Ok(u8::MAX),
    }
}

/// Starts a process that does nothing but be in new namespaces, until it is killed.
pub(crate) fn hold(namespaces: CloneFlags) -> io::Result<Held> {
    // SAFETY: clone_args is plain numbers; zero means absent for each.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces.bits().cast_unsigned());
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: the structure is valid and its size is told. The copy makes system calls only, so it
    // does not matter what our other threads were doing.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match i32::try_from(pid) {
        Ok(0) => loop {
            // SAFETY: plain numbers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pause();
            }
        },
        Ok(pid) if pid > 0 => Ok(Held(Pid::from_raw(pid))),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A process that holds namespaces; it ends with this.
#[derive(Debug)]
pub(crate) struct Held(Pid);

impl Held {
    pub(crate) fn pid(&self) -> Pid {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It is our child and not reaped, so the number is its.
        let _ = nix::sys::signal::kill(self.0, nix::sys::signal::Signal::SIGKILL);
        let _ = wait::reap_at_last(self.0);
    }
}

/// Copies this process, which must have one thread, into a child of its parent: in namespaces of
/// its own and, with version 2, in a group. Returns `None` in the copy.
pub(crate) fn copy_as_sibling(
    namespaces: CloneFlags,
    group: Option<BorrowedFd<'_>>,
) -> io::Result<Option<Pid>> {
    // SAFETY: clone_args is plain numbers; zero means absent for each.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = (namespaces | CloneFlags::CLONE_PARENT).bits();
    args.flags = u64::from(flags.cast_unsigned());
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    // SAFETY: the structure is valid and its size is told; without CLONE_VM the child goes on with
    // a copy of this process, and with no other thread nothing is copied in the middle of a change.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::path::Path;

    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;

    use super::*;

    /// Tells its groups; makes only system calls, because other tests' threads are not copied.
    fn tell_groups(out: BorrowedFd<'_>) -> ! {
        let mut text = [0; 4096];
        let file = nix::fcntl::open("/proc/self/cgroup", OFlag::O_RDONLY, Mode::empty());
        let length = file.and_then(|file| nix::unistd::read(&file, &mut text));
        let told = length.and_then(|length| nix::unistd::write(out, &text[..length]));
        // SAFETY: ends the copy at once, without running anything of the test's.
        unsafe { libc::_exit(i32::from(told.is_err())) }
    }

    /// Written past the test harness, which keeps to itself what tests that pass print.
    fn skipped(why: &str) {
        let test = "a child inside its group of version 2";
        writeln!(io::stderr(), "skipped: {test}: {why}").unwrap();
    }

    #[test]
    fn a_copy_is_made_inside_its_group_of_version_2() {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let Some(root) = unified
            .iter()
            .find(|root| root.join("cgroup.procs").exists())
        else {
            skipped("no control groups of version 2");
            return;
        };
        let name = format!("tepui-test-spawn-{}", std::process::id());
        let group = root.join(&name);
        if let Err(error) = fs::create_dir(&group) {
            skipped(&format!("{}: {error}", group.display()));
            return;
        }
        let directory = File::open(&group).unwrap();
        let (reading, writing) = nix::unistd::pipe().unwrap();
        let copied = copy_as_sibling(CloneFlags::empty(), Some(directory.as_fd()));
        if matches!(copied, Ok(None)) {
            tell_groups(writing.as_fd());
        }
        drop(writing);
        let mut text = String::new();
        File::from(reading).read_to_string(&mut text).unwrap();
        while fs::remove_dir(&group).is_err() {
            assert!(group.exists(), "it is there until the copy has ended");
        }
        assert!(copied.unwrap().is_some());
        assert!(
            text.lines().any(|line| line == format!("0::/{name}")),
            "{text}"
        );
    }

    #[test]
    fn the_first_path_that_can_be_executed_is() {
        let c = |text: &str| CString::new(text).unwrap();
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let files = [null.as_fd(); 3];
        let missing = [c("/missing/true")];
        let present = [c("/missing/true"), c("/bin/true")];
        let mut plan = Plan {
            image: Image::Paths(&present),
            arguments: &[c("true")],
            environment: &[],
            directory: None,
            files: Files { inherited: &files },
            terminal: false,
            credentials: None,
            signals: Signals::Open,
            open_files: None,
            confinement: None,
        };
        let pid = spawn(&plan, "true").unwrap();
        let ended = wait::reap_at_last(pid).unwrap();
        assert_eq!(ended, Some((pid, Exit::Code(0))));
        plan.image = Image::Paths(&missing);
        let error = spawn(&plan, "true").unwrap_err().to_string();
        assert_eq!(
            error,
            "execute true: No such file or directory (os error 2)"
        );
    }
}
