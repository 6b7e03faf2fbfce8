//! One task at a time, through a framework that holds an offer.
//!
//! Called by the rows. Deliberately not here: the command line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tepui::client::{Event, Events, Offer, Update};
use tepui::prelude::{CommandInfo, Framework, Resources, TaskId, TaskState};
use tepui::target::Target;

use crate::flood::TASK;
use crate::floor::{self, TRUE};

/// Times of single tasks, and of bare spawns between them.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// From the launch to knowing that it runs.
    pub running: Vec<Duration>,
    /// From the launch to knowing that it has finished.
    pub finished: Vec<Duration>,
    /// Of a bare spawn.
    pub floor: Vec<Duration>,
}

/// Launches `count` tasks one by one.
pub async fn run(target: &Target, count: usize) -> anyhow::Result<Times> {
    let (handle, events) = Framework::builder("latency").connect(target).await?;
    let mut session = Session {
        events,
        offers: VecDeque::new(),
        task: Resources::parse(TASK)?,
        times: Times::default(),
    };
    for n in 0..count {
        session.launch(&TaskId::new(&format!("true-{n}"))?).await?;
        session.times.floor.push(floor::spawn_once()?);
    }
    session.offers.clear();
    handle.stop();
    while session.events.next().await.is_some() {}
    Ok(session.times)
}

struct Session {
    events: Events,
    /// What is held: a task takes the first, and what comes back is for later ones.
    offers: VecDeque<Offer>,
    task: Resources,
    times: Times,
}

impl Session {
    async fn launch(&mut self, id: &TaskId) -> anyhow::Result<()> {
        let offer = loop {
            match self.offers.pop_front() {
                Some(offer) => break offer,
                None => drop(self.next_update().await?),
            }
        };
        let command = CommandInfo::exec(TRUE, [""; 0]);
        let tasks = vec![offer.task(id.clone(), self.task.clone(), command)];
        let begun = Instant::now();
        offer.launch_and_refuse(tasks, Some(Duration::ZERO))?;
        loop {
            let Some(update) = self.next_update().await? else {
                continue;
            };
            if update.state == TaskState::Running {
                self.times.running.push(begun.elapsed());
            } else if update.state == TaskState::Finished {
                self.times.finished.push(begun.elapsed());
                return Ok(());
            } else if update.state.is_terminal() {
                bail!("{id} is {}: {}", update.state, update.message);
            }
        }
    }

    /// Waits for the next event, and keeps offers; returns it if it is an update.
    async fn next_update(&mut self) -> anyhow::Result<Option<Update>> {
        match self.events.next().await.context("the framework ended")? {
            Event::Update(update) => return Ok(Some(update)),
            Event::Offers(offers) => self.offers.extend(offers),
            Event::Rescinded(id) => self.offers.retain(|offer| offer.id != id),
            Event::Subscribed { .. }
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. }
            | Event::Operation(_)
            | Event::Updated
            | Event::InverseOffers(_)
            | Event::InverseRescinded(_) => {}
            Event::Disconnected => bail!("the master is lost"),
            Event::Error { message, .. } | Event::Rejected { message, .. } => bail!(message),
        }
        Ok(None)
    }
}
