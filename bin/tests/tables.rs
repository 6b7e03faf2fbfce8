//! What the lists show to people, and offers that are not there, end to end.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Cluster, DEADLINE, task_of, wait_for};
use serde_json::Value;
use tepui::core::scheduler::{UserCall, UserEvent};
use tepui::prelude::*;

const FLAGS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

/// Splits a table into its rows, each by column title. Columns are at least three blanks apart.
#[track_caller]
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let rows = text.lines().map(|line| {
        assert_eq!(line.trim_end(), line, "no blanks at the end:\n{text}");
        let cells = line.split("   ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect()
    });
    let mut rows = rows.collect::<Vec<Vec<&str>>>().into_iter();
    let titles = rows.next().expect("a line of titles");
    rows.map(|cells| {
        assert_eq!(cells.len(), titles.len(), "{text}");
        let titles = titles.iter().map(ToString::to_string);
        titles.zip(cells.into_iter().map(Into::into)).collect()
    })
    .collect()
}

/// Checks that a row has these cells.
#[track_caller]
fn has(row: &BTreeMap<String, String>, cells: &[(&str, &str)]) {
    for (title, cell) in cells {
        assert_eq!(row.get(*title).map(String::as_str), Some(*cell), "{row:?}");
    }
}

fn text<'a>(list: &'a Value, field: &str) -> &'a str {
    list[0][field].as_str().expect("one of it")
}

#[test]
fn tables_of_tasks_frameworks_and_offers() {
    let cluster = Cluster::start(FLAGS);
    // Without anything to list there are the titles.
    for (args, titles) in [
        (
            &["ps"][..],
            "TASK   NAME   STATE   SINCE   AGENT   FRAMEWORK   RESOURCES\n",
        ),
        (
            &["framework", "list"],
            "ID   NAME   ROLES   CONNECTED   TASKS   ALLOCATED\n",
        ),
        (
            &["offer", "list"],
            "ID   FRAMEWORK   ROLE   AGENT   RESOURCES\n",
        ),
        (
            &["operation", "list"],
            "ID   KIND   STATE   AGE   AGENT   FRAMEWORK\n",
        ),
    ] {
        assert_eq!(cluster.tepui(args).with(0).out, titles);
    }

    let flags = ["--cpus", "1.5", "--mem", "64", "--name", "snore"];
    let mut snore = cluster.start_run(&[&flags[..], &["--", "sleep", "600"]].concat());
    snore.until_it_says(" running");
    let agent = cluster.json(&["agent", "list"]);
    let framework = cluster.json(&["framework", "list"]);

    let listed = table(&cluster.tepui(&["ps"]).with(0).out);
    let [task] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    let err = snore.err();
    has(
        task,
        &[
            ("TASK", task_of(&err)),
            ("NAME", "snore"),
            ("STATE", "running"),
            ("AGENT", text(&agent, "id")),
            ("FRAMEWORK", text(&framework, "id")),
            ("RESOURCES", "cpus:1.5;mem:64"),
        ],
    );
    assert!(task["SINCE"].ends_with('s'), "{task:?}");

    let listed = table(
        &cluster
            .tepui(&["framework", "list", "-o", "wide"])
            .with(0)
            .out,
    );
    let [row] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    has(
        row,
        &[
            ("ID", text(&framework, "id")),
            ("NAME", "tepui run"),
            ("ROLES", "*"),
            ("CONNECTED", "yes"),
            ("TASKS", "1"),
            ("ALLOCATED", "cpus:1.5;mem:64"),
            ("FAILOVER", "0s"),
        ],
    );
    // Ids and nothing else for programs that take no JSON.
    let quiet = cluster.tepui(&["ps", "--quiet"]).with(0).out;
    assert_eq!(quiet, format!("{}\n", task_of(&err)));
    let bare = cluster.tepui(&["ps", "--no-headers"]).with(0).out;
    assert!(bare.starts_with(task_of(&err)), "{bare}");

    // An ended one is listed with --all, and with how it ended in the wide table.
    cluster.tepui(&["kill", task_of(&err)]).with(0);
    snore.end().with(143);
    let listed = table(&cluster.tepui(&["ps", "--all", "-o", "wide"]).with(0).out);
    has(&listed[0], &[("STATE", "killed")]);
    assert!(listed[0]["DETAILS"].starts_with("signal 15"), "{listed:?}");
}

/// Keeps its first offer and launches with one that nobody made; told off, with that which it has.
struct Liar {
    heard: std::sync::mpsc::Sender<TaskStatus>,
    lied: bool,
    keeps: Option<Offer>,
}

impl Logic for Liar {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) if self.lied => {
                let offers = offers.into_iter().map(|offer| offer.id).collect();
                let refuse = Some(DEADLINE);
                calls.push(UserCall::Decline { offers, refuse });
            }
            UserEvent::Offers(mut offers) => {
                self.lied = true;
                let offer = offers.pop().expect("no empty message");
                let mut unknown = offer.clone();
                unknown.id = OfferId::new("tepui-1-O999999").expect("a valid id");
                calls.push(launch(&unknown, "never", "true"));
                self.keeps = Some(offer);
            }
            UserEvent::Update(status) => {
                let (task, over) = (status.task.clone(), status.state.is_terminal());
                self.heard.send(status).expect("the test listens");
                match self.keeps.take() {
                    // The master is as it was: the offer still holds.
                    Some(offer) if task.as_str() == "never" => {
                        calls.push(launch(&offer, "real", "exit 0"));
                    }
                    _ if over => calls.push(UserCall::Stop),
                    keeps => self.keeps = keeps,
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

fn launch(offer: &Offer, id: &str, command: &str) -> UserCall {
    let want = Resources::parse("cpus:0.5;mem:32").expect("valid");
    let task = offer.task(
        TaskId::new(id).expect("valid"),
        want,
        CommandInfo::shell(command),
    );
    UserCall::launch(offer, vec![task], Some(Duration::ZERO))
}

#[test]
fn an_unknown_offer_is_an_error_of_its_tasks_and_the_master_lives() {
    // TK-51
    let cluster = Cluster::start(FLAGS);
    let target = Target {
        master: cluster.address.clone(),
        tls_dir: cluster.tls.clone(),
    };
    let (heard, updates) = std::sync::mpsc::channel();
    let liar = Liar {
        heard,
        lied: false,
        keeps: None,
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let running = Framework::builder("liar").run(&target, liar);
    let running = async { tokio::time::timeout(DEADLINE, running).await };
    let ended = runtime.block_on(running);
    ended.expect("in time").expect("the master lets it in");

    let updates: Vec<TaskStatus> = updates.try_iter().collect();
    let never = &updates[0];
    assert_eq!(never.task.as_str(), "never");
    assert_eq!(
        (never.state, never.reason),
        (TaskState::Dropped, Some(Reason::InvalidOffers)),
        "{never:?}"
    );
    assert!(never.message.contains("tepui-1-O999999"), "{never:?}");
    let real = updates.last().expect("there is one");
    assert_eq!(
        (real.task.as_str(), real.state),
        ("real", TaskState::Finished),
        "{real:?}"
    );
    wait_for("the framework to be gone", || {
        let left = cluster.json(&["framework", "list"]);
        left.as_array()?.is_empty().then_some(())
    });
}
