//! Where what comes out of a pipeline goes.

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec as Spec};

use crate::launch::Launch;

/// What leaves a pipeline.
pub(crate) trait Ends: Send + Sync {
    /// Has the launcher start a container, with what isolators have added; if it is to `hold`, only
    /// up to its init. Returns whether it will hear of it.
    fn launch(&self, id: ContainerId, spec: Spec, launch: Launch, hold: bool) -> bool;
    /// Has the launcher start what it holds.
    fn release(&self, id: ContainerId);
    /// Takes another order for the launcher.
    fn forward(&self, command: ContainerCommand);
    /// Takes news for the agent.
    fn tell(&self, event: ContainerEvent);
}
