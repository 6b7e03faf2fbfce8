//! What the containers of an agent use, for those who ask over streams of their own.
//!
//! The agent's node calls [`Using::serve`] for each such stream. Samples are taken for one at a
//! time: to look at all containers takes a while. Deliberately not here: names of numbers
//! (`statistics`), and who may know of what (`sandboxes`).

use std::collections::HashMap;
use std::sync::Arc;

use tepui_core::auth::Principal;
use tepui_core::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use tepui_core::limits::STATISTICS_BYTES;
use tepui_core::protocol::enter::Refusal;
use tepui_core::protocol::usage::{Answer, ContainerUsage, Holder};
use tepui_isolation::Sampler;
use tepui_transport::streams::IncomingStream;
use tepui_transport::usage::write_answer;
use tokio::sync::Mutex;

use crate::sandboxes::Sandboxes;
use crate::statistics;

/// Who takes samples.
#[derive(Debug)]
pub(crate) struct Using {
    sandboxes: Arc<Sandboxes>,
    /// `None` where nothing is counted.
    sampler: Option<Sampler>,
    turn: Mutex<()>,
}

impl Using {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>, sampler: Option<Sampler>) -> Self {
        Self {
            sandboxes,
            sampler,
            turn: Mutex::default(),
        }
    }

    /// Serves one stream to its end.
    pub(crate) async fn serve(&self, stream: IncomingStream) -> anyhow::Result<()> {
        let info = Arc::clone(stream.info());
        let (mut writer, _reader) = stream.grant_both().await?;
        let Some(sampler) = self.sampler.clone() else {
            let reason = "what plain processes, and containers of an agent without privileges, use \
                          is counted by nobody";
            let refusal = Refusal::Unsupported(reason.to_owned());
            write_answer(&mut writer, &Answer::Refused(refusal)).await?;
            return Ok(writer.finish().await?);
        };
        let sandboxes = Arc::clone(&self.sandboxes);
        let turn = self.turn.lock().await;
        let sampling = move || {
            let holders = holders(&sandboxes, &info.principal);
            let ids: Vec<_> = holders.iter().map(|(id, ..)| id.clone()).collect();
            let samples = sampler.sample(&ids).into_iter();
            let each = holders.into_iter().zip(samples);
            let each = each.filter_map(|((container, framework, holder), sample)| {
                // It has ended meanwhile, or is about to begin.
                let sample = sample
                    .inspect_err(|error| tracing::debug!(%container, %error, "not sampled"))
                    .ok()?;
                let statistics = serde_json::Value::Object(statistics::object(&sample));
                Some(ContainerUsage {
                    framework,
                    holder,
                    container,
                    statistics: statistics.to_string(),
                })
            });
            each.collect::<Vec<_>>()
        };
        let all = tokio::task::spawn_blocking(sampling).await?;
        drop(turn);
        for usage in all {
            if usage.statistics.len() > STATISTICS_BYTES {
                tracing::warn!(container = %usage.container, "too many numbers: not told");
                continue;
            }
            write_answer(&mut writer, &Answer::Container(Box::new(usage))).await?;
        }
        write_answer(&mut writer, &Answer::End).await?;
        Ok(writer.finish().await?)
    }
}

/// Lists the containers that run, whose they are and who has them, as far as somebody may know of
/// them. Waits for the disk.
fn holders(sandboxes: &Sandboxes, who: &Principal) -> Vec<(ContainerId, FrameworkId, Holder)> {
    let mut all: Vec<_> = sandboxes
        .running()
        .into_iter()
        .filter_map(|(id, sandbox)| {
            let (framework, holder) = holder_of(&sandbox)?;
            Some((id, framework, holder))
        })
        .collect();
    let mut may_know: HashMap<FrameworkId, bool> = HashMap::new();
    all.retain(|(_, framework, _)| {
        let may = || sandboxes.check(who, framework, "look at").is_ok();
        *may_know.entry(framework.clone()).or_insert_with(may)
    });
    all.sort_by(|(a, ..), (b, ..)| (a.as_str().len(), a).cmp(&(b.as_str().len(), b)));
    all
}

/// Says who has a sandbox.
fn holder_of(sandbox: &[String]) -> Option<(FrameworkId, Holder)> {
    let [kind, framework, name, _] = sandbox else {
        return None;
    };
    let holder = match kind.as_str() {
        "tasks" => Holder::Task(TaskId::new(name).ok()?),
        "executors" => Holder::Executor(ExecutorId::new(name).ok()?),
        _ => return None,
    };
    Some((FrameworkId::new(framework).ok()?, holder))
}
