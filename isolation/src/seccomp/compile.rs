//! Compiles a profile to instructions of the kernel's filters.
//!
//! Calls are found by a search in halves of their numbers, not one after the other: the kernel runs
//! a new filter once for each call that there is, and then, for all but a few calls, never again.
//! Of the rules for a call the first that holds counts.

use std::collections::BTreeMap;

use super::Filter;
use super::profile::{Argument, Comparison, Profile, version};
use super::words::{
    ABOVE, AND, ARCHITECTURE, ARGUMENTS, AT_LEAST, EQUAL, HIGH, JUMP, LOAD, LOW, NUMBER, RETURN,
    UNKNOWN, X32, branch, plain,
};
use crate::launch::CapabilitySet;

/// The most instructions that the kernel takes.
const MAX_INSTRUCTIONS: usize = 4096;
/// A set of calls with their numbers.
struct Interface {
    /// What profiles call it.
    name: &'static str,
    /// What the kernel calls it.
    architecture: u32,
    number: fn(&str) -> Option<u32>,
}

/// What Docker calls the machine.
#[cfg(target_arch = "x86_64")]
const MACHINE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const MACHINE: &str = "arm64";

/// The native interface, and that of 32 bits.
#[cfg(target_arch = "x86_64")]
const INTERFACES: [Interface; 2] = [
    Interface {
        name: "SCMP_ARCH_X86_64",
        architecture: 0xC000_003E,
        number: |name| {
            name.parse()
                .ok()
                .map(|call: syscalls::x86_64::Sysno| call as u32)
        },
    },
    Interface {
        name: "SCMP_ARCH_X86",
        architecture: 0x4000_0003,
        number: |name| {
            name.parse()
                .ok()
                .map(|call: syscalls::x86::Sysno| call as u32)
        },
    },
];
#[cfg(target_arch = "aarch64")]
const INTERFACES: [Interface; 2] = [
    Interface {
        name: "SCMP_ARCH_AARCH64",
        architecture: 0xC000_00B7,
        number: |name| {
            name.parse()
                .ok()
                .map(|call: syscalls::aarch64::Sysno| call as u32)
        },
    },
    Interface {
        name: "SCMP_ARCH_ARM",
        architecture: 0x4000_0028,
        number: |name| {
            name.parse()
                .ok()
                .map(|call: syscalls::arm::Sysno| call as u32)
        },
    },
];

type Code = Vec<libc::sock_filter>;

/// What becomes of a call: the first of the clauses that holds, and else the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    clauses: Vec<(Vec<Argument>, u32)>,
    rest: u32,
}

/// Compiles a profile for containers with this bounding set.
pub(super) fn compile(profile: &Profile, bounding: CapabilitySet) -> Result<Filter, String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = version(&release.map_err(|error| error.to_string())?)?;
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    for interface in &INTERFACES {
        if !profile.allows(INTERFACES[0].name, interface.name) {
            continue;
        }
        let mut block = vec![
            plain(LOAD, NUMBER),
            branch(AT_LEAST, X32, 0, 1),
            plain(RETURN, UNKNOWN),
        ];
        let decisions = decisions(profile, bounding, interface, kernel)?;
        block.extend(search(&decisions)?);
        code.push(branch(EQUAL, interface.architecture, 1, 0));
        code.push(plain(JUMP, length(&block)?));
        code.extend(block);
    }
    code.push(plain(RETURN, UNKNOWN));
    if code.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "it takes {} instructions, more than {MAX_INSTRUCTIONS}",
            code.len()
        ));
    }
    Ok(Filter::new(&code, flags(&profile.flags)?))
}

fn flags(names: &[String]) -> Result<u32, String> {
    let flag = |name: &String| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(libc::SECCOMP_FILTER_FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
        // Who installs it has one thread.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(0),
        _ => Err(format!("{name:?} is no flag of a filter")),
    };
    let flags = names.iter().map(flag);
    let flags = flags.collect::<Result<Vec<libc::c_ulong>, String>>()?;
    let all = flags.into_iter().fold(0, |all, flag| all | flag);
    u32::try_from(all).map_err(|error| error.to_string())
}

/// Finds what becomes of each call: where a range of numbers begins, and the decision for it.
fn decisions(
    profile: &Profile,
    bounding: CapabilitySet,
    interface: &Interface,
    kernel: (u32, u32),
) -> Result<Vec<(u32, Decision)>, String> {
    let default = profile.default_action.value(profile.default_errno_ret)?;
    let mut calls: BTreeMap<u32, (Decision, bool)> = BTreeMap::new();
    for rule in &profile.syscalls {
        if !rule.counts(bounding, MACHINE, kernel)? {
            continue;
        }
        let action = rule.action.value(rule.errno_ret)?;
        let clauses = clauses(rule.args.as_deref().unwrap_or_default());
        for number in rule
            .names
            .iter()
            .filter_map(|name| (interface.number)(name))
        {
            let fresh = || {
                let clauses = Vec::new();
                let rest = default;
                (Decision { clauses, rest }, false)
            };
            let (decision, settled) = calls.entry(number).or_insert_with(fresh);
            if *settled {
                continue;
            }
            for arguments in &clauses {
                if arguments.is_empty() {
                    decision.rest = action;
                    *settled = true;
                } else {
                    decision.clauses.push((arguments.clone(), action));
                }
            }
        }
    }
    let otherwise = Decision {
        clauses: Vec::new(),
        rest: default,
    };
    let mut ranges = vec![(0, otherwise.clone())];
    for (number, (decision, _)) in calls {
        ranges.push((number, decision));
        ranges.push((number + 1, otherwise.clone()));
    }
    // A later range that begins where the one before does takes its place.
    ranges.reverse();
    ranges.sort_by_key(|(start, _)| *start);
    ranges.dedup_by_key(|(start, _)| *start);
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    Ok(ranges)
}

/// Returns what must hold for a rule. Demands on different arguments must hold together; of
/// several on the same one any does, as other runtimes have it.
fn clauses(arguments: &[Argument]) -> Vec<Vec<Argument>> {
    let repeats = |index: u32| arguments.iter().filter(|a| a.index == index).count() > 1;
    match arguments.iter().any(|argument| repeats(argument.index)) {
        true => arguments.iter().map(|argument| vec![*argument]).collect(),
        false => vec![arguments.to_vec()],
    }
}

/// Finds the range that a number is in.
fn search(ranges: &[(u32, Decision)]) -> Result<Code, String> {
    if let [(_, decision)] = ranges {
        return decide(decision);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let start = upper.first().map_or(0, |(start, _)| *start);
    let (lower, upper) = (search(lower)?, search(upper)?);
    let mut code = match u8::try_from(lower.len()) {
        Ok(skip) => vec![branch(AT_LEAST, start, skip, 0)],
        Err(_) => vec![branch(AT_LEAST, start, 0, 1), plain(JUMP, length(&lower)?)],
    };
    code.extend(lower);
    code.extend(upper);
    Ok(code)
}

fn decide(decision: &Decision) -> Result<Code, String> {
    let mut code = Vec::new();
    for (arguments, action) in &decision.clauses {
        let mut clause = Vec::new();
        for argument in arguments {
            clause.extend(compare(argument));
        }
        clause.push(Step::Done(plain(RETURN, *action)));
        code.extend(placed(&clause)?);
    }
    code.push(plain(RETURN, decision.rest));
    Ok(code)
}

/// An instruction of a clause, whose jumps are not yet counted.
enum Step {
    Done(libc::sock_filter),
    /// A comparison, with where to go if it holds and if not.
    Test(u16, u32, Way, Way),
    /// Where a demand is met.
    Met,
}

#[derive(Clone, Copy)]
enum Way {
    On,
    /// To where this demand is met.
    Met,
    /// Behind the clause.
    Failed,
}

/// Compares an argument, which has 64 bits, by halves.
fn compare(argument: &Argument) -> Vec<Step> {
    let place = ARGUMENTS + 8 * argument.index;
    let load = |half| Step::Done(plain(LOAD, place + half));
    let halves = |value: u64| {
        let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
        let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (high, low)
    };
    let (high, low) = halves(argument.value);
    use Way::{Failed, Met, On};
    let mut steps = match argument.op {
        Comparison::Equal => vec![
            load(HIGH),
            Step::Test(EQUAL, high, On, Failed),
            load(LOW),
            Step::Test(EQUAL, low, Met, Failed),
        ],
        Comparison::NotEqual => vec![
            load(HIGH),
            Step::Test(EQUAL, high, On, Met),
            load(LOW),
            Step::Test(EQUAL, low, Failed, Met),
        ],
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = match argument.op == Comparison::Greater {
                true => ABOVE,
                false => AT_LEAST,
            };
            vec![
                load(HIGH),
                Step::Test(ABOVE, high, Met, On),
                Step::Test(EQUAL, high, On, Failed),
                load(LOW),
                Step::Test(last, low, Met, Failed),
            ]
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last = match argument.op == Comparison::Less {
                true => AT_LEAST,
                false => ABOVE,
            };
            vec![
                load(HIGH),
                Step::Test(ABOVE, high, Failed, On),
                Step::Test(EQUAL, high, On, Met),
                load(LOW),
                Step::Test(last, low, Failed, Met),
            ]
        }
        Comparison::MaskedEqual => {
            let (wanted_high, wanted_low) = halves(argument.value_two);
            vec![
                load(HIGH),
                Step::Done(plain(AND, high)),
                Step::Test(EQUAL, wanted_high, On, Failed),
                load(LOW),
                Step::Done(plain(AND, low)),
                Step::Test(EQUAL, wanted_low, Met, Failed),
            ]
        }
    };
    steps.push(Step::Met);
    steps
}

/// Counts the jumps of a clause.
fn placed(clause: &[Step]) -> Result<Code, String> {
    let instructions = |steps: &[Step]| {
        let real = steps.iter().filter(|step| !matches!(step, Step::Met));
        u8::try_from(real.count()).map_err(|error| error.to_string())
    };
    let mut code = Vec::new();
    for (index, step) in clause.iter().enumerate() {
        let after = &clause[index + 1..];
        let to = |way: Way| match way {
            Way::On => Ok(0),
            Way::Failed => instructions(after),
            Way::Met => {
                let met = after.iter().position(|step| matches!(step, Step::Met));
                instructions(&after[..met.unwrap_or(after.len())])
            }
        };
        match step {
            Step::Done(instruction) => code.push(*instruction),
            Step::Test(code_of, value, holds, fails) => {
                code.push(branch(*code_of, *value, to(*holds)?, to(*fails)?));
            }
            Step::Met => {}
        }
    }
    Ok(code)
}

fn length(code: &Code) -> Result<u32, String> {
    u32::try_from(code.len()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
