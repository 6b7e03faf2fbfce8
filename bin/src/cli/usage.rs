//! `tepui agent usage`: what the containers of an agent use.
//!
//! Called by `cli`. It asks the agent over a stream of its own, twice, for what is used in between.
//! The JSON has the numbers of the second time by Mesos' names (`statistics`). Deliberately not
//! here: measuring.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use tepui_core::ids::{AgentId, ContainerId};
use tepui_core::protocol::enter::Refusal;
use tepui_core::protocol::operator::{Answer, Call};
use tepui_core::protocol::usage::{ContainerUsage, Holder};
use tepui_transport::usage::{Told, UsageClient};

use super::at_agent::AtAgent;
use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Column, Listing, OutputArgs};
use super::text::Text;
use super::{Io, Threads, block_on, values, views};

/// Flags of `tepui agent usage`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui agent usage tepui-1-S1
  tepui agent usage tepui-1-S1 --interval 5s --output wide
  tepui agent usage tepui-1-S1 --output json

CPUS is what was used in the interval, in cores. The JSON has all numbers, by the names that Mesos
has for them.")]
pub(super) struct UsageArgs {
    /// The agent's id
    #[arg(value_parser = Text(values::agent_id))]
    agent: AgentId,
    /// Between the two looks that tell how much CPU time is used
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = Text(values::duration))]
    interval: Duration,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// What a container uses.
#[derive(Serialize)]
struct UsageJson<'a> {
    framework: &'a str,
    /// `null` if it is an executor's.
    task: Option<&'a str>,
    /// `null` if it is a task's own.
    executor: Option<&'a str>,
    container: &'a str,
    /// In the interval, in cores; `null` if that is not counted, or it began meanwhile.
    cpus: Option<f64>,
    /// All numbers, by Mesos' names; what is not counted is not there.
    statistics: &'a Map<String, Value>,
}

/// Shows what containers use.
pub(super) fn usage(args: &UsageArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let [before, now] = block_on(Threads::One, ask(args))?;
    listing(&parse(before)?, &parse(now)?).print(args.output, io.out)?;
    Ok(Exit::Success)
}

async fn ask(args: &UsageArgs) -> Result<[Vec<ContainerUsage>; 2], Failure> {
    let answer = args.operator.ask(Call::Agents).await?;
    let Answer::Agents(agents) = answer else {
        return Err(unexpected(&answer));
    };
    let agent = agents.iter().find(|agent| agent.id == args.agent);
    let agent = agent.ok_or_else(|| {
        let message = format_args!(
            "no agent {} is there; `tepui agent list` lists them",
            args.agent
        );
        Failure::new(Exit::NotFound, message)
    })?;
    let agent = AtAgent::new(&args.operator, agent)?;
    let of_agent = |error| agent.failed(error);
    let client = UsageClient::connect(&agent.target, &agent.address).await;
    let client = client.map_err(of_agent)?;
    let before = granted(client.ask().await.map_err(of_agent)?)?;
    tokio::time::sleep(args.interval).await;
    let now = granted(client.ask().await.map_err(of_agent)?)?;
    client.close().await;
    Ok([before, now])
}

fn granted(told: Told) -> Result<Vec<ContainerUsage>, Failure> {
    match told {
        Told::Usage(all) => Ok(all),
        Told::Refused(refusal) => {
            let exit = match refusal {
                Refusal::Denied(_) => Exit::Denied,
                Refusal::NotRunning(_)
                | Refusal::Unsupported(_)
                | Refusal::Invalid(_)
                | Refusal::Failed(_)
                | Refusal::TooMany(_) => Exit::Failed,
            };
            Err(Failure::new(exit, refusal.reason()))
        }
    }
}

/// A container with its numbers.
type Counted = (ContainerUsage, Map<String, Value>);

fn parse(all: Vec<ContainerUsage>) -> Result<Vec<Counted>, Failure> {
    let each = all.into_iter().map(|usage| {
        let numbers = serde_json::from_str(&usage.statistics).map_err(|error| {
            let container = &usage.container;
            Failure::failed(format_args!(
                "the agent said nonsense of container {container}: {error}"
            ))
        })?;
        Ok((usage, numbers))
    });
    each.collect()
}

fn number(numbers: &Map<String, Value>, name: &str) -> Option<f64> {
    numbers.get(name)?.as_f64()
}

/// Returns how many cores were used between two looks.
fn cores(before: &Map<String, Value>, now: &Map<String, Value>) -> Option<f64> {
    let spent = |numbers| {
        let user = number(numbers, "cpus_user_time_secs")?;
        Some(user + number(numbers, "cpus_system_time_secs")?)
    };
    let time = number(now, "timestamp")? - number(before, "timestamp")?;
    let spent = spent(now)? - spent(before)?;
    (time > 0.0).then(|| spent.max(0.0) / time)
}

fn listing(before: &[Counted], now: &[Counted]) -> Listing {
    let before: HashMap<&ContainerId, &Map<String, Value>> = before
        .iter()
        .map(|(usage, numbers)| (&usage.container, numbers))
        .collect();
    let rows = now.iter().map(|(usage, numbers)| {
        let before = before.get(&usage.container);
        let cpus = before.and_then(|before| cores(before, numbers));
        let (task, executor) = match &usage.holder {
            Holder::Task(task) => (Some(task.as_str()), None),
            Holder::Executor(executor) => (None, Some(executor.as_str())),
        };
        let json = UsageJson {
            framework: usage.framework.as_str(),
            task,
            executor,
            container: usage.container.as_str(),
            cpus,
            statistics: numbers,
        };
        let of = |name| number(numbers, name);
        let size = |name| of(name).map(bytes).unwrap_or_default();
        let plain = |name| {
            of(name)
                .map(|number| number.to_string())
                .unwrap_or_default()
        };
        let cells = vec![
            usage.holder.as_str().to_owned(),
            cpus.map(|cpus| format!("{cpus:.2}")).unwrap_or_default(),
            plain("cpus_limit"),
            size("mem_total_bytes"),
            size("mem_limit_bytes"),
            size("disk_used_bytes"),
            size("disk_limit_bytes"),
            plain("processes"),
            size("net_rx_bytes"),
            size("net_tx_bytes"),
            usage.framework.as_str().to_owned(),
            usage.container.as_str().to_owned(),
            plain("cpus_nr_throttled"),
        ];
        views::row(usage.container.as_str(), cells, &json)
    });
    Listing {
        kind: "container",
        columns: &[
            Column::Narrow("TASK"),
            Column::Narrow("CPUS"),
            Column::Narrow("LIMIT"),
            Column::Narrow("MEM"),
            Column::Narrow("LIMIT"),
            Column::Narrow("DISK"),
            Column::Narrow("LIMIT"),
            Column::Narrow("PROCESSES"),
            Column::Narrow("RECEIVED"),
            Column::Narrow("SENT"),
            Column::Wide("FRAMEWORK"),
            Column::Wide("CONTAINER"),
            Column::Wide("THROTTLED"),
        ],
        rows: rows.collect(),
    }
}

/// Writes a number of bytes for people.
fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            let digits = usize::from(unit != "B" && number < 100.0);
            return format!("{number:.digits$} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tepui_core::ids::{FrameworkId, TaskId};

    use super::*;

    fn counted(statistics: Value) -> Counted {
        let usage = ContainerUsage {
            framework: FrameworkId::new("f").unwrap(),
            holder: Holder::Task(TaskId::new("t").unwrap()),
            container: ContainerId::numbered(1),
            statistics: statistics.to_string(),
        };
        parse(vec![usage]).ok().unwrap().remove(0)
    }

    #[test]
    fn what_is_used_in_between_is_the_difference() {
        let one = |at: f64, user: f64| {
            json!({
                "timestamp": at,
                "cpus_user_time_secs": user,
                "cpus_system_time_secs": 1.0,
                "mem_total_bytes": 3 << 20,
            })
        };
        let (before, now) = (counted(one(10.0, 2.0)), counted(one(12.0, 3.0)));
        let listing = listing(&[before], &[now]);
        let row = &listing.rows[0];
        assert_eq!(row.cells[..4], ["t", "0.50", "", "3.0 MiB"]);
        assert_eq!(row.json["cpus"], 0.5);
        assert_eq!(row.json["statistics"]["mem_total_bytes"], 3 << 20);
        assert_eq!(row.json["executor"], Value::Null);
    }

    #[test]
    fn one_that_has_just_begun_has_used_nothing_in_between() {
        let now = counted(json!({ "timestamp": 1.0 }));
        let listing = listing(&[], &[now]);
        assert_eq!(listing.rows[0].json["cpus"], Value::Null);
        assert_eq!(listing.rows[0].cells[1], "");
    }

    #[test]
    fn sizes_are_short() {
        for (number, text) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1536.0, "1.5 KiB"),
            (300.0 * 1024.0, "300 KiB"),
            (5.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0, "5.0 TiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
