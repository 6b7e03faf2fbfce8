//! One scheduler, unchanged, in the three places where it can run: over QUIC, within one process,
//! and in the simulator.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tepui::core::protocol::framework::FrameworkInfo;
use tepui::core::sim::{Options, Sim};
use tepui::daemon::Isolation;
use tepui::prelude::*;

/// What it saw, for the test to compare.
type Story = Arc<Mutex<Vec<String>>>;

/// Runs two tasks, one after the other.
struct TwoTasks {
    story: Story,
    next: u32,
}

impl TwoTasks {
    fn new() -> (Self, Story) {
        let story = Story::default();
        let logic = Self {
            story: Arc::clone(&story),
            next: 0,
        };
        (logic, story)
    }
}

impl Logic for TwoTasks {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    let id = TaskId::new(&format!("task-{}", self.next)).unwrap();
                    let want = Resources::parse("cpus:0.1;mem:32").unwrap();
                    let task = offer.task(id, want, CommandInfo::shell("sleep 0.1"));
                    calls.push(UserCall::launch(offer, vec![task], None));
                    calls.push(UserCall::Suppress { roles: Vec::new() });
                }
            }
            UserEvent::Update(status) => {
                let line = format!("{} {}", status.task, status.state);
                self.story.lock().unwrap().push(line);
                if status.state.is_terminal() {
                    self.next += 1;
                    calls.push(match self.next {
                        2 => UserCall::Stop,
                        _ => UserCall::Revive { roles: Vec::new() },
                    });
                }
            }
            UserEvent::Subscribed { .. }
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Operation(_)
            | UserEvent::Disconnected
            | UserEvent::Error { .. }
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Rejected { .. }
            | UserEvent::Updated => {}
        }
    }
}

const EXPECTED: [&str; 4] = [
    "task-0 running",
    "task-0 finished",
    "task-1 running",
    "task-1 finished",
];

fn main() -> anyhow::Result<()> {
    tepui::main_with(async {
        let cluster = Embedded::start(EmbeddedOptions {
            isolation: Isolation::Process,
            ..EmbeddedOptions::default()
        });
        let cluster = cluster.await?;
        let (logic, story) = TwoTasks::new();
        let framework = Framework::builder("two");
        framework.run(&cluster.target(), logic).await?;
        assert_eq!(*story.lock().unwrap(), EXPECTED, "over QUIC");

        let (logic, story) = TwoTasks::new();
        cluster.run(Framework::builder("two"), logic).await?;
        assert_eq!(*story.lock().unwrap(), EXPECTED, "within this process");
        cluster.shutdown().await?;

        let (logic, story) = TwoTasks::new();
        let machine = Resources::parse("cpus:1;mem:64")?;
        let mut sim = Sim::new(Options::new(7, 1, 0, machine));
        sim.framework(FrameworkInfo::new("two"), Box::new(logic));
        sim.run_for(Duration::from_secs(600));
        assert_eq!(*story.lock().unwrap(), EXPECTED, "in the simulator");
        Ok(())
    })
}
