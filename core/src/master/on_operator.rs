//! Reactions to operators: answers, and the few orders they give.
//!
//! Deliberately not here: how answers are put together (`view`).

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;

use super::tasks::{Task, TaskKey};
use super::waiting::Reads;
use super::{Cx, Effect, Master};
use crate::feed::Tells;
use crate::ids::{FrameworkId, PeerId, RequestId};
use crate::keys::FrameworkKey;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::events::Snapshot;
use crate::protocol::node::Standing;
use crate::protocol::operator::{Answer, Call, Cursor, Request, Response};
use crate::protocol::wire::size;

/// How many candidates an answer names.
const CANDIDATES: usize = 5;

impl Master {
    pub(super) fn on_operator(&mut self, cx: &mut Cx<'_>, peer: PeerId, request: Request) {
        let (id, epoch) = (request.id, self.config.epoch);
        let (answer, next) = match request.after {
            Some(cursor) if cursor.epoch != epoch => {
                let newest = self.feed.newest();
                (Answer::Gap { newest }, None)
            }
            after => {
                let after = after.map(|cursor| cursor.last);
                match self.answer_to(cx, (peer, id), request.call, after) {
                    Some(answer) => answer,
                    None => return,
                }
            }
        };
        let next = next.map(|last| Cursor { epoch, last });
        // Not free: it may show what is not durable yet, such as an agent that was just admitted.
        let response = Response { id, answer, next };
        if planted(Mutant::OrderAnsweredEarly) {
            return cx.out.emit_free(Effect::Respond { peer, response });
        }
        cx.out.emit(Effect::Respond { peer, response });
    }

    /// Does what an operator asks for. Says nothing if he waits for events.
    fn answer_to(
        &mut self,
        cx: &mut Cx<'_>,
        (peer, id): (PeerId, RequestId),
        call: Call,
        after: Option<u32>,
    ) -> Option<(Answer, Option<u32>)> {
        Some(match call {
            Call::Summary => (Answer::Summary(self.view().summary()), None),
            Call::Agents => page(Answer::Agents, self.agents_after(after)),
            Call::Frameworks => page(Answer::Frameworks, self.frameworks_after(after)),
            Call::Tasks { all } => {
                let counts = |task: &Task| all || task.is_active();
                page(Answer::Tasks, self.view().tasks_after(after, counts))
            }
            Call::Offers => page(Answer::Offers, self.view().offers_after(after)),
            Call::Kill {
                framework,
                task,
                grace,
            } => {
                let answer = self.on_kill_by_name(cx, framework.as_ref(), &task, grace);
                (answer, None)
            }
            Call::Roles => page(Answer::Roles, self.roles_after(after)),
            Call::UpdateQuota { quotas, force } => (self.on_quotas(cx, quotas, force), None),
            Call::UpdateWeights { weights } => (self.on_weights(cx, weights), None),
            Call::Convert { agent, change } => (self.on_convert(cx, peer, &agent, change), None),
            Call::UpdateReservation { agent, from, to } => {
                let answer = self.on_update_reservation(cx, peer, &agent, &from, &to);
                (answer, None)
            }
            Call::MarkGone { agent } => (self.on_mark_gone(cx, &agent), None),
            Call::Deactivate { agent } => {
                (self.on_standing(cx, &agent, Standing::Deactivated), None)
            }
            Call::Drain { agent, config } => (self.on_drain(cx, &agent, config), None),
            Call::Reactivate { agent } => (self.on_standing(cx, &agent, Standing::Active), None),
            Call::Snapshot { of } => {
                self.follow(cx.now);
                let view = self.view();
                let (from, upto) = (view.version(), view.version());
                let answer = |rows| Answer::Snapshot(Snapshot { from, upto, rows });
                page(answer, view.rows_after(of, after))
            }
            Call::Watch { after } => (self.on_watch(cx, (peer, id), after, Reads::Some)?, None),
            Call::WatchAll { after } => (self.on_watch(cx, (peer, id), after, Reads::All)?, None),
            Call::Schedule => {
                let windows = self.registry.maintenance().windows();
                (Answer::Schedule(windows.to_vec()), None)
            }
            Call::SetSchedule { windows } => (self.on_schedule(cx, windows), None),
            Call::MachinesDown { machines } => (self.on_machines_down(cx, machines), None),
            Call::MachinesUp { machines } => (self.on_machines_up(cx, machines), None),
            Call::Machines => (Answer::Machines(self.machines()), None),
            Call::InverseOffers => page(Answer::InverseOffers, self.inverse_offers_after(after)),
            Call::Teardown { framework } => (self.on_teardown(cx, &framework), None),
            Call::EndedFrameworks => (Answer::EndedFrameworks(self.ended_frameworks()), None),
            Call::Operations => page(Answer::Operations, self.view().operations_after(after)),
            Call::Explain { framework, role } => {
                match self.explained_after(&framework, &role, after) {
                    Ok(rows) => page(Answer::Explained, rows),
                    Err(answer) => (answer, None),
                }
            }
        })
    }

    fn on_kill_by_name(
        &mut self,
        cx: &mut Cx<'_>,
        framework: Option<&FrameworkId>,
        name: &str,
        grace: Option<Duration>,
    ) -> Answer {
        if name.len() > limits::ID_BYTES {
            let most = limits::ID_BYTES;
            return Answer::NotFound(format!("no task id has more than {most} bytes"));
        }
        match self.resolve(framework, name) {
            Ok(key) if self.agents[self.tasks[key].agent].peer().is_none() => {
                // Nobody but this leadership would remember it, and the answer says that the agent
                // was told.
                let task = &self.tasks[key];
                let agent = &self.agents[task.agent].id;
                Answer::Conflict(format!(
                    "agent {agent} of task {} is away; it can be told to end it once it is back",
                    task.id
                ))
            }
            Ok(key) => {
                self.kill(cx, key, grace);
                let task = &self.tasks[key];
                Answer::Killing {
                    framework: task.owner.clone(),
                    task: task.id.clone(),
                }
            }
            Err(answer) => answer,
        }
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

/// Takes as many entries as one frame holds, and says where the last one stands if there are more.
/// Those with one place are never torn apart.
pub(super) fn page<T: Serialize>(
    answer: impl FnOnce(Vec<T>) -> Answer,
    entries: impl Iterator<Item = (u32, T)>,
) -> (Answer, Option<u32>) {
    let mut page = Vec::new();
    let mut room = limits::SLICE_BYTES;
    let mut last = None;
    for (place, entry) in entries {
        let bytes = size(&entry);
        if last.is_some_and(|last| last != place) && bytes > room {
            return (answer(page), last);
        }
        room = room.saturating_sub(bytes);
        page.push(entry);
        last = Some(place);
    }
    (answer(page), None)
}
