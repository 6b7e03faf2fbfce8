//! Names of entries of archives: bytes, which only go down.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::refusal::Refusal;

/// The longest name of a file, and of a path, that the kernel takes.
pub(crate) const NAME_BYTES: usize = 255;
pub(crate) const PATH_BYTES: usize = 4_095;

/// The components of a relative name, without any if it is the directory itself; at most `most`.
pub(crate) fn parts(raw: &[u8], most: usize) -> Result<Vec<OsString>, Refusal> {
    if raw.starts_with(b"/") {
        return Err(Refusal::Absolute);
    }
    if raw.is_empty() || raw.contains(&0) {
        return Err(Refusal::Name);
    }
    if raw.len() > PATH_BYTES {
        return Err(Refusal::Length(PATH_BYTES));
    }
    let mut parts = Vec::new();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Refusal::Parent),
            part if part.len() > NAME_BYTES => return Err(Refusal::Length(NAME_BYTES)),
            part => parts.push(OsString::from_vec(part.to_owned())),
        }
    }
    if parts.len() > most {
        return Err(Refusal::Depth(most));
    }
    Ok(parts)
}
