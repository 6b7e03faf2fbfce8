//! Wires and runtimes: what turns pure machines into running nodes.
//!
//! ```text
//!  quic ─┐                                                ┌─> peers ─> outgoing ─> session
//!        ├─> greeting ─> session ─> node ─> (inbox) ─> driver ─> journal
//!  local ┘                                                └─> whatever else `perform` does
//! ```
//!
//! * [`driver`] runs one machine: inputs in, records to the [`journal`], effects out.
//! * [`quic`] and [`local`] make connections, with the same [`session`] on top of both.
//! * [`tls`] and [`authority`] say who a peer is; [`codec`] what a message looks like.
//!
//! Deliberately not here: the machines, containers, command lines.

#![forbid(unsafe_code)]

pub mod authority;
mod backoff;
pub mod client;
pub mod clock;
pub mod codec;
pub mod dialer;
mod door;
pub mod driver;
pub mod enter;
pub mod framework;
pub mod greeting;
pub mod inbox;
pub mod journal;
pub mod local;
pub mod node;
pub mod operator;
pub mod outgoing;
pub mod output;
pub mod peers;
pub mod quic;
pub mod session;
pub mod streams;
pub mod target;
pub mod tls;
pub mod usage;
mod wire;

pub use wire::{ByteReader, ByteWriter, LocalReader, pipe};
