//! Who a program runs as: reads `USER[:GROUP]`, by the host's names or by those of a container's
//! own `/etc/passwd` and `/etc/group`.
//!
//! The files of a container are a stranger's: they are looked up inside its root, read up to a
//! bound, and lines that make no sense are as good as missing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::unistd::{Gid, Group, User, getgrouplist};

use crate::error::{Error, Result};
use crate::place::Inside;
use crate::process::{NAME_BYTES, shown};
use crate::spawn::Credentials;

/// How much of such a file is read, in bytes.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The most groups that a user is found in; the kernel takes no more.
const MAX_GROUPS: usize = 65_536;

/// Looks a user up by the host's names.
pub(crate) fn on_host(text: &str) -> Result<Credentials> {
    let (user, group) = split(text)?;
    let failed = |errno: nix::errno::Errno| unknown(text, &errno.to_string());
    let found = User::from_name(user).map_err(failed)?;
    let (uid, gid, groups) = match found {
        Some(found) => {
            let name = std::ffi::CString::new(user);
            let name = name.map_err(|_| unknown(text, "contains a NUL"))?;
            let groups = getgrouplist(&name, found.gid).map_err(failed)?;
            (found.uid.as_raw(), found.gid.as_raw(), groups)
        }
        // A number need not be known to anybody.
        None => match number(user) {
            Some(uid) => (uid, 0, Vec::new()),
            None => return Err(unknown(text, "is not known")),
        },
    };
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    let Some(group) = group else {
        return Ok(Credentials { uid, gid, groups });
    };
    let known = Group::from_name(group).map_err(failed)?;
    let gid = known
        .map(|group| group.gid.as_raw())
        .or_else(|| number(group));
    let gid = gid.ok_or_else(|| unknown(text, "its group is not known"))?;
    let groups = vec![gid];
    Ok(Credentials { uid, gid, groups })
}

/// Looks a user up by the names of a container.
pub(crate) fn inside(root: &Inside, text: &str) -> Result<Credentials> {
    let (user, group) = split(text)?;
    let passwd = read(root, "/etc/passwd")?;
    let groups = read(root, "/etc/group")?;
    among(&passwd, &groups, user, group).map_err(|why| unknown(text, why))
}

/// Finds a user in the text of the two files.
fn among(
    passwd: &str,
    groups: &str,
    user: &str,
    group: Option<&str>,
) -> std::result::Result<Credentials, &'static str> {
    let mut users = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else {
            return None;
        };
        Some((name, number(uid)?, number(gid)?))
    });
    let wanted = number(user);
    let by_name = |entry: &(&str, u32, u32)| entry.0 == user || Some(entry.1) == wanted;
    let (name, uid, gid) = match (users.find(by_name), wanted) {
        (Some((name, uid, gid)), _) => (Some(name), uid, gid),
        (None, Some(uid)) => (None, uid, 0),
        (None, None) => return Err("is not in its /etc/passwd"),
    };
    let entries = || {
        groups.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields[..] else {
                return None;
            };
            Some((name, number(gid)?, members))
        })
    };
    if let Some(group) = group {
        let found = entries().find(|(name, ..)| *name == group);
        let gid = found.map(|(_, gid, _)| gid).or_else(|| number(group));
        let gid = gid.ok_or("its group is not in its /etc/group")?;
        let groups = vec![gid];
        return Ok(Credentials { uid, gid, groups });
    }
    let member = |members: &str| name.is_some_and(|name| members.split(',').any(|m| m == name));
    let of_user = entries().filter(|(_, _, members)| member(members));
    let others = of_user.map(|(_, gid, _)| gid).filter(|&other| other != gid);
    let groups = [gid].into_iter().chain(others).take(MAX_GROUPS).collect();
    Ok(Credentials { uid, gid, groups })
}

/// Splits `USER[:GROUP]`.
fn split(text: &str) -> Result<(&str, Option<&str>)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let parts = [Some(user), group];
    for part in parts.into_iter().flatten() {
        if part.len() > NAME_BYTES {
            let why = format!("is longer than {NAME_BYTES} bytes");
            return Err(unknown(text, &why));
        }
        if part.is_empty() || part.contains('\0') {
            return Err(unknown(text, "is no name"));
        }
    }
    Ok((user, group))
}

/// Reads an id. The largest is not one: to the kernel it means "leave it as it is".
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id| id != u32::MAX)
}

fn read(root: &Inside, path: &str) -> Result<String> {
    let path = Path::new(path);
    let Some(file) = root.read(path)? else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    let read = File::from(file).take(FILE_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| Error::file("read", path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unknown(text: &str, why: &str) -> Error {
    Error::Invalid(format!("user {:?}: {why}", shown(text)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_container_s_users_are_its_own() {
        // CT-05, CT-41
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let passwd = "garbled\nroot:x:0:0::/:/bin/sh\nana:x:1000:1001::/:/bin/sh\nbad:x:-1:0:::\n";
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        let group = "ana:x:1001:\nwheel:x:10:root,ana\nvideo:x:44:ana\nbroken\n";
        fs::write(dir.path().join("etc/group"), group).unwrap();
        let root = Inside::open(dir.path(), false).unwrap();
        let of = |text: &str| {
            let found = inside(&root, text)?;
            Ok::<_, Error>((found.uid, found.gid, found.groups))
        };
        assert_eq!(of("ana").unwrap(), (1000, 1001, vec![1001, 10, 44]));
        assert_eq!(of("1000").unwrap(), (1000, 1001, vec![1001, 10, 44]));
        assert_eq!(of("ana:video").unwrap(), (1000, 44, vec![44]));
        assert_eq!(of("7:8").unwrap(), (7, 8, vec![8]));
        assert_eq!(of("7").unwrap(), (7, 0, vec![0]));
        for bad in ["", ":", "eva", "ana:eva", "bad", "4294967295", "-1", "a\0"] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        let error = of("eva").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid container: user \"eva\": is not in its /etc/passwd"
        );
    }

    #[test]
    fn the_host_s_users_are_found_by_name_and_number() {
        assert_eq!(on_host("root").unwrap().uid, 0);
        let found = on_host("4000000:4000001").unwrap();
        assert_eq!((found.uid, found.gid), (4_000_000, 4_000_001));
        assert!(on_host("no such user").is_err());
    }
}
