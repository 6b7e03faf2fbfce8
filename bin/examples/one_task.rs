//! The scheduler of the README, whole: runs one command, and ends with it.
#![allow(clippy::wildcard_enum_match_arm, reason = "most need no answer")]

use tepui::prelude::*;

struct OneTask {
    queued: Option<TaskId>,
    want: Resources,
}

impl Logic for OneTask {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => calls.extend(offers.iter().map(|offer| {
                let id = self
                    .queued
                    .take_if(|_| offer.resources.contains(&self.want));
                let date = |id| offer.task(id, self.want.clone(), CommandInfo::shell("date"));
                UserCall::launch(offer, id.map(date).into_iter().collect(), None)
            })),
            UserEvent::Update(status) if status.state.is_terminal() => calls.push(UserCall::Stop),
            _ => {}
        }
    }
}

fn main() -> anyhow::Result<()> {
    tepui::main_with(async {
        let one = OneTask {
            queued: Some(TaskId::new("one")?),
            want: Resources::parse("cpus:0.1;mem:32")?,
        };
        let cluster = Embedded::start(EmbeddedOptions::default()).await?;
        let framework = Framework::builder("one");
        framework.run(&cluster.target(), one).await?;
        cluster.shutdown().await
    })
}
