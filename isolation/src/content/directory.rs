//! Directories that one process of one user has to itself.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a directory that only this user can enter; one that is there must be this user's.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::symlink_metadata(path)?;
    let is_ours = metadata.uid() == nix::unistd::geteuid().as_raw();
    if !metadata.is_dir() || !is_ours {
        return Err(io::Error::other("not a directory of this user"));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Takes the lock of a directory, which is held as long as the file is open.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))?;
    lock.try_lock()?;
    Ok(lock)
}
