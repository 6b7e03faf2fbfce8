//! The agent of a task, which is asked without its master: which one it is, where, and who we are
//! there.
//!
//! Called by the commands that ask agents (`attach`, `exec`, `logs`, `usage`). Deliberately not
//! here: what they ask.

use tepui_core::auth::PeerRole;
use tepui_core::protocol::operator::{AgentView, Answer, Call, TaskView};

use super::connect::{OperatorArgs, disconnected, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::no_such_task;
use crate::target::{Error, Target, identity_dir};

/// Where an agent is, and as whom we come.
pub(super) struct AtAgent {
    pub(super) address: String,
    pub(super) target: Target,
}

impl AtAgent {
    /// An operator may ask for any task, a framework only for its own.
    pub(super) fn new(operator: &OperatorArgs, agent: &AgentView) -> Result<Self, Failure> {
        let target = operator.target()?;
        Ok(Self {
            address: agent.info.address.to_string(),
            target: Target {
                tls_dir: identity_dir(&target.tls_dir, PeerRole::Operator),
                ..target
            },
        })
    }

    /// Says of a failure where it was.
    pub(super) fn failed(&self, error: Error) -> Failure {
        let failure = disconnected(&error, &self.target);
        let message = format_args!("the agent at {}: {error}", self.address);
        Failure::new(failure.exit, message)
    }
}

/// Asks the master for the one task whose id begins so, or is exactly so, and for its agent.
pub(super) async fn find_task(
    operator: &OperatorArgs,
    wanted: &str,
) -> Result<(TaskView, AtAgent), Failure> {
    let calls = [Call::Tasks { all: true }, Call::Agents];
    let answers = operator.ask_all(calls).await?;
    let (task, agent) = match answers.as_slice() {
        [Answer::Tasks(tasks), Answer::Agents(agents)] => find(wanted, tasks, agents)?,
        [first, ..] => return Err(unexpected(first)),
        [] => return Err(Failure::failed("the master answered nothing")),
    };
    Ok((task.clone(), AtAgent::new(operator, agent)?))
}

/// Finds that task and its agent.
fn find<'a>(
    wanted: &str,
    tasks: &'a [TaskView],
    agents: &'a [AgentView],
) -> Result<(&'a TaskView, &'a AgentView), Failure> {
    let whole = tasks
        .iter()
        .filter(|task| task.status.task.as_str() == wanted);
    let whole: Vec<&TaskView> = whole.collect();
    let begun = tasks
        .iter()
        .filter(|task| task.status.task.as_str().starts_with(wanted));
    let found = if whole.is_empty() {
        begun.collect()
    } else {
        whole
    };
    let task = match found.as_slice() {
        [task] => *task,
        [] => return Err(no_such_task(wanted)),
        [_, _, ..] => {
            let message = format_args!("several tasks begin with {wanted:?}; give more of the id");
            return Err(Failure::failed(message));
        }
    };
    let agent = agents.iter().find(|agent| agent.id == task.agent);
    let agent = agent.ok_or_else(|| {
        let message = format_args!(
            "the agent {} of task {} is not there any more, and what it wrote with it",
            task.agent, task.status.task
        );
        Failure::new(Exit::NotFound, message)
    })?;
    Ok((task, agent))
}
