//! In which order isolators are asked, and what is told when.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it is about"
)]

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};

use tepui_core::protocol::container::{ContainerSpec as Spec, GroupSpec};
use tepui_core::protocol::status::{Breach, Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;

use super::*;
use crate::isolator::{Init, Outcome, Recovered, Subject, Survivors, Usage};
use crate::launch::Launch;
use crate::procfs;

/// What leaves the pipeline, and what isolators are asked, in order.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Forward(ContainerCommand, Option<Vec<(String, String)>>),
    Tell(ContainerEvent),
    Prepare(&'static str),
    Cleanup(&'static str),
    Disband(&'static str, ContainerId),
    Update(&'static str),
    Recover(&'static str, Vec<ContainerId>),
    Attach(&'static str, u32),
    Breach,
    Release(ContainerId),
}

struct Out(Mutex<Sender<Seen>>);

impl Out {
    fn note(&self, seen: Seen) {
        self.0.lock().unwrap().send(seen).unwrap();
    }
}

impl Ends for Arc<Out> {
    fn launch(&self, id: ContainerId, spec: Spec, launch: Launch, _hold: bool) -> bool {
        let command = ContainerCommand::Launch { id, spec };
        self.note(Seen::Forward(command, Some(launch.environment)));
        true
    }

    fn release(&self, id: ContainerId) {
        self.note(Seen::Release(id));
    }

    fn forward(&self, command: ContainerCommand) {
        self.note(Seen::Forward(command, None));
    }

    fn tell(&self, event: ContainerEvent) {
        self.note(Seen::Tell(event));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Well,
    Fails,
    Panics,
    FailsToCleanOnce,
    FailsToDisbandOnce,
    Breaches,
    Attaches,
    FailsToAttach,
    FailsToRecoverTwice,
}

struct Fake {
    name: &'static str,
    manner: Manner,
    out: Arc<Out>,
    /// A prepare goes on when something comes.
    gate: Option<Mutex<Receiver<()>>>,
    cleaned: Mutex<bool>,
    disbanded: Mutex<bool>,
    recovered: Mutex<u32>,
}

impl Isolator for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let live = live.keys().cloned().collect();
        self.out.note(Seen::Recover(self.name, live));
        let mut recovered = self.recovered.lock().unwrap();
        *recovered += 1;
        match (self.manner, *recovered) {
            (Manner::FailsToRecoverTwice, 1) => Err("not there yet".into()),
            (Manner::FailsToRecoverTwice, 2) => Ok(Recovered {
                failed: vec![("c000009".to_owned(), "busy".into())],
            }),
            (_, _) => Ok(Recovered::default()),
        }
    }

    fn attaches(&self, _: &Spec) -> bool {
        matches!(self.manner, Manner::Attaches | Manner::FailsToAttach)
    }

    fn attach(&self, subject: &Subject<'_>, init: &Init) -> Outcome<()> {
        assert_eq!(subject.spec.sandbox, ["x"]);
        self.out.note(Seen::Attach(self.name, init.pid()));
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        match self.manner {
            Manner::FailsToAttach => Err("no way in".into()),
            _ => Ok(()),
        }
    }

    fn usage(&self, _: &ContainerId) -> Outcome<Usage> {
        match self.manner {
            Manner::Fails => Err("not known".into()),
            _ => Ok(Usage::from([("things".to_owned(), 3)])),
        }
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        assert!(subject.sandbox.is_dir(), "the sandbox is there");
        self.out.note(Seen::Prepare(self.name));
        if self.attaches(subject.spec) {
            // Waits later.
        } else if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        let pair = ("BY".to_owned(), self.name.to_owned());
        launch.environment.push(pair);
        match self.manner {
            Manner::Fails => Err("no way".into()),
            Manner::Panics => panic!("an isolator that is broken"),
            _ => Ok(()),
        }
    }

    fn update(&self, _: &ContainerId, _: &ContainerLimits) -> Outcome<()> {
        self.out.note(Seen::Update(self.name));
        match self.manner {
            Manner::Breaches => Err("too little".into()),
            _ => Ok(()),
        }
    }

    fn watches(&self) -> Option<Duration> {
        (self.manner == Manner::Breaches).then_some(Duration::from_millis(1))
    }

    fn breach(&self, _: &ContainerId) -> Outcome<Option<Breach>> {
        self.out.note(Seen::Breach);
        Ok(Some(BREACH))
    }

    fn cleanup(&self, _: &ContainerId) -> Outcome<()> {
        self.out.note(Seen::Cleanup(self.name));
        let is_again = std::mem::replace(&mut *self.cleaned.lock().unwrap(), true);
        match self.manner {
            Manner::FailsToCleanOnce if !is_again => Err("busy".into()),
            _ => Ok(()),
        }
    }

    fn disband(&self, group: &ContainerId) -> Outcome<()> {
        self.out.note(Seen::Disband(self.name, group.clone()));
        let is_again = std::mem::replace(&mut *self.disbanded.lock().unwrap(), true);
        match self.manner {
            Manner::FailsToDisbandOnce if !is_again => Err("busy".into()),
            _ => Ok(()),
        }
    }
}

const BREACH: Breach = Breach {
    resource: Limited::Ports,
    limit: Milli::ZERO,
    used: Milli::from_units(80),
};

struct Bench {
    out: Arc<Out>,
    seen: Receiver<Seen>,
    gate: Sender<()>,
    pipeline: Pipeline,
    _dir: tempfile::TempDir,
}

/// A pipeline with two isolators; the second waits for the gate if it is told to.
fn bench(manners: [Manner; 2], is_gated: bool) -> Bench {
    let (sender, seen) = channel();
    let (gate, gated) = channel();
    let out = Arc::new(Out(Mutex::new(sender)));
    let fake = |name, manner, gate| -> Box<dyn Isolator> {
        Box::new(Fake {
            name,
            manner,
            out: Arc::clone(&out),
            gate,
            cleaned: Mutex::new(false),
            disbanded: Mutex::new(false),
            recovered: Mutex::new(0),
        })
    };
    let gated = is_gated.then(|| Mutex::new(gated));
    let isolators = vec![
        fake("one", manners[0], None),
        fake("two", manners[1], gated),
    ];
    let dir = tempfile::tempdir().unwrap();
    let sandboxes = Sandboxes::open(dir.path()).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let ends = Box::new(Arc::clone(&out));
    Bench {
        out: Arc::clone(&out),
        seen,
        gate,
        pipeline: Pipeline::start(isolators, sandboxes, journal, ends).unwrap(),
        _dir: dir,
    }
}

impl Bench {
    fn next(&self) -> Seen {
        // Fails the test if nothing comes; nothing waits for the time itself.
        self.seen.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn expect(&self, all: impl IntoIterator<Item = Seen>) {
        for expected in all {
            assert_eq!(self.next(), expected);
        }
    }
}

fn id(n: u64) -> ContainerId {
    ContainerId::numbered(n)
}

fn spec() -> Spec {
    Spec::new(CommandInfo::shell("true"), vec!["x".to_owned()])
}

fn launch(n: u64) -> ContainerCommand {
    let spec = spec();
    ContainerCommand::Launch { id: id(n), spec }
}

fn launched(n: u64) -> Seen {
    let pair = |name: &str| ("BY".to_owned(), name.to_owned());
    Seen::Forward(launch(n), Some(vec![pair("one"), pair("two")]))
}

fn exited(n: u64, breach: Option<Breach>) -> ContainerEvent {
    let exit = Exit::Code(0);
    ContainerEvent::Exited {
        id: id(n),
        exit,
        breach,
    }
}

fn failed(n: u64, message: &str) -> Seen {
    let message = message.to_owned();
    Seen::Tell(ContainerEvent::LaunchFailed { id: id(n), message })
}

// CT-03, CT-04, CT-12
#[test]
fn isolators_prepare_in_order_and_clean_up_in_reverse_before_an_end_is_told() {
    let bench = bench([Manner::Well, Manner::Well], false);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    let started = ContainerEvent::started(id(1), 7);
    bench.pipeline.hear(started.clone());
    bench.expect([Seen::Tell(started)]);
    bench.pipeline.hear(exited(1, None));
    let cleaned = [Seen::Cleanup("two"), Seen::Cleanup("one")];
    bench.expect(cleaned);
    bench.expect([Seen::Tell(exited(1, None))]);
    assert_eq!(bench.pipeline.drain(&[], Duration::from_secs(60)), [""; 0]);
}

// CT-03
#[test]
fn what_cannot_be_prepared_is_undone_and_said_by_whom() {
    for (manner, why) in [(Manner::Fails, "no way"), (Manner::Panics, "it panicked")] {
        let bench = bench([manner, Manner::Well], false);
        bench.pipeline.order(launch(1));
        bench.expect([Seen::Prepare("one"), Seen::Cleanup("two")]);
        bench.expect([Seen::Cleanup("one")]);
        bench.expect([failed(1, &format!("one: {why}"))]);
        // Others go on.
        bench.pipeline.order(launch(2));
        bench.expect([Seen::Prepare("one")]);
    }
}

// CT-03, TK-62: whoever is ended before it was started never starts
#[test]
fn what_is_not_wanted_any_more_is_not_launched() {
    let end = [
        ContainerCommand::Destroy { id: id(1) },
        ContainerCommand::Terminate { id: id(1) },
    ];
    for command in end {
        let bench = bench([Manner::Well, Manner::Well], true);
        bench.pipeline.order(launch(1));
        bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
        bench.pipeline.order(command.clone());
        bench.gate.send(()).unwrap();
        bench.expect([
            Seen::Cleanup("two"),
            Seen::Cleanup("one"),
            failed(1, GIVEN_UP),
        ]);
        // Of those that nobody prepares the launcher knows.
        let ContainerCommand::Destroy { .. } = command else {
            continue;
        };
        let other = ContainerCommand::Destroy { id: id(2) };
        bench.pipeline.order(other.clone());
        bench.expect([Seen::Forward(other, None)]);
    }
}

/// A container of group 9.
fn of_group(n: u64) -> ContainerCommand {
    let group = GroupSpec {
        id: id(9),
        sandbox: vec!["group".to_owned()],
        disk: None,
        container: None,
    };
    let spec = Spec {
        group: Some(Box::new(group)),
        ..spec()
    };
    ContainerCommand::Launch { id: id(n), spec }
}

const CLEANED: [Seen; 2] = [Seen::Cleanup("two"), Seen::Cleanup("one")];

fn disbanded() -> [Seen; 2] {
    ["two", "one"].map(|name| Seen::Disband(name, id(9)))
}

// CT-15: who is ordered by now has what one before it had, also if that has ended
#[test]
fn a_group_is_disbanded_after_the_last_that_was_ordered() {
    let bench = bench([Manner::Well, Manner::Well], true);
    let begin = |n| {
        bench.pipeline.order(of_group(n));
        bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
    };
    let launched = |n| {
        let Seen::Forward(ContainerCommand::Launch { id: of, .. }, _) = bench.next() else {
            panic!("not launched");
        };
        assert_eq!(of, id(n));
    };
    begin(1);
    bench.gate.send(()).unwrap();
    launched(1);
    begin(2);
    bench.pipeline.hear(exited(1, None));
    bench.expect(CLEANED);
    bench.expect([Seen::Tell(exited(1, None))]);
    bench.gate.send(()).unwrap();
    launched(2);
    bench.pipeline.hear(exited(2, None));
    bench.expect(CLEANED);
    bench.expect(disbanded());
    bench.expect([Seen::Tell(exited(2, None))]);
    // One that never begins counts as well, and a container without a group does not.
    begin(3);
    let destroy = ContainerCommand::Destroy { id: id(3) };
    bench.pipeline.order(destroy);
    bench.gate.send(()).unwrap();
    bench.expect(CLEANED);
    bench.expect(disbanded());
    bench.expect([failed(3, GIVEN_UP)]);
}

// CT-09: also by an agent that did not launch them, and again if it fails
#[test]
fn a_group_is_known_again_after_a_restart() {
    let bench = bench([Manner::FailsToDisbandOnce, Manner::Well], false);
    for n in [1, 2, 3] {
        let ContainerCommand::Launch { spec, .. } = of_group(n) else {
            unreachable!("it is a launch");
        };
        bench
            .pipeline
            .shared
            .journal
            .write(&id(n), vec![], &spec)
            .unwrap();
    }
    let known = vec![id(1), id(2)];
    let recover = ContainerCommand::Recover { known };
    bench.pipeline.order(recover.clone());
    bench.expect([Seen::Forward(recover, None)]);
    // The third is cleaned up because nobody knows it; that is not the end of its group.
    bench.pipeline.hear(exited(1, None));
    bench.expect(CLEANED);
    bench.expect([Seen::Tell(exited(1, None))]);
    bench.pipeline.hear(ContainerEvent::Recovered);
    bench.expect(CLEANED);
    let live = || vec![id(2)];
    bench.expect(["one", "two"].map(|name| Seen::Recover(name, live())));
    bench.expect([Seen::Tell(ContainerEvent::Recovered)]);
    bench.pipeline.hear(exited(2, None));
    bench.expect(CLEANED);
    bench.expect(disbanded());
    bench.expect([Seen::Tell(exited(2, None))]);
    assert_eq!(bench.pipeline.shared.lock().left, [id(2)].into());
    bench.pipeline.shared.clean_up(&id(2));
    bench.expect(CLEANED);
    bench.expect(disbanded());
    assert!(bench.pipeline.shared.lock().left.is_empty());
    assert!(bench.pipeline.shared.journal.read().unwrap().is_empty());
}

fn limits(cpus: i64) -> ContainerLimits {
    ContainerLimits {
        cpus: Some(Milli::from_units(cpus)),
        pids: Some(9),
        ..ContainerLimits::default()
    }
}

fn resize(n: u64, cpus: i64) -> ContainerCommand {
    ContainerCommand::Resize {
        id: id(n),
        limits: limits(cpus),
    }
}

// AG-35, TK-94: isolators hear of it whenever it comes
#[test]
fn limits_change_before_a_launch_and_after_it() {
    let bench = bench([Manner::Well, Manner::Well], true);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
    bench.pipeline.order(resize(1, 2));
    bench.gate.send(()).unwrap();
    bench.expect([Seen::Update("one"), Seen::Update("two")]);
    let Seen::Forward(ContainerCommand::Launch { spec, .. }, _) = bench.next() else {
        panic!("it is launched");
    };
    // Of processes it may have as many as before.
    let expected = ContainerLimits {
        pids: None,
        ..limits(2)
    };
    assert_eq!(spec.limits, expected);
    bench.pipeline.order(resize(1, 3));
    let seen: BTreeSet<String> = (0..3).map(|_| format!("{:?}", bench.next())).collect();
    let expected = [
        Seen::Forward(resize(1, 3), None),
        Seen::Update("one"),
        Seen::Update("two"),
    ];
    let expected = expected.iter().map(|seen| format!("{seen:?}")).collect();
    assert_eq!(seen, expected);
}

// AG-35
#[test]
fn limits_that_an_isolator_cannot_hold_are_refused() {
    let bench = bench([Manner::Well, Manner::Breaches], true);
    let message = || "two: too little".to_owned();
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
    bench.gate.send(()).unwrap();
    bench.expect([launched(1)]);
    bench.pipeline.order(resize(1, 3));
    let seen: BTreeSet<String> = (0..4).map(|_| format!("{:?}", bench.next())).collect();
    let (of, said) = (id(1), message());
    let failed_later = ContainerEvent::ResizeFailed {
        id: of,
        message: said,
    };
    assert!(
        seen.contains(&format!("{:?}", Seen::Tell(failed_later))),
        "{seen:?}"
    );
    bench.pipeline.order(launch(2));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
    bench.pipeline.order(resize(2, 3));
    bench.gate.send(()).unwrap();
    bench.expect([Seen::Update("one"), Seen::Update("two")]);
    bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
    bench.expect([failed(2, &message())]);
}

// CT-04: isolators attach to the process that is there, and then its program begins
#[test]
fn a_program_begins_when_all_have_attached() {
    let bench = bench([Manner::Well, Manner::Attaches], true);
    let (pid, began) = (std::process::id(), procfs::began(nix::unistd::Pid::this()));
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    bench.pipeline.held(id(1), pid, began.unwrap());
    bench.expect([Seen::Attach("two", pid)]);
    bench.gate.send(()).unwrap();
    bench.expect([Seen::Release(id(1))]);
    // Who is ended meanwhile never begins.
    for n in [2, 3] {
        let destroy = || ContainerCommand::Destroy { id: id(n) };
        let command = match n {
            2 => ContainerCommand::Terminate { id: id(n) },
            _ => destroy(),
        };
        bench.pipeline.order(launch(n));
        bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(n)]);
        bench.pipeline.held(id(n), pid, began.unwrap());
        bench.expect([Seen::Attach("two", pid)]);
        bench.pipeline.order(command.clone());
        bench.expect([Seen::Forward(command, None)]);
        bench.gate.send(()).unwrap();
        bench.expect([Seen::Forward(destroy(), None)]);
        let message = "of the launcher".to_owned();
        let event = ContainerEvent::LaunchFailed { id: id(n), message };
        bench.pipeline.hear(event);
        bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
        bench.expect([failed(n, GIVEN_UP)]);
    }
}

// CT-04
#[test]
fn a_program_never_begins_if_one_cannot_attach() {
    let bench = bench([Manner::FailsToAttach, Manner::Well], false);
    let (pid, began) = (std::process::id(), procfs::began(nix::unistd::Pid::this()));
    for (n, began, why) in [
        (1, began.unwrap(), "one: no way in"),
        (2, 1, "its init has ended"),
    ] {
        bench.pipeline.order(launch(n));
        bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(n)]);
        bench.pipeline.held(id(n), pid, began);
        if n == 1 {
            bench.expect([Seen::Attach("one", pid)]);
        }
        let destroy = ContainerCommand::Destroy { id: id(n) };
        bench.expect([Seen::Forward(destroy, None)]);
        let message = "of the launcher".to_owned();
        let of = id(n);
        bench
            .pipeline
            .hear(ContainerEvent::LaunchFailed { id: of, message });
        bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
        bench.expect([failed(n, why)]);
    }
}

// CT-12
#[test]
fn what_isolators_know_of_a_container_s_use_is_told_together() {
    let bench = bench([Manner::Well, Manner::Well], false);
    let ask = |n| {
        let (answer, answered) = channel();
        let told = move |usage| answer.send(usage).unwrap();
        bench.pipeline.usage(&id(n), Box::new(told));
        answered.recv_timeout(Duration::from_secs(60)).unwrap()
    };
    assert_eq!(ask(1), None);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    let expected = [("one.things".to_owned(), 3), ("two.things".to_owned(), 3)];
    assert_eq!(ask(1), Some(Usage::from(expected)));
}

// CT-03: an end does not wait behind launches, however many wait for other machines
#[test]
fn ends_are_told_while_launches_take_long() {
    let bench = bench([Manner::Well, Manner::Well], true);
    bench.pipeline.order(launch(1));
    bench.gate.send(()).unwrap();
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    for n in 2..102 {
        bench.pipeline.order(launch(n));
    }
    bench.pipeline.hear(exited(1, None));
    loop {
        match bench.next() {
            Seen::Tell(event) => {
                assert_eq!(event, exited(1, None));
                break;
            }
            Seen::Prepare(_) | Seen::Cleanup(_) => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 2..102 {
        bench.gate.send(()).unwrap();
    }
}

// TK-40, CT-12
#[test]
fn who_breaks_a_limit_is_ended_for_it() {
    let bench = bench([Manner::Well, Manner::Breaches], false);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    let started = ContainerEvent::started(id(1), 7);
    bench.pipeline.hear(started.clone());
    bench.expect([Seen::Tell(started), Seen::Breach]);
    let destroy = ContainerCommand::Destroy { id: id(1) };
    bench.expect([Seen::Forward(destroy, None)]);
    bench.pipeline.hear(exited(1, None));
    bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
    bench.expect([Seen::Tell(exited(1, Some(BREACH)))]);
}

// CT-09, AG-57: after a restart what is of nobody is removed, and nothing starts before
#[test]
fn what_was_there_before_is_found_out_first() {
    let bench = bench([Manner::Well, Manner::Well], false);
    let known = vec![id(1), id(2)];
    let recover = ContainerCommand::Recover { known };
    bench.pipeline.order(recover.clone());
    bench.expect([Seen::Forward(recover, None)]);
    bench.pipeline.order(launch(3));
    bench.pipeline.order(launch(4));
    bench
        .pipeline
        .order(ContainerCommand::Destroy { id: id(4) });
    bench.expect([failed(4, GIVEN_UP)]);
    let started = ContainerEvent::started(id(1), 7);
    bench.pipeline.hear(started.clone());
    bench.pipeline.hear(exited(2, None));
    bench.pipeline.hear(ContainerEvent::Recovered);
    bench.expect([
        Seen::Tell(started),
        Seen::Cleanup("two"),
        Seen::Cleanup("one"),
    ]);
    bench.expect([Seen::Tell(exited(2, None))]);
    let live = || vec![id(1)];
    bench.expect([Seen::Recover("one", live()), Seen::Recover("two", live())]);
    bench.expect([Seen::Tell(ContainerEvent::Recovered)]);
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(3)]);
}

#[test]
fn what_cannot_be_cleaned_up_is_named_at_the_end() {
    let bench = bench([Manner::FailsToCleanOnce, Manner::Well], false);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    bench.pipeline.hear(exited(1, None));
    bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
    bench.expect([Seen::Tell(exited(1, None))]);
    let name = id(1).as_str().to_owned();
    assert_eq!(bench.pipeline.drain(&[], Duration::from_secs(60)), [name]);
}

// CT-09: nothing starts that relies on what is not known; what fails is tried again
#[test]
fn a_recovery_that_fails_is_tried_again_and_nothing_relies_on_it_meanwhile() {
    let bench = bench([Manner::Well, Manner::FailsToRecoverTwice], false);
    let recover = ContainerCommand::Recover { known: Vec::new() };
    bench.pipeline.order(recover.clone());
    bench.expect([Seen::Forward(recover, None)]);
    bench.pipeline.order(launch(1));
    // What is said of it until then is not lost.
    bench.pipeline.order(resize(1, 2));
    bench.pipeline.hear(ContainerEvent::Recovered);
    bench.expect([
        Seen::Recover("one", Vec::new()),
        Seen::Recover("two", Vec::new()),
    ]);
    bench.expect([Seen::Tell(ContainerEvent::Recovered)]);
    bench.expect([Seen::Prepare("one"), Seen::Cleanup("two")]);
    let why = "two: what was there before is not known: not there yet";
    bench.expect([Seen::Cleanup("one"), failed(1, why)]);
    // A part that fails holds nobody up.
    bench.expect([Seen::Recover("two", Vec::new())]);
    bench.pipeline.order(launch(2));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(2)]);
    bench.expect([Seen::Recover("two", vec![id(2)])]);
}

// AG-57: what an agent that died had begun is cleaned up, though nobody knows of it
#[test]
fn what_was_prepared_and_is_nobody_s_is_cleaned_up() {
    let bench = bench([Manner::Well, Manner::Well], false);
    let written = bench
        .pipeline
        .shared
        .journal
        .write(&id(7), Vec::new(), &spec());
    written.unwrap();
    let recover = ContainerCommand::Recover { known: Vec::new() };
    bench.pipeline.order(recover.clone());
    bench.expect([Seen::Forward(recover, None)]);
    bench.pipeline.hear(ContainerEvent::Recovered);
    bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
    bench.expect([
        Seen::Recover("one", Vec::new()),
        Seen::Recover("two", Vec::new()),
    ]);
    assert!(bench.pipeline.shared.journal.read().unwrap().is_empty());
}

// What an isolator holds, such as the lock of a directory, is free for the next agent.
#[test]
fn a_pipeline_that_is_dropped_lets_go_of_its_isolators() {
    let bench = bench([Manner::Well, Manner::Well], false);
    let out = Arc::downgrade(&bench.out);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    bench.pipeline.hear(exited(1, None));
    bench.expect([Seen::Cleanup("two"), Seen::Cleanup("one")]);
    bench.expect([Seen::Tell(exited(1, None))]);
    assert!(
        bench
            .pipeline
            .drain(&[], Duration::from_secs(60))
            .is_empty()
    );
    drop(bench);
    assert_eq!(out.strong_count(), 0);
}
