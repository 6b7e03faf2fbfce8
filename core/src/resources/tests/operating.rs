//! Operations: what they make of an agent's resources, and what they refuse.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::operations::*;
use super::super::*;
use super::bag;

fn one(text: &str) -> Resource {
    bag(text).iter().next().unwrap().clone()
}

fn done(result: Result<Resources, OperationError>) -> alloc::string::String {
    result.unwrap_or_else(|why| panic!("{why}")).to_string()
}

#[test]
fn reserving_adds_one_level() {
    // RM-32, RM-33, RM-35
    let total = bag("cpus:4;cpus(eng):2;ports:[1-9]");
    let wanted = bag(r#"cpus(*)<dynamic="ops">:1;ports(*)<dynamic="ops">:[3-4]"#);
    let reserved = r#"cpus:3;cpus(eng):2;cpus(*)<dynamic="ops">:1;ports:[1-2,5-9];"#;
    let reserved = alloc::format!(r#"{reserved}ports(*)<dynamic="ops">:[3-4]"#);
    assert_eq!(done(reserve(&total, &wanted)), reserved);
    let refined = bag(r#"cpus(eng)<dynamic="eng/web">:2"#);
    let after = reserve(&total, &refined).unwrap();
    assert_eq!(
        after.to_string(),
        r#"cpus:4;cpus(eng)<dynamic="eng/web">:2;ports:[1-9]"#
    );
    // UNRESERVE removes exactly one level (RM-22).
    assert_eq!(unreserve(&after, &refined), Ok(total.clone()));
    // Two levels at once are not there to be reserved.
    let two = bag(r#"cpus(*)<dynamic="a",dynamic="a/b">:1"#);
    assert!(matches!(
        reserve(&total, &two),
        Err(OperationError::NotContained(_))
    ));
}

#[test]
fn what_cannot_be_reserved() {
    // RM-36, RM-37, RM-53
    let total = bag(
        r#"cpus:4;cpus(eng):1;cpus(*)<revocable>:1;mem(*)<provider="x">:1;
           disk(a)<volume="v",rw="p">:5"#,
    );
    type Op = fn(&Resources, &Resources) -> Result<Resources, OperationError>;
    for operation in [reserve as Op, unreserve as Op] {
        let refused = |text: &str| operation(&total, &bag(text)).unwrap_err();
        assert_eq!(refused(""), OperationError::Nothing);
        let resource = |text: &str| one(text);
        assert_eq!(
            refused("cpus:1"),
            OperationError::NotDynamic {
                resource: resource("cpus:1")
            }
        );
        assert_eq!(
            refused("cpus(eng):1"),
            OperationError::NotDynamic {
                resource: resource("cpus(eng):1")
            }
        );
        let revocable = "cpus(*)<revocable>:1";
        let expected = OperationError::IsRevocable {
            resource: resource(revocable),
        };
        assert_eq!(refused(revocable), expected);
        let volume = r#"disk(*)<dynamic="a",volume="v",rw="p">:5"#;
        let expected = OperationError::IsVolume {
            resource: resource(volume),
        };
        assert_eq!(refused(volume), expected);
        let odd = r#"mem(*)<dynamic="a",provider="x">:1"#;
        let several = refused(&alloc::format!(r#"cpus(*)<dynamic="a">:1;{odd}"#));
        assert_eq!(
            several,
            OperationError::SeveralProviders { odd: resource(odd) }
        );
        let missing = refused(r#"cpus(*)<dynamic="a">:5"#);
        assert!(
            matches!(missing, OperationError::NotContained(_)),
            "{missing}"
        );
    }
}

#[test]
fn nothing_is_lost_in_a_union() {
    // RM-04: the ports are there twice already; one of each would vanish.
    let total = bag(r#"ports:[1-2];ports(*)<dynamic="a">:[2-3]"#);
    let why = unreserve(&total, &bag(r#"ports(*)<dynamic="a">:[2-3]"#)).unwrap_err();
    assert_eq!(
        why,
        OperationError::Overlap {
            both: one("ports:[2-2]")
        }
    );
    let two = bag(r#"ports(*)<dynamic="a">:[1-1];ports(*)<dynamic="b">:[1-1]"#);
    assert!(matches!(
        unreserve(&two, &two),
        Err(OperationError::Overlap { .. })
    ));
}

#[test]
fn one_reservation_becomes_another() {
    // RM-34
    let total =
        bag(r#"cpus:1;cpus(*)<dynamic="a",dynamic="a/b">:2;mem(*)<dynamic="a",dynamic="a/b">:8"#);
    let source = bag(r#"cpus(*)<dynamic="a",dynamic="a/b">:1;mem(*)<dynamic="a",dynamic="a/b">:8"#);
    let target = bag(r#"cpus(*)<dynamic="a",dynamic="a/c">:1;mem(*)<dynamic="a",dynamic="a/c">:8"#);
    let steps = plan_reservation_update(&source, &target).unwrap();
    let expected = [
        Step::Unreserve(source.clone()),
        Step::Reserve(target.clone()),
    ];
    assert_eq!(steps, expected, "what both have in common stays");
    let at_once = update_reservations(&total, &source, &target).unwrap();
    let by_steps = steps
        .iter()
        .try_fold(total.clone(), |all, step| step.apply(&all));
    assert_eq!(by_steps.as_ref(), Ok(&at_once));
    assert_eq!(at_once.checked_sub(&target), total.checked_sub(&source));

    let shown = |source: &str, target: &str| {
        let steps = plan_reservation_update(&bag(source), &bag(target)).unwrap();
        let shown = steps.iter().map(|step| match step {
            Step::Unreserve(these) => alloc::format!("-{these}"),
            Step::Reserve(these) => alloc::format!("+{these}"),
        });
        shown.collect::<Vec<_>>()
    };
    let (a, b) = (
        r#"cpus(*)<dynamic="a">:1"#,
        r#"cpus(*)<dynamic="b",dynamic="b/c">:1"#,
    );
    let b_alone = r#"+cpus(*)<dynamic="b">:1"#;
    assert_eq!(
        shown(a, b),
        [&*alloc::format!("-{a}"), b_alone, &*alloc::format!("+{b}")]
    );
    assert_eq!(shown(a, "cpus:1"), [alloc::format!("-{a}")]);
    assert_eq!(shown("cpus:1", a), [alloc::format!("+{a}")]);
    assert!(shown(a, a).is_empty());
    // Another principal or label is another level.
    assert_eq!(shown(a, r#"cpus(*)<dynamic="a",principal="p">:1"#).len(), 2);
}

#[test]
fn what_cannot_become_another_reservation() {
    // RM-34, RM-31, RM-37
    let refused = |source: &str, target: &str| {
        plan_reservation_update(&bag(source), &bag(target)).unwrap_err()
    };
    let a = r#"cpus(*)<dynamic="a">:1"#;
    assert_eq!(refused("", a), OperationError::Nothing);
    assert_eq!(refused(a, ""), OperationError::Nothing);
    let wider = refused(a, r#"cpus(*)<dynamic="b">:2"#);
    assert!(matches!(wider, OperationError::NotTheSame { .. }));
    let mixed = refused("cpus:1;cpus(a):1", r#"cpus(*)<dynamic="b">:2"#);
    assert_eq!(
        mixed,
        OperationError::SeveralReservations {
            odd: one("cpus(a):1")
        }
    );
    for (source, target) in [
        ("cpus(a):1", "cpus:1"),
        ("cpus:1", "cpus(a):1"),
        ("cpus(a):1", a),
    ] {
        let fixed = refused(source, target);
        assert!(
            matches!(fixed, OperationError::NotDynamic { .. }),
            "{fixed}"
        );
    }
    let volume = |role: &str| alloc::format!(r#"disk(*)<dynamic="{role}",volume="v",rw="p">:1"#);
    let held = refused(&volume("a"), &volume("b"));
    assert!(matches!(held, OperationError::IsVolume { .. }), "{held}");
    let revocable = refused("cpus(*)<revocable>:1", a);
    assert_eq!(revocable.to_string(), "\"cpus\" is revocable and reserved");
    let missing = update_reservations(&bag("cpus:1"), &bag(a), &bag("cpus:1")).unwrap_err();
    assert!(matches!(missing, OperationError::NotContained(_)));
}

#[test]
fn volumes_are_made_and_destroyed() {
    // RM-41, RM-44, RM-45, RM-48
    for (disk, volume) in [
        (
            "disk(a):9",
            r#"disk(a)<volume="v",principal="p",rw="data">:4"#,
        ),
        (
            r#"disk(a)<path="/d">:9"#,
            r#"disk(a)<path="/d",volume="v",rw="data">:4"#,
        ),
        (
            r#"disk(a)<mount="/m">:4"#,
            r#"disk(a)<mount="/m",volume="v",rw="data">:4"#,
        ),
        ("disk(a):9", r#"disk(a)<volume="v",rw="data",shared>:4"#),
    ] {
        let total = bag(&alloc::format!("cpus:1;{disk}"));
        let after = create(&total, &bag(volume)).unwrap();
        assert!(after.contains(&bag(volume)), "{after}");
        assert_eq!(after.total(), total.total());
        assert_eq!(destroy(&after, &bag(volume)), Ok(total));
    }
}

#[test]
fn volumes_that_are_not_made() {
    // RM-42, RM-44, RM-49
    let total = bag(r#"disk(a):9;disk(a)<volume="old",rw="p">:1;disk(b):9;disk(a)<mount="/m">:5"#);
    let refused = |text: &str| create(&total, &bag(text)).unwrap_err();
    assert_eq!(refused(""), OperationError::Nothing);
    assert_eq!(
        refused("disk(a):1"),
        OperationError::NotAVolume {
            resource: one("disk(a):1")
        }
    );
    let read_only = r#"disk(a)<volume="v",ro="p">:1"#;
    assert_eq!(
        refused(read_only),
        OperationError::ReadOnly {
            resource: one(read_only)
        }
    );
    let exists = |text: &str| {
        let OperationError::VolumeExists { id, role } = refused(text) else {
            panic!("{text}: {}", refused(text));
        };
        alloc::format!("{id} of {role}")
    };
    assert_eq!(exists(r#"disk(a)<volume="old",rw="p">:1"#), "old of a");
    // On another disk too, since the agent keeps it below the role.
    assert_eq!(
        exists(r#"disk(a)<mount="/m",volume="old",rw="p">:5"#),
        "old of a"
    );
    let twice = r#"disk(a)<volume="v",rw="p">:1;disk(a)<volume="v",rw="p">:2"#;
    assert_eq!(exists(twice), "v of a");
    assert!(create(&total, &bag(r#"disk(b)<volume="old",rw="p">:1"#)).is_ok());
    let wider = refused(r#"disk(a)<volume="v",rw="p">:10"#);
    assert!(matches!(wider, OperationError::NotContained(_)));
    // A MOUNT disk becomes a volume as a whole.
    let part = refused(r#"disk(a)<mount="/m",volume="v",rw="p">:4"#);
    assert!(matches!(part, OperationError::NotContained(_)));
    let copies = refused(r#"disk(a)<volume="v",rw="p",shared=2>:1"#);
    assert!(matches!(copies, OperationError::StillShared { .. }));
    let several =
        refused(r#"disk(a)<volume="v",rw="p">:1;disk(a)<volume="w",rw="p",provider="x">:1"#);
    assert!(matches!(several, OperationError::SeveralProviders { .. }));
}

#[test]
fn volumes_that_are_not_destroyed() {
    // RM-45, RM-48
    let shared = r#"disk(a)<volume="v",rw="p",shared>:1"#;
    let total = bag(&alloc::format!(
        "disk(a):1;{}",
        shared.replace("shared", "shared=3")
    ));
    let still = destroy(&total, &bag(shared)).unwrap_err();
    assert_eq!(
        still,
        OperationError::StillShared {
            resource: one(shared)
        }
    );
    let all = bag(&shared.replace("shared", "shared=3"));
    assert_eq!(
        done(destroy(&total, &all)),
        "disk(a):2",
        "the space is there once"
    );
    let refused = |text: &str| destroy(&total, &bag(text)).unwrap_err();
    assert!(matches!(
        refused("disk(a):1"),
        OperationError::NotAVolume { .. }
    ));
    let other = refused(r#"disk(a)<volume="w",rw="p">:1"#);
    assert!(matches!(other, OperationError::NotContained(_)));
    assert_eq!(refused(""), OperationError::Nothing);
}

#[test]
fn volumes_grow_and_shrink() {
    // RM-46, RM-47
    let volume = |size: u32| {
        one(&alloc::format!(
            r#"disk(a)<path="/d",volume="v",rw="p">:{size}"#
        ))
    };
    let total = bag(r#"disk(a)<path="/d">:5;disk(a)<path="/d",volume="v",rw="p">:4"#);
    let addition = one(r#"disk(a)<path="/d">:2"#);
    let grown = grow_volume(&total, &volume(4), &addition).unwrap();
    assert_eq!(
        grown.to_string(),
        r#"disk(a)<path="/d">:3;disk(a)<path="/d",volume="v",rw="p">:6"#
    );
    assert_eq!(
        shrink_volume(&grown, &volume(6), Milli::from_units(2)),
        Ok(total.clone())
    );

    for amount in [0, 4, 5] {
        let refused = shrink_volume(&total, &volume(4), Milli::from_units(amount)).unwrap_err();
        assert!(
            matches!(refused, OperationError::BadAmount { .. }),
            "{amount}"
        );
    }
    for other in [
        "disk(a):2",
        r#"disk(b)<path="/d">:2"#,
        r#"disk(a)<path="/e">:2"#,
        "mem(a):2",
    ] {
        let refused = grow_volume(&total, &volume(4), &one(other)).unwrap_err();
        assert!(
            matches!(refused, OperationError::OtherDisk { .. }),
            "{other}"
        );
    }
    let more = one(r#"disk(a)<path="/d">:6"#);
    let refused = grow_volume(&total, &volume(4), &more).unwrap_err();
    assert!(matches!(refused, OperationError::NotContained(_)));
    let most = one(r#"disk(a)<path="/d">:9223372036854775"#);
    let refused = grow_volume(&total, &volume(4), &most).unwrap_err();
    assert!(matches!(refused, OperationError::Overflow(_)));
}

#[test]
fn a_volume_of_another_size_is_the_same_in_all_else() {
    // RM-18, RM-46, RM-47: whoever names it may not rewrite who made it and where it is seen.
    let kept = r#"disk(a)<volume="v",principal="ops",rw="data">:4"#;
    let named = one(r#"disk(a)<volume="v",principal="mallory",ro="/etc">:4"#);
    let total = bag(&alloc::format!("disk(a):5;{kept}"));
    let grown = grow_volume(&total, &named, &one("disk(a):2"));
    assert_eq!(
        done(grown),
        r#"disk(a):3;disk(a)<volume="v",principal="ops",rw="data">:6"#
    );
    let shrunk = shrink_volume(&total, &named, Milli::from_units(1));
    assert_eq!(
        done(shrunk),
        r#"disk(a):6;disk(a)<volume="v",principal="ops",rw="data">:3"#
    );
    // One of another size is not there.
    let other = one(r#"disk(a)<volume="v",rw="data">:3"#);
    for refused in [
        grow_volume(&total, &other, &one("disk(a):2")),
        shrink_volume(&total, &other, Milli::from_units(1)),
    ] {
        assert!(matches!(refused, Err(OperationError::NotContained(_))));
    }
}

#[test]
fn volumes_that_keep_their_size() {
    // RM-46, RM-47
    for (text, why) in [
        (
            r#"disk(a)<mount="/m",volume="v",rw="p">:4"#,
            "is on a disk that cannot be divided",
        ),
        (
            r#"disk(a)<block,volume="v",rw="p">:4"#,
            "is on a disk that cannot be divided",
        ),
        (r#"disk(a)<volume="v",rw="p",shared>:4"#, "is shared"),
        (
            r#"disk(a)<volume="v",rw="p",provider="x">:4"#,
            "is of a resource provider",
        ),
    ] {
        let total = bag(text);
        let grown = grow_volume(&total, &one(text), &one("disk(a):1")).unwrap_err();
        assert_eq!(grown.to_string(), alloc::format!("{text} {why}"));
        let shrunk = shrink_volume(&total, &one(text), Milli::from_units(1));
        assert_eq!(shrunk.unwrap_err(), grown);
    }
    let plain = shrink_volume(&bag("disk(a):4"), &one("disk(a):4"), Milli::from_units(1));
    assert!(matches!(plain, Err(OperationError::NotAVolume { .. })));
}

fn made(formatted: Formatted) -> MadeDisk {
    MadeDisk {
        formatted,
        id: Some(Arc::from("vol-1")),
        metadata: Labels::from_unordered(Vec::from([Label::new("k", "v")])).unwrap(),
    }
}

#[test]
fn raw_disks_are_formatted_and_given_back() {
    // RM-39, RM-51
    let root = Some(Arc::from("/m/1"));
    let total = bag(r#"disk(*)<raw,vendor="x",profile="fast",provider="p">:10"#);
    let raw = one(r#"disk(*)<raw,vendor="x",profile="fast",provider="p">:4"#);
    let after = create_disk(&total, &raw, None, &made(Formatted::Mount { root })).unwrap();
    let made_of = r#"vendor="x",id="vol-1",profile="fast",label="k"="v",provider="p""#;
    let disk = &alloc::format!(r#"disk(*)<mount="/m/1",{made_of}>:4"#);
    let pool = r#"disk(*)<raw,vendor="x",profile="fast",provider="p">:6"#;
    assert_eq!(after, bag(&alloc::format!("{pool};{disk}")));
    assert_eq!(
        destroy_disk(&after, &one(disk), Returned::ToPool),
        Ok(total)
    );
    let own = r#"disk(*)<raw,vendor="x",id="vol-1",label="k"="v",provider="p">:4"#;
    let to_raw = destroy_disk(&after, &one(disk), Returned::ToRaw).unwrap();
    assert_eq!(to_raw, bag(&alloc::format!("{pool};{own}")));
    assert_eq!(
        destroy_disk(&after, &one(disk), Returned::Gone),
        Ok(bag(pool))
    );

    // A volume that the provider found gets its profile now.
    let fast = ProfileId::new("fast").unwrap();
    let found = bag(own);
    let block = create_disk(&found, &one(own), Some(&fast), &made(Formatted::Block)).unwrap();
    let expected = alloc::format!("disk(*)<block,{made_of}>:4");
    assert_eq!(block, bag(&expected));

    // One that nobody has formatted goes without having been.
    let nothing = Resources::new();
    assert_eq!(destroy_disk(&found, &one(own), Returned::Gone), Ok(nothing));
}

#[test]
fn disks_that_are_not_formatted_or_given_back() {
    // RM-51, VA-23, VA-24
    let fast = ProfileId::new("fast").unwrap();
    for (text, profile, why) in [
        (
            r#"disk(*)<raw,profile="a",provider="p">:1"#,
            Some(&fast),
            "has a profile already",
        ),
        (
            r#"disk(*)<raw,id="a",provider="p">:1"#,
            None,
            "needs a profile",
        ),
        (
            r#"disk(*)<raw,profile="a">:1"#,
            None,
            "is of no resource provider",
        ),
        (
            r#"disk(*)<provider="p">:1"#,
            None,
            "is no disk of a resource provider",
        ),
        (
            r#"disk(*)<mount,profile="a",provider="p">:1"#,
            None,
            "is not a raw disk",
        ),
    ] {
        let refused = create_disk(&bag(text), &one(text), profile, &made(Formatted::Block));
        let shown = refused.unwrap_err().to_string();
        assert_eq!(shown, alloc::format!("{} {why}", one(text)));
    }
    let pool = r#"disk(*)<raw,profile="a",provider="p">:1"#;
    let more = one(&pool.replace(":1", ":2"));
    let refused = create_disk(&bag(pool), &more, None, &made(Formatted::Block));
    assert!(matches!(refused, Err(OperationError::NotContained(_))));
    for (text, returned, why) in [
        (
            pool,
            Returned::Gone,
            "has no id, so it is no disk of its own",
        ),
        (
            r#"disk(*)<path,id="x",provider="p">:1"#,
            Returned::Gone,
            "is neither raw, a file system nor a block device",
        ),
        (
            r#"disk(*)<block,id="x",provider="p">:1"#,
            Returned::ToPool,
            "has no profile, so it is of no pool",
        ),
        (
            r#"disk(*)<block,profile="a",provider="p">:1"#,
            Returned::ToPool,
            "has no id, so it is no disk of its own",
        ),
        (
            r#"disk(*)<block,id="x">:1"#,
            Returned::ToRaw,
            "is of no resource provider",
        ),
    ] {
        let refused = destroy_disk(&bag(text), &one(text), returned).unwrap_err();
        assert_eq!(refused.to_string(), alloc::format!("{} {why}", one(text)));
    }
    let volume = r#"disk(a)<mount,volume="v",rw="p",provider="p">:1"#;
    let refused = destroy_disk(&bag(volume), &one(volume), Returned::Gone);
    assert!(matches!(refused, Err(OperationError::IsVolume { .. })));
}
