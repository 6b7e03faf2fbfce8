//! The isolators that come with this crate: each does one part of what a task may ask of its
//! container (`ContainerInfo`), as far as its operator allows it.
//!
//! Each part has an isolator, so that nothing that is asked for is left out silently: one that is
//! not set up refuses what is asked of it, and says what would have to be set up.

mod fetching;
mod images;
mod networks;
mod plain;
mod rights;
mod volumes;

pub use self::fetching::Fetching;
pub use self::images::Images;
pub use self::networks::{Networks, Setup};
pub use self::plain::Plain;
pub use self::rights::{Allowed, Rights};
pub use self::volumes::Volumes;
