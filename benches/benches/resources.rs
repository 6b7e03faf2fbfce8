//! What operations on resources take at several sizes: `cargo bench --bench resources`.
//!
//! Prints add, subtract and contains, in nanoseconds on the processor (the median of 7 batches), of
//! a bag of 2, 8 and 64 scalars with one of the same names, and of 1,000 port ranges with every
//! second of them. Deliberately not here: what Mesos takes, which `mesos_workloads` has.

#![allow(clippy::print_stdout, reason = "the table is what this is for")]

use std::fmt::Write as _;
use std::hint::black_box;

use tepui_benches::algebra::{each, ports, spaced};
use tepui_benches::rig::bag;
use tepui_core::resources::Resources;

fn main() {
    println!(
        "{:<20} {:>12} {:>12} {:>12}",
        "nanoseconds", "add", "subtract", "contains"
    );
    for entries in [2, 8, 64] {
        let (all, some) = (scalars(entries, 1_000), scalars(entries, 1));
        row(&format!("{entries} entries"), &all, &some, &some);
    }
    let all = ports(spaced(1_000, 31_000, 4, 2));
    let more = ports(spaced(500, 31_002, 8, 1));
    let some = ports(spaced(500, 31_000, 8, 2));
    row("1000 port ranges", &all, &more, &some);
}

fn row(name: &str, all: &Resources, more: &Resources, some: &Resources) {
    let nanos = |took: std::time::Duration| took.as_nanos();
    let add = each(2_000, || {
        let mut sum = all.clone();
        sum.add(black_box(more)).map(|()| sum)
    });
    let subtract = each(2_000, || all.checked_sub(black_box(some)));
    let contains = each(2_000, || all.contains(black_box(some)));
    println!(
        "{name:<20} {:>12} {:>12} {:>12}",
        nanos(add),
        nanos(subtract),
        nanos(contains)
    );
}

fn scalars(count: usize, amount: u32) -> Resources {
    let mut text = String::new();
    for n in 0..count {
        write!(text, "name-{n:02}:{amount};").expect("a string takes everything");
    }
    bag(&text)
}
