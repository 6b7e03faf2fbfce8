//! The networks of containers: namespaces, CNI, ports, limits, names and counts (CT-15, CT-52 to
//! CT-54, CT-82, CT-84).
//!
//! Everything here blocks, and takes and returns plain data: it is called on threads that may. It
//! stands apart from how containers are started. Who starts one that asks for networks does so:
//!
//! 1. [`Placement::of`] says whether it has a namespace of its own.
//! 2. [`Namespaces::make`] makes that, and returns a path by which the container's init enters it.
//! 3. [`check_ports`] looks at the mapped ports, and [`cni::Networks::attach`] joins the networks.
//! 4. [`bandwidth::limit`] bounds what it sends; [`files::write`] makes what is mounted over
//!    `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.
//! 5. While it runs, [`statistics`] counts, and [`ports`] watches what it listens on.
//! 6. At its end: [`cni::Networks::detach`], and once that has succeeded [`Namespaces::remove`]:
//!    plugins leave rules behind whose namespace is gone. After a restart of the agent both have a
//!    `recover`, in the same order; for the second one the containers in
//!    [`cni::Recovered::failed`] are known too. All of these can be called again at any time.
//!
//! On the host's network (`Placement::Host`) there is only the watch over ports; the others refuse.
//!
//! Deliberately not here: what a task description says (`NetworkInfo` and its kind), the host's
//! firewall, the partition of the host's ports by Mesos' `network/port_mapping` (CT-53): a
//! container that needs ports of its own has a namespace.

pub mod bandwidth;
pub mod cni;
mod enter;
mod error;
pub mod files;
mod links;
mod mapping;
mod namespace;
mod netlink;
pub mod ports;
mod sockets;
pub mod statistics;

pub use enter::within;
pub(crate) use enter::{is_namespace, on_a_thread};
pub use error::{NetworkError, PluginFailure, Result};
pub use links::{Link, Traffic};
pub use mapping::{PortMapping, Ports, Protocol, check as check_ports};
pub use namespace::{Namespaces, Placement};
