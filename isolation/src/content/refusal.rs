//! Why archives are not unpacked.

use std::path::PathBuf;

/// Why an entry of an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its name begins at the root.
    #[error("an absolute name")]
    Absolute,
    /// Its name goes up.
    #[error("a name with \"..\"")]
    Parent,
    /// Its name is empty or holds a zero byte.
    #[error("a name that no file can have")]
    Name,
    /// Its name has too many components.
    #[error("deeper than {0} directories")]
    Depth(usize),
    /// Its name is too long.
    #[error("a name longer than {0} bytes")]
    Length(usize),
    /// It would be written through a symbolic link.
    #[error("on its way is a symbolic link or what is no directory")]
    ThroughLink,
    /// A symbolic link that may lead out.
    #[error("a link to {}, which is not certainly in the sandbox", .0.display())]
    Link(PathBuf),
    /// A hard link to what is not a plain file in the sandbox.
    #[error("a hard link to {}, which is no file in the sandbox", .0.display())]
    HardLink(PathBuf),
    /// A device, a pipe or a socket.
    #[error("neither a file nor a directory nor a link")]
    Special,
    /// A file with holes.
    #[error("a sparse file")]
    Sparse,
    /// Encrypted content.
    #[error("it is encrypted")]
    Encrypted,
    /// It stands where a directory is.
    #[error("a directory is in its place")]
    Directory,
    /// Its size is another one than is written in the archive.
    #[error("it has {actual} bytes, and {written} are written")]
    Size {
        /// What is written in the archive.
        written: u64,
        /// What it has, as far as it was read.
        actual: u64,
    },
    /// Entries share bytes of the archive.
    #[error("entries overlap")]
    Overlap,
    /// There are too many entries.
    #[error("more than {0} entries")]
    Entries(u64),
    /// It is too large unpacked.
    #[error("more than {0} bytes unpacked")]
    Bytes(u64),
    /// It grows too much.
    #[error("more than {0} times as large unpacked")]
    Ratio(u64),
    /// What describes its entries is too large to be held in memory.
    #[error("more than {0} bytes of names and headers at once")]
    Headers(u64),
}
