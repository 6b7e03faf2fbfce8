//! The isolators that come with this crate: each does one part of what a task may ask of its
//! container (`ContainerInfo`), as far as its operator allows it.
//!
//! Each part has an isolator, so that nothing that is asked for is left out silently: one that is
//! not set up refuses what is asked of it, and says what would have to be set up.

mod cores;
mod disks;
mod fetching;
mod former;
mod groups;
mod images;
mod listening;
mod members;
mod memory;
mod networks;
mod nodes;
pub(crate) mod persistent;
mod plain;
mod processors;
mod rights;
mod taken;
mod volumes;

pub use self::disks::{DiskMeter, DiskRule, Disks};
pub use self::fetching::Fetching;
pub use self::former::Former;
pub use self::groups::Groups;
pub use self::images::Images;
pub use self::listening::Listening;
pub use self::members::Members;
pub use self::memory::Memory;
pub use self::networks::{Networks, Setup};
pub use self::nodes::Nodes;
pub use self::persistent::Persistent;
pub use self::plain::Plain;
pub use self::processors::Processors;
pub use self::rights::{Allowed, Rights};
pub use self::taken::{DiskUse, VolumeUse};
pub use self::volumes::Volumes;
