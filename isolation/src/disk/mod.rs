//! What a container's files take of a disk: found out by walking through them, or told and held by
//! the file system's quotas, of projects or of groups of subvolumes.
//!
//! Used by the isolator of disks. Deliberately not here: what is done about too much of it.

mod project;
mod qgroup;
mod quotas;
mod walk;

pub use self::project::{Limits, ProjectIds, Projects, Quota, project_of};
pub use self::qgroup::Groups;
pub use self::quotas::Quotas;
pub use self::walk::{Taken, Walk};
