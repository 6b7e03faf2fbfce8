//! `tepui events`: what changes in a cluster, as it happens.
//!
//! Called by `cli`. Each line names the version after which one goes on, so that nothing is missed
//! if the connection breaks: the master keeps what a reader may still want, within a bound.
//! Deliberately not here: the lists that events begin after (`list`).

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tepui_core::mirror::Share;
use tepui_core::protocol::events::{Event, Row, RowId, Version};
use tepui_core::protocol::maintenance::Unavailability;
use tepui_core::protocol::operation::OperationKind;
use tepui_core::protocol::operator::{Answer, Call};

use super::connect::{OperatorArgs, disconnected, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::output::printable;
use super::published::PublishedJson;
use super::roles::RoleStateJson;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, endings, operations, times, views};
use crate::operator::Operator;

/// Flags of `tepui events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui events
  tepui events --output json
  tepui events --after 3:1042

Each line begins with EPOCH:NUMBER; --after goes on after that one. What a master does not keep any
more is an error: then a list says how things are, and events without --after what changes.")]
pub(super) struct EventsArgs {
    /// Begin after this event, and not with the next that happens
    #[arg(long, value_name = "EPOCH:NUMBER", value_parser = Text(version))]
    after: Option<Version>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// How an event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for people
    Table,
    /// One object a line; a stable contract
    Json,
}

/// Prints events until it is interrupted.
pub(super) fn events(args: &EventsArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    block_on(Threads::Two, async {
        let target = args.operator.target()?;
        let mut interrupts = Interrupts::listen()?;
        let operator = args.operator.connect(&target).await?;
        let mut seen = args.after;
        let end = tokio::select! {
            end = follow(&operator, &mut seen, args.output, io.out) => end,
            () = interrupts.next() => Ok(Exit::Interrupted),
        };
        let end = end.map_err(|end| match end {
            End::Failure(failure) => failure,
            End::Lost(error) => {
                let Failure { exit, message } = disconnected(&error, &target);
                let hint = seen.map(|seen| format!("; --after {} goes on", name(seen)));
                Failure::new(exit, format_args!("{message}{}", hint.unwrap_or_default()))
            }
        })?;
        operator.close().await;
        Ok(end)
    })
}

/// Why no more events come.
enum End {
    Lost(crate::client::Error),
    Failure(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Failure(error.into())
    }
}

/// Asks for what comes next, again and again: the master answers once there is something. `seen` is
/// the last event that was printed.
async fn follow(
    operator: &Operator,
    seen: &mut Option<Version>,
    format: Format,
    out: &mut dyn Write,
) -> Result<Exit, End> {
    loop {
        let after = *seen;
        // A master of an older build is asked as it knows.
        let all = Call::WatchAll { after };
        let call = if operator.knows(&all) {
            all
        } else {
            Call::Watch { after }
        };
        let answer = operator.ask(call);
        let answer = answer.await.map_err(End::Lost)?;
        if let Answer::Gap { newest } = answer {
            let wanted = after.map(name).unwrap_or_default();
            let newest = name(newest);
            let message = format_args!(
                "--after {wanted}: what came next is not kept, or is of another master; the newest \
                 is {newest}"
            );
            return Err(Failure::new(Exit::NotFound, message).into());
        }
        let Answer::Events(batch) = answer else {
            return Err(unexpected(&answer).into());
        };
        let mut at = batch.after;
        for event in &batch.events {
            at.number = at.number.saturating_add(1);
            print(at, event, format, out)?;
        }
        out.flush()?;
        *seen = Some(at);
    }
}

#[derive(Serialize)]
struct ExecutorJson<'a> {
    id: &'a str,
    framework: &'a str,
    agent: &'a str,
    resources: views::ResourcesJson,
    #[serde(flatten)]
    published: PublishedJson<'a>,
}

/// Shows a row that an event tells, as the lists do; what they add up is left out.
fn told(told: &Row) -> serde_json::Value {
    match told {
        Row::Agent(agent) => views::json(&views::agent_state(
            &Share::default().of_agent(agent.clone()),
        )),
        Row::Framework(framework) => {
            let framework = Share::default().of_framework(framework.clone());
            views::json(&views::framework_state(&framework))
        }
        Row::Executor(executor) => views::json(&ExecutorJson {
            id: executor.id.as_str(),
            framework: executor.framework.as_str(),
            agent: executor.agent.as_str(),
            resources: (&executor.resources).into(),
            published: PublishedJson::of(executor.published.as_deref()),
        }),
        Row::Task(task) => views::json(&views::task_json(task)),
        Row::Offer(offer) => views::json(&views::offer_json(offer)),
        Row::Role(role) => views::json(&RoleStateJson::from(role)),
        Row::Operation(operation) => views::json(&operations::json_of(operation)),
        Row::Gone(gone) => serde_json::json!({
            "id": gone.id.as_str(),
            "at": times::rfc3339(gone.at),
        }),
        Row::Ended(ended) => serde_json::json!({
            "id": ended.id.as_str(),
            "reason": ended.reason.as_str(),
            "advice": ended.reason.advice(),
            "at": times::rfc3339(ended.at),
        }),
        Row::Completed(framework) => {
            let framework = Share::default().of_framework(framework.clone());
            views::json(&views::framework_state(&framework))
        }
        Row::Machine(row) => serde_json::json!({
            "machine": row.machine.to_string(),
            "start": times::rfc3339(row.unavailability.start),
            "duration_seconds": row.unavailability.duration.map(|it| it.as_secs_f64()),
        }),
        Row::Down(machine) => serde_json::json!({ "machine": machine.to_string() }),
        Row::InverseOffer(asked) => serde_json::json!({
            "framework": asked.framework.as_str(),
            "agent": asked.agent.as_str(),
            "inverse_offer": asked.open.as_ref().map(|id| id.as_str()),
            "response": asked.leaving.as_str(),
            "at": asked.leaving.at().map(times::rfc3339),
        }),
    }
}

/// Says the same in a few words.
fn told_in_short(told: &Row) -> String {
    match told {
        Row::Agent(agent) => {
            let (presence, standing) = (agent.presence.as_str(), agent.standing.as_str());
            format!("{} {presence} {standing}", agent.info.hostname)
        }
        Row::Framework(framework) => {
            let connected = presence(framework.connected);
            format!("{} {connected}", framework.info.name)
        }
        Row::Executor(executor) => format!(
            "{} on {} of {}",
            executor.resources, executor.agent, executor.framework
        ),
        Row::Task(task) => {
            let why = endings::ending(&task.status);
            let words = [task.status.state.as_str(), "on", task.agent.as_str(), &why];
            words.join(" ")
        }
        Row::Offer(offer) => {
            format!(
                "{} of {} to {}",
                offer.resources, offer.agent, offer.framework
            )
        }
        Row::Role(role) => {
            let mut words = format!("weight {}", role.weight);
            if !role.quota.guarantees.is_empty() {
                words += &format!(", guarantee {}", role.quota.guarantees);
            }
            if !role.quota.limits.is_empty() {
                words += &format!(", limit {}", role.quota.limits);
            }
            words
        }
        Row::Operation(operation) => {
            let kind = operation.kind.map_or("an operation", OperationKind::as_str);
            let status = &operation.status;
            let agent = status.agent.as_ref().map(|id| format!(" on {id}"));
            let agent = agent.unwrap_or_default();
            format!("{kind} {}{agent} of {}", status.state, operation.framework)
        }
        Row::Gone(gone) => format!("since {}", times::rfc3339(gone.at)),
        Row::Ended(ended) => format!("{} at {}", ended.reason, times::rfc3339(ended.at)),
        Row::Completed(framework) => framework.info.name.clone(),
        Row::Machine(row) => {
            let Unavailability { start, duration } = row.unavailability;
            let lasts = duration.map(|it| format!(" for {}", humantime::format_duration(it)));
            format!(
                "from {}{}",
                times::rfc3339(start),
                lasts.unwrap_or_default()
            )
        }
        Row::Down(_) => String::from("down"),
        Row::InverseOffer(asked) => {
            let open = asked.open.as_ref().map(|id| format!(", asked by {id}"));
            format!("{}{}", asked.leaving.as_str(), open.unwrap_or_default())
        }
    }
}

const fn presence(is_connected: bool) -> &'static str {
    if is_connected { "connected" } else { "away" }
}

/// One event, for programs.
#[derive(Serialize)]
struct EventJson<'a> {
    /// What `--after` takes to go on after it.
    version: String,
    epoch: u64,
    number: u64,
    /// `added`, `updated` or `removed`.
    event: &'a str,
    /// `agent`, `framework`, `executor`, `task`, `offer`, `role`, `operation`, `gone-agent`,
    /// `ended-framework`, `completed-framework`, `machine`, `machine-down` or `inverse-offer`.
    kind: &'a str,
    /// Whose, of executors, tasks and operations: ids are of their own there. Of inverse offers,
    /// who was asked.
    framework: Option<&'a str>,
    /// Where, of executors.
    agent: Option<&'a str>,
    id: &'a str,
    /// How it is now, as the lists show it without what they add up; `null` if it was removed.
    row: serde_json::Value,
}

fn print(at: Version, event: &Event, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let (what, id, row) = match event {
        Event::Added(row) => ("added", row.id(), Some(row)),
        Event::Updated(row) => ("updated", row.id(), Some(row)),
        Event::Removed(id) => ("removed", id.clone(), None),
    };
    let machine;
    let (kind, framework, agent, id) = match &id {
        RowId::Agent(id) => ("agent", None, None, id.as_str()),
        RowId::Framework(id) => ("framework", None, None, id.as_str()),
        RowId::Executor {
            framework,
            agent,
            id,
        } => ("executor", Some(framework), Some(agent), id.as_str()),
        RowId::Task { framework, id } => ("task", Some(framework), None, id.as_str()),
        RowId::Offer(id) => ("offer", None, None, id.as_str()),
        RowId::Role(role) => ("role", None, None, role.as_str()),
        RowId::Operation { framework, id } => ("operation", Some(framework), None, id.as_str()),
        RowId::Gone(id) => ("gone-agent", None, None, id.as_str()),
        RowId::Ended(id) => ("ended-framework", None, None, id.as_str()),
        RowId::Completed(id) => ("completed-framework", None, None, id.as_str()),
        RowId::Machine(id) => {
            machine = id.to_string();
            ("machine", None, None, machine.as_str())
        }
        RowId::Down(id) => {
            machine = id.to_string();
            ("machine-down", None, None, machine.as_str())
        }
        RowId::InverseOffer { framework, agent } => (
            "inverse-offer",
            Some(framework),
            Some(agent),
            agent.as_str(),
        ),
    };
    let at_name = name(at);
    match format {
        Format::Table => {
            let now = row.map(told_in_short).unwrap_or_default();
            let line = format!("{at_name:<10} {what:<8} {kind:<9} {id}  {now}");
            writeln!(out, "{}", printable(line.trim_end()))
        }
        Format::Json => {
            let json = EventJson {
                version: at_name,
                epoch: at.epoch,
                number: at.number,
                event: what,
                kind,
                framework: framework.map(|id| id.as_str()),
                agent: agent.map(|id| id.as_str()),
                id,
                row: row.map_or(serde_json::Value::Null, told),
            };
            serde_json::to_writer(&mut *out, &json)?;
            writeln!(out)
        }
    }
}

/// Reads a version of a master's state.
fn version(text: &str) -> Result<Version, String> {
    let parts = text.split_once(':');
    let parsed = parts.and_then(|(epoch, number)| {
        let (epoch, number) = (epoch.parse().ok()?, number.parse().ok()?);
        Some(Version { epoch, number })
    });
    parsed.ok_or_else(|| "expected EPOCH:NUMBER, as `tepui events` prints them".into())
}

/// Names a version as `--after` takes it.
fn name(version: Version) -> String {
    let Version { epoch, number } = version;
    format!("{epoch}:{number}")
}

#[cfg(test)]
mod tests {
    use tepui_core::ids::{AgentId, FrameworkId, OfferId};
    use tepui_core::protocol::events::RoleState;
    use tepui_core::protocol::offer::Offer;
    use tepui_core::quota::Quota;

    use super::*;

    fn line(event: &Event, format: Format) -> String {
        let at = Version {
            epoch: 3,
            number: 41,
        };
        let mut out = Vec::new();
        print(at, event, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn offer() -> Offer {
        let id = OfferId::new("rio-3-O1").unwrap();
        let framework = FrameworkId::new("rio-3-0001").unwrap();
        let agent = AgentId::new("rio-3-S1").unwrap();
        Offer::new(id, framework, agent, "cpus:2".parse().unwrap())
    }

    // FW-92
    #[test]
    fn an_event_is_one_line() {
        let added = Event::Added(Row::Offer(offer()));
        assert_eq!(
            line(&added, Format::Table),
            "3:41       added    offer     rio-3-O1  cpus:2 of rio-3-S1 to rio-3-0001\n"
        );
        let removed = Event::Removed(RowId::Offer(offer().id));
        assert_eq!(
            line(&removed, Format::Table),
            "3:41       removed  offer     rio-3-O1\n"
        );
        let json = line(&added, Format::Json);
        assert_eq!(json.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["version"], "3:41");
        assert_eq!(json["row"]["resources"]["text"], "cpus:2");
        let removed: serde_json::Value =
            serde_json::from_str(&line(&removed, Format::Json)).unwrap();
        assert_eq!(removed["row"], serde_json::Value::Null);
        assert_eq!(removed["id"], "rio-3-O1");
    }

    // FW-92
    #[test]
    fn what_is_said_of_a_role_is_told() {
        let role = RoleState {
            role: "ads/web".parse().unwrap(),
            weight: "1.5".parse().unwrap(),
            quota: Quota {
                guarantees: "cpus:8".parse().unwrap(),
                limits: "cpus:32;gpus:0".parse().unwrap(),
            },
        };
        let event = Event::Updated(Row::Role(role));
        assert_eq!(
            line(&event, Format::Table),
            "3:41       updated  role      ads/web  weight 1.5, guarantee cpus:8, limit \
             cpus:32;gpus:0\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(&event, Format::Json)).unwrap();
        assert_eq!(
            (&json["kind"], &json["id"]),
            (&"role".into(), &"ads/web".into())
        );
        assert_eq!(json["row"]["limit"]["gpus"], 0.0);
    }

    #[test]
    fn a_version_reads_back() {
        let last = Version {
            epoch: 3,
            number: u64::MAX,
        };
        assert_eq!(version(&name(last)), Ok(last));
        for text in ["", "3", "3:", ":4", "3:4:5", "3:-1", "a:b"] {
            assert!(version(text).is_err(), "{text}");
        }
    }
}
