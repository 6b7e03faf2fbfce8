//! Conservation (I1): of each agent what is free, offered and used is its total, and the allocator
//! has booked exactly that (I3).
//!
//! The master and its allocator keep these books apart from each other; that they agree is what
//! makes the allocator replaceable. The books of [`super::ledger`] are a third set, kept from
//! messages alone: with these the allocator is compared after each step that changes them, and the
//! master, whose books have to be added up for it, at some.

use alloc::format;
use alloc::string::String;

use super::entries::amounts;
use super::ledger::Ledger;
use super::quota::consumed;
use crate::master::Master;
use crate::resources::{Quantities, Resources};

/// Compares the allocator with the ledger, if that has changed.
pub(super) fn check_step(ledger: &mut Ledger, master: &Master) -> Result<(), String> {
    let Some(given) = ledger.take_given() else {
        return Ok(());
    };
    let booked = master.allocator().stats().booked;
    if booked == *given {
        return Ok(());
    }
    Err(format!(
        "the allocator booked {booked}, and by what was said {given} is given"
    ))
}

/// Adds up what the master has given, and compares it with its allocator.
pub(in crate::sim) fn check(master: &Master) -> Result<(), String> {
    let mut booked = Quantities::default();
    for agent in master.view().agents() {
        booked.add(&amounts(&agent.offered));
        booked.add(&amounts(&agent.allocated));
        // One after the other: added up, a port that is given twice would be there once.
        let mut free = agent.total;
        // Of what is shared anybody may have a copy (RM-48).
        let own = |given: Resources| given.filter(|entry| !entry.is_shared());
        for given in [own(agent.offered), own(agent.allocated)] {
            let missing = free.subtract(&given);
            missing.map_err(|error| format!("on {}, {error}", agent.id))?;
        }
    }
    let theirs = master.allocator().stats().booked;
    if theirs != booked {
        return Err(format!(
            "the allocator booked {theirs}, and given is {booked}"
        ));
    }
    Ok(())
}

/// Compares what the master has given of each agent with the ledger.
pub(super) fn check_books(ledger: &Ledger, master: &Master) -> Result<(), String> {
    for agent in master.view().agents() {
        let id = &agent.id;
        let offered = ledger.offers().filter(|offer| offer.agent == *id);
        let offered = sum(offered.map(|offer| &offer.resources));
        let used = sum(ledger.used(id));
        if (&offered, &used) != (&agent.offered, &agent.allocated) {
            return Err(format!(
                "of {id} the master has {} offered and {} in use, by what was said {offered} \
                 and {used}",
                agent.offered, agent.allocated,
            ));
        }
    }
    Ok(())
}

/// Compares what counts against each role with the ledger (I3, RQ-21). Nothing is said while an
/// agent is away: its reservations count until it is given up.
pub(super) fn check_roles(ledger: &Ledger, master: &Master) -> Result<(), String> {
    let view = master.view();
    let all_there = || view.agents().iter().all(|row| row.presence.is_connected());
    if ledger.has_shared || !all_there() {
        return Ok(());
    }
    for figures in master.allocator().roles() {
        let (role, theirs) = (&figures.role, &figures.consumed);
        let ours = consumed(ledger, role);
        let mut names = ["cpus", "mem", "disk"].into_iter();
        if names.any(|name| ours.amount(name) != theirs.amount(name)) {
            return Err(format!(
                "against role {role} the allocator counts {theirs}, and by what was said {ours} is \
                 given"
            ));
        }
    }
    Ok(())
}

/// Adds up as the master does for display.
fn sum<'a>(parts: impl Iterator<Item = &'a Resources>) -> Resources {
    let mut sum = Resources::new();
    for part in parts {
        // Beyond what a number holds both stay as they were.
        if let Err(overflow) = sum.add(part) {
            tracing::debug!(%overflow, "a sum for comparison");
        }
    }
    sum
}
