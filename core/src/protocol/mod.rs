//! What nodes say to each other: plain data with public fields.
pub mod container;
pub mod status;
pub mod task;
