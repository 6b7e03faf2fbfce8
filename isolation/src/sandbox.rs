//! The directory that a container works in, with the files `stdout` and `stderr`.
//!
//! Made by the launcher. Every step is taken relative to the directory before it and follows no
//! symbolic link, so neither a peer's text nor a task that moved things about leads out of the
//! agent's sandboxes. Deliberately not here: removal (the agent's garbage collection decides).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fchown;

use crate::error::{Error, Result};
use crate::logs::MODE;
use crate::process::{NAME_BYTES, shown};
use crate::spawn::Credentials;

/// The directory below the agent's work directory that holds all sandboxes.
pub(crate) const SANDBOXES: &str = "sandboxes";
/// The deepest sandbox.
const MAX_DEPTH: usize = 16;

/// Makes sandboxes below one directory.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    path: PathBuf,
    directory: OwnedFd,
}

/// One sandbox with its open output files.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) directory: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Sandboxes {
    /// Opens the directory of all sandboxes below `work_dir`; makes it if need be.
    pub(crate) fn open(work_dir: &Path) -> Result<Self> {
        let path = work_dir.join(SANDBOXES);
        std::fs::create_dir_all(&path).map_err(|error| Error::file("create", &path, error))?;
        let directory = open(&path, directory_flags(), Mode::empty())
            .map_err(|errno| Error::file("open", &path, errno))?;
        Ok(Self { path, directory })
    }

    /// Returns the directory of all sandboxes.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the sandbox of these components is, or why it cannot be.
    pub(crate) fn path_of(&self, components: &[String]) -> Result<PathBuf> {
        if components.is_empty() || components.len() > MAX_DEPTH {
            let depth = components.len();
            return Err(Error::Invalid(format!(
                "its sandbox has {depth} components, not 1 to {MAX_DEPTH}"
            )));
        }
        for component in components {
            let text = component.as_str();
            let is_name = !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']);
            if !is_name || text.len() > NAME_BYTES {
                return Err(Error::Invalid(format!(
                    "{:?} cannot be part of a sandbox's path",
                    shown(text)
                )));
            }
        }
        Ok(components
            .iter()
            .fold(self.path.clone(), |path, part| path.join(part)))
    }

    /// Makes a directory below that of all sandboxes, which is private.
    pub(crate) fn make(&self, components: &[String]) -> Result<OwnedFd> {
        let path = self.path_of(components)?;
        let mut directory = None;
        for component in components {
            let parent = directory.as_ref().unwrap_or(&self.directory);
            // Parents stay passable for other users, who are told apart by the leaf.
            let made = mkdirat(parent, component.as_str(), Mode::from_bits_truncate(0o751));
            match made {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(Error::file("create", &path, errno)),
            }
            let opened = openat(parent, component.as_str(), directory_flags(), Mode::empty());
            directory = Some(opened.map_err(|errno| Error::file("open", &path, errno))?);
        }
        let directory = directory.expect("path_of refuses an empty list");
        nix::sys::stat::fchmod(&directory, Mode::from_bits_truncate(0o750))
            .map_err(|errno| Error::file("change the mode of", &path, errno))?;
        Ok(directory)
    }

    /// Makes a sandbox and opens its files; it belongs to `owner`, if that is another user.
    pub(crate) fn create(
        &self,
        components: &[String],
        owner: Option<&Credentials>,
    ) -> Result<Sandbox> {
        let path = self.path_of(components)?;
        let directory = self.make(components)?;
        let file = |name: &str| {
            // Without O_NONBLOCK a task that put a pipe here could stop the launcher.
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND;
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            openat(&directory, name, flags, MODE)
                .map_err(|errno| Error::file("open", &path.join(name), errno))
        };
        let (stdout, stderr) = (file("stdout")?, file("stderr")?);
        if let Some(owner) = owner {
            let (uid, gid) = owner.owner();
            for file in [&directory, &stdout, &stderr] {
                fchown(file, Some(uid), Some(gid))
                    .map_err(|errno| Error::file("change the owner of", &path, errno))?;
            }
        }
        Ok(Sandbox {
            directory,
            stdout,
            stderr,
        })
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn nothing_leads_out_of_the_sandboxes() {
        let dir = tempfile::tempdir().unwrap();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        for bad in [
            &[][..],
            &[".."],
            &["a", ".."],
            &["a/b"],
            &["/etc"],
            &[""],
            &["a\0b"],
            &["a"; MAX_DEPTH + 1],
            &[&"x".repeat(NAME_BYTES + 1)],
        ] {
            assert!(sandboxes.create(&parts(bad), None).is_err(), "{bad:?}");
        }
        std::os::unix::fs::symlink("/tmp", dir.path().join("sandboxes/link")).unwrap();
        assert!(sandboxes.create(&parts(&["link"]), None).is_err());
        assert!(sandboxes.create(&parts(&["link", "x"]), None).is_err());
        let made = dir.path().join("sandboxes/trap");
        std::fs::create_dir(&made).unwrap();
        std::os::unix::fs::symlink("/dev/null", made.join("stdout")).unwrap();
        assert!(sandboxes.create(&parts(&["trap"]), None).is_err());
    }

    #[test]
    fn a_sandbox_is_private_and_may_exist_already() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        let components = parts(&["framework", "task"]);
        for _ in 0..2 {
            sandboxes.create(&components, None).unwrap();
        }
        let path = sandboxes.path_of(&components).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert!(path.join("stdout").is_file() && path.join("stderr").is_file());
    }
}
