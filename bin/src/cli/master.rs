//! `tepui master`: which master leads, and since when.
//!
//! Called by `cli`. Deliberately not here: the options of the daemon (`master_args`).

use std::time::SystemTime;

use serde::Serialize;
use tepui_core::protocol::operator::{Answer, Call, Summary};

use super::connect::unexpected;
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::{Column, Listing};
use super::times::{age, rfc3339};
use super::views::row;
use super::{Io, Threads, block_on};

/// Shows the master that answers: who leads knows.
pub(super) fn master(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answer = block_on(Threads::One, args.operator.ask(Call::Summary))?;
    let Answer::Summary(summary) = answer else {
        return Err(unexpected(&answer));
    };
    listing(&summary, SystemTime::now()).print(args.output, io.out)?;
    Ok(Exit::Success)
}

#[derive(Serialize)]
struct MasterJson<'a> {
    id: &'a str,
    /// Higher than that of any master before.
    epoch: u64,
    /// Where it listens, as `host:port`; null if it listens on all addresses of its machine.
    address: Option<&'a str>,
    /// Since when its process runs; RFC 3339, in UTC.
    started_at: String,
    /// Since when it leads; RFC 3339, in UTC.
    elected_at: String,
    /// Agents that are registered.
    agents: usize,
    frameworks: usize,
    /// Tasks that have not ended.
    tasks: usize,
    /// Offers outstanding.
    offers: usize,
}

fn listing(summary: &Summary, now: SystemTime) -> Listing {
    let json = MasterJson {
        id: summary.master.as_str(),
        epoch: summary.epoch,
        address: summary.address.as_deref(),
        started_at: rfc3339(summary.started_at),
        elected_at: rfc3339(summary.elected_at),
        agents: summary.agents,
        frameworks: summary.frameworks,
        tasks: summary.tasks,
        offers: summary.offers,
    };
    let cells = vec![
        summary.master.to_string(),
        summary.epoch.to_string(),
        summary.address.clone().unwrap_or_default(),
        age(summary.elected_at, now),
        age(summary.started_at, now),
        summary.agents.to_string(),
        summary.frameworks.to_string(),
        summary.tasks.to_string(),
        summary.offers.to_string(),
    ];
    Listing {
        kind: "master",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("EPOCH"),
            Column::Narrow("ADDRESS"),
            Column::Narrow("LEADS"),
            Column::Narrow("RUNS"),
            Column::Narrow("AGENTS"),
            Column::Narrow("FRAMEWORKS"),
            Column::Narrow("TASKS"),
            Column::Wide("OFFERS"),
        ],
        rows: vec![row(summary.master.as_str(), cells, &json)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;
    use tepui_core::ids::MasterId;
    use tepui_core::time::Time;

    use super::*;

    #[test]
    fn a_master_says_since_when_it_runs_and_leads() {
        // FW-77
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut summary = Summary {
            master: MasterId::of("rio", 3).unwrap(),
            epoch: 3,
            address: Some("10.0.0.1:5050".into()),
            started_at: at(60),
            elected_at: at(120),
            agents: 1,
            frameworks: 2,
            tasks: 3,
            offers: 4,
        };
        let now = UNIX_EPOCH + Duration::from_secs(60 + 7_200);
        let listing_now = listing(&summary, now);
        let id = summary.master.to_string();
        let cells = ["3", "10.0.0.1:5050", "119m", "2h", "1", "2", "3", "4"];
        assert_eq!(listing_now.rows[0].cells[0], id);
        assert_eq!(listing_now.rows[0].cells[1..], cells);
        assert_eq!(
            listing_now.rows[0].json,
            json!({
                "id": id,
                "epoch": 3,
                "address": "10.0.0.1:5050",
                "started_at": "1970-01-01T00:01:00.000000Z",
                "elected_at": "1970-01-01T00:02:00.000000Z",
                "agents": 1,
                "frameworks": 2,
                "tasks": 3,
                "offers": 4,
            })
        );
        summary.address = None;
        let row = &listing(&summary, now).rows[0];
        assert_eq!(
            (row.cells[2].as_str(), &row.json["address"]),
            ("", &json!(null))
        );
    }
}
