//! What a turn costs that must be durable before its effect leaves. Prints; asserts the contract.
//!
//! The figures are as good as the disk's fdatasync, which varies widely on virtual disks: compare
//! them with its own latency at the same time, and take the burst for no sustained rate.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::future::pending;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tepui_core::machine::{Durable, Machine, Outbox};
use tepui_core::time::Time;
use tepui_transport::clock::Clock;
use tepui_transport::driver::Driver;
use tepui_transport::inbox;
use tepui_transport::journal::FileJournal;
use tokio::sync::mpsc;

/// Remembers the sum of its inputs, and tells it once it is safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum(u64);

impl Durable for Sum {
    type Record = u64;

    const LAYOUT: u32 = 1;

    fn apply(&mut self, record: &u64) {
        self.0 += record;
    }
}

impl Machine for Sum {
    type Input = u64;
    type Record = u64;
    type Effect = u64;

    fn handle(&mut self, _: Time, input: u64, out: &mut Outbox<u64, u64>) {
        if input > 0 {
            self.apply(&input);
            out.persist(input);
        }
        out.emit(self.0);
    }

    fn tick(&mut self, _: Time, _: &mut Outbox<u64, u64>) {}

    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_with_and_without_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let opened = FileJournal::<Sum>::open(dir.path()).unwrap();
    let (inbox, inputs) = inbox::channel(1_000);
    let (perform, mut effects) = mpsc::unbounded_channel();
    let clock = Clock::start_after(Time::ZERO);
    let driver = Driver::new(opened.state, opened.journal, clock, inputs);
    let driver = tokio::spawn(driver.run(
        move |effect| perform.send(effect).unwrap(),
        |_| {},
        pending(),
    ));
    const TURNS: u32 = 300;
    for input in [0u64, 1] {
        let start = Instant::now();
        for n in 1..=u64::from(TURNS) {
            inbox.send(input).await.unwrap();
            assert_eq!(effects.recv().await, Some(n * input));
        }
        println!("a turn with {input} records: {:?}", start.elapsed() / TURNS);
    }
    const GATHERED: u64 = 20_000;
    let start = Instant::now();
    let feeding = tokio::spawn(async move {
        for _ in 0..GATHERED {
            inbox.send(1).await.unwrap();
        }
    });
    for n in 1..=GATHERED {
        assert_eq!(effects.recv().await, Some(u64::from(TURNS) + n));
    }
    let rate = GATHERED as f64 / start.elapsed().as_secs_f64();
    println!("one burst of {GATHERED} records: {rate:.0} a second");
    feeding.await.unwrap();
    let left = driver.await.unwrap().unwrap();
    // Only what was told is claimed, and all of it is there.
    let opened = FileJournal::<Sum>::open(dir.path()).unwrap();
    assert_eq!(opened.state, left);
    assert_eq!(opened.state.0, u64::from(TURNS) + GATHERED);
}
