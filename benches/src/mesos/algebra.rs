//! Operations on resources, each in microseconds.
//!
//! Mesos: the benchmarks of resources and ranges. Deliberately not here: other sizes, which
//! `benches/resources.rs` has.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use tepui_core::resources::Resources;

use crate::algebra::{each, ports, spaced};
use crate::rig::bag;

pub(super) fn run(out: &mut io::Stdout) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<56} {:>11} {:>21} {:>8}",
        "resource algebra", "ours, us", "Mesos, us", "ratio"
    )?;
    for (name, mesos, took) in scalars().into_iter().chain(sets()).chain(texts()) {
        let ours = took.as_secs_f64() * 1e6;
        let ratio = mesos / ours;
        writeln!(out, "{name:<56} {ours:>11.3} {mesos:>21} {ratio:>8.1}")?;
    }
    Ok(())
}

type Row = (&'static str, f64, Duration);

fn scalars() -> Vec<Row> {
    let some = bag("cpus:1;gpus:1;mem:128;disk:256");
    let mut total = Resources::new();
    let add = each(20_000, || total.add(black_box(&some)));
    let subtract = each(20_000, || total.subtract(black_box(&some)));
    let total = bag("cpus:1000;gpus:1000;mem:128000;disk:256000");
    let sum = each(20_000, || {
        let mut sum = total.clone();
        sum.add(black_box(&some)).map(|()| sum)
    });
    let difference = each(20_000, || total.checked_sub(black_box(&some)));
    let contains = each(20_000, || total.contains(black_box(&some)));
    vec![
        ("total += r, of four scalars", 0.169, add),
        ("total -= r", 0.352, subtract),
        ("total + r", 0.939, sum),
        ("total - r", 0.625, difference),
        ("contains, four scalars in four", 0.089, contains),
    ]
}

fn sets() -> Vec<Row> {
    let single = ports(spaced(8_000, 1, 2, 1));
    let wide = ports(spaced(1, 1, 1, 16_000));
    let same = ports(spaced(8_000, 1, 2, 1));
    let in_wide = each(200, || wide.contains(black_box(&single)));
    let in_same = each(200, || same.contains(black_box(&single)));
    let mut total = reservations(4_000);
    let some = reservations(4_000);
    let labels = each(21, || total.add(black_box(&some)));
    let mut rows = vec![
        ("contains, 8000 single ports in [1-16000]", 1_359.0, in_wide),
        ("contains, 8000 single ports in the same", 37_950.0, in_same),
        (
            "total += r, 4000 labelled reservations in both",
            80_690.0,
            labels,
        ),
    ];
    // Every range overlaps one of the other side.
    let unions = [
        ("ranges a += b, 10 sub-ranges", 10, 0.80),
        ("ranges a += b, 100 sub-ranges", 100, 8.3),
        ("ranges a += b, 1000 sub-ranges", 1_000, 188.0),
    ];
    for (name, count, mesos) in unions {
        let (a, b) = (spaced(count, 3, 10, 4), spaced(count, 1, 10, 4));
        rows.push((name, mesos, each(2_000, || a.union(black_box(&b)))));
    }
    rows
}

fn texts() -> Vec<Row> {
    let mut text = String::new();
    for n in 0..100 {
        write!(text, "name{n}:{n}.5;").expect("a string takes everything");
    }
    let parse = each(500, || Resources::parse(black_box(&text)));
    vec![("parse of a text of 100 scalars", 242.0, parse)]
}

fn reservations(count: usize) -> Resources {
    let mut text = String::new();
    for n in 0..count {
        write!(
            text,
            "cpus(*)<dynamic=\"role\",label=\"key\"=\"value-{n}\">:1;"
        )
        .expect("a string takes everything");
    }
    bag(&text)
}
