//! Quota on names of all sorts: it is never silently left out.

use super::quota::{many, quota, suppress, takers};
use super::*;
use crate::quota;
use crate::quota::MOST_NAMES;
use crate::resources::Milli;

/// So much of as many names as there are columns for others.
fn junk(prefix: &str) -> String {
    let names: Vec<_> = (0..MOST_NAMES).map(|n| format!("{prefix}{n}:1")).collect();
    names.join(";")
}

fn consumed(rig: &Rig, in_role: &str) -> String {
    let roles = rig.drf.roles();
    let found = roles.into_iter().find(|it| it.role == role(in_role));
    found.unwrap().consumed.to_string()
}

#[test]
fn no_agent_keeps_a_name_from_being_limited() {
    // AL-30, RQ-12: an agent has taken all columns, and something of the name is held before.
    for before in [false, true] {
        let mut rig = Rig::new();
        rig.agent(A1, &format!("mem:1;{}", junk("x")));
        let limit = quota("eng", "", "fpga:2");
        if before {
            rig.tell(limit.clone());
        }
        rig.framework(A, &["eng"]).agent(A0, "cpus:4;fpga:8");
        rig.used_in(A, "eng", A0, "fpga:1")
            .used_in(B, "ops", A0, "fpga:1");
        rig.tell(limit);
        let said = rig.says().join(" ");
        assert!(said.contains("A/eng on 0: cpus:4;fpga:1"), "{said}");
        let fpga = consumed(&rig, "eng");
        assert!(fpga.starts_with("cpus:4;fpga:2"), "{fpga}");
        assert_eq!(rig.drf.stats().total.amount("fpga").thousandths(), 8_000);
        assert_eq!(rig.drf.stats().booked.amount("fpga").thousandths(), 3_000);
    }
}

#[test]
fn a_name_that_lost_its_column_counts_again_when_one_is_free() {
    let mut rig = Rig::new();
    rig.agent(A1, &junk("x")).tell(quota("eng", "fpga:1", ""));
    let total = rig.drf.stats().total;
    assert_eq!(
        total.iter().count(),
        MOST_NAMES - 1,
        "one made room: {total}"
    );
    // The agent goes, and others that have not been seen take the columns that nobody needs.
    rig.tell(Change::AgentRemoved { agent: A1 });
    rig.agent(A0, &junk("y"));
    let total = rig.drf.stats().total;
    assert_eq!(total.iter().count(), MOST_NAMES - 1, "{total}");
    // One that asks for nothing any more gives its column up as well.
    rig.tell(quota("eng", "", "")).agent(A1, "z:1");
    let counted = |rig: &Rig| rig.drf.stats().total.iter().count();
    assert_eq!(
        counted(&rig),
        MOST_NAMES - 1,
        "columns keep their names a while"
    );
    let _nothing = rig.until(60_000);
    rig.agent(AgentKey::from_raw(2, 0), "z:1");
    assert_eq!(counted(&rig), MOST_NAMES);
}

#[test]
fn ports_are_limited_by_their_number() {
    // AL-30, RQ-12: a range counts as many as it has.
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:4;ports:[1-4,7-9]")
        .tell(quota("eng", "", "ports:5.5"));
    rig.framework(A, &["eng"]);
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus:4;ports:[1-4,7-7]"]);
    assert_eq!(consumed(&rig, "eng"), "cpus:4;ports:5");
    rig.framework(B, &["ops"]);
    assert_eq!(rig.says(), [""; 0], "ports alone are worth no offer");
    rig.agent(A1, "cpus:1;ports:[1-2]");
    assert_eq!(rig.says(), ["2: B/ops on 1: cpus:1;ports:[1-2]"]);
    let none = quota("ops", "", "ports:0;disks:1");
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:4;ports:[1-9];disks:{a,b}").tell(none);
    rig.framework(B, &["ops"]);
    assert_eq!(rig.says(), ["1: B/ops on 0: cpus:4;disks:{a}"]);
}

#[test]
fn ports_that_are_promised_are_kept_free_until_they_are_held() {
    // AL-24, AL-25 for ranges; shares stay those of scalars (AL-15).
    let mut rig = Rig::new();
    rig.tell(quota("q", "ports:3", ""));
    rig.framework(A, &["q"])
        .tell(suppress(A))
        .framework(B, &["o"]);
    rig.agent(A0, "cpus:4;ports:[1-9]");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "ports:3");
    assert_eq!(rig.says(), ["1: B/o on 0: cpus:4;ports:[1-6]"]);
    assert_eq!(rig.drf.dominant_share(B, &role("o")), Some(1_000_000));
    rig.used_in(C, "q", A0, "ports:[7-9]");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "");
    assert_eq!(rig.drf.dominant_share(C, &role("q")), Some(0));
}

#[test]
fn names_beyond_the_last_column_are_limited_together() {
    // AL-30: never beyond a limit, and who sets quotas can know.
    let mut rig = Rig::new();
    let limits: Vec<_> = (10..14).map(|n| format!("n{n}:3")).collect();
    let names: Vec<_> = (10..24).map(|n| format!("n{n}:9")).collect();
    rig.agent(A0, &format!("cpus:1;{}", names.join(";")));
    rig.tell(quota("eng", "", &limits.join(";")));
    let limits: Vec<_> = (14..24).map(|n| format!("n{n}:4")).collect();
    let all: Vec<_> = rig.tell(quota("ops", "", &limits.join(";"))).drf.roles();
    assert!(quota::check_names(all.iter().map(|it| &it.quota)).is_err());
    rig.framework(A, &["ops"]);
    let said = rig.says().join(" ");
    for n in 10..24 {
        let (name, whole) = (format!("n{n}:"), format!("n{n}:9"));
        // Three share a column: the first takes what all of them may have.
        assert_eq!(said.contains(&name), n < 22, "{name} in {said}");
        assert_eq!(said.contains(&whole), n < 14, "{name} in {said}");
    }
}

#[test]
fn who_takes_columns_takes_nothing_from_guarantees() {
    // I7: a guarantee of what only some agents have holds however many names others bring.
    let mut rig = Rig::new();
    rig.agent(A1, &junk("x")).tell(quota("q", "fpga:2", ""));
    rig.framework(A, &["q"]).framework(B, &["o"]);
    many(&mut rig, 4, "cpus:1;fpga:1");
    let said = rig.says();
    let grants: Vec<_> = said.into_iter().filter(|it| it.contains("fpga")).collect();
    assert_eq!(takers(&grants).matches('A').count(), 2, "{grants:?}");
    assert!(takers(&grants).starts_with("AA"), "{grants:?}");
}

/// An agent whose names take all columns, and another that takes them over once that is gone.
fn handed_over() -> Rig {
    let mut rig = Rig::new();
    rig.agent(A0, &junk("x"))
        .tell(Change::AgentRemoved { agent: A0 });
    rig.agent(A0, &junk("y"))
        .tell(Change::AgentRemoved { agent: A0 });
    rig
}

fn idle() -> Change {
    Change::WeightSet {
        role: role("idle"),
        weight: Milli::from_units(1),
    }
}

#[test]
fn a_name_that_came_too_early_counts_from_the_first_change_after_a_while() {
    // AL-15
    let mut rig = handed_over();
    rig.now = Time::from_micros(1_000_000);
    rig.agent(A1, "special:10");
    rig.used_in(A, "*", A1, "special:10");
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(0));
    // Nothing brings the name again.
    rig.now = Time::from_micros(60_000_000);
    rig.tell(idle());
    let share = rig.drf.dominant_share(A, &Role::any());
    assert_eq!(share, Some(1_000_000), "it has all there is");
    assert_eq!(rig.drf.stats().total.to_string(), "special:10");
}

#[test]
fn a_name_that_waits_counts_once_a_column_is_idle() {
    let mut rig = Rig::new();
    rig.agent(A0, &junk("x")).agent(A1, "special:10");
    let counted = |rig: &Rig| rig.drf.stats().total.amount("special").thousandths();
    for (seconds, expected) in [(61, 0), (122, 0), (183, 10_000)] {
        rig.now = Time::from_micros(seconds * 1_000_000);
        if expected > 0 {
            rig.tell(Change::AgentRemoved { agent: A0 });
        }
        rig.tell(idle());
        assert_eq!(counted(&rig), expected, "after {seconds} seconds");
    }
}

#[test]
fn idle_columns_are_looked_for_once_in_a_while() {
    // One that nobody has anything of is kept by a quota, and the agents have names too many.
    const ROLES: u32 = 200;
    let work = |agents: u32| {
        let mut rig = Rig::new();
        for n in 0..ROLES {
            let limit = if n == 0 { "fpga:1" } else { "cpus:5" };
            rig.tell(quota(&format!("r{n}"), "", limit));
        }
        for n in 0..agents {
            if n == 1 {
                rig.now = Time::from_micros(61_000_000);
            }
            rig.agent(AgentKey::from_raw(n, 0), &junk("x"));
        }
        rig.drf.scratch.work()
    };
    let (few, many) = (work(5), work(50));
    assert!(few >= ROLES as usize, "all are asked, at times: {few}");
    assert_eq!(many, few, "not at each change");
}
