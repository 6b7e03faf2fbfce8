//! What somebody implements who has something of his own done for containers.
//!
//! Used by the containerizer, which asks its isolators before a container is started, while it
//! runs, and when it is over. Limits on CPU, memory and processes are not among them: the launcher
//! holds these itself, by the group that it ends a container with.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerLimits, ContainerSpec};
use tepui_core::protocol::status::Breach;

pub use crate::image::Cancel;
use crate::launch::Launch;

/// The result of an isolator: what went wrong is said to the framework, if it was a launch, or
/// logged.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Does something for containers, such as mounts, addresses, or files (CT-12).
///
/// Each call may block: it is made on a thread that may, one at a time for each container, and
/// several at a time for different ones. Isolators are asked in their order to prepare, and in the
/// reverse of it to clean up.
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

    /// Removes what is there of all containers but these, after a restart of the agent. None is
    /// prepared before or meanwhile.
    fn recover(&self, _live: &BTreeSet<ContainerId>) -> Outcome<()> {
        Ok(())
    }

    /// Makes ready what a container needs and adds to how it is launched. If it fails the container
    /// is not started, and [`Isolator::cleanup`] is called for it.
    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()>;

    /// The container may use something else from now on. If that fails it is ended (AG-35).
    fn update(&self, _id: &ContainerId, _limits: &ContainerLimits) -> Outcome<()> {
        Ok(())
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
    /// Says when it is not wanted any more.
    pub cancel: &'a Cancel,
}

/// Asks an isolator. One that panics has failed: the others' containers go on.
pub(crate) fn asked<T>(question: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(question)).unwrap_or_else(|_| Err("it panicked".into()))
}
