//! The daemons: a node that runs until it is told to end.

use std::future::Future;

pub use crate::agent_node::{AgentOptions, Isolation};
pub use crate::master_node::MasterOptions;

use crate::agent_node::AgentNode;
use crate::master_node::MasterNode;

/// Runs a master until `shutdown` completes. Agents and frameworks find the next one.
pub async fn master(
    options: MasterOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    MasterNode::start(options).await?.run_until(shutdown).await
}

/// Runs an agent until `shutdown` completes or the master refuses it. What it runs goes on: the
/// next agent on the same directory takes it over.
pub async fn agent(
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut node = AgentNode::start(options).await?;
    tokio::select! {
        ended = node.ended() => ended,
        () = shutdown => node.shut_down().await,
    }
}
