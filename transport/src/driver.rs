//! The one loop that runs a machine: inputs in, records to the journal, effects out.
//!
//! Every node, real or embedded, runs in it; the simulator has its own with the same gate. It keeps
//! the machine's contract (see [`tepui_core::machine`]): time never goes back, effects leave in
//! order, and none before what it reveals is durable. Deliberately not here: what effects mean.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use tepui_core::gate::{Gate, Seq};
use tepui_core::limits;
use tepui_core::machine::{Durable, Machine, Outbox};
use tepui_core::time::Time;
use tokio::time::{Instant, Sleep};

use crate::clock::Clock;
use crate::inbox::Inputs;
use crate::journal::{Journal, JournalError, JournalEvent};

/// What a machine without a deadline sleeps for; it wakes for inputs all the same.
const IDLE: Duration = Duration::from_secs(3600);

const TURN: usize = limits::INPUTS_PER_TURN;

/// Why a driver ended before it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DriverError {
    /// The journal failed. The machine is gone, and with it the effects that were held.
    #[error("the journal is lost: {0}")]
    Lost(#[from] JournalError),
    /// The journal began a new leadership under a machine of an old one.
    #[error("leadership began anew in epoch {epoch}, while one was running")]
    LeadershipChanged {
        /// The new leadership.
        epoch: u64,
    },
    /// The journal does not get on. Whoever waits for what was recorded finds another leader.
    #[error(
        "the journal stalls: nothing became durable for {waited:?}; {records} records and \
         {effects} effects wait for it"
    )]
    Stalled {
        /// How long ago it got on last.
        waited: Duration,
        /// How many records are not durable.
        records: u64,
        /// How many effects are held.
        effects: usize,
    },
}

/// Runs one machine.
#[derive(Debug)]
pub struct Driver<M: Machine, J> {
    machine: M,
    journal: J,
    clock: Clock,
    inbox: Inputs<M::Input>,
    gate: Gate<M::Effect>,
    outbox: Outbox<M::Record, M::Effect>,
    /// How long the journal may stall.
    patience: Duration,
}

impl<M, J> Driver<M, J>
where
    M: Machine,
    J: Journal<State: Durable<Record = M::Record>>,
{
    /// Puts a machine, recovered from `journal`, to work on `inbox`.
    pub fn new(machine: M, journal: J, clock: Clock, inbox: Inputs<M::Input>) -> Self {
        Self {
            machine,
            journal,
            clock,
            inbox,
            gate: Gate::new(),
            outbox: Outbox::new(),
            patience: limits::JOURNAL_STALL,
        }
    }

    /// Begins with what the machine said when it was recovered.
    #[must_use]
    pub fn with_outbox(mut self, outbox: Outbox<M::Record, M::Effect>) -> Self {
        self.outbox = outbox;
        self
    }

    /// Runs until `shutdown` completes or the inbox has no senders left. Then everything recorded
    /// is made durable, the last effects leave, and the machine comes back.
    ///
    /// `perform` carries out effects and must not wait; `after_turn` may publish what the machine
    /// shows to readers.
    pub async fn run(
        mut self,
        mut perform: impl FnMut(M::Effect),
        mut after_turn: impl FnMut(&M),
        shutdown: impl Future<Output = ()>,
    ) -> Result<M, DriverError> {
        let mut shutdown = pin!(shutdown);
        let mut alarm = pin!(tokio::time::sleep(IDLE));
        let mut stopping = false;
        // When the journal got on last, or was given something to do after it had nothing.
        let mut progress = Instant::now();
        let mut stalled = pin!(tokio::time::sleep(IDLE));
        self.machine.tick(self.clock.now(), &mut self.outbox);
        loop {
            let was_idle = self.undurable() == 0;
            self.settle(&mut perform);
            let waiting = self.undurable() > 0;
            if was_idle && waiting {
                progress = Instant::now();
                stalled.as_mut().reset(progress + self.patience);
            }
            after_turn(&self.machine);
            if stopping && self.is_settled() {
                return Ok(self.machine);
            }
            let due = self.set_alarm(alarm.as_mut());
            let listening = !stopping && self.has_room();
            tokio::select! {
                biased;
                event = self.journal.next() => match event {
                    JournalEvent::Durable(upto) => {
                        self.gate.persisted(upto);
                        progress = Instant::now();
                        stalled.as_mut().reset(progress + self.patience);
                    }
                    JournalEvent::Leading { epoch, .. } => {
                        return Err(DriverError::LeadershipChanged { epoch });
                    }
                    JournalEvent::Lost(error) => return Err(error.into()),
                },
                () = stalled.as_mut(), if waiting => return Err(self.give_up_waiting(progress)),
                () = &mut shutdown, if !stopping => stopping = true,
                taken = self.inbox.recv_many(TURN), if listening => {
                    stopping = taken.is_empty();
                    for input in taken.into_inputs() {
                        self.machine.handle(self.clock.now(), input, &mut self.outbox);
                    }
                }
                // After the inputs that are there already. A timer takes a millisecond at least,
                // which is long for what is due at once.
                () = std::future::ready(()), if due && !stopping => {
                    self.machine.tick(self.clock.now(), &mut self.outbox);
                }
                () = alarm.as_mut(), if !stopping => {
                    self.machine.tick(self.clock.now(), &mut self.outbox);
                }
            }
        }
    }

    /// Hands records to the journal, all at once, and lets effects go that may.
    fn settle(&mut self, perform: &mut impl FnMut(M::Effect)) {
        let mut records = Vec::new();
        let mut last = Seq::default();
        for output in self.outbox.drain() {
            if let Some((seq, record)) = self.gate.admit(output) {
                records.push(record);
                last = seq;
            }
        }
        if !records.is_empty() {
            self.journal.append(last, records);
        }
        while let Some(effect) = self.gate.release() {
            perform(effect);
        }
    }

    /// Ends a leadership under which nothing becomes durable any more.
    fn give_up_waiting(mut self, progress: Instant) -> DriverError {
        // Its thread may be stuck for as long as the disk is.
        self.journal.abandon();
        DriverError::Stalled {
            waited: progress.elapsed(),
            records: self.undurable(),
            effects: self.gate.held(),
        }
    }

    fn undurable(&self) -> u64 {
        self.gate.admitted().0 - self.gate.durable().0
    }

    fn is_settled(&self) -> bool {
        self.gate.held() == 0 && self.gate.durable() == self.gate.admitted()
    }

    /// Returns whether inputs may be taken in: not while too much waits for the journal.
    fn has_room(&self) -> bool {
        self.gate.held() <= limits::HELD_EFFECTS && self.undurable() <= limits::HELD_EFFECTS as u64
    }

    /// Returns whether the machine is to be woken at once; else it is later.
    fn set_alarm(&self, alarm: Pin<&mut Sleep>) -> bool {
        let deadline = self.machine.deadline().unwrap_or(Time::MAX);
        let wait = deadline.since(self.clock.now()).min(IDLE);
        alarm.reset(Instant::now() + wait);
        wait.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tepui_core::machine::{Never, Output};
    use tokio::sync::{mpsc, oneshot, watch};

    use super::*;
    use crate::inbox::{self, Inbox};
    use crate::journal::NoJournal;

    /// Remembers numbers and tells of them; answers questions without remembering.
    #[derive(Debug, Default)]
    struct Toy {
        handled: usize,
        wake: Option<Time>,
        last: Time,
    }

    #[derive(Debug)]
    enum Input {
        Write(u64),
        Ask(u64),
        WakeIn(Duration),
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Effect {
        Wrote(u64),
        Answer(u64),
        Woke,
    }

    #[derive(Debug, Default)]
    struct Numbers;

    impl Durable for Numbers {
        type Record = u64;

        const LAYOUT: u32 = 1;

        fn apply(&mut self, _: &u64) {}
    }

    impl Machine for Toy {
        type Input = Input;
        type Record = u64;
        type Effect = Effect;

        fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<u64, Effect>) {
            self.tick(now, out);
            self.handled += 1;
            match input {
                Input::Write(n) => {
                    out.persist(n);
                    out.emit(Effect::Wrote(n));
                }
                Input::Ask(n) => out.emit_free(Effect::Answer(n)),
                Input::WakeIn(wait) => self.wake = Some(now + wait),
            }
        }

        fn tick(&mut self, now: Time, out: &mut Outbox<u64, Effect>) {
            assert!(now >= self.last, "time went back");
            self.last = now;
            if self.wake.is_some_and(|wake| wake <= now) {
                self.wake = None;
                out.emit(Effect::Woke);
            }
        }

        fn deadline(&self) -> Option<Time> {
            self.wake
        }
    }

    /// A journal that does what the test says.
    struct Scripted {
        appended: mpsc::UnboundedSender<(Seq, Vec<u64>)>,
        events: mpsc::UnboundedReceiver<JournalEvent<Numbers>>,
        abandoned: Arc<AtomicBool>,
    }

    impl Journal for Scripted {
        type State = Numbers;

        fn append(&mut self, last: Seq, records: Vec<u64>) {
            self.appended.send((last, records)).unwrap();
        }

        async fn next(&mut self) -> JournalEvent<Numbers> {
            match self.events.recv().await {
                Some(event) => event,
                None => pending().await,
            }
        }

        fn abandon(&mut self) {
            assert!(!self.abandoned.swap(true, Ordering::Relaxed));
        }
    }

    /// A driver at work, and all that it is connected to.
    struct Rig {
        inbox: Inbox<Input>,
        appended: mpsc::UnboundedReceiver<(Seq, Vec<u64>)>,
        journal: mpsc::UnboundedSender<JournalEvent<Numbers>>,
        effects: mpsc::UnboundedReceiver<Effect>,
        handled: watch::Receiver<usize>,
        stop: oneshot::Sender<()>,
        abandoned: Arc<AtomicBool>,
        driver: tokio::task::JoinHandle<Result<Toy, DriverError>>,
    }

    fn rig() -> Rig {
        rig_with(limits::JOURNAL_STALL)
    }

    fn rig_with(patience: Duration) -> Rig {
        let (inbox, inputs) = inbox::channel(64);
        let (append, appended) = mpsc::unbounded_channel();
        let (journal, events) = mpsc::unbounded_channel();
        let (perform, effects) = mpsc::unbounded_channel();
        let (publish, handled) = watch::channel(0);
        let (stop, stopped) = oneshot::channel::<()>();
        let abandoned = Arc::new(AtomicBool::new(false));
        let scripted = Scripted {
            appended: append,
            events,
            abandoned: Arc::clone(&abandoned),
        };
        let clock = Clock::start_after(Time::ZERO);
        let mut driver = Driver::new(Toy::default(), scripted, clock, inputs);
        driver.patience = patience;
        let driver = tokio::spawn(driver.run(
            move |effect| perform.send(effect).unwrap(),
            move |toy| {
                publish.send_replace(toy.handled);
            },
            async move {
                if stopped.await.is_err() {
                    pending().await
                }
            },
        ));
        Rig {
            inbox,
            appended,
            journal,
            effects,
            handled,
            stop,
            abandoned,
            driver,
        }
    }

    #[tokio::test]
    async fn a_journal_that_stalls_for_too_long_ends_it() {
        let patience = Duration::from_millis(100);
        let mut rig = rig_with(patience);
        let begun = Instant::now();
        // As long as the journal gets on, or has nothing to do, it may take its time.
        for n in 1..=4 {
            rig.inbox.send(Input::Write(n)).await.unwrap();
            rig.appended.recv().await.unwrap();
            tokio::time::sleep(patience * 2 / 5).await;
            rig.journal.send(JournalEvent::Durable(Seq(n))).unwrap();
            assert_eq!(rig.effects.recv().await, Some(Effect::Wrote(n)));
        }
        tokio::time::sleep(patience * 2).await;
        rig.inbox.send(Input::Write(5)).await.unwrap();
        rig.inbox.send(Input::Write(6)).await.unwrap();
        let error = rig.driver.await.unwrap().unwrap_err();
        let DriverError::Stalled {
            waited,
            records: 2,
            effects: 2,
        } = error
        else {
            panic!("{error}");
        };
        assert!(
            patience <= waited && waited < begun.elapsed() - patience * 2,
            "{waited:?}"
        );
        assert!(
            rig.abandoned.load(Ordering::Relaxed),
            "it waits for the disk"
        );
        assert_eq!(rig.effects.recv().await, None, "an effect escaped");
    }

    #[tokio::test]
    async fn an_effect_waits_until_its_record_is_durable() {
        let mut rig = rig();
        rig.inbox.send(Input::Write(1)).await.unwrap();
        rig.inbox.send(Input::Ask(2)).await.unwrap();
        // What reveals nothing passes a journal that stalls.
        assert_eq!(rig.effects.recv().await, Some(Effect::Answer(2)));
        assert_eq!(rig.appended.recv().await, Some((Seq(1), vec![1])));
        rig.inbox.send(Input::Ask(3)).await.unwrap();
        assert_eq!(rig.effects.recv().await, Some(Effect::Answer(3)));
        rig.journal.send(JournalEvent::Durable(Seq(1))).unwrap();
        assert_eq!(rig.effects.recv().await, Some(Effect::Wrote(1)));
        drop(rig.inbox);
        assert_eq!(rig.driver.await.unwrap().unwrap().handled, 3);
    }

    #[tokio::test]
    async fn one_turn_is_one_append() {
        let mut rig = rig();
        // The driver has not run yet: all three wait for its first turn.
        for n in 1..=3 {
            rig.inbox.send(Input::Write(n)).await.unwrap();
        }
        assert_eq!(rig.appended.recv().await, Some((Seq(3), vec![1, 2, 3])));
        rig.journal.send(JournalEvent::Durable(Seq(3))).unwrap();
        for n in 1..=3 {
            assert_eq!(rig.effects.recv().await, Some(Effect::Wrote(n)));
        }
    }

    #[tokio::test]
    async fn a_lost_journal_discards_what_was_held() {
        let mut rig = rig();
        rig.inbox.send(Input::Write(1)).await.unwrap();
        rig.appended.recv().await.unwrap();
        let stopped = JournalError::Stopped { dir: "x".into() };
        rig.journal.send(JournalEvent::Lost(stopped)).unwrap();
        let error = rig.driver.await.unwrap().unwrap_err();
        assert!(matches!(error, DriverError::Lost(_)), "{error}");
        assert_eq!(rig.effects.recv().await, None, "an effect escaped");
    }

    #[tokio::test]
    async fn shutting_down_lets_the_last_effects_leave() {
        let mut rig = rig();
        rig.inbox.send(Input::Write(1)).await.unwrap();
        rig.appended.recv().await.unwrap();
        rig.stop.send(()).unwrap();
        rig.journal.send(JournalEvent::Durable(Seq(1))).unwrap();
        assert_eq!(rig.effects.recv().await, Some(Effect::Wrote(1)));
        rig.driver.await.unwrap().unwrap();
        assert!(rig.inbox.send(Input::Ask(2)).await.is_err());
    }

    #[tokio::test]
    async fn deadlines_wake_it() {
        let (inbox, inputs) = inbox::channel(1);
        let (perform, mut effects) = mpsc::unbounded_channel();
        let clock = Clock::start_after(Time::ZERO);
        let toy = Driver::new(Awake(Toy::default()), NoJournal, clock, inputs);
        let driver = tokio::spawn(toy.run(
            move |effect| perform.send(effect).unwrap(),
            |_| {},
            pending(),
        ));
        inbox
            .send(Input::WakeIn(Duration::from_millis(20)))
            .await
            .unwrap();
        assert_eq!(effects.recv().await, Some(Effect::Woke));
        drop(inbox);
        driver.await.unwrap().unwrap();
    }

    /// The toy without a memory.
    #[derive(Debug)]
    struct Awake(Toy);

    impl Awake {
        fn forward(
            &mut self,
            out: &mut Outbox<Never, Effect>,
            act: impl FnOnce(&mut Toy, &mut Outbox<u64, Effect>),
        ) {
            let mut inner = Outbox::new();
            act(&mut self.0, &mut inner);
            for output in inner.drain() {
                match output {
                    Output::Persist(n) => panic!("{n} to be remembered"),
                    Output::Effect(effect) => out.emit(effect),
                    Output::Free(effect) => out.emit_free(effect),
                }
            }
        }
    }

    impl Machine for Awake {
        type Input = Input;
        type Record = Never;
        type Effect = Effect;

        fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Self::Record, Effect>) {
            self.forward(out, |toy, inner| toy.handle(now, input, inner));
        }

        fn tick(&mut self, now: Time, out: &mut Outbox<Self::Record, Effect>) {
            self.forward(out, |toy, inner| toy.tick(now, inner));
        }

        fn deadline(&self) -> Option<Time> {
            self.0.deadline()
        }
    }

    #[tokio::test]
    async fn a_stalled_journal_stops_the_inbox_at_a_bound() {
        let mut rig = rig();
        let most = limits::HELD_EFFECTS + 1 + limits::INPUTS_PER_TURN;
        let inbox = rig.inbox.clone();
        let total = most as u64 + 1_000;
        let feeding = tokio::spawn(async move {
            for n in 1..=total {
                inbox.send(Input::Write(n)).await.unwrap();
            }
        });
        let beyond = |handled: &usize| *handled > limits::HELD_EFFECTS;
        rig.handled.wait_for(beyond).await.unwrap();
        // On this one thread, everybody who can go on has done so after a while of yielding.
        for _ in 0..5_000 {
            tokio::task::yield_now().await;
        }
        assert!(*rig.handled.borrow() <= most, "the inbox was not stopped");
        assert!(!feeding.is_finished());
        let mut durable = 0;
        while durable < total {
            let (last, _) = rig.appended.recv().await.unwrap();
            durable = last.0;
            rig.journal.send(JournalEvent::Durable(last)).unwrap();
        }
        feeding.await.unwrap();
        for n in 1..=total {
            assert_eq!(rig.effects.recv().await, Some(Effect::Wrote(n)));
        }
    }
}
