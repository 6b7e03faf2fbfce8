//! Graphics processors come in whole ones, whatever cuts an offer.

use super::*;
use crate::allocator::drf::GpuRule;
use crate::quota::Quota;
use crate::resources::{Ceilings, Quantities};

/// What a framework in the role `a` is offered of one agent beside such quota.
fn offered(of: &str, guarantees: &str, limits: &str, total: &str) -> Vec<String> {
    let mut rig = Rig::with(Options {
        gpus: GpuRule::Everyone,
        ..Options::default()
    });
    rig.tell(Change::QuotaSet {
        role: role(of),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        },
    });
    rig.framework(A, &["a"]).agent(A0, total).says()
}

#[test]
fn what_a_limit_cuts_has_whole_devices() {
    // RM-55, AL-29, AL-30
    let total = "cpus:4;gpus:4";
    let said = offered("a", "", "cpus:1.5;gpus:2.5", total);
    assert_eq!(said, ["1: A/a on 0: cpus:1.5;gpus:2"]);
    let said = offered("a", "", "gpus:0.5", total);
    assert_eq!(said, ["1: A/a on 0: cpus:4"]);
    // What is not cut stays as it is.
    let said = offered("a", "", "gpus:2", "cpus:4;gpus:1.5");
    assert_eq!(said, ["1: A/a on 0: cpus:4;gpus:1.5"]);
}

#[test]
fn what_is_kept_for_others_splits_no_device() {
    // RM-55, AL-27
    let said = offered("q", "gpus:0.5", "", "cpus:4;gpus:2");
    assert_eq!(said, ["1: A/a on 0: cpus:4;gpus:1"]);
}
