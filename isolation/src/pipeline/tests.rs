//! In which order isolators are asked, and what is told when.

use std::sync::mpsc::{Receiver, Sender, channel};

use tepui_core::protocol::status::{Breach, Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;

use super::*;
use crate::isolator::Outcome;

/// What leaves the pipeline, and what isolators are asked, in order.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Forward(ContainerCommand, Option<Vec<(String, String)>>),
    Tell(ContainerEvent),
    Prepare(&'static str),
    Cleanup(&'static str),
    Update(&'static str),
    Recover(&'static str, Vec<ContainerId>),
}

struct Out(Mutex<Sender<Seen>>);

impl Out {
    fn note(&self, seen: Seen) {
        self.0.lock().unwrap().send(seen).unwrap();
    }
}

impl Ends for Arc<Out> {
    fn launch(&self, id: ContainerId, spec: Spec, launch: Launch) -> bool {
        let command = ContainerCommand::Launch { id, spec };
        self.note(Seen::Forward(command, Some(launch.environment)));
        true
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
    Breaches,
}

struct Fake {
    name: &'static str,
    manner: Manner,
    out: Arc<Out>,
    /// A prepare goes on when something comes.
    gate: Option<Mutex<Receiver<()>>>,
    cleaned: Mutex<bool>,
}

impl Isolator for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn recover(&self, live: &BTreeSet<ContainerId>) -> Outcome<()> {
        self.out
            .note(Seen::Recover(self.name, live.iter().cloned().collect()));
        Ok(())
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        assert!(subject.sandbox.is_dir(), "the sandbox is there");
        self.out.note(Seen::Prepare(self.name));
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        let pair = ("BY".to_owned(), self.name.to_owned());
        launch.environment.push(pair);
        match self.manner {
            Manner::Fails => Err("no way".into()),
            Manner::Panics => panic!("an isolator that is broken"),
            Manner::Well | Manner::FailsToCleanOnce | Manner::Breaches => Ok(()),
        }
    }

    fn update(&self, _: &ContainerId, _: &ContainerLimits) -> Outcome<()> {
        self.out.note(Seen::Update(self.name));
        match self.manner {
            Manner::Breaches => Err("too little".into()),
            Manner::Well | Manner::Fails | Manner::Panics | Manner::FailsToCleanOnce => Ok(()),
        }
    }

    fn watches(&self) -> Option<Duration> {
        (self.manner == Manner::Breaches).then_some(Duration::from_millis(1))
    }

    fn breach(&self, _: &ContainerId) -> Outcome<Option<Breach>> {
        Ok(Some(BREACH))
    }

    fn cleanup(&self, _: &ContainerId) -> Outcome<()> {
        self.out.note(Seen::Cleanup(self.name));
        let is_again = std::mem::replace(&mut *self.cleaned.lock().unwrap(), true);
        match self.manner {
            Manner::FailsToCleanOnce if !is_again => Err("busy".into()),
            Manner::FailsToCleanOnce
            | Manner::Well
            | Manner::Fails
            | Manner::Panics
            | Manner::Breaches => Ok(()),
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
        })
    };
    let gated = is_gated.then(|| Mutex::new(gated));
    let isolators = vec![
        fake("one", manners[0], None),
        fake("two", manners[1], gated),
    ];
    let dir = tempfile::tempdir().unwrap();
    let sandboxes = Sandboxes::open(dir.path()).unwrap();
    let ends = Box::new(Arc::clone(&out));
    Bench {
        out: Arc::clone(&out),
        seen,
        gate,
        pipeline: Pipeline::start(isolators, sandboxes, ends).unwrap(),
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
    let started = ContainerEvent::Started { id: id(1), pid: 7 };
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
        bench.expect([Seen::Prepare("one"), Seen::Cleanup("one")]);
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

// AG-35, TK-94
#[test]
fn limits_change_before_a_launch_and_after_it() {
    let bench = bench([Manner::Well, Manner::Breaches], true);
    let limits = ContainerLimits {
        cpus: Some(Milli::from_units(2)),
        pids: Some(9),
        ..ContainerLimits::default()
    };
    let (of, given) = (id(1), limits.clone());
    let resize = ContainerCommand::Resize {
        id: of,
        limits: given,
    };
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two")]);
    bench.pipeline.order(resize.clone());
    bench.gate.send(()).unwrap();
    let Seen::Forward(ContainerCommand::Launch { spec, .. }, _) = bench.next() else {
        panic!("it is launched");
    };
    // Of processes it may have as many as before.
    let pids = None;
    assert_eq!(spec.limits, ContainerLimits { pids, ..limits });
    bench.pipeline.order(resize.clone());
    let seen: BTreeSet<String> = (0..4).map(|_| format!("{:?}", bench.next())).collect();
    let message = "two: too little".to_owned();
    let expected = [
        Seen::Forward(resize, None),
        Seen::Update("one"),
        Seen::Update("two"),
        Seen::Tell(ContainerEvent::ResizeFailed { id: id(1), message }),
    ];
    assert_eq!(
        seen,
        expected.iter().map(|seen| format!("{seen:?}")).collect()
    );
}

// TK-40, CT-12
#[test]
fn who_breaks_a_limit_is_ended_for_it() {
    let bench = bench([Manner::Well, Manner::Breaches], false);
    bench.pipeline.order(launch(1));
    bench.expect([Seen::Prepare("one"), Seen::Prepare("two"), launched(1)]);
    let started = ContainerEvent::Started { id: id(1), pid: 7 };
    bench.pipeline.hear(started.clone());
    bench.expect([Seen::Tell(started)]);
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
    let started = ContainerEvent::Started { id: id(1), pid: 7 };
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
