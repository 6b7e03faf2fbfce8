//! One framework that runs many short tasks as fast as it is let.
//!
//! Called by the rows. Deliberately not here: what it is compared with.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tepui::prelude::*;
use tepui::target::Target;
use tokio::sync::oneshot;

use crate::floor::TRUE;

/// What each task asks for.
pub const TASK: &str = "cpus:1;mem:32";

/// Launches as many tasks as fit into each offer until all were launched, and gives back what is
/// left at once.
struct Flood {
    task: Resources,
    count: usize,
    launched: usize,
    ended: usize,
    done: Option<oneshot::Sender<Result<Instant, String>>>,
}

impl Flood {
    fn launch(&mut self, offer: &Offer) -> UserCall {
        if self.launched == self.count {
            return UserCall::decline(offer, None);
        }
        let mut left = offer.resources.clone();
        let mut tasks = Vec::new();
        while self.launched < self.count && left.contains(&self.task) {
            left.subtract(&self.task).expect("just checked");
            let id = TaskId::new(&format!("true-{}", self.launched)).expect("a valid id");
            let command = CommandInfo::exec(TRUE, [""; 0]);
            tasks.push(offer.task(id, self.task.clone(), command));
            self.launched += 1;
        }
        UserCall::launch(offer, tasks, Some(Duration::ZERO))
    }

    fn end(&mut self, how: Result<Instant, String>, calls: &mut Vec<UserCall>) {
        calls.push(UserCall::Stop);
        // Nobody listens only if the benchmark was given up.
        if let Some(done) = self.done.take() {
            let _ = done.send(how);
        }
    }
}

impl Logic for Flood {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                calls.extend(offers.iter().map(|offer| self.launch(offer)));
            }
            UserEvent::Update(status) if status.state == TaskState::Finished => {
                self.ended += 1;
                if self.ended == self.count {
                    self.end(Ok(Instant::now()), calls);
                }
            }
            UserEvent::Update(status) if status.state.is_terminal() => {
                let (task, state) = (&status.task, status.state);
                self.end(Err(format!("{task} is {state}: {}", status.message)), calls);
            }
            UserEvent::Error { message, .. } | UserEvent::Rejected { message, .. } => {
                self.end(Err(message), calls);
            }
            UserEvent::Disconnected => self.end(Err("the master is lost".to_owned()), calls),
            UserEvent::Update(_)
            | UserEvent::Operation(_)
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Subscribed { .. }
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Updated => {}
        }
    }
}

/// Runs `count` tasks, and returns how long it took from before the framework connects to when it
/// knows that the last one has finished.
pub async fn run(target: &Target, count: usize) -> anyhow::Result<Duration> {
    let (done, ended) = oneshot::channel();
    let flood = Flood {
        task: Resources::parse(TASK)?,
        count,
        launched: 0,
        ended: 0,
        done: Some(done),
    };
    let begun = Instant::now();
    Framework::builder("flood").run(target, flood).await?;
    match ended.await.context("the framework ended early")? {
        Ok(at) => Ok(at - begun),
        Err(message) => bail!(message),
    }
}
