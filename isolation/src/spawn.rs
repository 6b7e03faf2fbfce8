//! Starts a program without a copy of the caller's address space, and copies a nursery. The only
//! file that clones.
//!
//! Called by the launcher (whose only other thread sleeps), by its nursery and by a container's
//! init. Nothing here decides what to run.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;

use crate::error::{Error, Result};
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
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) signals: Signals,
    pub(crate) open_files: Option<OpenFiles>,
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
const MAX_FILES: usize = 8;

/// The step that failed, told by the child through memory that it shares with its parent.
#[repr(C)]
#[derive(Clone, Copy)]
struct Failure {
    step: usize,
    errno: i32,
}

/// The names of steps; a [`Failure`] holds an index.
const STEPS: [&str; 8] = [
    "none",
    "new session for",
    "files of",
    "working directory of",
    "limit of open files of",
    "user of",
    "death signal of",
    "execute",
];

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
    let mut failure = Failure { step: 0, errno: 0 };
    let report = &raw mut failure;
    let arguments = pointers(plan.arguments);
    let environment = pointers(plan.environment);
    let child = Child {
        plan,
        arguments: &arguments,
        environment: &environment,
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
        step: STEPS[failure.step],
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
    let mut stack = vec![0; STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the caller sleeps until the child has executed or exited, so stack and borrowed data
    // outlive the child's use of them; the child only makes raw system calls and neither
    // allocates nor unwinds.
    let pid = unsafe {
        clone(
            Box::new(|| child.run()),
            &mut stack,
            flags,
            Some(libc::SIGCHLD),
        )
    };
    Ok(pid?)
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

/// What runs between clone and exec. It makes system calls and nothing else.
struct Child<'a> {
    plan: &'a Plan<'a>,
    arguments: &'a [*const c_char],
    environment: &'a [*const c_char],
    report: *mut Failure,
}

impl Child<'_> {
    /// Becomes the program; returns an exit code only if that failed.
    fn run(&self) -> isize {
        let steps: [fn(&Self) -> i32; 7] = [
            Self::new_session,
            Self::place_files,
            Self::change_directory,
            Self::limit_files,
            Self::become_user,
            Self::die_with_parent,
            Self::execute,
        ];
        for (index, step) in steps.iter().enumerate() {
            let errno = step(self);
            if errno != 0 {
                let failure = Failure {
                    step: index + 1,
                    errno,
                };
                // SAFETY: it is on the stack of the parent, which sleeps and shares its memory.
                unsafe { ptr::write_volatile(self.report, failure) };
                break;
            }
        }
        127
    }

    fn new_session(&self) -> i32 {
        // SAFETY: no arguments.
        errno_unless(unsafe { libc::setsid() } >= 0)
    }

    fn place_files(&self) -> i32 {
        let files = self.plan.files.inherited;
        let mut high = [-1; MAX_FILES];
        // First out of the way of the numbers to be taken, then into place.
        for (file, high) in files.iter().zip(&mut high) {
            // SAFETY: duplicates an open file.
            *high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
            if *high < 0 {
                return last_errno();
            }
        }
        for (number, &high) in (0..).zip(&high[..files.len()]) {
            // SAFETY: closes and replaces only in the child's own table.
            if unsafe { libc::dup2(high, number) } < 0 {
                return last_errno();
            }
        }
        let first = libc::c_uint::try_from(files.len()).unwrap_or(libc::c_uint::MAX);
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: only marks files of the child's own table; the image to execute stays open.
        let marked =
            unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
        errno_unless(marked == 0)
    }

    fn change_directory(&self) -> i32 {
        let Some(directory) = self.plan.directory else {
            return 0;
        };
        // SAFETY: a valid string.
        errno_unless(unsafe { libc::chdir(directory.as_ptr()) } == 0)
    }

    fn limit_files(&self) -> i32 {
        let Some(OpenFiles { soft, hard }) = self.plan.open_files else {
            return 0;
        };
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the structure lives through the call.
        errno_unless(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0)
    }

    /// Raw calls: libc's own would tell threads that the memory-sharing child does not have.
    fn become_user(&self) -> i32 {
        let Some(user) = self.plan.credentials else {
            return 0;
        };
        let (count, groups) = (user.groups.len(), user.groups.as_ptr());
        // SAFETY: the list is valid for its length; ids are plain numbers.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, count, groups) == 0
                && libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid) == 0
                && libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid) == 0
        };
        errno_unless(done)
    }

    /// After the user: changing it clears the wish. If the launcher dies, its containers do.
    fn die_with_parent(&self) -> i32 {
        // SAFETY: plain numbers.
        errno_unless(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0)
    }

    fn execute(&self) -> i32 {
        if self.plan.signals == Signals::Open {
            // SAFETY: an empty set is made before it is used; handlers are at their defaults
            // already, because launcher and init keep them so.
            unsafe {
                let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
                libc::sigemptyset(none.as_mut_ptr());
                libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            }
        }
        let (argv, envp) = (self.arguments.as_ptr(), self.environment.as_ptr());
        match &self.plan.image {
            Image::Open(file) => {
                // SAFETY: null-terminated arrays of valid strings; returns only on failure.
                unsafe {
                    let flags = libc::AT_EMPTY_PATH;
                    let empty = c"".as_ptr();
                    libc::syscall(
                        libc::SYS_execveat,
                        file.as_raw_fd(),
                        empty,
                        argv,
                        envp,
                        flags,
                    );
                }
                last_errno()
            }
            Image::Paths(paths) => {
                let mut reason = libc::ENOENT;
                for path in *paths {
                    // SAFETY: as above.
                    unsafe { libc::execve(path.as_ptr(), argv, envp) };
                    match last_errno() {
                        // Like a shell: look on, but remember what was there and refused.
                        libc::ENOENT | libc::ENOTDIR => {}
                        libc::EACCES => reason = libc::EACCES,
                        errno => return errno,
                    }
                }
                reason
            }
        }
    }
}

fn errno_unless(done: bool) -> i32 {
    if done { 0 } else { last_errno() }
}

fn last_errno() -> i32 {
    nix::errno::Errno::last_raw()
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
            credentials: None,
            signals: Signals::Open,
            open_files: None,
        };
        let pid = spawn(&plan, "true").unwrap();
        let ended = wait::reap_at_last(pid).unwrap();
        assert_eq!(
            ended,
            Some((pid, tepui_core::protocol::status::Exit::Code(0)))
        );
        plan.image = Image::Paths(&missing);
        let error = spawn(&plan, "true").unwrap_err().to_string();
        assert_eq!(
            error,
            "execute true: No such file or directory (os error 2)"
        );
    }
}
