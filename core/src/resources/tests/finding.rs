//! Finding amounts irrespective of reservations.

use alloc::string::ToString;

use super::bag;

#[test]
fn what_there_is_enough_of_is_found() {
    // RM-25: the first eight are Mesos' own; of those it finds the sixth only.
    let one_disk = r#"disk(a)<dynamic="a/b",mount="/m">:9"#;
    for (all, target, expected) in [
        ("cpus(a):2;cpus(b):2", "cpus:3", "cpus(a):2;cpus(b):1"),
        (
            "cpus:2;cpus(a):1;cpus(b):1",
            "cpus:4",
            "cpus:2;cpus(a):1;cpus(b):1",
        ),
        ("cpus(a):1;cpus(b):2", "cpus:2", "cpus(a):1;cpus(b):1"),
        (
            "cpus:2;cpus(a):2;cpus(b):2",
            "cpus:6",
            "cpus:2;cpus(a):2;cpus(b):2",
        ),
        (
            "ports:[1-2,9-9];ports(a):[3-4]",
            "ports:[1-4]",
            "ports:[1-2];ports(a):[3-4]",
        ),
        (
            "cpus:2;cpus(eng):2;cpus(ops):2",
            "cpus(eng):6",
            "cpus:2;cpus(eng):2;cpus(ops):2",
        ),
        (
            "cpus(a):2;cpus(b):2",
            "cpus(a):1;cpus(b):1",
            "cpus(a):1;cpus(b):1",
        ),
        (
            "cpus(a):2;cpus(b):2",
            "cpus:2;cpus(c):2",
            "cpus(a):2;cpus(b):2",
        ),
        // The order of the steps: the role itself, then unreserved, then anything.
        (
            "cpus:2;cpus(a):2;cpus(b):2",
            "cpus(b):3",
            "cpus:1;cpus(b):2",
        ),
        ("cpus:2;cpus(a):2;cpus(b):2", "cpus:3", "cpus:2;cpus(a):1"),
        ("cpus(a):1;cpus(a/b):2", "cpus(a/b):1", "cpus(a/b):1"),
        ("gpu:{a};gpu(x):{b,c}", "gpu:{a,c}", "gpu:{a};gpu(x):{c}"),
        (one_disk, r#"disk(*)<mount="/m">:9"#, one_disk),
    ] {
        let found = bag(all).find(&bag(target));
        let found = found.unwrap_or_else(|| panic!("{target} is not found in {all}"));
        assert_eq!(found.to_string(), expected);
        assert!(bag(all).contains(&found));
    }
}

#[test]
fn what_there_is_too_little_of_is_not_found() {
    // RM-25
    let shared = r#"disk(a)<volume="v",rw="p",shared>:9"#;
    for (all, target) in [
        ("cpus:2;cpus(a):2", "cpus:4.001"),
        // What one target got is gone for the next; Mesos finds cpus:4 in cpus:2.
        ("cpus:2", "cpus(a):2;cpus(b):2"),
        ("ports:[1-3]", "ports:[1-1];ports(a):[1-1]"),
        ("cpus(*)<revocable>:2", "cpus:1"),
        ("cpus:2", "cpus(*)<revocable>:1"),
        ("disk(*)<mount>:9", "disk(*)<mount>:8"),
        ("disk(*)<mount>:9", "disk:9"),
        ("disk(*)<mount>:9", "disk(*)<mount>:9;disk(a)<mount>:9"),
        (shared, &shared.replace("shared", "shared=2")),
        ("mem:9", "cpus:1"),
    ] {
        assert_eq!(bag(all).find(&bag(target)), None, "{target} in {all}");
    }
    assert_eq!(bag("cpus:1").find(&bag("")), Some(bag("")));
}
