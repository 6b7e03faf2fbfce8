//! What a new process does between clone and exec: becomes a session, gets its files, limits,
//! user, capabilities and filters, and executes its program.
//!
//! It shares the memory of its parent, which sleeps meanwhile: here are system calls and nothing
//! else, nothing is allocated and nothing may unwind. What is to be done was prepared before
//! ([`crate::spawn`]).

use std::ffi::{CString, c_char};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::confine::{CapabilityHeader, CapabilityWord, LAST_CAPABILITY};
use crate::error::{Error, Result};
use crate::launch::CapabilitySet;
use crate::spawn::{Confinement, Image, MAX_FILES, OpenFiles, Plan, Signals};

/// A program without special rights for root has no bits but these: capabilities survive a change
/// of user once, and root is nobody special, for good.
const SECURE_BITS: libc::c_int = 1 << 4 | 1 << 0 | 1 << 1;

/// The step that failed, told by the child through memory that it shares with its parent.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) step: &'static str,
    pub(crate) errno: i32,
}

impl Failure {
    pub(crate) const NONE: Self = Self { step: "", errno: 0 };
}

/// A filter as the kernel takes it.
pub(crate) struct Prepared {
    program: libc::sock_fprog,
    flags: u32,
}

/// Describes a filter, which must live as long as what is returned.
pub(crate) fn filter(program: &mut [libc::sock_filter], flags: u32) -> Result<Prepared> {
    let len = u16::try_from(program.len());
    let len = len.map_err(|_| Error::Invalid("a filter that is too long".to_owned()))?;
    let filter = program.as_mut_ptr();
    let program = libc::sock_fprog { len, filter };
    Ok(Prepared { program, flags })
}

/// A child that is to become a program.
pub(crate) struct Child<'a> {
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) arguments: &'a [*const c_char],
    pub(crate) environment: &'a [*const c_char],
    pub(crate) filters: &'a [Prepared],
    pub(crate) report: *mut Failure,
}

/// A step and how it failed.
type Step = std::result::Result<(), (&'static str, i32)>;

impl Child<'_> {
    /// Becomes the program; returns an exit code only if that failed.
    pub(crate) fn run(&self) -> isize {
        let Err((step, errno)) = self.steps();
        // SAFETY: it is on the stack of the parent, which sleeps and shares its memory.
        unsafe { ptr::write_volatile(self.report, Failure { step, errno }) };
        127
    }

    fn steps(&self) -> std::result::Result<std::convert::Infallible, (&'static str, i32)> {
        self.new_session()?;
        self.place_files()?;
        self.take_terminal()?;
        if let Some(confinement) = self.plan.confinement {
            self.enter_users(confinement)?;
        }
        self.change_directory()?;
        self.limit_files()?;
        match self.plan.confinement {
            None => {
                self.become_user()?;
                self.die_with_parent()?;
            }
            Some(confinement) => {
                self.limit(confinement)?;
                self.bound(confinement.bounding)?;
                // Without the promise to gain nothing, filters are for the privileged.
                if !confinement.no_new_privileges {
                    self.filter()?;
                }
                if confinement.effective.is_some() {
                    // SAFETY: plain numbers.
                    let done =
                        unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0) };
                    checked("keep capabilities of", done == 0)?;
                }
                self.become_user()?;
                self.reduce(confinement)?;
                self.die_with_parent()?;
                if confinement.no_new_privileges {
                    // SAFETY: plain numbers.
                    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
                    checked("no new privileges for", done == 0)?;
                    self.filter()?;
                }
            }
        }
        Err(("execute", self.execute()))
    }

    fn new_session(&self) -> Step {
        // SAFETY: no arguments.
        checked("new session for", unsafe { libc::setsid() } >= 0)
    }

    fn place_files(&self) -> Step {
        const STEP: &str = "files of";
        let files = self.plan.files.inherited;
        let mut high = [-1; MAX_FILES];
        // First out of the way of the numbers to be taken, then into place.
        for (file, high) in files.iter().zip(&mut high) {
            // SAFETY: duplicates an open file.
            *high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
            checked(STEP, *high >= 0)?;
        }
        for (number, &high) in (0..).zip(&high[..files.len()]) {
            // SAFETY: closes and replaces only in the child's own table.
            checked(STEP, unsafe { libc::dup2(high, number) } >= 0)?;
        }
        let first = libc::c_uint::try_from(files.len()).unwrap_or(libc::c_uint::MAX);
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: only marks files of the child's own table; what is needed stays open.
        let marked =
            unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
        checked(STEP, marked == 0)
    }

    fn take_terminal(&self) -> Step {
        if !self.plan.terminal {
            return Ok(());
        }
        // SAFETY: an open file and a number.
        let done = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        checked("terminal of", done == 0)
    }

    fn enter_users(&self, confinement: &Confinement<'_>) -> Step {
        let Some(namespace) = confinement.user_namespace else {
            return Ok(());
        };
        // SAFETY: an open file and a number.
        let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) };
        checked("user namespace of", done == 0)
    }

    fn change_directory(&self) -> Step {
        let Some(directory) = self.plan.directory else {
            return Ok(());
        };
        // SAFETY: a valid string.
        let done = unsafe { libc::chdir(directory.as_ptr()) };
        checked("working directory of", done == 0)
    }

    fn limit_files(&self) -> Step {
        let Some(OpenFiles { soft, hard }) = self.plan.open_files else {
            return Ok(());
        };
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the structure lives through the call.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        checked("limit of open files of", done == 0)
    }

    fn limit(&self, confinement: &Confinement<'_>) -> Step {
        let limits = confinement.rlimits;
        for (index, limit) in limits.iter().enumerate() {
            if limits[index + 1..]
                .iter()
                .any(|later| later.kind == limit.kind)
            {
                continue;
            }
            let (soft, hard) = match limit.values {
                Some(values) => (values.soft, values.hard),
                None => (libc::RLIM_INFINITY, libc::RLIM_INFINITY),
            };
            let values = libc::rlimit {
                rlim_cur: soft,
                rlim_max: hard,
            };
            // SAFETY: the structure lives through the call.
            let done = unsafe { libc::setrlimit(limit.kind.number(), &raw const values) };
            checked(limit.kind.step(), done == 0)?;
        }
        Ok(())
    }

    fn bound(&self, bounding: CapabilitySet) -> Step {
        for capability in (0..LAST_CAPABILITY).filter(|&number| !bounding.contains(number)) {
            let option = libc::PR_CAPBSET_DROP;
            // SAFETY: plain numbers; those that are not used are zero, as the option demands.
            let done = unsafe { libc::prctl(option, libc::c_ulong::from(capability), 0, 0, 0) };
            match last_errno() {
                _ if done == 0 => {}
                // The kernel has no more.
                libc::EINVAL => break,
                errno => return Err(("bound capabilities of", errno)),
            }
        }
        Ok(())
    }

    fn filter(&self) -> Step {
        for filter in self.filters {
            let operation = libc::SECCOMP_SET_MODE_FILTER;
            let program = &raw const filter.program;
            // SAFETY: the program lives through the call, which copies it.
            let done =
                unsafe { libc::syscall(libc::SYS_seccomp, operation, filter.flags, program) };
            checked("filter system calls of", done == 0)?;
        }
        Ok(())
    }

    /// Raw calls: libc's own would tell threads that the memory-sharing child does not have.
    fn become_user(&self) -> Step {
        let Some(user) = self.plan.credentials else {
            return Ok(());
        };
        let (count, groups) = (user.groups.len(), user.groups.as_ptr());
        // SAFETY: the list is valid for its length; ids are plain numbers.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, count, groups) == 0
                && libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid) == 0
                && libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid) == 0
        };
        checked("user of", done)
    }

    /// Leaves the program its capabilities and no others.
    fn reduce(&self, confinement: &Confinement<'_>) -> Step {
        const STEP: &str = "capabilities of";
        let mut header = CapabilityHeader::own();
        let mut words = [CapabilityWord::default(); 2];
        // SAFETY: both structures are those of the told version and live through the call.
        let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
        checked(STEP, done == 0)?;
        let bounding = confinement.bounding.words();
        match confinement.effective.map(CapabilitySet::words) {
            None => {
                for (word, bound) in words.iter_mut().zip(bounding) {
                    word.keep(bound);
                }
            }
            Some(wanted) => {
                for (word, wanted) in words.iter_mut().zip(wanted) {
                    *word = CapabilityWord::all(wanted);
                }
            }
        }
        // SAFETY: as above; the kernel only reads the words.
        let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
        checked(STEP, done == 0)?;
        let wanted = confinement.effective.unwrap_or_default();
        for capability in (0..LAST_CAPABILITY).filter(|&number| wanted.contains(number)) {
            let (option, raise) = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE);
            // SAFETY: plain numbers; those that are not used are zero, as the option demands.
            let done = unsafe { libc::prctl(option, raise, libc::c_ulong::from(capability), 0, 0) };
            checked(STEP, done == 0)?;
        }
        Ok(())
    }

    /// After the user: changing it clears the wish. If the launcher dies, its containers do.
    fn die_with_parent(&self) -> Step {
        // SAFETY: plain numbers.
        let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        checked("death signal of", done == 0)
    }

    /// Returns why it could not be executed.
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
            Image::Paths(paths) => self.execute_first(paths),
        }
    }

    fn execute_first(&self, paths: &[CString]) -> i32 {
        let (argv, envp) = (self.arguments.as_ptr(), self.environment.as_ptr());
        let mut reason = libc::ENOENT;
        for path in paths {
            // SAFETY: null-terminated arrays of valid strings; returns only on failure.
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

fn checked(step: &'static str, done: bool) -> Step {
    match done {
        true => Ok(()),
        false => Err((step, last_errno())),
    }
}

fn last_errno() -> i32 {
    nix::errno::Errno::last_raw()
}
