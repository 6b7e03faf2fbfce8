//! Reactions to operators: answers, and the few orders they give.
//!
//! Deliberately not here: how answers are put together (`view`).

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::tasks::TaskKey;
use super::{Cx, Effect, Master};
use crate::ids::{FrameworkId, PeerId};
use crate::keys::FrameworkKey;
use crate::protocol::operator::{Answer, Call, Request, Response};

/// How many candidates an answer names.
const CANDIDATES: usize = 5;

impl Master {
    pub(super) fn on_operator(&mut self, cx: &mut Cx<'_>, peer: PeerId, request: Request) {
        let id = request.id;
        let answer = match request.call {
            Call::Summary => Answer::Summary(self.view().summary()),
            Call::Agents => Answer::Agents(self.view().agents()),
            Call::Frameworks => Answer::Frameworks(self.view().frameworks()),
            Call::Tasks { all } => Answer::Tasks(if all {
                self.view().all_tasks()
            } else {
                self.view().live_tasks()
            }),
            Call::Offers => Answer::Offers(self.view().offers()),
            Call::Kill {
                framework,
                task,
                grace,
            } => match self.resolve(framework.as_ref(), &task) {
                Ok(key) => {
                    self.kill(cx, key, grace);
                    let task = &self.tasks[key];
                    Answer::Killing {
                        framework: task.owner.clone(),
                        task: task.id.clone(),
                    }
                }
                Err(answer) => answer,
            },
        };
        // Not free: it may show what is not durable yet, such as an agent that was just admitted.
        let response = Response { id, answer };
        cx.out.emit(Effect::Respond { peer, response });
    }

    /// Finds the one active task of a name, or says why there is none.
    fn resolve(&self, owner: Option<&FrameworkId>, name: &str) -> Result<TaskKey, Answer> {
        if name.is_empty() {
            // Everything begins with nothing: a script whose variable is unset must not end a task.
            return Err(Answer::NotFound("no task is named".to_string()));
        }
        let frameworks: Vec<FrameworkKey> = match owner {
            Some(id) => match self.frameworks.find(id) {
                Some(key) => Vec::from([key]),
                None => return Err(Answer::NotFound(format!("no framework {id}"))),
            },
            None => self.frameworks.iter().map(|(key, _)| key).collect(),
        };
        let mut found: Vec<TaskKey> = frameworks
            .into_iter()
            .flat_map(|framework| self.tasks.beginning_with(framework, name))
            .collect();
        // A whole id beats those that merely begin with it.
        let whole = |key: &TaskKey| self.tasks[*key].id.as_str() == name;
        if found.iter().any(whole) {
            found.retain(whole);
        }
        match found.as_slice() {
            [] => Err(Answer::NotFound(format!("no running task {name}"))),
            [one] => Ok(*one),
            [..] => Err(Answer::Ambiguous(self.candidates(name, &found))),
        }
    }

    fn candidates(&self, name: &str, found: &[TaskKey]) -> alloc::string::String {
        let names: Vec<_> = found
            .iter()
            .take(CANDIDATES)
            .map(|key| {
                let task = &self.tasks[*key];
                format!("{} of framework {}", task.id, task.owner)
            })
            .collect();
        let more = match found.len().saturating_sub(CANDIDATES) {
            0 => "".to_string(),
            n => format!(", and {n} more"),
        };
        format!(
            "{} tasks begin with {name:?}: {}{more}",
            found.len(),
            names.join(", ")
        )
    }
}
