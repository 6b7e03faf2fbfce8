//! Those who always want more get the same (I8): of what is free, frameworks in one role with equal
//! weights and a backlog of equal tasks have as many each, up to what is given in one step.
//!
//! A step is an offer, and each agent with something free is one: a framework may be made several
//! at a time, before it has said of any how little it takes. So the counts may differ by one for
//! each agent, and by one more. When many tasks end at a time they differ by more until their
//! places are taken again; but not for as long as two tasks take one after the other.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::Broken;
use crate::sim::property::Property;

/// How many frameworks compete.
pub(in crate::sim) const FRAMEWORKS: usize = 2;
/// How long it takes until what is there is shared: who comes first may have all at first.
pub(in crate::sim) const CONTEST: Duration = Duration::from_secs(30);
/// How often they are looked at then, once in a second: for two lives of tasks.
pub(in crate::sim) const LOOKS: u32 = 16;

/// Checks how many tasks each of them had, each time that somebody looked.
pub(in crate::sim) fn check(agents: usize, looks: &[Vec<usize>]) -> Result<(), Broken> {
    let differs = |counts: &Vec<usize>| {
        let (least, most) = (counts.iter().min(), counts.iter().max());
        most.zip(least)
            .is_some_and(|(most, least)| most - least > agents + 1)
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

    // I8
    #[test]
    fn who_gets_all_is_found() {
        let (fair, unfair) = (vec![6, 9], vec![12, 8]);
        assert_eq!(check(2, &[fair.clone(), fair.clone()]), Ok(()));
        assert_eq!(check(2, &[unfair.clone(), fair]), Ok(()));
        assert!(check(2, &[unfair.clone(), vec![0, 16]]).is_err());
        assert_eq!(check(3, &[unfair.clone(), unfair]), Ok(()));
    }
}
