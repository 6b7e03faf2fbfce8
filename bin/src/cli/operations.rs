//! `tepui operation list`: what becomes of resources, and what has become of them.
//!
//! Called by `cli`. Deliberately not here: what operators themselves do with resources.

use std::time::SystemTime;

use clap::Subcommand;
use serde::Serialize;
use tepui_core::protocol::operation::OperationKind;
use tepui_core::protocol::operator::{Answer, Call, OperationView};

use super::connect::unexpected;
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::{Column, Listing};
use super::views::{self, ResourcesJson};
use super::{Io, Threads, block_on, times};

/// What can be asked about operations.
#[derive(Debug, Subcommand)]
pub(super) enum OperationCommand {
    /// List operations whose end their framework has not confirmed
    #[command(after_help = "\
Examples:
  tepui operation list
  tepui operation list -o wide

Operations without a name are not listed; `tepui agent list` counts those that an agent is at.")]
    List(ListArgs),
}

/// Lists operations.
pub(super) fn list(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answer = block_on(Threads::One, args.operator.ask(Call::Operations))?;
    let Answer::Operations(operations) = answer else {
        return Err(unexpected(&answer));
    };
    listing(&operations, SystemTime::now()).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// An operation that its framework has named.
#[derive(Serialize)]
pub(super) struct OperationJson<'a> {
    id: &'a str,
    framework: &'a str,
    /// `null` if it never came so far.
    agent: Option<&'a str>,
    /// `null` if a master before this one has ordered it, and only its end is known.
    kind: Option<&'static str>,
    state: &'static str,
    /// Why it was turned down.
    reason: Option<&'static str>,
    message: &'a str,
    /// When that was said; RFC 3339, in UTC.
    at: String,
    /// Whether it is over, and waits for its framework to confirm that.
    unconfirmed: bool,
    /// What it has made.
    converted: ResourcesJson,
}

pub(super) fn json_of(operation: &OperationView) -> OperationJson<'_> {
    let status = &operation.status;
    OperationJson {
        id: status.id.as_str(),
        framework: operation.framework.as_str(),
        agent: status.agent.as_ref().map(|id| id.as_str()),
        kind: operation.kind.map(OperationKind::as_str),
        state: status.state.as_str(),
        reason: status.reason.map(|reason| reason.as_str()),
        message: &status.message,
        at: times::rfc3339(status.at),
        unconfirmed: status.update.is_some(),
        converted: (&status.converted).into(),
    }
}

/// Lists operations.
fn listing(operations: &[OperationView], now: SystemTime) -> Listing {
    let rows = operations.iter().map(|operation| {
        let json = json_of(operation);
        let cells = vec![
            json.id.to_owned(),
            json.kind.unwrap_or_default().to_owned(),
            json.state.to_owned(),
            times::age(operation.status.at, now),
            json.agent.unwrap_or_default().to_owned(),
            json.framework.to_owned(),
            json.message.to_owned(),
            operation.status.converted.to_string(),
        ];
        views::row(json.id, cells, &json)
    });
    Listing {
        kind: "operation",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("KIND"),
            Column::Narrow("STATE"),
            Column::Narrow("AGE"),
            Column::Narrow("AGENT"),
            Column::Narrow("FRAMEWORK"),
            Column::Wide("DETAILS"),
            Column::Wide("CONVERTED"),
        ],
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;
    use tepui_core::ids::{AgentId, FrameworkId, OperationId, UpdateId};
    use tepui_core::protocol::operation::{OperationState, OperationStatus};
    use tepui_core::time::Time;

    use super::*;

    // FW-75
    #[test]
    fn the_json_of_an_operation() {
        let status = OperationStatus {
            agent: Some(AgentId::new("rio-1-S1").unwrap()),
            converted: "cpus:1".parse().unwrap(),
            update: Some(UpdateId(1)),
            ..OperationStatus::new(
                OperationId::new("r").unwrap(),
                OperationState::Finished,
                Time::from_micros(1_000_000_000),
            )
        };
        let operation = OperationView {
            framework: FrameworkId::new("rio-1-0001").unwrap(),
            kind: Some(OperationKind::CreateDisk),
            status,
        };
        let listing = listing(&[operation], UNIX_EPOCH + Duration::from_secs(1005));
        assert_eq!(
            listing.rows[0].json,
            json!({
                "id": "r",
                "framework": "rio-1-0001",
                "agent": "rio-1-S1",
                "kind": "create-disk",
                "state": "finished",
                "reason": null,
                "message": "",
                "at": "1970-01-01T00:16:40.000000Z",
                "unconfirmed": true,
                "converted": { "text": "cpus:1", "amounts": { "cpus": 1.0 } },
            })
        );
        let cells = [
            "r",
            "create-disk",
            "finished",
            "5s",
            "rio-1-S1",
            "rio-1-0001",
        ];
        assert_eq!(listing.rows[0].cells[..6], cells);
    }
}
