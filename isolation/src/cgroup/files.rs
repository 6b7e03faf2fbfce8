//! Reading and writing the files of control groups, and their directories. Used by every other
//! file here; knows no controller.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};

/// How often a directory is made again that somebody else removes.
const CREATIONS: usize = 100;

/// Joins a relative path of ordinary components.
pub(super) fn below(parent: &Path, relative: &str) -> Result<PathBuf> {
    let mut parts = relative.split('/');
    if parts.any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::Invalid(format!(
            "{relative:?} cannot name a control group"
        )));
    }
    Ok(parent.join(relative))
}

/// Makes a directory with those above it, which another launcher that leaves may be removing.
pub(super) fn create_all(path: &Path) -> io::Result<()> {
    for _ in 0..CREATIONS {
        match fs::create_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            made => return made,
        }
    }
    fs::create_dir_all(path)
}

/// Removes a group and those within it; it is no error that there is none.
pub(super) fn remove_tree(directory: &Path) -> Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if gone(fs::remove_dir(directory)).is_ok() {
        return Ok(());
    }
    // A container may have made groups within its own.
    for child in children(directory) {
        remove_tree(&child)?;
    }
    gone(fs::remove_dir(directory)).map_err(|error| Error::file("remove", directory, error))
}

/// Lists the groups within a group.
pub(super) fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.is_dir()).collect()
}

/// Writes a file of a group, in one call as the kernel wants it.
pub(super) fn write(group: &Path, file: &str, data: &str) -> Result<()> {
    let written = fs::write(group.join(file), data);
    written.map_err(|error| failed(group, file, data.to_owned(), &error))
}

/// Reads a file of a group.
pub(super) fn read(group: &Path, file: &str) -> Result<String> {
    let path = group.join(file);
    read_text(&path).map_err(|error| Error::file("read", &path, error))
}

/// Most files are this short. They have no length that could be asked for, and the library would
/// begin with many small reads.
const SHORT_BYTES: usize = 4096;

fn read_text(path: &Path) -> io::Result<String> {
    read_open(fs::File::open(path)?, path)
}

fn read_open(mut file: fs::File, path: &Path) -> io::Result<String> {
    // What is one record for the kernel comes at once, and processes one by one.
    let is_list = path.ends_with("cgroup.procs");
    let mut bytes = vec![0; SHORT_BYTES];
    let mut length = 0;
    loop {
        let more = match file.read(&mut bytes[length..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        length += more;
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        } else if more == 0 || !is_list {
            break;
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The directory of a group, held to read many of its files: to look for each by its whole path
/// would cost more than to read it.
pub(super) struct Held<'a> {
    pub(super) path: &'a Path,
    directory: OwnedFd,
}

impl<'a> Held<'a> {
    /// Opens it.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty());
        let directory = directory.map_err(|errno| Error::file("open", path, errno))?;
        Ok(Self { path, directory })
    }

    /// As [`read`].
    pub(super) fn read(&self, file: &str) -> Result<String> {
        let text = self.text(file);
        text.map_err(|error| Error::file("read", &self.path.join(file), error))
    }

    /// As [`read_if_there`].
    pub(super) fn read_if_there(&self, file: &str) -> Result<Option<String>> {
        if_there(self.text(file), || self.path.join(file))
    }

    /// As [`read_number`].
    pub(super) fn number(&self, file: &str) -> Result<u64> {
        parse_number(self.path, file, &self.read(file)?)
    }

    /// As [`read_number_if_there`].
    pub(super) fn number_if_there(&self, file: &str) -> Result<Option<u64>> {
        let text = self.read_if_there(file)?;
        text.map(|text| parse_number(self.path, file, &text))
            .transpose()
    }

    fn text(&self, file: &str) -> io::Result<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let opened = openat(&self.directory, file, flags, Mode::empty())?;
        read_open(opened.into(), Path::new(file))
    }
}

/// Reads a file that not every kernel has.
pub(super) fn read_if_there(group: &Path, file: &str) -> Result<Option<String>> {
    let path = group.join(file);
    if_there(read_text(&path), || path)
}

fn if_there(text: io::Result<String>, path: impl FnOnce() -> PathBuf) -> Result<Option<String>> {
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // What is there and switched off, as pressure can be.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(Error::file("read", &path(), error)),
    }
}

/// Reads one number; `max` is the largest.
pub(super) fn read_number(group: &Path, file: &str) -> Result<u64> {
    parse_number(group, file, &read(group, file)?)
}

/// Reads one number of a file that not every kernel has.
pub(super) fn read_number_if_there(group: &Path, file: &str) -> Result<Option<u64>> {
    let text = read_if_there(group, file)?;
    text.map(|text| parse_number(group, file, &text))
        .transpose()
}

fn parse_number(group: &Path, file: &str, text: &str) -> Result<u64> {
    // Version 1 has a quota of -1 for none.
    if matches!(text.trim(), "max" | "-1") {
        return Ok(u64::MAX);
    }
    let number = text.trim().parse();
    number.map_err(|error| Error::file("parse", &group.join(file), io::Error::other(error)))
}

/// Finds one count of a text with a name and a number on each line; 0 if it is not there.
pub(super) fn count_in(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let number = lines.find_map(|(found, number)| (found == name).then_some(number));
    number
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Says what was to be written where, and why it was not.
pub(super) fn failed(
    group: &Path,
    file: &str,
    data: String,
    error: &dyn std::error::Error,
) -> Error {
    let cause = error.source().map(|cause| format!(": {cause}"));
    Error::Cgroup {
        group: group.to_owned(),
        file: file.to_owned(),
        data,
        message: format!("{error}{}", cause.unwrap_or_default()),
    }
}

/// As an error of [`write`], but if the file is not there, that is what is said.
pub(super) fn needs_file<T>(
    result: Result<T>,
    group: &Path,
    (knob, controller, file): (&'static str, &'static str, &str),
) -> Result<T> {
    match result {
        Err(_) if !group.join(file).exists() => Err(Error::Unsupported {
            knob,
            controller,
            message: format!("this kernel's groups have no {file}"),
        }),
        other => other,
    }
}
