//! What all share who take in content from elsewhere: sums, limits, compression, safe names.
//!
//! Used by the fetcher and by images. Deliberately not here: what either does with the content.

pub(crate) mod beneath;
pub(crate) mod destination;
mod directory;
mod flights;
pub(crate) mod http;
mod limits;
mod meter;
mod names;
mod pace;
mod packing;
mod positioned;
mod refusal;
mod sum;

pub(crate) use directory::{lock, private};
pub(crate) use flights::{Flights, Seat};
pub use limits::Limits;
pub(crate) use meter::{Meter, Metered};
pub(crate) use names::{NAME_BYTES, PATH_BYTES, parts};
pub(crate) use pace::Pace;
pub(crate) use packing::{Packing, decompressor, packing};
pub(crate) use positioned::Positioned;
pub use refusal::Refusal;
pub use sum::{Checksum, InvalidChecksum};
pub(crate) use sum::{Hash, Kind};
