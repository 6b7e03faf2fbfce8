//! Resources as JSON: whatever is read is written in forms that read back to the same.

use tepui_core::resources::{Resource, Resources, Value, json as shapes};

/// Up to here a fraction is written so that it reads back to the same thousandths.
const EXACT: i64 = 1_000 << 42;

/// Reads bytes as a list of resources, in every way that such a list is read.
pub fn json(data: &[u8]) {
    let Ok(list) = serde_json::from_slice::<Vec<shapes::Resource>>(data) else {
        return;
    };
    let _zeros_and_kinds = shapes::read_configured(&list);
    let Ok(entries) = shapes::read_entries(&list) else {
        assert!(shapes::read_bag(&list).is_err(), "a bag is of entries");
        return;
    };
    for entry in &entries {
        if !is_exact(&entry.resource) {
            continue;
        }
        let role = entry.allocated_to.as_ref();
        let written = shapes::Resource::of(&entry.resource, role);
        assert_eq!(again(&written).read().as_ref(), Ok(entry));
        let flat = shapes::Resource::legacy(&entry.resource, role);
        assert_eq!(flat.is_none(), entry.resource.has_refined_reservations());
        if let Some(flat) = flat {
            assert_eq!(again(&flat).read().as_ref(), Ok(entry));
        }
    }
    if let Ok(bag) = shapes::read_bag(&list) {
        written_back(&bag);
    }
}

/// A bag reads back from JSON, from text, and from the bytes that the wire has.
fn written_back(bag: &Resources) {
    if bag.iter().all(is_exact) {
        let written = shapes::write(bag, None);
        let text = serde_json::to_vec(&written).expect("shapes are written");
        let list: Vec<shapes::Resource> = serde_json::from_slice(&text).expect("and read");
        assert_eq!(shapes::read_bag(&list).as_ref(), Ok(bag));
    }
    let text = bag.to_string();
    assert_eq!(Resources::parse(&text).as_ref(), Ok(bag), "{text}");
    let bytes = postcard::to_stdvec(bag).expect("a bag is written");
    assert_eq!(postcard::from_bytes(&bytes).as_ref(), Ok(bag));
}

fn again(shape: &shapes::Resource) -> shapes::Resource {
    let text = serde_json::to_string(shape).expect("a shape is written");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn is_exact(resource: &Resource) -> bool {
    match resource.value() {
        Value::Scalar(amount) => amount.is_whole() || amount.thousandths() < EXACT,
        Value::Ranges(_) | Value::Items(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::corpus;

    const BAGS: [(&str, &str); 4] = [
        ("plain", "cpus:2.5;mem(eng):64;ports:[1-3,8-9];names:{a,b}"),
        (
            "reserved",
            r#"cpus(eng)<dynamic="eng/web",principal="ops",label="a"="1",label="b">:1.001"#,
        ),
        (
            "disks",
            concat!(
                r#"disk(*)<mount="/m">:5;disk(*)<raw>:1;"#,
                r#"disk(*)<path="/d",vendor="v",id="i",profile="p">:7"#
            ),
        ),
        (
            "volumes",
            concat!(
                r#"disk(a)<volume="v",rw="data",principal="p",shared=2>:5;"#,
                r#"cpus(*)<revocable>:1;mem(*)<provider="x">:2"#
            ),
        ),
    ];

    #[test]
    fn the_corpus_is_of_real_resources() {
        for (name, text) in BAGS {
            let bag = Resources::parse(text).unwrap();
            let written = serde_json::to_vec(&shapes::write(&bag, None)).unwrap();
            corpus::check("json", name, &written);
            let role = tepui_core::roles::Role::new("a").unwrap();
            let flat: Vec<_> = bag
                .iter()
                .filter_map(|entry| shapes::Resource::legacy(entry, Some(&role)))
                .collect();
            let written = serde_json::to_vec(&flat).unwrap();
            corpus::check("json", &format!("{name}-flat"), &written);
        }
    }

    #[test]
    fn the_corpus_with_every_byte_changed_and_cut_everywhere() {
        for entry in corpus::entries("json") {
            json(&entry);
            for at in 0..entry.len() {
                for other in *b"0}],-e\"" {
                    let mut bytes = entry.clone();
                    bytes[at] = other;
                    json(&bytes);
                }
                json(&entry[..at]);
            }
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        // The parser's class of reliability section 3: CVE-2018-11793.
        for open in ["[", r#"[{"disk":"#, r#"[{"disk":{"source":"#] {
            let text = open.repeat(100_000);
            assert!(serde_json::from_str::<Vec<shapes::Resource>>(&text).is_err());
            json(text.as_bytes());
        }
    }

    fn one(entry: serde_json::Value) {
        json(serde_json::Value::from(vec![entry]).to_string().as_bytes());
    }

    proptest! {
        #[test]
        fn any_texts(
            name in "[^:;()]{1,4}|\\PC{1,4}",
            role in "[^)/ ]{1,4}|\\PC{1,4}",
            text in ".{1,4}|\\PC{1,4}",
            value in ".{0,4}",
        ) {
            // RM-07, RM-10, RM-11
            let scalar = json!({"value": 1});
            let label = json!({"labels": [{"key": text, "value": value}, {"key": value}]});
            let level = json!({
                "type": "DYNAMIC", "role": role, "principal": text,
                "labels": {"labels": [{"key": text, "value": value}]},
            });
            one(json!({"name": name, "type": "SCALAR", "scalar": scalar}));
            one(json!({"name": "cpus", "type": "SCALAR", "scalar": scalar, "role": role}));
            one(json!({
                "name": "cpus", "type": "SCALAR", "scalar": scalar, "reservations": [level],
            }));
            one(json!({"name": "gpu", "type": "SET", "set": {"item": [name, value]}}));
            let source = json!({"type": "PATH", "path": {"root": text}, "vendor": value});
            let volume = json!({"mode": "RW", "container_path": text});
            one(json!({
                "name": "disk", "type": "SCALAR", "scalar": scalar, "role": "a",
                "disk": {"source": source, "persistence": {"id": name}, "volume": volume},
            }));
            one(json!({
                "name": "disk", "type": "SCALAR", "scalar": scalar,
                "disk": {"source": {"type": "RAW", "id": text, "metadata": label}},
            }));
        }

        #[test]
        fn a_number_is_what_it_is_as_text(number in "[0-9]{1,9}\\.[0-9]{1,6}(e-?[0-3])?") {
            // RM-02, RM-11: of so few digits no float loses any.
            let scalar = format!(r#"{{"value":{number}}}"#);
            let text = format!(r#"[{{"name":"cpus","type":"SCALAR","scalar":{scalar}}}]"#);
            let read = serde_json::from_str::<Vec<shapes::Resource>>(&text);
            if let Ok(list) = read {
                let by_text = Resources::parse(&format!("cpus:{number}"));
                assert_eq!(shapes::read_bag(&list).ok(), by_text.ok(), "{number}");
            }
        }

        #[test]
        fn any_number(number in "-?[0-9]{1,20}(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?") {
            let scalar = format!(r#"{{"value":{number}}}"#);
            let text = format!(r#"[{{"name":"cpus","type":"SCALAR","scalar":{scalar}}}]"#);
            json(text.as_bytes());
        }
    }
}
