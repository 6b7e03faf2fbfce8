//! Those who always want more get the same (I8): of what is free, frameworks in one role with equal
//! weights and a backlog of equal tasks have as many each, up to what is given in one step.
//!
//! A step is an offer. Where frameworks say how much they want it is of one task, and there is one
//! at a time. Where they do not, or what they say waits for its turn, it is all that a machine has
//! free: it counts as its holder's until it is answered, so counts may differ by what fits on a
//! machine; and by one for each agent, because a framework may be made several offers before it has
//! said of any how little it takes. News on its way makes it one more. When many tasks end at a
//! time counts differ by more until their places are taken again; but not for as long as two tasks
//! take one after the other.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::Broken;
use crate::allocator::drf::DemandRule;
use crate::resources::{Milli, Resources};
use crate::sim::options::Options;
use crate::sim::property::Property;

/// How many frameworks compete.
pub(in crate::sim) const FRAMEWORKS: usize = 2;
/// How long it takes until what is there is shared: who comes first may have all at first.
pub(in crate::sim) const CONTEST: Duration = Duration::from_secs(30);
/// How often they are looked at then, once in a second: for two lives of tasks.
pub(in crate::sim) const LOOKS: u32 = 16;

/// Returns by how many tasks they may differ.
pub(in crate::sim) fn bound(options: &Options) -> usize {
    let is_exact = options.allocator.demands() == DemandRule::Honoured;
    if is_exact && !options.dials.holds_calls_up() {
        return 2;
    }
    let task = &options.demand.task;
    let machines = options.each_machine();
    let places = machines.map(|(resources, _)| places(resources, task));
    let (agents, most) = places.fold((0, 0), |(n, most), it| (n + 1, most.max(it)));
    most.max(agents) + 1
}

/// Says how many of a task fit on an empty machine.
fn places(machine: &Resources, task: &Resources) -> usize {
    let (machine, task) = (machine.total(), task.total());
    let times = |(name, each): (&str, Milli)| {
        machine
            .amount(name)
            .thousandths()
            .checked_div(each.thousandths())
    };
    let least = task.iter().filter_map(times).min().unwrap_or(0);
    usize::try_from(least).unwrap_or(usize::MAX)
}

/// Checks how many tasks each of them had, each time that somebody looked.
pub(in crate::sim) fn check(bound: usize, looks: &[Vec<usize>]) -> Result<(), Broken> {
    let differs = |counts: &Vec<usize>| {
        let (least, most) = (counts.iter().min(), counts.iter().max());
        most.zip(least)
            .is_some_and(|(most, least)| most - least > bound)
    };
    if looks.is_empty() || !looks.iter().all(differs) {
        return Ok(());
    }
    let problem = format!("who always want the same have so many tasks: {looks:?}");
    Err((Property::Fairness, problem))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::sim::options::Policy;

    // I8
    #[test]
    fn who_gets_all_is_found() {
        let (fair, unfair) = (vec![6, 9], vec![12, 8]);
        assert_eq!(check(3, &[fair.clone(), fair.clone()]), Ok(()));
        assert_eq!(check(3, &[unfair.clone(), fair]), Ok(()));
        assert!(check(3, &[unfair.clone(), vec![0, 16]]).is_err());
        assert_eq!(check(4, &[unfair.clone(), unfair]), Ok(()));
    }

    // I8: by what is given in one step
    #[test]
    fn what_is_given_at_once_is_a_task_or_a_machine() {
        let machine = |text| Resources::parse(text).unwrap();
        let of = |agents, text, demands| {
            let allocator = Policy::library(None, demands);
            let options = Options::new(1, agents, 0, machine(text));
            bound(&Options {
                allocator,
                ..options
            })
        };
        // The tasks are of one core and 64 MiB.
        assert_eq!(of(2, "cpus:7;mem:1792", DemandRule::Ignored), 8);
        assert_eq!(of(2, "cpus:7;mem:300", DemandRule::Ignored), 5);
        assert_eq!(of(5, "cpus:1;mem:1792", DemandRule::Ignored), 6);
        assert_eq!(of(5, "cpus:7;mem:1792", DemandRule::Honoured), 2);
        let mut options = Options::new(1, 5, 0, machine("cpus:7;mem:1792"));
        options.allocator = Policy::library(None, DemandRule::Honoured);
        options.dials.call_every = 29;
        assert_eq!(bound(&options), 8, "what they want is heard late");
    }
}
