//! One `tepui run` as a framework: events, output, signals and time in, one exit out.
//!
//! Called by `run`. What to launch is decided in `plan`, how it looks in `report`.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::ids::{FrameworkId, TaskId};
use tepui_core::protocol::agent::OutputFile;
use tepui_core::protocol::status::TaskStatus;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::plan::{News, Plan};
use super::pump::{self, Agent, Came, Cut, Flow, Source};
use super::report::{Piece, Report};
use super::step::{Cause, Step, file_name};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::signals::Interrupts;
use crate::client::{self, Event, Events, Handle};
use crate::target::Target;

/// How long to be silent about an offer that does not come, at first and then.
const FIRST_NOTICE: Duration = Duration::from_secs(3);
const NOTICES: Duration = Duration::from_secs(5);
/// How long the end of the framework, or the leave from it, may take.
const LEAVE_TAKING: Duration = Duration::from_secs(2);
/// How many pieces of output may wait to be written.
const PIECES: usize = 64;

/// Until when a run goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// Until its tasks are over and all their output is written.
    UntilTheEnd,
    /// Until its tasks have started; they go on alone.
    UntilStarted,
}

/// What a session needs to know beside its plan.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The cluster, and who we are.
    pub(super) target: Target,
    /// Until when it goes on.
    pub(super) stay: Stay,
    /// When its tasks are killed.
    pub(super) deadline: Option<Instant>,
    /// Where output may be cut.
    pub(super) cut: Cut,
}

/// A framework that runs one command.
pub(super) struct Session<'a, 'b> {
    terms: Terms,
    plan: Plan,
    report: Report<'a, 'b>,
    cluster: Handle,
    framework: Option<FrameworkId>,
    /// The agents of launched tasks.
    agents: Vec<(TaskId, Arc<Agent>)>,
    pumps: usize,
    flows: mpsc::Receiver<Flow>,
    to_flows: mpsc::Sender<Flow>,
    lost_output: bool,
    /// What ends it before its time, if anything does.
    ending: Option<Exit>,
}

enum Turn {
    Event(Option<Event>),
    Flow(Flow),
    Interrupted,
    TimedOut,
    Notice,
}

impl<'a, 'b> Session<'a, 'b> {
    /// Makes a session of a framework that is connected.
    pub(super) fn new(terms: Terms, plan: Plan, report: Report<'a, 'b>, cluster: Handle) -> Self {
        let (to_flows, flows) = mpsc::channel(PIECES);
        Self {
            terms,
            plan,
            report,
            cluster,
            framework: None,
            agents: Vec::new(),
            pumps: 0,
            flows,
            to_flows,
            lost_output: false,
            ending: None,
        }
    }

    /// Runs to the end.
    pub(super) async fn run(
        mut self,
        mut events: Events,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        let result = self.turns(&mut events, interrupts).await;
        self.report.clear();
        for (_, agent) in &self.agents {
            agent.leave().await;
        }
        if self.terms.stay == Stay::UntilStarted && result == Ok(Exit::Success) {
            // The framework stays behind with its tasks; its failover timeout says for how long.
            self.cluster.leave();
        } else {
            self.cluster.stop();
        }
        let over = async { while events.next().await.is_some() {} };
        if tokio::time::timeout(LEAVE_TAKING, over).await.is_err() {
            tracing::warn!("the master did not take leave in time");
        }
        result
    }

    async fn turns(
        &mut self,
        events: &mut Events,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        self.report.wait_for("subscribing");
        let mut notice = Instant::now() + FIRST_NOTICE;
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        loop {
            if let Some(exit) = self.end() {
                return Ok(exit);
            }
            let deadline = match self.ending {
                None => self.terms.deadline.unwrap_or(far),
                Some(_) => far,
            };
            let turn = tokio::select! {
                event = events.next() => Turn::Event(event),
                Some(flow) = self.flows.recv() => Turn::Flow(flow),
                () = interrupts.next() => Turn::Interrupted,
                () = tokio::time::sleep_until(deadline) => Turn::TimedOut,
                () = tokio::time::sleep_until(notice), if self.plan.is_waiting() => Turn::Notice,
            };
            match turn {
                Turn::Event(Some(event)) => self.on_event(event)?,
                Turn::Event(None) => {
                    return Err(Failure::failed("the connection to the master ended"));
                }
                Turn::Flow(flow) => self.on_flow(flow)?,
                Turn::Interrupted if self.ending.is_some() => return Ok(Exit::Interrupted),
                Turn::Interrupted => self.kill(Exit::Interrupted, Cause::Interrupted)?,
                Turn::TimedOut => self.kill(Exit::Timeout, Cause::Timeout)?,
                Turn::Notice => {
                    notice = Instant::now() + NOTICES;
                    self.report.step(&Step::Waiting {
                        wanted: self.plan.wanted().into(),
                        largest: self.plan.largest_too_small().map(Into::into),
                    })?;
                }
            }
        }
    }

    /// Returns how it ends, if there is nothing more to be done.
    fn end(&self) -> Option<Exit> {
        if self.ending == Some(Exit::BrokenPipe) && self.plan.live().next().is_none() {
            return self.ending;
        }
        // Who was told to end does not wait for an agent that may never come back.
        if self.ending.is_some() && self.plan.is_out_of_reach() && self.plan.outcome().is_none() {
            return self.ending;
        }
        if let Some(outcome) = self.plan.outcome()
            && self.pumps == 0
        {
            let lost = self.lost_output.then_some(Exit::OwnFailure);
            return Some(self.ending.or(lost).unwrap_or(outcome));
        }
        let detached = self.terms.stay == Stay::UntilStarted && self.plan.is_started();
        (detached && self.ending.is_none()).then_some(Exit::Success)
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Subscribed { framework } => {
                let name = framework.to_string();
                self.framework = Some(framework);
                self.report.step(&Step::Subscribed { framework: name })?;
                self.report.wait_for("waiting for an offer");
            }
            Event::Disconnected => self.report.step(&Step::Disconnected)?,
            Event::Offers(offers) => {
                for offer in offers {
                    self.on_offer(offer)?;
                }
            }
            // What was launched on it comes back as dropped.
            Event::Rescinded(_)
            | Event::Updated
            | Event::InverseOffers(_)
            | Event::InverseRescinded(_) => {}
            // It asks for none.
            Event::Operation(_)
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. } => {}
            // Acknowledged when it is dropped, which is after it has been dealt with.
            Event::Update(update) => self.on_update(&update)?,
            Event::Error { reason, message } => {
                let advice = reason.map(|reason| format!("; {}", reason.advice()));
                return Err(Failure::failed(format_args!(
                    "the master ended the framework: {message}{}",
                    advice.unwrap_or_default()
                )));
            }
            Event::Rejected { call, message, .. } => {
                return Err(Failure::failed(format_args!(
                    "the master turned a call down ({call}): {message}"
                )));
            }
        }
        Ok(())
    }

    fn on_offer(&mut self, offer: client::Offer) -> Result<(), Failure> {
        let tasks = self.plan.consider(&offer);
        if tasks.is_empty() {
            offer.decline(None);
            return Ok(());
        }
        self.report.step(&Step::offer(&offer))?;
        for task in &tasks {
            let agent = self.agent(&offer.address);
            self.agents.push((task.id.clone(), agent));
            self.report
                .step(&Step::staging(&task.id, &offer, &task.resources))?;
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id.clone()).collect();
        let launch = self.plan.operation(tasks);
        if offer.accept(vec![launch], None).is_err() {
            self.plan.release(&ids);
        }
        if !self.plan.is_waiting() {
            self.cluster.suppress();
            self.report.wait_for("starting the task");
        }
        Ok(())
    }

    fn on_update(&mut self, status: &TaskStatus) -> Result<(), Failure> {
        // What is launched again has another id.
        let resources = self.plan.resources(&status.task).clone();
        let news = self.plan.update(status);
        if news == News::Nothing {
            return Ok(());
        }
        if self.plan.is_started() {
            self.report.clear();
        }
        self.report.step(&Step::task(status, &resources))?;
        match news {
            News::Started => self.read_output(&status.task),
            News::Again => self.cluster.revive(),
            News::Nothing | News::Progress | News::Ended => {}
        }
        Ok(())
    }

    /// Returns the agent that listens at an address, and begins to connect to it: by the time its
    /// task runs, its output can be read.
    fn agent(&self, address: &str) -> Arc<Agent> {
        let mut known = self.agents.iter().map(|(_, agent)| agent);
        if let Some(agent) = known.find(|agent| agent.address() == address) {
            return Arc::clone(agent);
        }
        let agent = Arc::new(Agent::new(self.terms.target.clone(), address.into()));
        if self.terms.stay == Stay::UntilTheEnd {
            let early = Arc::clone(&agent);
            tokio::spawn(async move {
                if let Err(error) = early.connection().await {
                    tracing::debug!(%error, "connecting again when there is output");
                }
            });
        }
        agent
    }

    fn read_output(&mut self, task: &TaskId) {
        if self.terms.stay == Stay::UntilStarted {
            return;
        }
        let framework = self.framework.clone().expect("tasks have a framework");
        let mut agents = self.agents.iter();
        let (_, agent) = agents
            .find(|(id, _)| id == task)
            .expect("noted when it was launched");
        for file in [OutputFile::Stdout, OutputFile::Stderr] {
            let source = Source {
                agent: Arc::clone(agent),
                framework: framework.clone(),
                task: task.clone(),
                file,
                cut: self.terms.cut,
            };
            self.pumps += 1;
            tokio::spawn(pump::pump(source, self.to_flows.clone()));
        }
    }

    fn on_flow(&mut self, flow: Flow) -> Result<(), Failure> {
        let Flow { task, file, came } = flow;
        match came {
            Came::Bytes(bytes) => {
                let piece = Piece {
                    task: &task,
                    label: self.plan.label(&task),
                    file,
                    bytes: &bytes,
                };
                let written = self.report.output(&piece).map_err(Failure::from);
                if written
                    .as_ref()
                    .is_err_and(|failure| failure.exit == Exit::BrokenPipe)
                {
                    // `tepui run -- yes | head` ends, and so does its task.
                    if self.ending.is_none() {
                        self.kill(Exit::BrokenPipe, Cause::OutputClosed)?;
                    }
                    return Ok(());
                }
                written?;
            }
            Came::End => self.pumps -= 1,
            Came::Lost(error) => {
                self.pumps -= 1;
                self.lost_output = true;
                self.report.step(&Step::OutputLost {
                    task: task.to_string(),
                    file: file_name(file),
                    message: error.to_string(),
                })?;
            }
        }
        Ok(())
    }

    /// Ends before the time: kills what runs and launches nothing more.
    fn kill(&mut self, ending: Exit, cause: Cause) -> Result<(), Failure> {
        self.ending = Some(ending);
        self.plan.stop();
        if self.plan.live().next().is_none() {
            self.report.step(&Step::NothingRuns { cause })?;
        }
        for task in self.plan.live() {
            self.cluster.kill(task.clone(), None);
            self.report.step(&Step::Killing {
                task: task.to_string(),
                cause,
            })?;
        }
        Ok(())
    }
}
