//! Daemons as an operator starts them: what they say about themselves, whom they let in, and what
//! they do with frameworks that ask for the impossible.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{AGENT, Cluster, Dir, Ended, MASTER, Process, TEPUI, command, task_of, wait_for};
use serde_json::{Value, json};
use tepui::client::{Event, Events, Handle, Offer};
use tepui::core::auth::{PeerRole, Principal};
use tepui::prelude::*;
use tepui::transport::authority::{Authority, Validity};

const FLAGS: &[&str] = &[
    "--resources",
    "cpus:4;mem:4096;ports:[31000-31100];labels:{fast,ssd}",
    "--attributes",
    "rack:r1;zone:[1-3];speed:2.5",
];

/// Returns the only element of a list.
#[track_caller]
fn only(list: &Value) -> &Value {
    let [one] = list.as_array().expect("a list").as_slice() else {
        panic!("not one: {list:#}");
    };
    one
}

#[test]
fn the_lists_and_a_kill() {
    // RM-07, RM-57
    let cluster = Cluster::start(FLAGS);
    let agents = cluster.json(&["agent", "list"]);
    let agent = only(&agents);
    let amounts = &agent["resources"]["amounts"];
    assert_eq!(amounts["cpus"], 4.0, "{agent:#}");
    assert_eq!(amounts["mem"], 4096.0, "{agent:#}");
    let text = agent["resources"]["text"].as_str().unwrap();
    for part in ["ports:[31000-31100]", "labels:{fast,ssd}"] {
        assert!(text.contains(part), "{text}");
    }
    let attributes = &agent["attributes"];
    assert_eq!(attributes, "rack:r1;zone:[1-3];speed:2.5");
    assert_eq!(agent["connected"], true);

    let mut run = cluster.start_run(&["--cpus", "1.5", "--name", "snore", "--", "sleep", "600"]);
    run.until_it_says(" running");
    let err = run.err();
    let task = task_of(&err);
    let tasks = cluster.json(&["ps"]);
    let listed = only(&tasks);
    assert_eq!(listed["id"], task);
    assert_eq!(listed["name"], "snore");
    assert_eq!(listed["state"], "running");
    assert_eq!(listed["agent"], agent["id"]);
    assert_eq!(listed["resources"]["amounts"]["cpus"], 1.5);
    let frameworks = cluster.json(&["framework", "list"]);
    let framework = only(&frameworks);
    assert_eq!(framework["id"], listed["framework"]);
    assert_eq!(framework["connected"], true);
    assert_eq!(framework["tasks"], 1);
    assert_eq!(framework["allocated"]["amounts"]["cpus"], 1.5);

    cluster.tepui(&["kill", task]).with(0);
    // As a shell would say it of SIGTERM.
    let ended = run.end().with(143);
    ended.says(&[&format!("tepui: task {task} killed")]);
    assert_eq!(cluster.json(&["ps"]), json!([]));
}

/// A framework of this test, with its runtime.
struct Client {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
    events: Events,
}

impl Client {
    fn connect(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let target = Target {
            master: cluster.address.clone(),
            tls_dir: cluster.tls.clone(),
        };
        let connecting = Framework::builder("by hand").connect(&target);
        let (handle, events) = runtime.block_on(connecting).expect("the master lets it in");
        Self {
            runtime,
            handle,
            events,
        }
    }

    #[track_caller]
    fn next(&mut self) -> Event {
        let next = async { tokio::time::timeout(common::DEADLINE, self.events.next()).await };
        let event = self.runtime.block_on(next).expect("an event in time");
        event.expect("the framework has not ended")
    }

    #[track_caller]
    fn offer(&mut self) -> Offer {
        loop {
            if let Event::Offers(mut offers) = self.next() {
                return offers.pop().expect("no empty message");
            }
        }
    }

    /// Waits for news of a task; acknowledges it.
    #[track_caller]
    fn status(&mut self) -> TaskStatus {
        loop {
            if let Event::Update(update) = self.next() {
                return (*update).clone();
            }
        }
    }
}

fn sleeper(offer: &Offer, id: &str, resources: &str) -> TaskInfo {
    let sleep = CommandInfo::exec("sleep", ["600"]);
    let id = TaskId::new(id).expect("a valid id");
    offer.task(id, Resources::parse(resources).expect("valid"), sleep)
}

#[test]
fn offers_that_nobody_answers_are_listed() {
    let cluster = Cluster::start(FLAGS);
    let mut client = Client::connect(&cluster);
    let offer = client.offer();
    let offers = cluster.json(&["offer", "list"]);
    let listed = only(&offers);
    assert_eq!(listed["id"], offer.id.as_str());
    assert_eq!(listed["agent"], offer.agent.as_str());
    assert_eq!(listed["resources"]["amounts"]["cpus"], 4.0);
    drop(offer);
    wait_for("the offer to be declined", || {
        (cluster.json(&["offer", "list"]) == json!([])).then_some(())
    });
}

#[test]
fn an_offer_that_nobody_answers_is_taken_back() {
    // OF-06, WK-02
    let mut cluster = Cluster::start(FLAGS);
    cluster.kill_master();
    cluster.start_master_with(&["--offer-timeout", "300ms"]);
    let mut client = Client::connect(&cluster);
    let offer = client.offer();
    let rescinded = loop {
        if let Event::Rescinded(id) = client.next() {
            break id;
        }
    };
    assert_eq!(rescinded, offer.id);
    let late = sleeper(&offer, "late", "cpus:1;mem:64");
    offer.launch(vec![late]).expect_err("it is void");
    assert_ne!(client.offer().id, rescinded);
}

#[test]
fn whoever_drops_the_events_ends_the_framework() {
    let cluster = Cluster::start(FLAGS);
    let mut client = Client::connect(&cluster);
    let Event::Subscribed { framework } = client.next() else {
        panic!("it is subscribed first");
    };
    // Nothing happens any more that it could be told of.
    client.handle.suppress();
    let ids = |cluster: &Cluster| cluster.tepui(&["framework", "list", "-q"]).with(0).out;
    assert_eq!(ids(&cluster), format!("{framework}\n"));
    let Client {
        runtime, events, ..
    } = client;
    drop(events);
    wait_for("the framework to end", || {
        ids(&cluster).is_empty().then_some(())
    });
    drop(runtime);
}

#[test]
fn impossible_tasks_are_errors_of_the_task_and_the_master_lives() {
    // TK-51, TK-64
    let cluster = Cluster::start(FLAGS);
    let mut client = Client::connect(&cluster);
    let refuse = Some(Duration::ZERO);

    let offer = client.offer();
    let too_large = sleeper(&offer, "large", "cpus:64;mem:64");
    offer.launch_and_refuse(vec![too_large], refuse).unwrap();
    let status = client.status();
    assert_eq!(status.task.as_str(), "large");
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Error, Some(Reason::TaskInvalid)),
        "{status:?}"
    );
    assert!(status.message.contains("cpus"), "{status:?}");

    let offer = client.offer();
    let twice = ["one", "one"].map(|id| sleeper(&offer, id, "cpus:0.5;mem:64"));
    offer.launch_and_refuse(twice.into(), refuse).unwrap();
    // The first runs, the second of the same name does not; in whatever order that is told. What is
    // said of the second must not look like the end of the first.
    let (mut runs, mut refused) = (0, 0);
    while (runs, refused) != (1, 1) {
        let status = client.status();
        assert_eq!(status.task.as_str(), "one");
        assert!(!status.state.is_terminal(), "{status:?}");
        match status.reason {
            Some(Reason::TaskInvalid) => refused += 1,
            Some(_) => panic!("{status:?}"),
            None => runs += u32::from(status.state == TaskState::Running),
        }
    }

    // The same name in a later launch, while the first still runs.
    let offer = client.offer();
    let again = sleeper(&offer, "one", "cpus:0.5;mem:64");
    offer.launch_and_refuse(vec![again], refuse).unwrap();
    let status = client.status();
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Running, Some(Reason::TaskInvalid)),
        "{status:?}"
    );
    let tasks = cluster.json(&["ps"]);
    let task = only(&tasks);
    assert_eq!(
        (&task["id"], &task["state"]),
        (&json!("one"), &json!("running"))
    );

    // The master serves this framework and others as before.
    client.handle.kill(TaskId::new("one").unwrap(), None);
    while client.status().state != TaskState::Killed {}
    client.handle.stop();
    cluster.tepui(&["run", "--", "true"]).with(0);
}

/// Certificates as an operator makes them.
struct Certificates {
    dir: Dir,
}

impl Certificates {
    fn new() -> Self {
        let certificates = Self { dir: Dir::new() };
        certificates.tepui(&["cert", "init"], &[&certificates.ca()]);
        certificates
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    fn tepui(&self, args: &[&str], paths: &[&Path]) -> Ended {
        let mut tepui = command(TEPUI);
        tepui.args(args).args(paths);
        common::run(tepui).with(0)
    }

    fn issue(&self, role: &str) -> PathBuf {
        let out = self.dir.join(role);
        let args = ["cert", "issue", "--role", role, "--name", "ann", "--ca"];
        self.tepui(&args, &[&self.ca(), Path::new("--out"), &out]);
        out
    }

    /// Issues one whose time is over.
    fn expired(&self, role: PeerRole) -> PathBuf {
        let out = self.dir.join(&format!("expired-{role}"));
        let day = Duration::from_secs(24 * 3600);
        let validity = Validity {
            not_before: SystemTime::now() - 2 * day,
            not_after: SystemTime::now() - day,
        };
        let name = "ann".into();
        let authority = Authority::open(&self.ca()).expect("made before");
        let issued = authority.issue(&Principal { role, name }, validity, &out);
        issued.expect("an empty directory");
        out
    }

    fn master(&self) -> (String, Process) {
        let address = common::free_address();
        let mut master = command(MASTER);
        master.args(["--listen", &address, "--work-dir"]);
        master.arg(self.dir.join("work"));
        master.arg("--tls-dir").arg(self.issue("master"));
        let master = Process::start(master);
        let operator = self.issue("operator");
        wait_for("the master to answer", || {
            (self.as_whom(&address, &operator, &["ps"]).code == Some(0)).then_some(())
        });
        (address, master)
    }

    fn as_whom(&self, master: &str, tls: &Path, args: &[&str]) -> Ended {
        let mut tepui = command(TEPUI);
        tepui.args(args);
        tepui.env("TEPUI_MASTER", master).env("TEPUI_TLS_DIR", tls);
        common::run(tepui)
    }
}

#[test]
fn certificates_of_another_role_authority_or_time_are_refused() {
    // SE-30
    let ours = Certificates::new();
    let theirs = Certificates::new();
    let (master, _running) = ours.master();
    let run = ["run", "--", "true"];
    let refused = |tls: &Path, why: &str| {
        // A run keeps the low codes for its task: denied is its own failure (125). A list says 4.
        for (args, code) in [(&run[..], 125), (&["ps"], 4)] {
            let ended = ours.as_whom(&master, tls, args).with(code);
            assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
            let dir = tls.to_str().unwrap();
            let denied = "does not accept the certificate in";
            ended.says(&["error: ", &master, denied, dir, why]);
        }
    };
    let agents = ours.issue("agent");
    refused(&agents, "agent");
    refused(&ours.expired(PeerRole::Framework), "expired");

    // Of another authority, each side is a stranger to the other, and the client sees that first.
    let foreign = theirs.issue("framework");
    for (args, code) in [(&run[..], 125), (&["ps"], 4)] {
        let ended = ours.as_whom(&master, &foreign, args).with(code);
        ended.says(&["error: ", &master, "another authority"]);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }

    // With the right one the same is let in.
    let mut waiting = command(TEPUI);
    waiting.args(run).env("TEPUI_MASTER", &master);
    waiting.env("TEPUI_TLS_DIR", ours.issue("framework"));
    let mut waiting = Process::start(waiting);
    waiting.until_it_says("tepui: subscribed as framework ");
    // And so is an agent; a framework's certificate does not make one.
    let agent = |tls: &Path, work: &str| {
        let mut agent = command(AGENT);
        agent.args(["--master", &master, "--registration-backoff", "0s"]);
        agent.arg("--process");
        agent.arg("--work-dir").arg(ours.dir.join(work));
        agent.arg("--tls-dir").arg(tls);
        Process::start(agent)
    };
    let denied = agent(&ours.dir.join("framework"), "a1").end().with(2);
    denied.says(&[
        "--tls-dir ",
        "a certificate of an agent: it is of framework/ann",
    ]);
    let listed = ours.as_whom(
        &master,
        &ours.dir.join("operator"),
        &["agent", "list", "-q"],
    );
    assert_eq!(listed.with(0).out, "");
    let _agent = agent(&agents, "a2");
    waiting.end().with(0);
}

#[test]
fn without_a_certificate_nothing_is_tried() {
    let ours = Certificates::new();
    let (master, _running) = ours.master();
    let nothing = ours.dir.join("nothing");
    for args in [&["ps"][..], &["run", "--", "true"]] {
        let ended = ours.as_whom(&master, &nothing, args).with(2);
        let named = format!("--tls-dir {}", nothing.display());
        ended.says(&["error: ", &named, "tepui cert issue"]);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
    // Bytes that are no QUIC at all leave it as it is.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 7, 1_200] {
        socket.send_to(&vec![0xff; length], &master).unwrap();
    }
    let operator = ours.dir.join("operator");
    ours.as_whom(&master, &operator, &["ps"]).with(0);
}
