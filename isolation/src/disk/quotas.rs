//! Quotas of whichever kind a file system has: of projects, or of groups of subvolumes.

use std::path::Path;

use super::project::{Limits, Projects, Quota};
use super::qgroup::Groups;
use crate::error::Result;

/// A file system that counts and limits what is under a number.
#[derive(Debug)]
pub enum Quotas {
    /// XFS and ext4.
    Projects(Projects),
    /// Btrfs.
    Groups(Groups),
}

impl Quotas {
    /// Finds those of the file system that `path` is on.
    ///
    /// # Errors
    /// If it has none, or does not hold them now.
    pub fn of(path: &Path) -> Result<Self> {
        match Groups::of(path)? {
            Some(groups) => Ok(Self::Groups(groups)),
            None => Projects::of(path).map(Self::Projects),
        }
    }

    /// Returns what is under a number, and may be.
    pub fn quota(&self, number: u32) -> Result<Quota> {
        match self {
            Self::Projects(projects) => projects.quota(number),
            Self::Groups(groups) => groups.quota(number),
        }
    }

    /// Limits what may be under a number. What is already stays.
    pub fn limit(&self, number: u32, limits: Limits) -> Result<()> {
        match self {
            Self::Projects(projects) => projects.limit(number, limits),
            Self::Groups(groups) => groups.limit(number, limits),
        }
    }

    /// Puts a directory, and what is and will be in it, under a number. For one in which nobody
    /// makes anything yet; who has it open may have another one then.
    pub fn assign(&self, path: &Path, number: u32) -> Result<()> {
        match self {
            Self::Projects(projects) => projects.assign(path, number),
            Self::Groups(groups) => groups.assign(path, number),
        }
    }

    /// Gives a number back under which nothing is left.
    pub fn free(&self, number: u32) -> Result<()> {
        match self {
            Self::Projects(projects) => projects.free(number),
            Self::Groups(groups) => groups.free(number),
        }
    }
}
