//! What somebody implements who has something of his own done for containers.
//!
//! Used by the containerizer, which asks its isolators before a container is started, while it
//! runs, and when it is over. Limits on CPU, memory and processes are not among them: the launcher
//! holds these itself, by the group that it ends a container with.
//!
//! `examples/scratch` is an isolator of another crate, whole.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerLimits, ContainerSpec};
use tepui_core::protocol::status::Breach;

pub use crate::cancel::{Cancel, Cancelled};
use crate::launch::Launch;
use crate::procfs;
use crate::wait;

/// What went wrong, for people.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The result of an isolator: what went wrong is said to the framework, if it was a launch, or
/// logged.
pub type Outcome<T> = Result<T, Problem>;

/// What a container has used, by names which say what and in which unit, as `disk_bytes`.
pub type Usage = BTreeMap<String, u64>;

/// Does something for containers, such as mounts, addresses, or files (CT-12).
///
/// Each call may block: it is made on a thread that may, one at a time for each container, and
/// several at a time for different ones. Isolators are asked in their order to prepare and to
/// attach, and in the reverse of it to clean up.
///
/// An isolator keeps what it has to undo where it finds it again after a crash of the agent, at any
/// moment: in the file system or the kernel, under a name that is made of the container's id. Ids
/// are never used twice.
///
/// ```
/// use tepui_isolation::{Isolator, Launch, Outcome, Subject};
///
/// /// Says to each program where it runs.
/// struct Site(String);
///
/// impl Isolator for Site {
///     fn name(&self) -> &str {
///         "site"
///     }
///
///     fn prepare(&self, _subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
///         launch.environment.push(("SITE".into(), self.0.clone()));
///         Ok(())
///     }
/// }
/// ```
pub trait Isolator: Send + Sync {
    /// Returns what people know it by.
    fn name(&self) -> &str;

    /// Returns whether there is something to do for such a container; if not, it is neither asked
    /// to prepare nor to attach.
    fn concerns(&self, _spec: &ContainerSpec) -> bool {
        true
    }

    /// Finds out, after a restart of the agent, what is there of the containers in `live`, and
    /// removes what is there of all others. Called again after it has failed, with pauses that
    /// grow; nothing is prepared, attached or cleaned up by this isolator meanwhile.
    ///
    /// As long as it fails as a whole, no container is started that it [concerns]. What fails for
    /// one container must not keep the others: it is returned, and holds nobody up.
    ///
    /// [concerns]: Isolator::concerns
    fn recover(&self, _live: &Survivors) -> Outcome<Recovered> {
        Ok(Recovered::default())
    }

    /// Makes ready what a container needs and adds to how it is launched. If it fails the container
    /// is not started, and [`Isolator::cleanup`] is called for it.
    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()>;

    /// Returns whether [`Isolator::attach`] is to be called for such a container: it holds the
    /// container up for as long, and takes container mode.
    fn attaches(&self, _spec: &ContainerSpec) -> bool {
        false
    }

    /// The first process of a container is there, in its namespaces and its control group, and
    /// waits: its program is started when all have attached. If it fails it never is.
    fn attach(&self, _subject: &Subject<'_>, _init: &Init) -> Outcome<()> {
        Ok(())
    }

    /// The container may use something else from now on. If that fails it is ended (AG-35).
    fn update(&self, _id: &ContainerId, _limits: &ContainerLimits) -> Outcome<()> {
        Ok(())
    }

    /// Returns what this isolator knows of what a container has used until now.
    fn usage(&self, _id: &ContainerId) -> Outcome<Usage> {
        Ok(Usage::new())
    }

    /// Returns how often [`Isolator::breach`] is to be asked; `None` is never.
    fn watches(&self) -> Option<Duration> {
        None
    }

    /// Returns a limit that a running container has broken, for which it is ended.
    fn breach(&self, _id: &ContainerId) -> Outcome<Option<Breach>> {
        Ok(None)
    }

    /// Undoes what was prepared, as far as it was: no process of the container is left. It is also
    /// called for containers of which this isolator knows nothing, and again after it has failed.
    fn cleanup(&self, _id: &ContainerId) -> Outcome<()> {
        Ok(())
    }

    /// Undoes what was made for all containers of a group together: those that were ordered are
    /// over, and cleaned up. Another one of the group may be prepared at the same time: what that
    /// has joined by now has to stay, and is undone after it. Also called for groups of which this
    /// isolator knows nothing, and again after it has failed.
    fn disband(&self, _group: &ContainerId) -> Outcome<()> {
        Ok(())
    }
}

/// A container that is about to be launched.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a ContainerId,
    /// What is to run.
    pub spec: &'a ContainerSpec,
    /// Its sandbox, which is there.
    pub sandbox: &'a Path,
    /// The sandbox of its group, which is there if the container is to see some of it.
    pub group: Option<&'a Path>,
    /// Says when it is not wanted any more.
    pub cancel: &'a Cancel,
}

/// The containers that an agent has found again after a restart.
pub type Survivors = BTreeMap<ContainerId, Survivor>;

/// A container that runs still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survivor {
    /// What was asked for, without its variables and secrets; `None` if it was launched without
    /// isolators, or by another version of this crate.
    pub spec: Option<ContainerSpec>,
    /// The process id of its init, if it has told of itself by now.
    pub pid: Option<u32>,
}

/// What came of a recovery.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What could not be found or removed, by the container or by another name, and why. It is
    /// logged, and tried again.
    pub failed: Vec<(String, Problem)>,
}

impl Recovered {
    /// Notes what came of one container.
    pub fn note<T>(&mut self, name: impl Into<String>, result: Outcome<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.failed.push((name.into(), problem));
                None
            }
        }
    }
}

/// The first process of a container, which waits.
#[derive(Debug)]
pub struct Init {
    pid: u32,
    pidfd: OwnedFd,
}

impl Init {
    /// Finds a process that was started at `began`, in ticks since the machine was; `None` if it is
    /// gone.
    pub(crate) fn find(pid: u32, began: u64) -> io::Result<Option<Self>> {
        let raw = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
        let pidfd = match wait::pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Looked at while it is held: the number stands for this process.
        let is_it = procfs::began(Pid::from_raw(raw)) == Some(began);
        Ok(is_it.then_some(Self { pid, pidfd }))
    }

    /// Returns its process id, which is its own as long as the container is held.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns a file that stands for the process, as of `pidfd_open`.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns where one of its namespaces can be opened, as `net` or `mnt`.
    pub fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.pid))
    }
}

/// Asks an isolator. One that panics has failed: the others' containers go on.
pub(crate) fn asked<T>(question: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(question)).unwrap_or_else(|_| Err("it panicked".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_unless_its_number_is_another_s() {
        let pid = std::process::id();
        let began = procfs::began(Pid::this()).unwrap();
        let init = Init::find(pid, began).unwrap().unwrap();
        assert_eq!(init.pid(), pid);
        assert!(init.namespace("net").exists());
        assert!(Init::find(pid, began + 1).unwrap().is_none());
        // No process has the largest number there could be.
        assert!(Init::find(i32::MAX.unsigned_abs(), 1).unwrap().is_none());
    }
}
