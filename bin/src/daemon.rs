//! The daemons: a node that runs until it is told to end.

use std::future::Future;
use std::pin::pin;

pub use crate::agent_node::{AgentOptions, Isolation};
pub use crate::containing::{ContainerOptions, Gpus};
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
/// next agent on the same directory takes it over. Once `leave` completes, it ends what it runs,
/// takes leave of the cluster, and then ends itself.
pub async fn agent(
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
    leave: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut node = AgentNode::start(options).await?;
    let (mut shutdown, mut leave) = (pin!(shutdown), pin!(leave));
    let mut leaves = false;
    loop {
        tokio::select! {
            ended = node.ended() => return ended,
            () = &mut shutdown => return node.shut_down().await,
            () = &mut leave, if !leaves => {
                leaves = true;
                node.leave().await;
            }
        }
    }
}
