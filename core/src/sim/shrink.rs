//! Makes a failing plan small: fewer faults, fewer nodes, less time.
//!
//! Used by the command line on what a swarm recorded. Deliberately not here: what failing means;
//! whoever calls says it.

use alloc::vec::Vec;
use core::time::Duration;

use super::dials::Dials;
use super::fault::Fault;
use super::options::{Policy, Span};
use super::plan::Plan;
use super::queue::Name;
use crate::allocator::drf::DemandRule;
use crate::resources::{Ceilings, Quantities};
use crate::time::Time;

/// Tries smaller plans for as long as they fail as well, at most `attempts` of them. Returns the
/// smallest that was found.
pub fn shrink(plan: &Plan, attempts: u32, fails: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut search = Search {
        best: Plan {
            faults: Some(plan.listed()),
            ..plan.clone()
        },
        left: attempts,
        fails,
    };
    while search.left > 0 {
        let before = search.best.size();
        search.fewer_faults();
        search.fewer_nodes();
        search.less_trouble();
        if search.best.size() == before {
            break;
        }
    }
    search.best
}

struct Search<'a> {
    best: Plan,
    left: u32,
    fails: &'a mut dyn FnMut(&Plan) -> bool,
}

impl Search<'_> {
    /// Keeps a plan if it is smaller than the best, and fails. Returns whether.
    fn keep(&mut self, plan: Plan) -> bool {
        if self.left == 0 || plan.size() >= self.best.size() {
            return false;
        }
        self.left -= 1;
        let is_kept = (self.fails)(&plan);
        if is_kept {
            self.best = plan;
        }
        is_kept
    }

    /// Leaves out runs of faults: first halves, then quarters, and at last one by one.
    fn fewer_faults(&mut self) {
        let mut run = self.best.listed().len();
        while run > 0 && self.left > 0 {
            let mut from = 0;
            while from < self.best.listed().len() && self.left > 0 {
                let mut faults = self.best.listed();
                let to = faults.len().min(from + run);
                faults.drain(from..to);
                let is_kept = self.keep(Plan {
                    faults: Some(faults),
                    ..self.best.clone()
                });
                if !is_kept {
                    from += run;
                }
            }
            run /= 2;
        }
    }

    /// Leaves out nodes. What happens to them happens to those that are left.
    fn fewer_nodes(&mut self) {
        self.lower(|plan| &mut plan.options.agents);
        self.lower(|plan| &mut plan.options.frameworks);
        self.lower(|plan| &mut plan.options.greedy);
        self.lower(|plan| &mut plan.options.silent);
        self.lower(|plan| &mut plan.options.nonsense);
        self.lower(|plan| &mut plan.options.leaving);
        self.lower(|plan| &mut plan.options.keepers);
        self.lower(|plan| &mut plan.options.formatters);
        self.lower(|plan| &mut plan.options.shifters);
        self.lower(|plan| &mut plan.options.watchers);
    }

    fn lower(&mut self, count: fn(&mut Plan) -> &mut u32) {
        let now = *count(&mut self.best);
        for n in [0, 1, now / 2, now.saturating_sub(1)] {
            if n >= *count(&mut self.best) {
                continue;
            }
            let mut plan = self.best.clone();
            *count(&mut plan) = n;
            let (agents, frameworks) = (plan.options.agents, plan.frameworks());
            let faults = plan.listed().into_iter();
            let faults = faults.map(|fault| within(fault, agents, frameworks));
            plan.faults = Some(faults.filter(|f| f.hits(agents, frameworks)).collect());
            self.keep(plan);
        }
    }

    /// Asks less of what is left: time after the last fault, tasks, ports, kills.
    fn less_trouble(&mut self) {
        let faults: Vec<Fault> = self.best.listed();
        let last = faults.last().map_or(Time::ZERO, |fault| fault.at);
        let least = last.since(Time::ZERO) + Duration::from_secs(1);
        for trouble in [least, (least + self.best.trouble) / 2] {
            self.with(|plan| plan.trouble = trouble);
        }
        self.with(|plan| plan.calm = Duration::ZERO);
        self.with(|plan| plan.options.demand.tasks = 1);
        self.with(|plan| plan.options.demand.tasks /= 2);
        self.with(|plan| plan.options.demand.ports = 0);
        self.with(|plan| plan.options.demand.kill_one_in = 0);
        self.with(|plan| plan.options.demand.kill_early_one_in = 0);
        self.with(|plan| plan.options.demand.endless_one_in = 0);
        self.with(|plan| plan.options.faults.breach_one_in = 0);
        self.with(|plan| plan.options.faults.launch_failure_one_in = 0);
        self.with(|plan| plan.options.faults.odd_executor_one_in = 0);
        self.with(|plan| plan.options.faults.old_master_one_in = 0);
        self.with(|plan| {
            let demands = plan.options.allocator.demands();
            plan.options.allocator = Policy::library(None, demands);
        });
        self.with(|plan| {
            let lease = plan.options.allocator.lease();
            plan.options.allocator = Policy::library(lease, DemandRule::Ignored);
        });
        self.with(|plan| plan.options.think = Span::secs(0, 0));
        self.with(|plan| plan.options.demand.executor = None);
        self.with(|plan| plan.options.demand.group = 1);
        self.with(|plan| plan.options.limits = Ceilings::new());
        self.with(|plan| plan.options.guarantees = Quantities::new());
        self.with(|plan| plan.options.maintenance = false);
        self.with(|plan| plan.options.mixed_versions = false);
        self.with(|plan| plan.options.drift = 0);
        self.with(|plan| plan.options.dials = Dials::default());
        let turned: Vec<&str> = self.best.options.dials.turned().map(|it| it.0).collect();
        for name in turned {
            self.with(|plan| plan.options.dials.put_back(name));
        }
    }

    fn with(&mut self, change: impl FnOnce(&mut Plan)) {
        let mut plan = self.best.clone();
        change(&mut plan);
        self.keep(plan);
    }
}

/// Lets a fault happen to a node of a smaller cluster, if there is one of its kind.
fn within(fault: Fault, agents: u32, frameworks: u32) -> Fault {
    let least = |n: u32, count: u32| (n - 1).checked_rem(count).map_or(n, |rest| rest + 1);
    let node = match fault.node {
        Name::Master => Name::Master,
        Name::Agent(n) => Name::Agent(least(n, agents)),
        Name::Framework(n) => Name::Framework(least(n, frameworks)),
        Name::Executor { agent, n } => Name::Executor {
            agent: least(agent, agents),
            n,
        },
    };
    Fault { node, ..fault }
}

impl Plan {
    /// What shrinking makes smaller, the most important first.
    fn size(&self) -> (usize, u32, Duration, u64) {
        let o = &self.options;
        let rates = [
            o.demand.ports,
            o.demand.kill_one_in,
            o.demand.kill_early_one_in,
            o.demand.endless_one_in,
            o.faults.breach_one_in,
            o.faults.launch_failure_one_in,
            o.faults.odd_executor_one_in,
            o.faults.old_master_one_in,
            u64::from(o.allocator.lease().is_some()),
            u64::from(o.allocator.demands() == DemandRule::Honoured),
            u64::from(o.demand.executor.is_some()),
            u64::from(o.demand.group > 1),
            u64::from(o.limits.iter().next().is_some()),
            u64::from(o.guarantees.iter().next().is_some()),
            u64::from(o.maintenance),
            u64::from(o.mixed_versions),
            u64::from(o.drift),
            u64::from(!o.think.ends().1.is_zero()),
        ];
        let least = o.demand.tasks as u64 + rates.iter().filter(|rate| **rate > 0).count() as u64;
        let least = least + o.dials.turned().count() as u64;
        let nodes = o.agents.saturating_add(self.frameworks());
        let nodes = nodes.saturating_add(o.watchers);
        (self.listed().len(), nodes, self.trouble + self.calm, least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fault::Kind;

    /// A plan with something of everything.
    fn large() -> Plan {
        let plans = (0..).map(Plan::drawn);
        let mut plans = plans.filter(|plan| {
            let crashes = plan.listed();
            let crashes = crashes.iter().filter(|f| f.kind == Kind::AgentCrash);
            crashes.count() > 3 && plan.options.agents > 3 && plan.options.greedy > 0
        });
        plans.next().unwrap()
    }

    #[test]
    fn nothing_is_left_that_a_failure_does_not_need() {
        let crashes = |plan: &Plan| {
            let faults = plan.listed().into_iter();
            faults.filter(|f| f.kind == Kind::AgentCrash).count()
        };
        let mut tried = 0;
        let small = shrink(&large(), 1_000, &mut |plan| {
            tried += 1;
            crashes(plan) >= 2 && plan.options.agents >= 2 && plan.options.demand.tasks >= 1
        });
        assert_eq!((small.listed().len(), crashes(&small)), (2, 2));
        let options = &small.options;
        assert_eq!((options.agents, small.frameworks()), (2, 0));
        assert_eq!(options.demand.tasks, 1);
        assert_eq!(options.demand.ports + options.demand.kill_one_in, 0);
        let last = small.listed()[1].at.since(Time::ZERO);
        assert_eq!(small.trouble, last + Duration::from_secs(1));
        assert!(tried < 300, "{tried} attempts");
    }

    #[test]
    fn what_fails_only_as_it_is_stays_and_attempts_are_bounded() {
        let plan = large();
        let same = shrink(&plan, 1_000, &mut |_| false);
        assert_eq!(alloc::format!("{same}"), alloc::format!("{plan}"));
        let mut tried = 0;
        shrink(&plan, 7, &mut |_| {
            tried += 1;
            true
        });
        assert_eq!(tried, 7);
    }
}
