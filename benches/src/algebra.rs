//! What single operations on resources take.
//!
//! Used by the tables of operations. Deliberately not here: which operations.

use std::hint::black_box;
use std::time::Duration;

use tepui_core::resources::{Ranges, Resource, Resources, Value};

use crate::rig::{Took, timed};

const BATCHES: usize = 7;

/// Times an operation on the processor: the median of some batches of so many.
pub fn each<T>(times: u32, mut operation: impl FnMut() -> T) -> Duration {
    let batch = |_| {
        let all = || {
            for _ in 0..times {
                black_box(operation());
            }
        };
        timed(all).1
    };
    let batches: Vec<Took> = (0..BATCHES).map(batch).collect();
    Took::median(&batches).cpu / times
}

/// Makes a bag of ports.
pub fn ports(ranges: Ranges) -> Resources {
    let mut bag = Resources::new();
    let ports = Resource::new("ports", Value::Ranges(ranges));
    bag.insert(ports.expect("the name is legal"))
        .expect("one entry fits");
    bag
}

/// Makes so many ranges of `width` numbers, the first at `first` and then one every `step`.
pub fn spaced(count: u64, first: u64, step: u64, width: u64) -> Ranges {
    let starts = (0..count).map(|n| first + n * step);
    starts.map(|start| start..=start + width - 1).collect()
}
