//! Identity, what adds up and what does not, and what is a resource at all.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::*;
use super::{bag, role};
use crate::limits;

fn one(text: &str) -> Resource {
    let entries = bag(text);
    assert_eq!(entries.len(), 1, "{text}");
    entries.iter().next().unwrap().clone()
}

fn disk(metadata: Metadata) -> Result<Resource, InvalidResource> {
    let size = Value::Scalar(Milli::from_units(10));
    Resource::new("disk", size).unwrap().with_metadata(metadata)
}

fn sum(a: &str, b: &str) -> Resources {
    let mut sum = bag(a);
    sum.add(&bag(b)).unwrap();
    sum
}

#[test]
fn everything_but_the_value_is_identity() {
    // RM-18, RM-32: each of these is an entry of its own beside all the others.
    let apart = [
        "disk:1",
        "disk(a):1",
        "disk(b):1",
        r#"disk(*)<dynamic="a">:1"#,
        r#"disk(*)<dynamic="a",principal="p">:1"#,
        r#"disk(*)<dynamic="a",principal="q">:1"#,
        r#"disk(*)<dynamic="a",label="k">:1"#,
        r#"disk(*)<dynamic="a",label="k"="v">:1"#,
        r#"disk(a)<dynamic="a/b">:1"#,
        r#"disk(*)<dynamic="a",dynamic="a/b">:1"#,
        "disk(*)<path>:1",
        r#"disk(*)<path="/a">:1"#,
        r#"disk(*)<path="/b">:1"#,
        r#"disk(*)<path="/a",vendor="v">:1"#,
        r#"disk(*)<path="/a",id="v">:1"#,
        r#"disk(*)<path="/a",profile="v">:1"#,
        r#"disk(*)<path="/a",label="v">:1"#,
        "disk(*)<raw>:1",
        r#"disk(*)<provider="x">:1"#,
        r#"disk(*)<provider="y">:1"#,
        "disk(*)<revocable>:1",
        r#"disk(a)<volume="v",rw="p">:1"#,
        r#"disk(a)<volume="w",rw="p">:1"#,
        r#"disk(b)<volume="v",rw="p">:1"#,
        r#"disk(a)<volume="v",rw="p",shared>:1"#,
    ];
    let mut all = Resources::new();
    for text in apart {
        all.insert(one(text)).unwrap();
    }
    assert_eq!(all.len(), apart.len(), "{all}");
    for text in apart {
        assert!(all.contains(&bag(text)), "{text}");
        let rest = all.checked_sub(&bag(text)).unwrap();
        assert!(!rest.contains(&bag(text)), "{text}");
    }
    assert_eq!(all.scalar("disk"), Milli::from_units(25));
}

#[test]
fn what_is_no_part_of_identity() {
    // RM-18, RM-32: the order of labels, who made a volume, and where a container sees it.
    let a = bag(r#"cpus(*)<dynamic="a",label="k"="v",label="l">:1"#);
    assert_eq!(a, bag(r#"cpus(*)<dynamic="a",label="l",label="k"="v">:1"#));
    assert_ne!(a, bag(r#"cpus(*)<dynamic="a",label="l",label="l">:1"#));
    let written = bag(r#"disk(a)<volume="v",principal="p",rw="data">:1"#);
    let read = bag(r#"disk(a)<volume="v",principal="q",ro="other">:1"#);
    assert!(written.contains(&read) && written == read);
}

#[test]
fn equal_descriptions_are_shared() {
    let text = r#"cpus(*)<dynamic="a",label="k">:1;mem(*)<dynamic="a",label="k">:1;mem(b):2"#;
    let entries: Vec<Resource> = bag(text).iter().cloned().collect();
    let pointer = |n: usize| Arc::as_ptr(entries[n].shared_metadata().unwrap());
    assert_eq!(pointer(0), pointer(2));
    assert_ne!(pointer(0), pointer(1));
    let bytes = postcard::to_allocvec(&bag(text)).unwrap();
    let decoded: Resources = postcard::from_bytes(&bytes).unwrap();
    let entries: Vec<Resource> = decoded.iter().cloned().collect();
    let pointer = |n: usize| Arc::as_ptr(entries[n].shared_metadata().unwrap());
    assert_eq!(pointer(0), pointer(2));
    // What is no part of identity stays apart.
    let text = r#"disk(a)<volume="v",rw="x">:1;disk(a)<volume="v",rw="y">:2"#;
    assert_eq!(bag(text).to_string(), text);
    assert!(size_of::<Resource>() <= 56, "{}", size_of::<Resource>());
}

#[test]
fn what_adds_up() {
    // RM-19, RM-20
    for text in [
        r#"disk(*)<path="/a">:1"#,
        "disk(*)<path>:1",
        "disk(*)<raw>:1",
        r#"disk(*)<raw,profile="fast">:1"#,
        "disk(*)<revocable>:1",
        r#"disk(a)<dynamic="a/b",path="/a">:1"#,
    ] {
        let two = sum(text, text);
        assert_eq!(two.len(), 1, "{text}");
        assert_eq!(two.to_string(), text.replace(">:1", ">:2"));
        assert_eq!(two.checked_sub(&bag(text)), Ok(bag(text)));
        assert!(!one(text).is_exclusive());
    }
}

#[test]
fn tv_11_what_never_adds_up_goes_as_a_whole() {
    // RM-19, RM-20, RM-24, TV-11
    for text in [
        r#"disk(*)<mount="/a">:100"#,
        "disk(*)<mount>:100",
        "disk(*)<block>:100",
        r#"disk(*)<raw,id="x">:100"#,
        r#"disk(a)<volume="v",rw="p">:100"#,
        r#"disk(a)<path="/a",volume="v",rw="p">:100"#,
    ] {
        assert!(one(text).is_exclusive(), "{text}");
        let two = sum(text, text);
        assert_eq!(two.len(), 2, "{text}");
        assert!(!two.contains(&bag(&text.replace(":100", ":200"))));
        assert!(!two.contains(&bag(&text.replace(":100", ":50"))));
        assert!(two.contains(&two));
        // Mesos lets one disk contain two.
        assert!(!bag(text).contains(&two), "{text}");
        assert!(bag(text).checked_sub(&two).is_err());
        assert_eq!(two.checked_sub(&bag(text)), Ok(bag(text)));
        assert_eq!(two.checked_sub(&two), Ok(Resources::new()));
        assert_eq!(two.total(), Quantities::parse("disk:200").unwrap());

        let other = text.replace(":100", ":50");
        let both = sum(text, &other);
        assert_eq!((both.len(), &both), (2, &sum(&other, text)));
        assert_eq!(both.checked_sub(&bag(&other)), Ok(bag(text)));
    }
}

#[test]
fn tv_12_copies_of_what_is_shared() {
    // TV-12, RM-19, RM-20, RM-24, RM-48
    let volume = r#"disk(a)<volume="v",rw="p",shared>:9"#;
    let two = sum(volume, volume);
    assert_eq!(two.len(), 1);
    assert_eq!(two.to_string(), volume.replace("shared", "shared=2"));
    assert_eq!(
        (one(volume).copies(), two.iter().next().unwrap().copies()),
        (1, 2)
    );
    assert_eq!(
        two.scalar("disk"),
        Milli::from_units(9),
        "its copies count once"
    );
    assert!(two.contains(&two) && !bag(volume).contains(&two));
    let rest = two.checked_sub(&bag(volume)).unwrap();
    assert!(rest.contains(&bag(volume)));
    let none = rest.checked_sub(&bag(volume)).unwrap();
    assert!(none.is_empty());
    assert!(rest.checked_sub(&two).is_err());
    // Only what is equal in all else adds up.
    assert_eq!(sum(volume, &volume.replace(":9", ":8")).len(), 2);
    assert!(!two.contains(&bag(&volume.replace(":9", ":8"))));

    let most = bag(&volume.replace("shared", "shared=65536"));
    let mut more = most.clone();
    assert!(more.add(&bag(volume)).is_err() && more == most);
    assert!(more.insert(one(volume)).is_err() && more == most);
    assert!(one(volume).with_copies(0).is_err());
    assert!(one(volume).with_copies(65_537).is_err());
    assert!(one("disk:1").with_copies(2).is_err());
    let unshared = Metadata {
        shared: false,
        ..one(volume).metadata().clone()
    };
    assert!(
        one(volume)
            .with_copies(2)
            .unwrap()
            .with_metadata(unshared)
            .is_err()
    );
}

#[test]
fn tv_09_the_stack_of_reservations() {
    // TV-09, RM-21, RM-22, RM-33
    let fixed = |to| Reservation::Static { role: role(to) };
    let dynamic = |to| Reservation::dynamic(role(to));
    for good in [
        &[fixed("eng"), dynamic("eng/web")][..],
        &[dynamic("eng"), dynamic("eng/web"), dynamic("eng/web/a/b")],
        &[],
    ] {
        let stack = Reservations::try_from(good.to_vec()).unwrap();
        assert_eq!(stack.levels(), good);
    }
    for (bad, why) in [
        (
            &[fixed("eng"), dynamic("ops")][..],
            "role ops is not below role eng, whose reservation it refines",
        ),
        (
            &[fixed("eng"), fixed("eng/web")],
            "the reservation to eng/web is static but refines another one",
        ),
        (
            &[dynamic("eng"), dynamic("eng")],
            "role eng is not below role eng, whose reservation it refines",
        ),
        (
            &[dynamic("eng/web"), dynamic("eng")],
            "role eng is not below role eng/web, whose reservation it refines",
        ),
        (&[fixed("*")], "nothing can be reserved to \"*\""),
        (&[dynamic("*")], "nothing can be reserved to \"*\""),
    ] {
        let refused = Reservations::try_from(bad.to_vec()).unwrap_err();
        assert_eq!(refused.to_string(), why);
        let bytes = postcard::to_allocvec(bad).unwrap();
        assert!(postcard::from_bytes::<Reservations>(&bytes).is_err());
    }
    let mut stack = Reservations::new();
    assert_eq!(stack.pop(), None);
    stack.push(fixed("eng")).unwrap();
    let before = stack.clone();
    assert!(stack.push(dynamic("ops")).is_err() && stack == before);
}

#[test]
fn levels_are_pushed_and_popped() {
    // RM-22: a typed error where Mesos ends the process.
    let plain = one("cpus:1");
    let web = plain
        .clone()
        .push_reservation(Reservation::Static { role: role("eng") })
        .and_then(|r| r.push_reservation(Reservation::dynamic(role("eng/web"))))
        .unwrap();
    assert_eq!(web.reservation_role(), Some(&role("eng/web")));
    assert_eq!(web.to_string(), r#"cpus(eng)<dynamic="eng/web">:1"#);
    let why = web
        .clone()
        .push_reservation(Reservation::dynamic(role("ops")));
    let text = "\"cpus\": role ops is not below role eng/web, whose reservation it refines";
    assert_eq!(why.unwrap_err().to_string(), text);
    let eng = web.clone().pop_reservation().unwrap();
    assert_eq!(eng, one("cpus(eng):1"));
    assert_eq!(eng.pop_reservation().unwrap(), plain);
    assert_eq!(web.to_unreserved().unwrap(), plain);
    let why = plain.pop_reservation().unwrap_err();
    assert_eq!(why.to_string(), "\"cpus\" is not reserved");
    let volume = one(r#"disk(a)<volume="v",rw="p">:1"#);
    assert!(volume.clone().to_unreserved().is_err() && volume.pop_reservation().is_err());
}

#[test]
fn a_refinement_is_offered_below_it_only() {
    // RM-22, RM-23: the most refined role counts.
    let web = one(r#"cpus(eng)<dynamic="eng/web">:1"#);
    for (to, expected) in [
        ("eng/web", true),
        ("eng/web/a", true),
        ("eng", false),
        ("eng/ops", false),
        ("*", false),
    ] {
        assert_eq!(web.is_allocatable_to(&role(to)), expected, "{to}");
    }
}

#[test]
fn predicates_and_filters() {
    // RM-26
    let all = bag(
        r#"cpus:1;cpus(a):1;cpus(*)<dynamic="a">:1;cpus(a)<dynamic="a/b">:1;ports:[1-2];
           cpus(*)<revocable>:1;disk(*)<mount>:1;disk(*)<provider="x",raw>:1;
           disk(a)<volume="v",rw="p",shared>:1"#,
    );
    let a = role("a");
    let kept = |keeps: &dyn Fn(&Resource) -> bool| all.filter(keeps).to_string();
    let volume = r#"disk(a)<volume="v",rw="p",shared>:1"#;
    let reserved = r#"cpus(a):1;cpus(a)<dynamic="a/b">:1;cpus(*)<dynamic="a">:1"#;
    assert_eq!(kept(&Resource::is_reserved), format!("{reserved};{volume}"));
    assert_eq!(kept(&|r| !r.is_reserved()).matches(':').count(), 5);
    let to_a = format!(r#"cpus(a):1;cpus(*)<dynamic="a">:1;{volume}"#);
    assert_eq!(kept(&|r| r.is_reserved_to(&a)), to_a);
    let dynamic = r#"cpus(a)<dynamic="a/b">:1;cpus(*)<dynamic="a">:1"#;
    assert_eq!(kept(&Resource::is_dynamically_reserved), dynamic);
    let refined = r#"cpus(a)<dynamic="a/b">:1"#;
    assert_eq!(kept(&Resource::has_refined_reservations), refined);
    assert_eq!(kept(&Resource::is_persistent_volume), volume);
    assert_eq!(kept(&Resource::is_shared), volume);
    assert_eq!(kept(&Resource::is_revocable), "cpus(*)<revocable>:1");
    assert_eq!(
        kept(&Resource::has_provider),
        r#"disk(*)<raw,provider="x">:1"#
    );
    let is_mount = |r: &Resource| matches!(r.disk_kind(), Some(DiskKind::Mount { .. }));
    assert_eq!(kept(&is_mount), "disk(*)<mount>:1");
    assert_eq!(kept(&|r| !r.is_scalar()), "ports:[1-2]");
    assert_eq!(kept(&Resource::is_exclusive), "disk(*)<mount>:1");
    assert_eq!(
        all.allocatable_to(&role("b")),
        all.filter(|r| !r.is_reserved())
    );
}

#[test]
fn tv_11_what_can_be_made_smaller() {
    // RM-27, TV-11
    let to = |text: &str, units| one(text).shrunk_to(Milli::from_units(units));
    assert_eq!(to("cpus:3", 2), Some(one("cpus:2")));
    assert_eq!(to("cpus:3", 4), Some(one("cpus:3")));
    assert_eq!(
        to(r#"disk(*)<path="/a">:3"#, 1),
        Some(one(r#"disk(*)<path="/a">:1"#))
    );
    assert_eq!(to("disk(*)<raw>:3", 1), Some(one("disk(*)<raw>:1")));
    for whole in [
        r#"disk(*)<mount="/a">:100"#,
        "disk(*)<block>:100",
        r#"disk(*)<raw,id="x">:100"#,
        r#"disk(a)<volume="v",rw="p">:100"#,
        r#"disk(a)<volume="v",rw="p",shared>:100"#,
    ] {
        assert_eq!(to(whole, 50), None, "{whole}");
        assert_eq!(to(whole, 100), Some(one(whole)));
    }
    assert_eq!(to("ports:[1-9]", 8), None);
    assert_eq!(to("ports:[1-9]", 9), Some(one("ports:[1-9]")));
}

#[test]
fn metadata_that_make_no_sense() {
    // RM-14, RM-41, RM-53
    let dynamic = || Reservations::try_from(Vec::from([Reservation::dynamic(role("a"))])).unwrap();
    let volume = || Some(Volume::new(VolumeId::new("v").unwrap(), "p"));
    let fine = || Metadata {
        reservations: dynamic(),
        volume: volume(),
        ..Metadata::PLAIN
    };
    assert!(disk(fine()).is_ok());
    let long = "x".repeat(limits::TEXT_BYTES + 1);
    let rooted = |root: &str| {
        Some(Source::of(DiskKind::Path {
            root: Some(Arc::from(root)),
        }))
    };
    for (bad, why) in [
        (
            Metadata {
                shared: true,
                ..Metadata::PLAIN
            },
            "is shared but no persistent volume",
        ),
        (
            Metadata {
                revocable: true,
                ..fine()
            },
            "is revocable and a persistent volume",
        ),
        (
            Metadata {
                revocable: true,
                volume: None,
                ..fine()
            },
            "is revocable and reserved",
        ),
        (
            Metadata {
                reservations: Reservations::new(),
                ..fine()
            },
            "is a persistent volume but not reserved",
        ),
        (
            Metadata {
                source: rooted(""),
                ..fine()
            },
            "invalid disk root \"\": it is empty",
        ),
        (
            Metadata {
                source: rooted("/a\n"),
                ..fine()
            },
            "invalid disk root \"/a\\n\": it contains a control character",
        ),
        (
            Metadata {
                source: rooted(&long),
                ..fine()
            },
            "it is longer than 4096 bytes",
        ),
        (
            Metadata {
                volume: Some(Volume::new(VolumeId::new("v").unwrap(), "")),
                ..fine()
            },
            "invalid container path \"\": it is empty",
        ),
    ] {
        let refused = disk(bad.clone()).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        let size = Value::Scalar(Milli::from_units(10));
        let bytes = postcard::to_allocvec(&("disk", Some((bad, 1_u32)), size)).unwrap();
        assert!(postcard::from_bytes::<Resource>(&bytes).is_err(), "{why}");
    }
    // RM-14: disks are scalars called "disk".
    let source = Metadata {
        source: Some(Source::of(DiskKind::Block)),
        ..Metadata::PLAIN
    };
    for text in ["mem:1", "disk:[1-2]", "disk:{a}"] {
        for metadata in [source.clone(), fine()] {
            let refused = one(text).with_metadata(metadata);
            assert!(
                matches!(refused, Err(InvalidResource::NotADisk { .. })),
                "{text}"
            );
        }
    }
    let ports = Value::Ranges("[1-2]".parse().unwrap());
    let refused = disk(source).unwrap().with_value(ports);
    assert!(matches!(refused, Err(InvalidResource::NotADisk { .. })));
}

#[test]
fn labels_are_checked_and_sorted() {
    // RM-32
    let label = Label::new;
    let labels = Labels::from_unordered(Vec::from([label("b", ""), label("a", "1")])).unwrap();
    assert_eq!(
        labels.iter().map(|l| &*l.key).collect::<Vec<_>>(),
        ["a", "b"]
    );
    for bad in [label("", "1"), label("a\n", "1"), label("a", "\u{1}")] {
        assert!(Labels::from_unordered(Vec::from([bad])).is_err());
    }
    let many = |n| Labels::from_unordered(alloc::vec![label("a", "1"); n]);
    assert!(many(limits::LABELS).is_ok());
    assert_eq!(many(limits::LABELS + 1), Err(InvalidLabels::TooMany));
    let bytes = postcard::to_allocvec(&[label("b", "1"), label("a", "1")][..]).unwrap();
    assert!(
        postcard::from_bytes::<Labels>(&bytes).is_err(),
        "a value has one encoding"
    );
}

#[test]
fn tv_25_ids_of_volumes_are_checked() {
    // RM-42, RM-61, TV-25, MESOS-5224
    let long = "x".repeat(256);
    for bad in ["", ".", "..", "a/b", "a\\b", "a\u{7f}", &long] {
        assert!(VolumeId::new(bad).is_err(), "{bad:?}");
        assert!(ProviderId::new(bad).is_err(), "{bad:?}");
        assert!(ProfileId::new(bad).is_err(), "{bad:?}");
    }
    assert!(VolumeId::new(&long[1..]).is_ok() && VolumeId::new("é x").is_ok());
}

#[test]
fn rich_bags_have_one_encoding() {
    let encoded = |entries: &[&str]| {
        let entries: Vec<Resource> = entries.iter().map(|text| one(text)).collect();
        postcard::to_allocvec(&entries).unwrap()
    };
    let decodes = |entries: &[&str]| postcard::from_bytes::<Resources>(&encoded(entries)).is_ok();
    let shared = r#"disk(a)<volume="v",rw="p",shared>:1"#;
    assert!(decodes(&["disk(*)<mount>:1", "disk(*)<mount>:1"]));
    assert!(decodes(&["disk(*)<mount>:1", "disk(*)<mount>:2"]));
    assert!(!decodes(&["disk(*)<mount>:2", "disk(*)<mount>:1"]));
    assert!(!decodes(&["disk(*)<raw>:1", "disk(*)<raw>:1"]));
    assert!(!decodes(&[shared, shared]));
    // Plain at length, and copies of what is not shared, none or too many.
    let one = Value::Scalar(Milli::from_units(1));
    let decodes = |metadata: &Metadata, copies: u32| {
        let sent = ("disk", Some((metadata, copies)), &one);
        let bytes = postcard::to_allocvec(&sent).unwrap();
        postcard::from_bytes::<Resource>(&bytes).is_ok()
    };
    assert!(!decodes(&Metadata::PLAIN, 1));
    let reserved = Metadata::reserved_to(role("a"));
    assert!(decodes(&reserved, 1) && !decodes(&reserved, 0) && !decodes(&reserved, 2));
    let volume = Metadata {
        volume: Some(Volume::new(VolumeId::new("v").unwrap(), "p")),
        shared: true,
        ..reserved
    };
    assert!(decodes(&volume, 2) && !decodes(&volume, 0) && !decodes(&volume, 65_537));
}

#[test]
fn overlaps_are_found() {
    // RM-04, RM-06: a union would lose them.
    let held = bag("cpus:1;gpu:{a,b};ports:[1-5];ports(a):[6-9]");
    assert_eq!(held.overlap(&bag("cpus:1;gpu:{c};ports:[6-9]")), None);
    assert_eq!(held.overlap(&bag("ports:[5-7]")), Some(one("ports:[5-5]")));
    assert_eq!(held.overlap(&bag("gpu:{b,c}")), Some(one("gpu:{b}")));
}
