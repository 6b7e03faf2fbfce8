//! A custom scheduler, whole: runs ten shell commands and prints what becomes of them.
#![allow(clippy::print_stdout, reason = "a program of its own")]
#![allow(clippy::wildcard_enum_match_arm, reason = "most need no answer")]

use tepui::prelude::*;

struct Hello {
    queued: Vec<String>,
    running: usize,
    want: Resources,
}

impl Logic for Hello {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    let (mut left, mut tasks) = (offer.resources.clone(), Vec::new());
                    while left.contains(&self.want)
                        && let Some(name) = self.queued.pop()
                    {
                        left.subtract(&self.want).expect("just checked");
                        let command = CommandInfo::shell(format!("echo {name} from $(hostname)"));
                        let id = TaskId::new(&name).expect("a valid id");
                        tasks.push(offer.task(id, self.want.clone(), command));
                    }
                    self.running += tasks.len();
                    calls.push(UserCall::launch(offer, tasks, None));
                }
            }
            UserEvent::Update(status) => {
                println!("{} is {} {}", status.task, status.state, status.message);
                self.running -= usize::from(status.state.is_terminal());
                if self.running == 0 && self.queued.is_empty() {
                    calls.push(UserCall::Stop);
                }
            }
            UserEvent::Error { message, .. } => println!("the end: {message}"),
            UserEvent::Rejected { call, message, .. } => println!("no {call}: {message}"),
            _ => {}
        }
    }
}

fn main() -> anyhow::Result<()> {
    tepui::main_with(async {
        let hello = Hello {
            queued: (0..10).map(|n| format!("hello-{n}")).collect(),
            running: 0,
            want: Resources::parse("cpus:0.1;mem:32")?,
        };
        let cluster = Embedded::start(EmbeddedOptions::default()).await?;
        let framework = Framework::builder("hello");
        framework.run(&cluster.target(), hello).await?;
        cluster.shutdown().await
    })
}
