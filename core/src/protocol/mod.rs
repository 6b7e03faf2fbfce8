//! What nodes say to each other: plain data with public fields.
pub mod container;
pub mod hello;
pub mod status;
pub mod task;
