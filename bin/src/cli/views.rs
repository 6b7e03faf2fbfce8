//! Agents, frameworks, tasks and offers as they are listed: columns for people, JSON for programs.
//!
//! Called by the commands that list and by `run --json`. Each struct is a documented part of the
//! JSON contract (see `output`). Deliberately not here: asking the master.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use tepui_core::protocol::node::{Domain, Presence};
use tepui_core::protocol::offer::Offer;
use tepui_core::protocol::operator::{AgentView, FrameworkView, TaskView};
use tepui_core::protocol::status::{Breach, Exit};
use tepui_core::resources::{Quantities, Resources};
use tepui_core::roles::Role;

use super::endings::{ending, limited};
use super::output::{Column, Listing, Row};
use super::published::{LabelsJson, PublishedJson, labels};
use super::times::{age, rfc3339, short};

/// Resources: as text in the grammar of `--resources`, and as numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ResourcesJson {
    text: String,
    /// Scalars as they are, ranges and sets as the number of their elements.
    amounts: BTreeMap<String, f64>,
}

impl From<&Resources> for ResourcesJson {
    fn from(resources: &Resources) -> Self {
        let amounts = Quantities::from(resources);
        let amounts = amounts
            .iter()
            .map(|(name, amount)| (name.to_owned(), amount.to_f64()));
        Self {
            text: resources.to_string(),
            amounts: amounts.collect(),
        }
    }
}

impl fmt::Display for ResourcesJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() {
            "nothing"
        } else {
            &self.text
        })
    }
}

/// How a program ended: exactly one of the two is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExitJson {
    code: Option<i32>,
    signal: Option<i32>,
}

impl From<Exit> for ExitJson {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self {
                code: Some(code),
                signal: None,
            },
            Exit::Signal(signal) => Self {
                code: None,
                signal: Some(signal),
            },
        }
    }
}

/// A limit that was broken: MiB for memory, a count for processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct BreachJson {
    resource: &'static str,
    limit: f64,
    used: f64,
}

impl From<Breach> for BreachJson {
    fn from(breach: Breach) -> Self {
        Self {
            resource: limited(breach.resource),
            limit: breach.limit.to_f64(),
            used: breach.used.to_f64(),
        }
    }
}

/// Where a machine stands.
#[derive(Serialize)]
struct DomainJson<'a> {
    region: &'a str,
    zone: &'a str,
}

/// Whether an agent is there.
#[derive(Serialize)]
struct PresenceJson {
    /// `connected`, `disconnected`, `recovered` (known from before the master began, and not seen
    /// since) or `unreachable`.
    state: &'static str,
    /// Since when; RFC 3339, in UTC.
    since: String,
    /// When it is given up if it does not come back; RFC 3339, in UTC. `null` if it is there, was
    /// given up, or waits for its turn.
    until: Option<String>,
}

impl From<Presence> for PresenceJson {
    fn from(presence: Presence) -> Self {
        Self {
            state: presence.as_str(),
            since: rfc3339(presence.since()),
            until: presence.until().map(rfc3339),
        }
    }
}

/// An agent without what it runs.
#[derive(Serialize)]
pub(super) struct AgentStateJson<'a> {
    id: &'a str,
    hostname: &'a str,
    /// Where it listens, as `host:port`.
    address: &'a str,
    /// Where it stands, if it says so.
    domain: Option<DomainJson<'a>>,
    connected: bool,
    presence: PresenceJson,
    /// Whether it is given tasks, as operators have said: `active`, `deactivated`, `draining` or
    /// `drained`.
    standing: &'static str,
    /// Since when it is being drained; RFC 3339, in UTC. `null` unless it is draining or drained.
    drain_since: Option<String>,
    /// How many operations it has not confirmed to have carried out; its drain waits for them.
    operations: usize,
    /// RFC 3339, in UTC.
    registered_at: String,
    attributes: String,
    resources: ResourcesJson,
}

#[derive(Serialize)]
struct AgentJson<'a> {
    #[serde(flatten)]
    state: AgentStateJson<'a>,
    offered: ResourcesJson,
    allocated: ResourcesJson,
    /// What of that the agent does not have any more.
    shortage: ResourcesJson,
    tasks: usize,
}

pub(super) fn agent_state(agent: &AgentView) -> AgentStateJson<'_> {
    let domain = agent.info.domain.as_ref();
    AgentStateJson {
        id: agent.id.as_str(),
        hostname: &agent.info.hostname,
        address: &agent.info.address,
        domain: domain.map(|Domain { region, zone }| DomainJson { region, zone }),
        connected: agent.presence.is_connected(),
        presence: agent.presence.into(),
        standing: agent.standing.as_str(),
        drain_since: agent.drain_since.map(rfc3339),
        operations: agent.operations,
        registered_at: rfc3339(agent.registered_at),
        attributes: agent.info.attributes.to_string(),
        resources: (&agent.total).into(),
    }
}

/// Lists agents.
pub(super) fn agents(agents: &[AgentView], now: SystemTime) -> Listing {
    let rows = agents.iter().map(|agent| {
        let json = AgentJson {
            state: agent_state(agent),
            offered: (&agent.offered).into(),
            allocated: (&agent.allocated).into(),
            shortage: (&agent.shortage).into(),
            tasks: agent.tasks,
        };
        let cells = vec![
            agent.id.to_string(),
            agent.info.hostname.clone(),
            agent.presence.as_str().to_owned(),
            age(agent.presence.since(), now),
            agent.standing.as_str().to_owned(),
            agent
                .drain_since
                .map(|since| age(since, now))
                .unwrap_or_default(),
            age(agent.registered_at, now),
            agent.tasks.to_string(),
            agent.total.to_string(),
            agent.allocated.to_string(),
            agent.offered.to_string(),
            agent.operations.to_string(),
            agent.info.attributes.to_string(),
            agent.info.domain.as_ref().map(domain).unwrap_or_default(),
            agent.info.address.clone(),
        ];
        row(agent.id.as_str(), cells, &json)
    });
    Listing {
        kind: "agent",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("HOSTNAME"),
            Column::Narrow("PRESENCE"),
            Column::Wide("SINCE"),
            Column::Narrow("STANDING"),
            Column::Wide("DRAIN"),
            Column::Narrow("AGE"),
            Column::Narrow("TASKS"),
            Column::Narrow("RESOURCES"),
            Column::Narrow("ALLOCATED"),
            Column::Wide("OFFERED"),
            Column::Wide("OPERATIONS"),
            Column::Wide("ATTRIBUTES"),
            Column::Wide("DOMAIN"),
            Column::Wide("ADDRESS"),
        ],
        rows: rows.collect(),
    }
}

/// Says where something stands, as `--domain` takes it.
fn domain(domain: &Domain) -> String {
    format!("{}/{}", domain.region, domain.zone)
}

/// A framework without what it runs.
#[derive(Serialize)]
pub(super) struct FrameworkStateJson<'a> {
    id: Option<&'a str>,
    name: &'a str,
    roles: Vec<&'a str>,
    connected: bool,
    user: Option<&'a str>,
    hostname: &'a str,
    webui_url: &'a str,
    labels: LabelsJson<'a>,
    /// In which roles it wants no offers at the moment.
    suppressed: Vec<&'a str>,
    failover_timeout_seconds: f64,
}

#[derive(Serialize)]
struct FrameworkJson<'a> {
    #[serde(flatten)]
    state: FrameworkStateJson<'a>,
    offered: ResourcesJson,
    allocated: ResourcesJson,
    tasks: usize,
}

pub(super) fn framework_state(framework: &FrameworkView) -> FrameworkStateJson<'_> {
    let info = &framework.info;
    FrameworkStateJson {
        id: info.id.as_ref().map(|id| id.as_str()),
        name: &info.name,
        roles: info.roles.iter().map(Role::as_str).collect(),
        connected: framework.connected,
        user: info.user.as_deref(),
        hostname: &info.hostname,
        webui_url: &info.webui_url,
        labels: labels(&info.labels),
        suppressed: framework.suppressed.iter().map(Role::as_str).collect(),
        failover_timeout_seconds: info.failover_timeout.as_secs_f64(),
    }
}

/// Lists frameworks.
pub(super) fn frameworks(frameworks: &[FrameworkView]) -> Listing {
    let rows = frameworks.iter().map(|framework| {
        let info = &framework.info;
        let json = FrameworkJson {
            state: framework_state(framework),
            offered: (&framework.offered).into(),
            allocated: (&framework.allocated).into(),
            tasks: framework.tasks,
        };
        let id = json.state.id;
        let cells = vec![
            id.unwrap_or_default().to_owned(),
            info.name.clone(),
            json.state.roles.join(","),
            yes_or_no(framework.connected),
            framework.tasks.to_string(),
            framework.allocated.to_string(),
            framework.offered.to_string(),
            json.state.suppressed.join(","),
            short(info.failover_timeout),
        ];
        row(id.unwrap_or_default(), cells, &json)
    });
    Listing {
        kind: "framework",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("NAME"),
            Column::Narrow("ROLES"),
            Column::Narrow("CONNECTED"),
            Column::Narrow("TASKS"),
            Column::Narrow("ALLOCATED"),
            Column::Wide("OFFERED"),
            Column::Wide("SUPPRESSED"),
            Column::Wide("FAILOVER"),
        ],
        rows: rows.collect(),
    }
}

#[derive(Serialize)]
pub(super) struct TaskJson<'a> {
    id: &'a str,
    name: &'a str,
    framework: &'a str,
    agent: &'a str,
    state: &'static str,
    reason: Option<&'static str>,
    message: &'a str,
    /// When the state was entered; RFC 3339, in UTC.
    at: String,
    exit: Option<ExitJson>,
    breach: Option<BreachJson>,
    healthy: Option<bool>,
    /// Of its own; none are its agent's.
    addresses: &'a [String],
    resources: ResourcesJson,
    #[serde(flatten)]
    published: PublishedJson<'a>,
}

pub(super) fn task_json(task: &TaskView) -> TaskJson<'_> {
    let status = &task.status;
    TaskJson {
        id: status.task.as_str(),
        name: &task.name,
        framework: task.framework.as_str(),
        agent: task.agent.as_str(),
        state: status.state.as_str(),
        reason: status.reason.map(|reason| reason.as_str()),
        message: &status.message,
        at: rfc3339(status.at),
        exit: status.exit.map(ExitJson::from),
        breach: status.breach.map(BreachJson::from),
        healthy: super::observed::healthy(status),
        addresses: super::observed::addresses(status),
        resources: (&task.resources).into(),
        published: PublishedJson::of(task.published.as_deref()),
    }
}

/// Lists tasks.
pub(super) fn tasks(tasks: &[TaskView], now: SystemTime) -> Listing {
    let rows = tasks.iter().map(|task| {
        let status = &task.status;
        let cells = vec![
            status.task.to_string(),
            task.name.clone(),
            status.state.to_string(),
            age(status.at, now),
            task.agent.to_string(),
            task.framework.to_string(),
            task.resources.to_string(),
            super::observed::health(status),
            super::observed::addresses(status).join(","),
            ending(status),
        ];
        row(status.task.as_str(), cells, &task_json(task))
    });
    Listing {
        kind: "task",
        columns: &[
            Column::Narrow("TASK"),
            Column::Narrow("NAME"),
            Column::Narrow("STATE"),
            Column::Narrow("SINCE"),
            Column::Narrow("AGENT"),
            Column::Narrow("FRAMEWORK"),
            Column::Narrow("RESOURCES"),
            Column::Wide("HEALTHY"),
            Column::Wide("ADDRESSES"),
            Column::Wide("DETAILS"),
        ],
        rows: rows.collect(),
    }
}

#[derive(Serialize)]
pub(super) struct OfferJson<'a> {
    id: &'a str,
    framework: &'a str,
    role: String,
    agent: &'a str,
    hostname: &'a str,
    resources: ResourcesJson,
    /// The framework's executors on the agent.
    executors: Vec<&'a str>,
    /// When the agent's machine is to be out of service, if that is planned; RFC 3339, in UTC.
    unavailable_from: Option<String>,
    /// For how long; null is without end, if it is to be out of service.
    unavailable_seconds: Option<f64>,
}

pub(super) fn offer_json(offer: &Offer) -> OfferJson<'_> {
    let planned = offer.unavailability;
    OfferJson {
        id: offer.id.as_str(),
        framework: offer.framework.as_str(),
        role: offer.role.to_string(),
        agent: offer.agent.as_str(),
        hostname: &offer.hostname,
        resources: (&offer.resources).into(),
        executors: offer.executors.iter().map(|id| id.as_str()).collect(),
        unavailable_from: planned.map(|it| rfc3339(it.start)),
        unavailable_seconds: planned.and_then(|it| Some(it.duration?.as_secs_f64())),
    }
}

/// Lists offers.
pub(super) fn offers(offers: &[Offer]) -> Listing {
    let rows = offers.iter().map(|offer| {
        let cells = vec![
            offer.id.to_string(),
            offer.framework.to_string(),
            offer.role.to_string(),
            offer.agent.to_string(),
            offer.resources.to_string(),
            offer.hostname.to_string(),
        ];
        row(offer.id.as_str(), cells, &offer_json(offer))
    });
    Listing {
        kind: "offer",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("FRAMEWORK"),
            Column::Narrow("ROLE"),
            Column::Narrow("AGENT"),
            Column::Narrow("RESOURCES"),
            Column::Wide("HOSTNAME"),
        ],
        rows: rows.collect(),
    }
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}

pub(super) fn row(id: &str, cells: Vec<String>, row: &impl Serialize) -> Row {
    Row {
        id: id.into(),
        cells,
        json: json(row),
    }
}

pub(super) fn json(row: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(row).expect("views have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;
    use tepui_core::ids::{AgentId, FrameworkId, TaskId};
    use tepui_core::protocol::node::{AgentInfo, Standing};
    use tepui_core::protocol::status::{Reason, Source, TaskState};
    use tepui_core::resources::Milli;

    use tepui_core::time::Time;

    use tepui_core::protocol::status::{Limited, Observed, TaskStatus};

    use super::*;

    fn resources(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn failed_task() -> TaskView {
        TaskView {
            framework: FrameworkId::new("rio-1-0001").unwrap(),
            agent: AgentId::new("rio-1-S1").unwrap(),
            name: "hog".into(),
            resources: resources("cpus:0.5;mem:64"),
            status: TaskStatus {
                reason: Some(Reason::ContainerLimitationMemory),
                exit: Some(Exit::Signal(9)),
                breach: Some(Breach {
                    resource: Limited::Memory,
                    limit: Milli::from_thousandths(64_000),
                    used: Milli::from_thousandths(64_500),
                }),
                observed: Some(Box::new(Observed {
                    addresses: vec!["10.1.0.2".into(), "fd00::2".into()],
                    ..Observed::default()
                })),
                ..TaskStatus::new(
                    TaskId::new("run-1").unwrap(),
                    TaskState::Failed,
                    Source::Executor,
                    at(1000),
                )
            },
            published: None,
        }
    }

    #[test]
    fn the_json_of_a_task() {
        let listing = tasks(&[failed_task()], UNIX_EPOCH);
        assert_eq!(
            listing.rows[0].json,
            json!({
                "id": "run-1",
                "name": "hog",
                "framework": "rio-1-0001",
                "agent": "rio-1-S1",
                "state": "failed",
                "reason": "container-limitation-memory",
                "message": "",
                "at": "1970-01-01T00:16:40.000000Z",
                "exit": { "code": null, "signal": 9 },
                "breach": { "resource": "memory", "limit": 64.0, "used": 64.5 },
                "healthy": null,
                "addresses": ["10.1.0.2", "fd00::2"],
                "resources": {
                    "text": "cpus:0.5;mem:64",
                    "amounts": { "cpus": 0.5, "mem": 64.0 },
                },
                "labels": [],
                "discovery": null,
            })
        );
    }

    #[test]
    fn the_row_of_a_task_says_how_it_ended() {
        let now = UNIX_EPOCH + Duration::from_secs(1000 + 300);
        let listing = tasks(&[failed_task()], now);
        assert_eq!(
            listing.rows[0].cells,
            [
                "run-1",
                "hog",
                "failed",
                "5m",
                "rio-1-S1",
                "rio-1-0001",
                "cpus:0.5;mem:64",
                "",
                "10.1.0.2,fd00::2",
                "signal 9; container-limitation-memory; \
                 used 64.5 MiB of memory, the limit is 64 MiB",
            ]
        );
    }

    #[test]
    fn a_message_that_repeats_the_exit_is_left_out() {
        let mut status = failed_task().status;
        status.breach = None;
        status.message = "the command ended by signal 9".into();
        assert_eq!(ending(&status), "signal 9; container-limitation-memory");
        status.message = "no space for it".into();
        let said = "signal 9; container-limitation-memory; no space for it";
        assert_eq!(ending(&status), said);
    }

    #[test]
    fn the_json_of_an_agent() {
        let agent = AgentView {
            id: AgentId::new("rio-1-S1").unwrap(),
            info: AgentInfo {
                attributes: "rack:r1".parse().unwrap(),
                domain: Some(Domain {
                    region: "eu".into(),
                    zone: "a".into(),
                }),
                ..AgentInfo::new(
                    "box",
                    "127.0.0.1:5051",
                    resources("cpus:8;ports:[31000-31100]"),
                )
            },
            total: resources("cpus:4;ports:[31000-31100];labels:{fast,ssd}"),
            presence: Presence::Disconnected {
                since: at(5),
                until: Some(at(605)),
            },
            standing: Standing::Drained,
            drain_since: Some(at(60)),
            operations: 3,
            registered_at: at(0),
            offered: resources("cpus:1"),
            allocated: Resources::default(),
            shortage: resources("cpus:2"),
            tasks: 2,
        };
        let now = UNIX_EPOCH + Duration::from_secs(360);
        let listing = agents(&[agent], now);
        let shown = |title: &str| {
            let is_named = |column: &Column| match column {
                Column::Narrow(named) | Column::Wide(named) => *named == title,
            };
            let place = listing.columns.iter().position(is_named).unwrap();
            listing.rows[0].cells[place].as_str()
        };
        assert_eq!(shown("DOMAIN"), "eu/a");
        let json = &listing.rows[0].json;
        assert_eq!(json["resources"]["amounts"]["ports"], 101.0);
        assert_eq!(json["resources"]["amounts"]["labels"], 2.0);
        assert_eq!(json["offered"]["text"], "cpus:1");
        assert_eq!(json["allocated"], json!({ "text": "", "amounts": {} }));
        assert_eq!(json["shortage"]["text"], "cpus:2");
        assert_eq!(json["registered_at"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(json["attributes"], "rack:r1");
        assert_eq!(json["domain"], json!({ "region": "eu", "zone": "a" }));
        assert_eq!(json["standing"], "drained");
        // TK-129
        assert_eq!(json["drain_since"], "1970-01-01T00:01:00.000000Z");
        assert_eq!(shown("DRAIN"), "5m");
        assert_eq!(
            (shown("PRESENCE"), shown("OPERATIONS")),
            ("disconnected", "3")
        );
        assert_eq!(
            json["presence"],
            json!({
                "state": "disconnected",
                "since": "1970-01-01T00:00:05.000000Z",
                "until": "1970-01-01T00:10:05.000000Z",
            })
        );
        assert_eq!(json["operations"], 3);
        assert_eq!(
            (&json["tasks"], &json["connected"]),
            (&json!(2), &json!(false))
        );
    }
}
