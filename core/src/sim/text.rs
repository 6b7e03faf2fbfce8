//! Plans as text: one `key=value` a line, then one line for each fault.
//!
//! What a swarm records of a run that failed, what is kept of bugs as a regression, and what can be
//! changed by hand. Written with all that chance decided about faults, so that lines may be taken
//! out without moving the others. A missing key has the value of [`Options::new`].

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZero;
use core::str::FromStr;
use core::time::Duration;

use super::command::seconds;
use super::dials::Dials;
use super::fault::{Fault, Kind};
use super::options::{Checking, Options, Policy, SharedExecutor, Span};
use super::plan::Plan;
use super::queue::Name;
use crate::allocator::drf::DemandRule;
use crate::protocol::task::CommandInfo;
use crate::resources::{Ceilings, Quantities, Resources};
use crate::time::Time;

/// The layout of the text.
const FORMAT: &str = "1";
/// As many nodes of a kind as one process can simulate.
const NODES: u32 = 100_000;
/// Longer than any run: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PlanError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it, and what was expected.
    pub problem: String,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format={FORMAT}")?;
        writeln!(f, "seed={}", self.options.seed)?;
        writeln!(f, "trouble={}", Seconds(self.trouble))?;
        writeln!(f, "calm={}", Seconds(self.calm))?;
        self.write_population(f)?;
        self.write_rules(f)
    }
}

impl Plan {
    /// Writes who there is, and what they want.
    fn write_population(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.options;
        writeln!(f, "agents={}", o.agents)?;
        writeln!(f, "agent_resources={}", o.agent_resources)?;
        writeln!(f, "frameworks={}", o.frameworks)?;
        writeln!(f, "greedy={}", o.greedy)?;
        writeln!(f, "silent={}", o.silent)?;
        writeln!(f, "nonsense={}", o.nonsense)?;
        writeln!(f, "leaving={}", o.leaving)?;
        writeln!(f, "keepers={}", o.keepers)?;
        writeln!(f, "formatters={}", o.formatters)?;
        writeln!(f, "shifters={}", o.shifters)?;
        writeln!(f, "watchers={}", o.watchers)?;
        writeln!(f, "events_kept={}", o.events_kept)?;
        writeln!(f, "tasks={}", o.demand.tasks)?;
        writeln!(f, "task={}", o.demand.task)?;
        writeln!(f, "task_ports={}", o.demand.ports)?;
        writeln!(f, "task_command={}", o.demand.command.value)?;
        if let Some(executor) = &o.demand.executor {
            writeln!(f, "executor={}", executor.resources)?;
            writeln!(f, "executor_tasks={}", executor.tasks)?;
        }
        writeln!(f, "group={}", o.demand.group)?;
        writeln!(f, "kill_one_in={}", o.demand.kill_one_in)?;
        writeln!(f, "kill_early_one_in={}", o.demand.kill_early_one_in)?;
        writeln!(f, "endless_one_in={}", o.demand.endless_one_in)?;
        writeln!(f, "hurried_one_in={}", o.demand.hurried_one_in)?;
        writeln!(f, "checked_one_in={}", o.demand.checked_one_in)?;
        writeln!(f, "patience={}", Seconds(o.demand.patience))
    }

    /// Writes what goes wrong, and how everybody is set up.
    fn write_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.options;
        writeln!(f, "breach_one_in={}", o.faults.breach_one_in)?;
        let launch_failure = o.faults.launch_failure_one_in;
        writeln!(f, "launch_failure_one_in={launch_failure}")?;
        writeln!(f, "hang_one_in={}", o.faults.hang_one_in)?;
        writeln!(f, "odd_executor_one_in={}", o.faults.odd_executor_one_in)?;
        writeln!(f, "old_master_one_in={}", o.faults.old_master_one_in)?;
        for (key, span) in [
            ("delay", o.delay),
            ("sync", o.sync),
            ("start", o.start),
            ("run", o.run),
            ("think", o.think),
            ("redial", o.redial),
        ] {
            let (least, most) = span.ends();
            writeln!(f, "{key}={}..{}", Seconds(least), Seconds(most))?;
        }
        writeln!(f, "ping_interval={}", Seconds(o.ping_interval))?;
        writeln!(f, "max_missed_pings={}", o.max_missed_pings)?;
        let timeout = Seconds(o.agent_reregister_timeout);
        writeln!(f, "agent_reregister_timeout={timeout}")?;
        writeln!(f, "failover_timeout={}", Seconds(o.failover_timeout))?;
        let timeout = Seconds(o.executor_registration_timeout);
        writeln!(f, "executor_registration_timeout={timeout}")?;
        if let Some(lease) = o.allocator.lease() {
            writeln!(f, "lease={}", Seconds(lease))?;
        }
        let demands = o.allocator.demands() == DemandRule::Honoured;
        writeln!(f, "demands={demands}")?;
        if o.limits.iter().next().is_some() {
            writeln!(f, "limits={}", o.limits)?;
        }
        if o.guarantees.iter().next().is_some() {
            writeln!(f, "guarantees={}", o.guarantees)?;
        }
        writeln!(f, "maintenance={}", o.maintenance)?;
        if let Some(timeout) = o.inverse_offer_timeout {
            writeln!(f, "inverse_offer_timeout={}", Seconds(timeout))?;
        }
        writeln!(f, "mixed_versions={}", o.mixed_versions)?;
        writeln!(f, "drift={}", o.drift)?;
        for (name, value) in o.dials.turned() {
            writeln!(f, "{name}={value}")?;
        }
        writeln!(f, "checking={}", o.checking)?;
        for fault in self.listed() {
            writeln!(f, "fault={fault}")?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    /// Reads a plan; empty lines and those that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::empty();
        let mut faults: Vec<(usize, Fault)> = Vec::new();
        let mut has_format = false;
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let wrong = |problem| PlanError { line, problem };
            let (key, value) = content
                .split_once('=')
                .ok_or_else(|| wrong(format!("{content:?}: expected KEY=VALUE")))?;
            if key == "format" {
                has_format = true;
            } else if !has_format {
                return Err(wrong(format!("{key}: expected format={FORMAT} before it")));
            }
            if key == "fault" {
                faults.push((line, value.parse().map_err(wrong)?));
            } else {
                plan.set(key, value)
                    .map_err(|problem| wrong(format!("{key}={value}: {problem}")))?;
            }
        }
        if !has_format {
            let problem = format!("expected format={FORMAT}, which is missing");
            return Err(PlanError { line: 1, problem });
        }
        plan.faults = Some(plan.checked(faults)?);
        Ok(plan)
    }
}

impl Plan {
    fn empty() -> Self {
        Self {
            options: Options::new(0, 1, 1, Resources::default()),
            trouble: Duration::ZERO,
            calm: Duration::ZERO,
            faults: None,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let o = &mut self.options;
        match key {
            "format" if value == FORMAT => {}
            "format" => return Err(format!("expected {FORMAT}")),
            "seed" => o.seed = number(value)?,
            "trouble" => self.trouble = duration(value)?,
            "calm" => self.calm = duration(value)?,
            "agents" => o.agents = nodes(value)?,
            "agent_resources" => o.agent_resources = resources(value)?,
            "frameworks" => o.frameworks = nodes(value)?,
            "greedy" => o.greedy = nodes(value)?,
            "silent" => o.silent = nodes(value)?,
            "nonsense" => o.nonsense = nodes(value)?,
            "leaving" => o.leaving = nodes(value)?,
            "keepers" => o.keepers = nodes(value)?,
            "formatters" => o.formatters = nodes(value)?,
            "shifters" => o.shifters = nodes(value)?,
            "watchers" => o.watchers = nodes(value)?,
            "events_kept" => o.events_kept = number(value)?,
            "tasks" => o.demand.tasks = number(value)?,
            "task" => o.demand.task = resources(value)?,
            "task_ports" => o.demand.ports = number(value)?,
            "task_command" => o.demand.command = CommandInfo::shell(value),
            "executor" => o.demand.executor = Some(executor(value)?),
            "executor_tasks" => {
                let executor = o.demand.executor.as_mut();
                executor.ok_or("expected executor= before it")?.tasks = number(value)?;
            }
            "group" => o.demand.group = number(value)?,
            "limits" => o.limits = limits(value)?,
            "guarantees" => o.guarantees = guarantees(value)?,
            "maintenance" => o.maintenance = whether(value)?,
            "mixed_versions" => o.mixed_versions = whether(value)?,
            "inverse_offer_timeout" => o.inverse_offer_timeout = Some(duration(value)?),
            "drift" => o.drift = number(value)?,
            "kill_one_in" => o.demand.kill_one_in = number(value)?,
            "kill_early_one_in" => o.demand.kill_early_one_in = number(value)?,
            "endless_one_in" => o.demand.endless_one_in = number(value)?,
            "hurried_one_in" => o.demand.hurried_one_in = number(value)?,
            "checked_one_in" => o.demand.checked_one_in = number(value)?,
            "patience" => o.demand.patience = duration(value)?,
            "breach_one_in" => o.faults.breach_one_in = number(value)?,
            "launch_failure_one_in" => o.faults.launch_failure_one_in = number(value)?,
            "hang_one_in" => o.faults.hang_one_in = number(value)?,
            "odd_executor_one_in" => o.faults.odd_executor_one_in = number(value)?,
            "old_master_one_in" => o.faults.old_master_one_in = number(value)?,
            "delay" => o.delay = span(value)?,
            "sync" => o.sync = span(value)?,
            "start" => o.start = span(value)?,
            "run" => o.run = span(value)?,
            "think" => o.think = span(value)?,
            "redial" => o.redial = span(value)?,
            "ping_interval" => o.ping_interval = duration(value)?,
            "max_missed_pings" => o.max_missed_pings = number(value)?,
            "agent_reregister_timeout" => o.agent_reregister_timeout = duration(value)?,
            "failover_timeout" => o.failover_timeout = duration(value)?,
            "executor_registration_timeout" => {
                o.executor_registration_timeout = duration(value)?;
            }
            "lease" => o.allocator = leasing(&o.allocator, value)?,
            "demands" => o.allocator = demanding(&o.allocator, value)?,
            "checking" => o.checking = value.parse()?,
            _ => turn(&mut o.dials, key, value)?,
        }
        Ok(())
    }

    /// Checks that faults come in order and that everybody they hit is there.
    fn checked(&self, faults: Vec<(usize, Fault)>) -> Result<Vec<Fault>, PlanError> {
        let mut checked: Vec<Fault> = Vec::with_capacity(faults.len());
        for (line, fault) in faults {
            let problem = if !fault.hits(self.options.agents, self.frameworks()) {
                let Fault { kind, node, .. } = fault;
                format!("{kind} {node}: expected a node of the cluster that this can happen to")
            } else if checked.last().is_some_and(|last| last.at > fault.at) {
                format!("at {}: expected faults in order of time", fault.at)
            } else {
                checked.push(fault);
                continue;
            };
            return Err(PlanError { line, problem });
        }
        Ok(checked)
    }
}

fn turn(dials: &mut Dials, key: &str, value: &str) -> Result<(), String> {
    if !Dials::has(key) {
        return Err("expected a known key".into());
    }
    dials.turn(key, number(value)?)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, node, .. } = self;
        let (lasting, chance) = (Seconds(self.lasting), self.chance);
        write!(f, "{at} {kind} {node} {lasting} {chance}")
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [at, kind, node, lasting, chance] = words[..] else {
            return Err(format!(
                "{text:?}: expected TIME KIND NODE LASTING CHANCE after fault="
            ));
        };
        let named = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
        Ok(Self {
            at: Time::ZERO + duration(at)?,
            kind: named.ok_or_else(|| format!("{kind:?}: expected a kind of fault"))?,
            node: node.parse()?,
            lasting: duration(lasting)?,
            chance: number(chance)?,
        })
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?}: expected master, agent-N or framework-N");
        if text == "master" {
            return Ok(Self::Master);
        }
        let (role, n) = text.split_once('-').ok_or_else(expected)?;
        let n = n.parse().ok().filter(|n| *n > 0).ok_or_else(expected)?;
        match role {
            "agent" => Ok(Self::Agent(n)),
            "framework" => Ok(Self::Framework(n)),
            _ => Err(expected()),
        }
    }
}

/// A duration in seconds, to the microsecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse();
    number.map_err(|_| format!("{text:?}: expected a whole number in its range"))
}

/// Reads how long offers are good.
fn leasing(policy: &Policy, value: &str) -> Result<Policy, String> {
    Ok(Policy::library(Some(duration(value)?), policy.demands()))
}

/// Reads whether offers are cut to demands.
fn demanding(policy: &Policy, value: &str) -> Result<Policy, String> {
    let demands = match whether(value)? {
        true => DemandRule::Honoured,
        false => DemandRule::Ignored,
    };
    Ok(Policy::library(policy.lease(), demands))
}

fn whether(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{text:?}: expected true or false"))
}

fn nodes(text: &str) -> Result<u32, String> {
    let number = number(text)?;
    if number > NODES {
        return Err(format!("expected at most {NODES}"));
    }
    Ok(number)
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = seconds(text).filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| format!("{text:?}: expected seconds such as 5 or 0.25"))
}

fn span(text: &str) -> Result<Span, String> {
    let ends = text.split_once("..");
    let (least, most) = ends.ok_or("expected two times such as 0.001..0.005")?;
    let (least, most) = (duration(least)?, duration(most)?);
    if least > most {
        return Err("expected the shorter time first".into());
    }
    Ok(Span::new(least, most))
}

fn limits(text: &str) -> Result<Ceilings, String> {
    Ceilings::parse(text).map_err(|error| error.to_string())
}

fn guarantees(text: &str) -> Result<Quantities, String> {
    Quantities::parse(text).map_err(|error| error.to_string())
}

fn executor(text: &str) -> Result<SharedExecutor, String> {
    let (resources, tasks) = (resources(text)?, NonZero::<u64>::MIN);
    Ok(SharedExecutor { resources, tasks })
}

fn resources(text: &str) -> Result<Resources, String> {
    Resources::parse(text).map_err(|error| error.to_string())
}

impl fmt::Display for Checking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Sampled(steps) => write!(f, "sampled:{steps}"),
            Self::Always => f.write_str("always"),
        }
    }
}

impl FromStr for Checking {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "off" => Ok(Self::Off),
            None if text == "always" => Ok(Self::Always),
            Some(("sampled", steps)) => Ok(Self::Sampled(number(steps)?)),
            Some(_) | None => Err("expected off, always or sampled:STEPS".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        for seed in 0..50 {
            let text = Plan::drawn(seed).to_string();
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string(), text);
            assert_eq!(plan.faults, Some(Plan::drawn(seed).listed()));
        }
    }

    #[test]
    fn what_is_no_plan_is_refused_with_its_line() {
        for (text, line, part) in [
            ("", 1, "format=1"),
            ("seed=1", 1, "before it"),
            ("format=2", 1, "expected 1"),
            ("# words\n\nformat=1\nagents", 4, "KEY=VALUE"),
            ("format=1\ncolour=red", 2, "known key"),
            ("format=1\nseed=-1", 2, "whole number"),
            ("format=1\nagents=100001", 2, "at most"),
            ("format=1\ndelay=3..1", 2, "shorter"),
            ("format=1\ndelay=3", 2, "two times"),
            ("format=1\ntrouble=1s", 2, "seconds"),
            ("format=1\nagent_resources=cpus", 2, "agent_resources=cpus"),
            ("format=1\nlimits=cpus", 2, "limits=cpus"),
            ("format=1\nchecking=often", 2, "sampled:STEPS"),
            ("format=1\nmaintenance=1", 2, "true or false"),
            ("format=1\nchecking=sampled:0", 2, "whole number"),
            ("format=1\nexecutor_tasks=2", 2, "executor= before"),
            (
                "format=1\nexecutor=mem:1\nexecutor_tasks=0",
                3,
                "whole number",
            ),
            ("format=1\nfault=1 cut agent-1 1", 2, "CHANCE"),
            ("format=1\nfault=1 itch agent-1 1 1", 2, "kind of fault"),
            ("format=1\nfault=1 cut agent-0 1 1", 2, "agent-N"),
            (
                "format=1\nfault=1 cut agent-2 1 1",
                2,
                "a node of the cluster",
            ),
            (
                "format=1\nfault=1 cut master 1 1",
                2,
                "a node of the cluster",
            ),
            (
                "format=1\nfault=1 breach agent-1 1 1",
                2,
                "this can happen to",
            ),
            (
                "format=1\nfault=1 cut framework-2 1 1",
                2,
                "a node of the cluster",
            ),
            (
                "format=1\nfault=2 cut agent-1 1 1\nfault=1 cut agent-1 1 1",
                3,
                "order",
            ),
        ] {
            let error = text.parse::<Plan>().unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.problem.contains(part), "{text:?}: {error}");
        }
    }
}
