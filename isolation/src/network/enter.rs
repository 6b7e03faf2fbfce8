//! Does something in the network namespace of a container, on a thread made for that.
//!
//! A thread that entered another network namespace is never used for anything else: it ends. So no
//! failure on the way back can leave a thread of the agent in a container's network.

use std::fs::File;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::error::{NetworkError, Result};

/// Does `work` in the network namespace bound at `path`, and returns what it returns.
///
/// Whatever `work` opens stays in that namespace: a socket made there is the container's, also
/// when it is used elsewhere. Blocks until `work` is done. A panic in `work` is passed on. The
/// calling thread needs to be root.
pub fn within<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(path).map_err(|error| NetworkError::file("open", path, error))?;
    let entered = || {
        setns(&file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetworkError::file("enter network namespace", path, errno))?;
        Ok(work())
    };
    on_a_thread(entered)?
}

/// Does `work` on a thread that ends with it.
pub(crate) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("network".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|error| NetworkError::system("start a thread", error))?;
        match thread.join() {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Returns whether a namespace is bound at `path`; a file that only waits for one is none.
pub(crate) fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}
