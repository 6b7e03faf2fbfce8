//! Tepui, composed: the state machines of `tepui-core`, on the wires of `tepui-transport`, with the
//! containers of `tepui-isolation`.
//!
//! * Authors of schedulers implement [`prelude::Logic`] and run it with [`prelude::Framework`], or
//!   use its event stream ([`client`]). [`prelude::Embedded`] is a cluster to try it on.
//! * Operators run the binaries; [`daemon`] is what they are made of.
//!
//! Deliberately not here: behaviour. Whatever a node decides is in `tepui-core`.

mod agent_node;
mod attaching;
pub mod cli;
mod containing;
pub mod daemon;
mod detect;
mod dev_authority;
pub mod embedded;
mod entering;
mod growth;
mod identity;
mod kept;
mod loopback;
mod master_node;
mod output;
mod owners;
mod port;
mod removal;
mod sandboxes;
mod seed;
mod serving;
mod statistics;
mod using;
mod watches;

pub use tepui_core as core;
pub use tepui_isolation as isolation;
pub use tepui_transport as transport;
pub use tepui_transport::{client, framework, operator, target};

/// Becomes the launcher or the init of a container if that is what this process was started for,
/// and otherwise returns. Programs that run agents call it first in `main`.
pub fn run_if_hidden() {
    tepui_isolation::entry::run_if_hidden();
}

/// Runs a program that may run agents: becomes what [`run_if_hidden`] says, before any thread is
/// started, or runs `program` to its end.
pub fn main_with<F: Future<Output = anyhow::Result<()>>>(program: F) -> anyhow::Result<()> {
    run_if_hidden();
    tokio::runtime::Runtime::new()?.block_on(program)
}

/// What a custom scheduler needs.
pub mod prelude {
    pub use tepui_core::ids::{AgentId, FrameworkId, OfferId, TaskId};
    pub use tepui_core::protocol::offer::Offer;
    pub use tepui_core::protocol::status::{Exit, Reason, TaskState, TaskStatus};
    pub use tepui_core::protocol::task::{CommandInfo, TaskInfo};
    pub use tepui_core::resources::{Milli, Resources};
    pub use tepui_core::roles::Role;
    pub use tepui_core::scheduler::{Logic, UserCall, UserEvent};
    pub use tepui_core::time::Time;
    pub use tepui_transport::framework::Framework;
    pub use tepui_transport::target::Target;

    pub use crate::embedded::{Embedded, EmbeddedOptions};
}
