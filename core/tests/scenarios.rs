//! Hand-written stories of clusters in trouble, hours of virtual time in milliseconds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tepui_core::ids::TaskId;
use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::protocol::status::{Exit, Reason, TaskState, TaskStatus};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Resources;
use tepui_core::scheduler::{Logic, UserCall, UserEvent};
use tepui_core::sim::{Checking, Cut, Log, Name, Options, Sim, Span};
use tepui_core::time::Time;

const AGENT: Name = Name::Agent(1);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn bag(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

/// Keeps one task going, and notes all that it is told.
struct Keeper {
    command: &'static str,
    news: Arc<Mutex<Vec<TaskStatus>>>,
    launched: u32,
    is_busy: bool,
}

impl Logic for Keeper {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    if self.is_busy {
                        calls.push(UserCall::decline(offer, Some(secs(1))));
                        continue;
                    }
                    self.is_busy = true;
                    self.launched += 1;
                    let id = TaskId::new(&format!("task-{}", self.launched)).unwrap();
                    let command = CommandInfo::shell(self.command);
                    let task = offer.task(id, bag("cpus:1;mem:64"), command);
                    calls.push(UserCall::launch(offer, vec![task], None));
                }
            }
            // An answer is no news.
            UserEvent::Update(status) if status.reason == Some(Reason::Reconciliation) => {}
            UserEvent::Update(status) => {
                if status.state.is_terminal() {
                    self.is_busy = false;
                }
                self.news.lock().unwrap().push(status);
            }
            UserEvent::Subscribed { .. }
            | UserEvent::Disconnected
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Operation(_)
            | UserEvent::Error { .. }
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Rejected { .. }
            | UserEvent::Updated => {}
        }
    }
}

struct Story {
    sim: Sim,
    keeper: Name,
    news: Arc<Mutex<Vec<TaskStatus>>>,
}

impl Story {
    /// A cluster whose only framework keeps one task going that runs `command`.
    fn new(agents: u32, command: &'static str) -> Self {
        Self::with(agents, command, |_| {})
    }

    fn with(agents: u32, command: &'static str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(1, agents, 0, bag("cpus:4;mem:1024"));
        options.checking = Checking::Always;
        change(&mut options);
        let mut sim = Sim::new(options);
        let news = Arc::new(Mutex::new(Vec::new()));
        let mut info = FrameworkInfo::new("keeper");
        info.failover_timeout = secs(24 * 3600);
        let logic = Keeper {
            command,
            news: Arc::clone(&news),
            launched: 0,
            is_busy: false,
        };
        let keeper = sim.framework(info, Box::new(logic));
        Self { sim, keeper, news }
    }

    fn run(&mut self, seconds: u64) {
        self.sim.run_for(secs(seconds));
    }

    fn states(&self) -> Vec<(String, TaskState)> {
        let news = self.news.lock().unwrap();
        news.iter()
            .map(|s| (s.task.as_str().to_string(), s.state))
            .collect()
    }

    fn newest(&self) -> TaskStatus {
        self.news.lock().unwrap().last().unwrap().clone()
    }
}

fn is(task: &str, state: TaskState) -> (String, TaskState) {
    (task.to_string(), state)
}

#[test]
fn an_agent_cut_off_past_its_timeout_is_unreachable_and_may_return() {
    // TK-57, TK-60, TL-02
    let mut story = Story::new(1, "sleep inf");
    story.run(10);
    assert_eq!(story.states(), [is("task-1", TaskState::Running)]);
    story.sim.cut(AGENT, Cut::Both);
    story.run(300);
    assert_eq!(story.states().len(), 1, "it may be away for ten minutes");
    story.run(500);
    let unreachable = story.newest();
    assert_eq!(unreachable.state, TaskState::Unreachable);
    story.sim.mend(AGENT);
    story.run(60);
    let back = story.newest();
    assert_eq!(
        (back.task.as_str(), back.state),
        ("task-1", TaskState::Running)
    );
    assert_eq!(back.reason, Some(Reason::AgentReregistered));
    story.sim.heal();
    story.sim.expect_converged();
}

#[test]
fn a_short_cut_is_no_news() {
    for cut in [Cut::Both, Cut::Incoming, Cut::Outgoing] {
        let mut story = Story::new(1, "sleep inf");
        story.run(10);
        story.sim.cut(AGENT, cut);
        story.run(60);
        story.sim.mend(AGENT);
        story.run(60);
        assert_eq!(
            story.states(),
            [is("task-1", TaskState::Running)],
            "{cut:?}"
        );
        story.sim.expect_converged();
    }
}

#[test]
fn a_master_that_crashes_in_the_middle_of_a_launch_agrees_afterwards() {
    // Each seed crashes at another moment between the offer and the first news.
    for moment in 0..40 {
        let mut story = Story::with(2, "sleep inf", |options| options.seed = moment);
        story.sim.run_for(Duration::from_millis(300 + 50 * moment));
        story.sim.crash(Name::Master, secs(5));
        story.run(120);
        story.sim.expect_converged();
        let news = story.states();
        let running = news
            .iter()
            .filter(|(_, state)| *state == TaskState::Running)
            .count();
        assert!(running <= 1, "moment {moment}: {news:?}");
    }
}

#[test]
fn a_master_that_restarts_finds_all_as_it_was() {
    // HA: tasks go on while the master is away, and what ends meanwhile is told.
    let mut story = Story::new(3, "sleep 60; exit 3");
    story.run(30);
    story.sim.crash(Name::Master, secs(60));
    story.run(120);
    let ended = story
        .news
        .lock()
        .unwrap()
        .iter()
        .find(|s| s.state.is_terminal())
        .cloned();
    let ended = ended.expect("the end is told");
    assert_eq!(
        (ended.task.as_str(), ended.exit),
        ("task-1", Some(Exit::Code(3)))
    );
    story.sim.expect_converged();
    assert_eq!(story.sim.master().unwrap().view().summary().epoch, 2);
}

#[test]
fn an_agent_that_crashes_in_the_middle_of_a_task_tells_its_real_exit() {
    // AG-30: the exit happens while the agent is down.
    let mut story = Story::new(1, "sleep 20; exit 7");
    story.run(10);
    story.sim.crash(AGENT, secs(30));
    story.run(60);
    let news = story.news.lock().unwrap().clone();
    assert_eq!(news[0].state, TaskState::Running);
    assert_eq!(
        (news[1].task.as_str(), news[1].state),
        ("task-1", TaskState::Failed)
    );
    assert_eq!(news[1].exit, Some(Exit::Code(7)));
    story.sim.expect_converged();
}

#[test]
fn an_agent_that_crashes_adopts_what_still_runs() {
    let mut story = Story::new(1, "sleep inf");
    story.run(10);
    for _ in 0..3 {
        story.sim.crash(AGENT, secs(5));
        story.run(60);
    }
    assert_eq!(story.states(), [is("task-1", TaskState::Running)]);
    story.sim.expect_converged();
}

/// Stalls a disk for twenty seconds, with pings so frequent that it would take but eight seconds
/// of silence to lose the agent; and returns the log of that time.
fn log_of_stall(node: Name) -> String {
    let text = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&text);
    let log = Log::Lines(Box::new(move |line| copy.lock().unwrap().push_str(line)));
    let mut options = Options::new(1, 2, 1, bag("cpus:4;mem:1024"));
    options.checking = Checking::Always;
    options.run = Span::secs(1, 3);
    options.ping_interval = secs(2);
    options.max_missed_pings = 4;
    let mut sim = Sim::with_log(options, log);
    sim.run_for(secs(60));
    text.lock().unwrap().clear();
    sim.stall(node, secs(20));
    sim.run_for(secs(19));
    let stalled = text.lock().unwrap().clone();
    let view = sim.master().unwrap().view();
    assert!(
        view.agents()
            .iter()
            .all(|agent| agent.presence.is_connected())
    );
    sim.run_for(secs(60));
    assert!(!text.lock().unwrap().contains("Unreachable"));
    sim.expect_converged();
    stalled
}

fn count(log: &str, node: &str, what: &str) -> usize {
    let node = format!(" {node} ");
    log.lines()
        .filter(|line| line.contains(&node) && line.contains(what))
        .count()
}

#[test]
fn a_master_whose_disk_is_stuck_still_pings() {
    // Weakness: a slow disk made masters lose their agents. RG-17; MESOS-8256: nobody waits for one
    // who waits for a disk.
    let log = log_of_stall(Name::Master);
    let pings = count(&log, "master", "effect Agent") - count(&log, "master", "RunTask");
    assert!(pings >= 16, "{pings} messages to agents in 19 s");
    assert!(count(&log, "agent-1", "Pong") >= 8);
    assert!(!log.contains("MasterLost"), "a connection was given up");
}

#[test]
fn an_agent_whose_disk_is_stuck_still_answers_pings() {
    // RG-17
    let log = log_of_stall(AGENT);
    assert!(count(&log, "agent-1", "effect Master { peer: PeerId(") >= 8);
    assert!(count(&log, "agent-1", "Pong") >= 8);
    assert!(!log.contains("MasterLost"), "a connection was given up");
    // Meanwhile nothing that it had not written was told.
    let update = |node: &str| count(&log, node, "effect Master") - count(&log, node, "Pong");
    assert_eq!(update("agent-1"), 0, "{log}");
    assert!(update("agent-2") > 0);
}

#[test]
fn frameworks_that_want_everything_share_alike() {
    // AL-14
    let mut options = Options::new(5, 10, 4, bag("cpus:4;mem:1024"));
    options.demand.tasks = 1_000;
    options.run = Span::secs(5, 30);
    let mut sim = Sim::new(options);
    sim.run_for(secs(600));
    let report = sim.report();
    assert!(report.utilisation_permille > 800, "{report:?}");
    for framework in &report.frameworks {
        let share = framework.dominant_share_permille;
        assert!((150..=350).contains(&share), "{report:?}");
    }
    let each: u64 = report.frameworks.iter().map(|f| f.tasks.finished).sum();
    assert_eq!(each, report.tasks.finished);
    assert!(report.events > 10_000);
}

#[test]
fn a_user_logic_is_told_what_the_simulator_says_it_was_told() {
    let mut story = Story::new(1, "sleep 1");
    story.run(30);
    let told = story.sim.told(story.keeper);
    assert!(told.len() > 5, "{told:?}");
    for (task, state) in told {
        let newest = story
            .states()
            .into_iter()
            .rfind(|(id, _)| *id == task.as_str());
        assert_eq!(newest.map(|(_, state)| state), Some(state));
    }
}
