//! JSON against text, and the field that an error names.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::{Milli, Resources, Value};
use super::*;
use crate::roles::Role;

fn shapes(given: &str) -> Vec<Resource> {
    serde_json::from_str(given).unwrap_or_else(|why| panic!("{given}: {why}"))
}

fn read(given: &str) -> Result<Resources, InvalidJson> {
    read_bag(&shapes(given))
}

fn bag(text: &str) -> Resources {
    Resources::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

/// A plain resource with more fields.
fn with(more: &str) -> String {
    format!(r#"[{{"name":"disk","type":"SCALAR","scalar":{{"value":5}},{more}}}]"#)
}

const VOLUME: &str = r#""persistence":{"id":"v","principal":"p"},
                         "volume":{"mode":"RW","container_path":"data"}"#;

#[test]
fn each_field_is_read() {
    // RM-09, RM-11, RM-15
    let scalar = |value: &str| {
        format!(r#"[{{"name":"cpus","type":"SCALAR","scalar":{{"value":{value}}}}}]"#)
    };
    let ports = r#"[{"name":"ports","type":"RANGES",
                     "ranges":{"range":[{"begin":5,"end":9},{"begin":1,"end":4}]}}]"#;
    let set = r#"[{"name":"gpu","type":"SET","set":{"item":["b","a"]}}]"#;
    let reserved = |levels: &str| with(&format!(r#""reservations":[{levels}]"#));
    let fixed = r#"{"type":"STATIC","role":"a"}"#;
    let dynamic = r#"{"type":"DYNAMIC","role":"a/b","principal":"p",
                      "labels":{"labels":[{"key":"l"},{"key":"k","value":"v"}]}}"#;
    let source = |source: &str| with(&format!(r#""disk":{{"source":{source}}}"#));
    let mount = r#"{"type":"MOUNT","mount":{"root":"/m"},"vendor":"x","id":"i","profile":"f",
                    "metadata":{"labels":[{"key":"k","value":"v"}]}}"#;
    let fixed_volume = format!(r#""reservations":[{fixed}],"disk":{{{VOLUME}}}"#);
    for (given, text) in [
        ("[]".into(), ""),
        (scalar("2.5"), "cpus:2.5"),
        (scalar("1.0005"), "cpus:1.001"),
        (scalar("9007199254740993"), "cpus:9007199254740993"),
        (scalar("0"), ""),
        (scalar("0.0"), ""),
        (ports.into(), "ports:[1-9]"),
        (set.into(), "gpu:{a,b}"),
        (with(r#""role":"*""#), "disk:5"),
        (with(r#""role":"a""#), "disk(a):5"),
        (
            with(r#""role":"a","reservation":{}"#),
            r#"disk(*)<dynamic="a">:5"#,
        ),
        (
            with(r#""role":"a","reservation":{"principal":"p","labels":{"labels":[{"key":"k"}]}}"#),
            r#"disk(*)<dynamic="a",principal="p",label="k">:5"#,
        ),
        (reserved(fixed), "disk(a):5"),
        (
            reserved(&format!("{fixed},{dynamic}")),
            r#"disk(a)<dynamic="a/b",principal="p",label="k"="v",label="l">:5"#,
        ),
        // Both formats at once, if they agree (RM-15).
        (
            with(&format!(r#""role":"a","reservations":[{fixed}]"#)),
            "disk(a):5",
        ),
        (
            with(
                r#""role":"a","reservation":{"principal":"p"},
                   "reservations":[{"type":"DYNAMIC","role":"a","principal":"p"}]"#,
            ),
            r#"disk(*)<dynamic="a",principal="p">:5"#,
        ),
        (with(r#""disk":{}"#), "disk:5"),
        (
            source(r#"{"type":"PATH","path":{"root":"/d"}}"#),
            r#"disk(*)<path="/d">:5"#,
        ),
        (source(r#"{"type":"PATH"}"#), "disk(*)<path>:5"),
        (
            source(mount),
            r#"disk(*)<mount="/m",vendor="x",id="i",profile="f",label="k"="v">:5"#,
        ),
        (source(r#"{"type":"BLOCK"}"#), "disk(*)<block>:5"),
        (
            source(r#"{"type":"RAW","id":"i"}"#),
            r#"disk(*)<raw,id="i">:5"#,
        ),
        (
            with(&fixed_volume),
            r#"disk(a)<volume="v",principal="p",rw="data">:5"#,
        ),
        (
            with(&format!(r#"{fixed_volume},"shared":{{}}"#)),
            r#"disk(a)<volume="v",principal="p",rw="data",shared>:5"#,
        ),
        (
            with(r#""revocable":{},"provider_id":{"value":"x"}"#),
            r#"disk(*)<provider="x",revocable>:5"#,
        ),
    ] {
        let resources = read(&given).unwrap_or_else(|why| panic!("{given}: {why}"));
        assert_eq!(resources.to_string(), text, "{given}");
    }
    let twice = format!("[{0},{0}]", scalar("1.5").trim_matches(&['[', ']'][..]));
    assert_eq!(
        read(&twice),
        Ok(bag("cpus:3")),
        "equal ones are summed (RM-12)"
    );
    assert_eq!(read_entries(&shapes(&twice)).unwrap().len(), 2);
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    // RM-03, RM-05, RM-06, RM-14, RM-15, RM-21, RM-41, RM-42, RM-60
    let value = |kind: &str, fields: &str| format!(r#"[{{"name":"a","type":"{kind}",{fields}}}]"#);
    let scalar = |number: &str| value("SCALAR", &format!(r#""scalar":{{"value":{number}}}"#));
    let ranges = |ranges: &str| value("RANGES", &format!(r#""ranges":{{"range":[{ranges}]}}"#));
    let levels = |levels: &str| with(&format!(r#""reservations":[{levels}]"#));
    let source = |source: &str| with(&format!(r#""disk":{{"source":{source}}}"#));
    let disk = |disk: &str| with(&format!(r#""role":"a","disk":{{{disk}}}"#));
    let items = |items: &str| value("SET", &format!(r#""set":{{"item":[{items}]}}"#));
    let persistence = r#""persistence":{"id":"v"}"#;
    let vol = |volume: &str| disk(&format!(r#"{persistence},"volume":{{{volume}}}"#));
    for (given, path, problem) in [
        (
            r#"[{"type":"SCALAR","scalar":{"value":1}}]"#.into(),
            "[0].name",
            "it is empty",
        ),
        (
            value("TEXT", r#""scalar":{"value":1}"#),
            "[0].type",
            "\"SCALAR\", \"RANGES\" or \"SET\"",
        ),
        (
            value("SCALAR", r#""set":{"item":[]}"#),
            "[0].type",
            "a type whose field",
        ),
        (
            value("SET", r#""set":{"item":[]},"scalar":{"value":1}"#),
            "[0].type",
            "a type whose field",
        ),
        (scalar("-1"), "[0].scalar.value", "it is negative"),
        (scalar("-0.5"), "[0].scalar.value", "it is negative"),
        (
            scalar("0.0004"),
            "[0].scalar.value",
            "0, or a number of at least 0.0005",
        ),
        (
            scalar("1e300"),
            "[0].scalar.value",
            "it is above 9223372036854775.807",
        ),
        (
            scalar("9223372036854776"),
            "[0].scalar.value",
            "it is above",
        ),
        (
            scalar("18446744073709551615"),
            "[0].scalar.value",
            "it is above",
        ),
        (
            ranges(r#"{"begin":3,"end":1}"#),
            "[0].ranges.range[0]",
            "whose end is not below",
        ),
        // Mesos lets this pass and counts 13.
        (
            ranges(r#"{"begin":5,"end":10},{"begin":1,"end":7}"#),
            "[0].ranges.range[0]",
            "does not overlap another",
        ),
        (items(r#""a","b","a""#), "[0].set.item[2]", "not there yet"),
        (
            items(r#""a,b""#),
            "[0].set.item[0]",
            "a sign of the text form",
        ),
        (with(r#""role":"a/""#), "[0].role", "ends with a slash"),
        (
            with(r#""reservation":{}"#),
            "[0].reservation",
            "nothing can be reserved to \"*\"",
        ),
        (
            with(r#""role":"a","reservation":{"role":"a"}"#),
            "[0].reservation",
            "no type and no role",
        ),
        (
            with(r#""role":"a","reservation":{"principal":"\u0001"}"#),
            "[0].reservation",
            "a control character",
        ),
        (
            with(r#""role":"a","reservation":{"labels":{"labels":[{}]}}"#),
            "[0].reservation.labels",
            "invalid label key",
        ),
        (
            levels(r#"{"role":"a"}"#),
            "[0].reservations[0].type",
            "\"STATIC\" or \"DYNAMIC\"",
        ),
        (
            levels(r#"{"type":"STATIC"}"#),
            "[0].reservations[0].role",
            "a role",
        ),
        (
            levels(r#"{"type":"STATIC","role":"a","principal":"p"}"#),
            "[0].reservations[0]",
            "no principal and no labels",
        ),
        (
            levels(r#"{"type":"STATIC","role":"a"},{"type":"DYNAMIC","role":"b"}"#),
            "[0].reservations[1]",
            "role b is not below role a",
        ),
        (
            source(r#"{"type":"UNKNOWN"}"#),
            "[0].disk.source.type",
            "\"PATH\", \"MOUNT\"",
        ),
        (
            source(r#"{"type":"RAW","path":{}}"#),
            "[0].disk.source.path",
            "no such field",
        ),
        (
            source(r#"{"type":"BLOCK","mount":{}}"#),
            "[0].disk.source.mount",
            "no such field",
        ),
        (
            source(r#"{"type":"PATH","mount":{}}"#),
            "[0].disk.source.mount",
            "no such field",
        ),
        (
            source(r#"{"type":"RAW","id":""}"#),
            "[0].disk.source.id",
            "it is empty",
        ),
        (
            source(r#"{"type":"RAW","profile":"."}"#),
            "[0].disk.source.profile",
            "a directory",
        ),
        (
            disk(persistence),
            "[0].disk.volume",
            "where a container sees",
        ),
        (
            disk(r#""volume":{"mode":"RW","container_path":"p"}"#),
            "[0].disk.persistence",
            "the id of a persistent volume",
        ),
        (
            disk(r#""persistence":{"id":"a/b"},"volume":{"mode":"RW","container_path":"p"}"#),
            "[0].disk.persistence.id",
            "it contains a slash",
        ),
        (
            vol(r#""mode":"RX","container_path":"p""#),
            "[0].disk.volume.mode",
            "\"RW\" or \"RO\"",
        ),
        (
            vol(r#""mode":"RW""#),
            "[0].disk.volume.container_path",
            "it is empty",
        ),
        (
            vol(r#""mode":"RW","container_path":"p","host_path":"/""#),
            "[0].disk.volume.host_path",
            "no such field",
        ),
        (
            with(r#""shared":{}"#),
            "[0]",
            "is shared but no persistent volume",
        ),
        (
            with(r#""role":"a","revocable":{}"#),
            "[0]",
            "is revocable and reserved",
        ),
        (
            with(r#""provider_id":{"value":"a/b"}"#),
            "[0].provider_id.value",
            "a slash",
        ),
        (
            with(r#""allocation_info":{"role":"a"}"#),
            "[0].allocation_info",
            "no allocation to a role here",
        ),
        (
            with(r#""allocation_info":{"role":"a b"}"#),
            "[0].allocation_info.role",
            "a blank",
        ),
    ] {
        let why = read(&given).expect_err(&given);
        assert_eq!(why.path, path, "{given}: {why}");
        assert!(why.to_string().contains(problem), "{given}: {why}");
        assert!(
            why.to_string()
                .starts_with(&format!("invalid resource at {path}: "))
        );
    }
    let most = r#"{"name":"a","type":"SCALAR","scalar":{"value":9223372036854775}}"#;
    let why = read(&format!("[{most},{most}]")).unwrap_err();
    assert_eq!(why.path, "[1]");
}

#[test]
fn formats_that_disagree_are_refused() {
    // RM-15
    let dynamic = r#"{"type":"DYNAMIC","role":"a","principal":"p"}"#;
    let fixed = r#"{"type":"STATIC","role":"a"}"#;
    let deeper = r#"{"type":"DYNAMIC","role":"a/b"}"#;
    for (older, levels) in [
        (r#""role":"b""#, fixed),
        (r#""role":"a","reservation":{}"#, fixed),
        (r#""role":"a""#, dynamic),
        (r#""role":"a","reservation":{}"#, dynamic),
        (r#""role":"a","reservation":{"principal":"q"}"#, dynamic),
        (r#""role":"b","reservation":{"principal":"p"}"#, dynamic),
        (
            r#""role":"a","reservation":{"principal":"p","labels":{"labels":[{"key":"k"}]}}"#,
            dynamic,
        ),
        (r#""role":"a""#, &format!("{fixed},{deeper}")),
    ] {
        let given = with(&format!(r#"{older},"reservations":[{levels}]"#));
        let why = read(&given).expect_err(&given);
        assert_eq!(why.path, "[0].reservations", "{given}: {why}");
    }
    let alone = with(&format!(
        r#""reservation":{{"principal":"p"}},"reservations":[{dynamic}]"#
    ));
    assert_eq!(
        read(&alone).unwrap_err().path,
        "[0].reservation",
        "needs both or neither"
    );
}

#[test]
fn unknown_and_repeated_fields_are_refused() {
    for given in [
        with(r#""revocible":{}"#),
        with(r#""revocable":{"x":1}"#),
        with(r#""role":"a","role":"b""#),
        with(r#""disk":{"volume":{"image":{}}}"#),
        with(r#""disk":[[[[[[[[[[]]]]]]]]]]"#),
        r#"[{"name":"a","type":"SCALAR","scalar":{"value":"1"}}]"#.into(),
        r#"[{"name":"a","type":"SCALAR","scalar":{"value":1e400}}]"#.into(),
        r#"[{"name":"a","type":"RANGES","ranges":{"range":[{"begin":1}]}}]"#.into(),
        r#"[{"name":"a","type":"RANGES","ranges":{"range":[{"begin":-1,"end":1}]}}]"#.into(),
    ] {
        assert!(
            serde_json::from_str::<Vec<Resource>>(&given).is_err(),
            "{given}"
        );
    }
    let deep = with(&format!(r#""x":{}"#, "[".repeat(100_000)));
    assert!(serde_json::from_str::<Vec<Resource>>(&deep).is_err());
}

#[test]
fn the_older_format_is_written_for_older_peers() {
    // RM-15: and what they cannot understand is not sent.
    let legacy = |text: &str| {
        let resources = bag(text);
        let resource = resources.iter().next().unwrap();
        let shape = Resource::legacy(resource, None)?;
        assert!(shape.reservations.is_empty());
        assert_eq!(read_bag(core::slice::from_ref(&shape)), Ok(resources));
        Some(serde_json::to_string(&shape).unwrap())
    };
    let plain = |more: &str| {
        Some(format!(
            r#"{{"name":"a","type":"SCALAR","scalar":{{"value":1.0}},{more}}}"#
        ))
    };
    assert_eq!(legacy("a:1"), plain(r#""role":"*""#));
    assert_eq!(legacy("a(x):1"), plain(r#""role":"x""#));
    assert_eq!(
        legacy(r#"a(*)<dynamic="x",principal="p",label="k">:1"#),
        plain(r#""role":"x","reservation":{"principal":"p","labels":{"labels":[{"key":"k"}]}}"#)
    );
    assert_eq!(legacy(r#"a(x)<dynamic="x/y">:1"#), None);
}

#[test]
fn what_is_written_has_mesos_names() {
    // RM-11, RM-48
    let text = r#"disk(a)<mount="/m",volume="v",principal="p",ro="d",provider="x",shared=2>:1.5"#;
    let shapes = write(&bag(text), Some(&Role::new("a").unwrap()));
    let expected = [
        r#"{"provider_id":{"value":"x"},"name":"disk","type":"SCALAR","scalar":{"value":1.5},"#,
        r#""reservations":[{"type":"STATIC","role":"a"}],"allocation_info":{"role":"a"},"#,
        r#""disk":{"persistence":{"id":"v","principal":"p"},"#,
        r#""volume":{"mode":"RO","container_path":"d"},"#,
        r#""source":{"type":"MOUNT","mount":{"root":"/m"}}},"shared":{}}"#,
    ];
    let expected = expected.concat();
    assert_eq!(shapes.len(), 2, "each copy is written");
    for shape in &shapes {
        assert_eq!(serde_json::to_string(shape).unwrap(), expected);
    }
    let entries = read_entries(&shapes).unwrap();
    assert_eq!(entries[0].allocated_to, Some(Role::new("a").unwrap()));
    let unallocated = write(&bag(text), None);
    assert_eq!(read_bag(&unallocated).unwrap().to_string(), text);
}

#[test]
fn a_flag_has_only_what_can_be_configured() {
    // RM-11, RM-12, RM-13
    let zero = r#"{"name":"gpus","type":"SCALAR","scalar":{"value":0}}"#;
    let set = r#"{"name":"gpus","type":"SET","set":{"item":["a"]}}"#;
    let entries = read_configured(&shapes(&format!("[{zero},{zero}]"))).unwrap();
    assert_eq!(entries.len(), 2, "zeros are kept");
    let why = read_configured(&shapes(&format!("[{zero},{set}]"))).unwrap_err();
    assert_eq!(
        (why.path.as_str(), why.to_string().contains("one kind")),
        ("[1]", true)
    );
    for more in [
        r#""revocable":{}"#,
        r#""role":"a","reservation":{}"#,
        &format!(r#""role":"a","disk":{{{VOLUME}}}"#),
        r#""allocation_info":{"role":"a"}"#,
    ] {
        assert!(read_configured(&shapes(&with(more))).is_err(), "{more}");
    }
}

#[test]
fn numbers_are_written_exactly() {
    // RM-02
    for thousandths in [
        1,
        999,
        1_001,
        4_398_046_511_103_999,
        2_000_000_000_000_007_000,
        i64::MAX / 1_000 * 1_000,
    ] {
        let amount = Milli::from_thousandths(thousandths);
        let resource = super::super::Resource::new("a", Value::Scalar(amount)).unwrap();
        let written = serde_json::to_string(&Resource::of(&resource, None)).unwrap();
        let shape: Resource = serde_json::from_str(&written).unwrap();
        assert_eq!(shape.read().unwrap().resource, resource, "{written}");
    }
}

proptest! {
    #[test]
    fn no_json_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let given = with(&format!(r#""role":"a","disk":{{{VOLUME},"source":{{"type":"RAW"}}}}"#));
        let mut flipped = given.into_bytes();
        for (at, byte) in flips {
            let at = at.index(flipped.len());
            flipped[at] = byte;
        }
        for bytes in [bytes, flipped] {
            if let Ok(shapes) = serde_json::from_slice::<Vec<Resource>>(&bytes)
                && let Ok(resources) = read_bag(&shapes)
            {
                let again = read_bag(&write(&resources, None));
                prop_assert_eq!(again, Ok(resources));
            }
        }
    }
}
