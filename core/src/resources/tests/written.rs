//! The text of what Mesos' text cannot say.

use alloc::string::ToString;

use super::super::*;
use super::bag;
use crate::attributes::Attributes;

#[test]
fn details_are_written_as_they_are_read() {
    // RM-10: each of these is its own canonical text.
    for text in [
        r#"cpus(*)<dynamic="eng">:1"#,
        r#"cpus(eng)<dynamic="eng/web",principal="ops",label="a"="1",label="b">:1"#,
        r#"cpus(*)<dynamic="a;b:(c",principal="\"\\>,;:)",label="="="">:1"#,
        r#"disk(*)<path="/d/a",vendor="v",id="i",profile="p",label="k"="v">:5"#,
        "disk(*)<path>:5",
        r#"disk(*)<mount="/m">:5;disk(*)<mount="/m">:5"#,
        "disk(*)<block>:5",
        "disk(*)<raw>:5",
        r#"disk(a)<mount="/m",volume="db",principal="p",rw="data">:5"#,
        r#"disk(a)<volume="db",ro="data",provider="x",shared=3>:5"#,
        r#"disk(a)<volume="db",rw="data",shared>:5"#,
        "cpus:1;cpus(*)<revocable>:1",
        r#"ports(*)<dynamic="a",provider="é">:[1-3]"#,
    ] {
        let resources = bag(text);
        assert_eq!(resources.to_string(), text);
        let bytes = postcard::to_allocvec(&resources).unwrap();
        let decoded: Resources = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(decoded, resources);
        // Also what is no part of identity.
        assert_eq!(decoded.to_string(), text);
    }
    let lax = bag(r#" disk ( * ) < block , label = "k" = "v" , vendor = "x" > : 5 "#);
    assert_eq!(
        lax.to_string(),
        r#"disk(*)<block,vendor="x",label="k"="v">:5"#
    );
    assert_eq!(
        bag("a<b:1").to_string(),
        "a<b:1",
        "a name may hold the sign"
    );
    assert!(bag(r#"disk(a)<volume="v",rw="p",shared=2>:0"#).is_empty());
}

#[test]
fn each_kind_of_value_stands_where_it_belongs() {
    // RM-01: what is said of the same four by a resource and by an attribute.
    for (value, of_resource, of_attribute) in [
        ("2.5", true, true),
        ("[1-3,5-5]", true, true),
        ("{a,b}", true, false),
        ("text", false, true),
    ] {
        let text = alloc::format!("name:{value}");
        assert_eq!(Resources::parse(&text).is_ok(), of_resource, "{text}");
        assert_eq!(Attributes::parse(&text).is_ok(), of_attribute, "{text}");
    }
    let kinds: Vec<_> = bag("a:1;b:[1-2];c:{x}").iter().cloned().collect();
    assert!(matches!(kinds[0].value(), Value::Scalar(_)));
    assert!(matches!(kinds[1].value(), Value::Ranges(_)));
    assert!(matches!(kinds[2].value(), Value::Items(_)));
}

#[test]
fn a_number_is_the_same_as_text_and_in_json() {
    // RM-02, RM-07, RM-11
    for number in [
        "0.5005",
        "1.0005",
        "2.0015",
        "1000.0005",
        "0.0005",
        "1e-3",
        "2.5e-3",
        "0.1",
    ] {
        let field =
            alloc::format!(r#"[{{"name":"a","type":"SCALAR","scalar":{{"value":{number}}}}}]"#);
        let shapes: Vec<json::Resource> = serde_json::from_str(&field).unwrap();
        let text = alloc::format!("a:{number}");
        assert_eq!(json::read_bag(&shapes), Ok(bag(&text)), "{number}");
    }
}

#[test]
fn wrong_details_have_a_position() {
    // RM-10, RM-14, RM-21, RM-41
    let together = "details that go together: a volume is reserved, only volumes are shared, and \
                    what is revocable is neither";
    let below = "levels of a reservation, each to a role below the one before";
    let labels = "at most 256 labels of 1 to 4096 bytes without control characters";
    let texts = "texts of 1 to 4096 bytes without control characters";
    let word = r#"a detail such as dynamic="ROLE", mount="ROOT" or revocable"#;
    for (text, position, expected) in [
        ("cpus(*)<>:1", 8, word),
        ("cpus(*)<fast>:1", 8, word),
        ("cpus(*)<revocable", 17, r#""," or ">""#),
        (
            "cpus(*)<revocable,revocable>:1",
            18,
            "a detail that is not there yet",
        ),
        (
            "cpus(*)<dynamic>:1",
            15,
            r#""=" and a text in double quotes"#,
        ),
        (r#"cpus(*)<dynamic=a>:1"#, 16, "a text in double quotes"),
        (r#"cpus(*)<dynamic="a>:1"#, 21, "a closing double quote"),
        (r#"cpus(*)<dynamic="\a">:1"#, 17, r#""\"" or "\\""#),
        (r#"cpus(*)<dynamic="a/">:1"#, 8, "a valid role"),
        (r#"cpus(*)<dynamic="*">:1"#, 8, below),
        (r#"cpus(a)<dynamic="b">:1"#, 8, below),
        (r#"cpus(a) <dynamic="a/b", dynamic="b">:1"#, 24, below),
        (r#"disk(*) <volume="v",rw="p">:1"#, 8, together),
        (r#"cpus(*)<dynamic="a",label="b",label="">:1"#, 30, labels),
        (r#"disk(*)<raw,label="a"="	">:1"#, 12, labels),
        (r#"cpus(*)<dynamic="a",principal="">:1"#, 20, texts),
        (r#"disk(*)<mount="",vendor="x">:1"#, 8, texts),
        (r#"disk(*)<raw,vendor="">:1"#, 12, texts),
        (
            r#"cpus(*)<principal="p">:1"#,
            8,
            "something before it that this says more about",
        ),
        (
            r#"cpus(*)<label="p">:1"#,
            8,
            "something before it that this says more about",
        ),
        (
            r#"cpus(*)<vendor="p">:1"#,
            8,
            "something before it that this says more about",
        ),
        (
            r#"cpus(*)<rw="p">:1"#,
            8,
            "something before it that this says more about",
        ),
        ("disk(*)<raw,block>:1", 12, "a detail that is not there yet"),
        (r#"disk(a)<volume="v">:1"#, 8, r#"rw="PATH" or ro="PATH""#),
        (r#"disk(a)<volume="../v">:1"#, 8, "a volume id"),
        (
            r#"disk(a)<volume="v",rw="p",ro="p">:1"#,
            26,
            "a detail that is not there yet",
        ),
        (r#"disk(*)<volume="v",rw="p">:1"#, 7, together),
        ("cpus(a)<revocable>:1", 7, together),
        ("cpus(*)<shared>:1", 7, together),
        ("cpus(*)<shared=x>:1", 15, "a number of copies"),
        ("cpus(*)<shared=+1>:1", 15, "a number of copies"),
        (
            r#"disk(a)<volume="v",rw="p",shared=0>:1"#,
            7,
            "1 to 65536 copies of what is shared",
        ),
        (
            "cpus(*)<raw>:1",
            7,
            "no disk or volume on what is no scalar \"disk\"",
        ),
        (
            "disk(*)<raw>:[1-2]",
            7,
            "no disk or volume on what is no scalar \"disk\"",
        ),
    ] {
        let why = Resources::parse(text).expect_err(text);
        assert_eq!(
            (why.position(), why.expected()),
            (position, expected),
            "{text}"
        );
    }
}

#[test]
fn a_flag_has_only_what_can_be_configured() {
    // RM-12; the zero counts too, where Mesos lets it pass.
    let kinds = "one kind of value for each name";
    let made = "nothing revocable and no persistent volume, which cannot be configured";
    for (text, position, expected) in [
        ("cpus:0;cpus:{a}", 7, kinds),
        ("mem:1;cpus:1;cpus(eng):[1-2]", 13, kinds),
        ("mem:1;cpus(*)<revocable>:1", 6, made),
        (r#"disk(a)<volume="v",rw="p">:1"#, 0, made),
        (
            r#"cpus(a)<dynamic="a/b">:1"#,
            0,
            "no dynamic reservation, which cannot be configured",
        ),
    ] {
        let why = Resources::parse_entries(text).expect_err(text);
        assert_eq!(
            (why.position(), why.expected()),
            (position, expected),
            "{text}"
        );
        assert!(Resources::parse(text).is_ok(), "{text}");
    }
    let fine =
        Resources::parse_entries(r#"cpus(a):1;cpus:2;disk(*)<mount="/m">:5;gpus:0"#).unwrap();
    assert_eq!(fine.len(), 4);
}
