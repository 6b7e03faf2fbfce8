//! The allocation example of the DRF paper (Ghodsi et al., NSDI 2011, section 4.1), with real
//! processes: one agent of 9 CPUs and 18 GB, framework A with tasks of 1 CPU and 4 GB, framework B
//! with tasks of 3 CPUs and 1 GB.
//!
//! Each framework has endless demand and no cap: it launches one task per offer and returns the
//! rest at once. The cluster is full when both have returned a whole offer since the last launch.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of its own"
)]

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tepui::prelude::*;

enum News {
    Subscribed,
    Launched(&'static str),
    DoesNotFit(&'static str),
}

struct Endless {
    name: &'static str,
    task: Resources,
    launched: usize,
    news: Sender<News>,
}

impl Logic for Endless {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let news = match event {
            UserEvent::Subscribed { .. } => News::Subscribed,
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    let mut tasks = Vec::new();
                    if offer.resources.contains(&self.task) {
                        self.launched += 1;
                        let id = TaskId::new(&format!("{}{}", self.name, self.launched))
                            .expect("a valid id");
                        let sleep = CommandInfo::exec("sleep", ["3600"]);
                        tasks.push(offer.task(id, self.task.clone(), sleep));
                    }
                    let news = match tasks.is_empty() {
                        true => News::DoesNotFit(self.name),
                        false => News::Launched(self.name),
                    };
                    calls.push(UserCall::launch(offer, tasks, Some(Duration::ZERO)));
                    self.tell(news);
                }
                return;
            }
            UserEvent::Update(status) if status.state.is_terminal() => {
                calls.push(UserCall::Stop);
                eprintln!("task {} ended: {}", status.task, status.message);
                return;
            }
            UserEvent::Update(_)
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
            | UserEvent::Updated => return,
        };
        self.tell(news);
    }
}

impl Endless {
    fn tell(&self, news: News) {
        self.news.send(news).expect("main listens to the end");
    }
}

/// 9 CPUs and 18 GB, and nothing else.
const TOTAL: &str = "cpus:9;mem:18432;disk:0;ports:[]";
const A: &str = "A";
const B: &str = "B";

fn main() -> anyhow::Result<()> {
    tepui::main_with(run())
}

async fn run() -> anyhow::Result<()> {
    let total = Resources::parse(TOTAL)?;
    let needs = [(A, "cpus:1;mem:4096"), (B, "cpus:3;mem:1024")];

    let mut cluster = Embedded::without_agents(EmbeddedOptions::default()).await?;
    let (sender, news) = channel();
    let mut frameworks = Vec::new();
    for (name, task) in needs {
        let logic = Endless {
            name,
            task: Resources::parse(task)?,
            launched: 0,
            news: sender.clone(),
        };
        let target = cluster.target();
        frameworks.push(tokio::spawn(async move {
            Framework::builder(name).run(&target, logic).await
        }));
        // Both are there before the first offer, A first.
        tokio::task::block_in_place(|| news.recv())?;
    }
    cluster.add_agent(Resources::parse_entries(TOTAL)?).await?;

    let (mut launches, mut full) = (Vec::new(), [false; 2]);
    while full != [true; 2] {
        match tokio::task::block_in_place(|| news.recv())? {
            News::Subscribed => {}
            News::Launched(name) => {
                launches.push(name);
                full = [false; 2];
                println!("launch {}: {name}", launches.len());
            }
            News::DoesNotFit(name) => full[usize::from(name == B)] = true,
        }
    }
    for (name, task) in needs {
        let task = Resources::parse(task)?;
        let tasks = launches.iter().filter(|n| **n == name).count() as i64;
        let share = |kind| tasks as f64 * task.scalar(kind).to_f64() / total.scalar(kind).to_f64();
        let (cpus, mem) = (share("cpus"), share("mem"));
        let (kind, dominant) = if cpus > mem {
            ("cpus", cpus)
        } else {
            ("mem", mem)
        };
        println!("{name}: dominant share {dominant:.3} ({kind})");
    }
    for (name, _) in needs {
        println!(
            "{name}: {} tasks",
            launches.iter().filter(|n| **n == name).count()
        );
    }
    for framework in frameworks {
        framework.abort();
    }
    cluster.shutdown().await
}
