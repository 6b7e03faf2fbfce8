//! Bags against their vectors, and against a model that knows nothing of entries: a map from the
//! smallest things to how much of them there is.

mod finding;
mod laws;
mod operating;
mod rich;
mod written;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

pub(super) fn bag(text: &str) -> Resources {
    Resources::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

pub(super) fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

#[test]
fn text_becomes_resources() {
    // RM-03, RM-05, RM-06, RM-07, RM-10, RM-12, RM-13, TV-01, TV-02, TV-06, TV-07; see the file.
    let mut cases = 0;
    for line in include_str!("testdata/text.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
    {
        if let Some((text, written)) = line.split_once(" -> ") {
            let written = if written == "(nothing)" { "" } else { written };
            assert_eq!(bag(text).to_string(), written, "{text:?}");
            assert_eq!(bag(written), bag(text), "{text:?} does not read back");
        } else if let Some((text, expected)) = line.split_once(" !! ") {
            let (position, expected) = expected.split_once(' ').expect("position and text");
            let why = Resources::parse(text).expect_err(text);
            let message = format!("invalid resources {text:?}: at {position}: expected {expected}");
            assert_eq!(why.to_string(), message);
            assert_eq!(
                (why.position().to_string().as_str(), why.expected()),
                (position, expected)
            );
        } else {
            assert!(line.is_empty(), "not a case: {line:?}");
            continue;
        }
        cases += 1;
    }
    assert!(cases > 70, "only {cases} cases were found");
}

#[test]
fn only_the_ascii_space_is_a_blank() {
    // RM-07
    for text in [
        "cpus:1\t",
        "cpus:1\n",
        "cpus:\u{a0}1",
        "ports:[1-\t2]",
        "gpu:{a\tb}",
    ] {
        assert!(Resources::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_long_text_is_quoted_around_the_error() {
    let text = format!("{}cpus:x;{}", "é:1;".repeat(100), "é:1;".repeat(100));
    let why = Resources::parse(&text).unwrap_err();
    assert_eq!(why.position(), 505);
    let message = why.to_string();
    assert!(
        message.len() < 350 && message.contains("cpus:x;é:1"),
        "{message}"
    );
    assert!(message.starts_with("invalid resources \"…") && message.contains("…\": at 505: "));
}

#[test]
fn long_bags_are_like_short_ones() {
    // RM-18: many reservations of one name, told apart by their labels.
    let text = |n: usize| format!(r#"cpus(*)<dynamic="a",label="n"="{n:03}">:{}"#, n + 1);
    let all: Vec<String> = (0..100).map(text).collect();
    let mut whole = bag(&all.join(";"));
    let disk = "disk(*)<block>:1";
    whole.add(&bag(&[disk; 20].join(";"))).unwrap();
    assert_eq!(whole.len(), 120);
    for n in [0, 7, 8, 9, 50, 99] {
        let one = bag(&all[n]);
        assert!(whole.contains(&one) && !whole.contains(&bag(&text(n).replace(">:", ">:9"))));
        let rest = whole.checked_sub(&one).unwrap();
        assert_eq!((rest.len(), rest.contains(&one)), (119, false));
        let mut again = rest.clone();
        again.add(&one).unwrap();
        assert_eq!(again, whole);
    }
    let mixed = bag(&format!("{};{};{disk};{disk};mem:1", all[3], all[98]));
    assert!(!whole.contains(&mixed));
    whole.add(&bag("mem:1")).unwrap();
    assert!(whole.contains(&mixed));
    assert!(!whole.contains(&bag(&[disk; 21].join(";"))));
    assert_eq!(whole.checked_sub(&mixed).unwrap().len(), 116);
}

#[test]
fn explicit_zeros_can_be_seen() {
    // RM-13
    let entries = Resources::parse_entries("gpus:0;cpus:1;cpus:2").unwrap();
    let shown: Vec<_> = entries.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["gpus:0", "cpus:1", "cpus:2"]);
    assert!(entries[0].value().is_zero());
    let mut resources = Resources::new();
    resources.insert(entries[0].clone()).unwrap();
    assert!(resources.is_empty());
}

#[test]
fn tv_06_a_role_is_one_static_reservation() {
    // TV-06, RM-10
    let resources = bag("cpus:2;mem(eng):1024;ports:[31000-31005]");
    let entries: Vec<_> = resources
        .iter()
        .map(|r| (r.name(), r.reservation_role()))
        .collect();
    let eng = role("eng");
    assert_eq!(
        entries,
        [("cpus", None), ("mem", Some(&eng)), ("ports", None)]
    );
    assert_eq!(
        (resources.cpus(), resources.mem()),
        (Milli::from_units(2), Milli::from_units(1024))
    );
}

#[test]
fn tv_08_reservations_stay_apart() {
    // TV-08, RM-18
    let mut resources = bag("cpus:2");
    resources.add(&bag("cpus(eng):1")).unwrap();
    assert_eq!(resources.len(), 2);
    assert_eq!(resources.cpus(), Milli::from_units(3));
    assert!(
        !resources.contains(&bag("cpus:3")),
        "RM-24: entries are not summed"
    );
    resources.subtract(&bag("cpus(eng):1")).unwrap();
    assert_eq!(resources, bag("cpus:2"));
}

#[test]
fn tv_10_who_may_be_offered_what_is_reserved() {
    // TV-10, RM-23
    let resources = bag("cpus(eng):1;mem:1");
    for (to, expected) in [
        ("eng/web", "cpus(eng):1;mem:1"),
        ("eng", "cpus(eng):1;mem:1"),
        ("ops", "mem:1"),
        ("engine", "mem:1"),
        ("*", "mem:1"),
    ] {
        assert_eq!(resources.allocatable_to(&role(to)), bag(expected), "{to}");
    }
    assert!(
        bag("cpus(eng/web):1")
            .allocatable_to(&role("eng"))
            .is_empty()
    );
}

#[test]
fn a_failed_change_changes_nothing() {
    let mut resources = bag("cpus:1;mem:9223372036854775.807;ports:[1-9]");
    let before = resources.clone();
    let why = resources
        .add(&bag("a:1;cpus:1;mem:0.001;ports:[10-10]"))
        .unwrap_err();
    assert_eq!(
        why.to_string(),
        "the sum of \"mem\" is above 9223372036854775.807, or above 65536 copies"
    );
    assert_eq!(resources, before);
    let why = resources.subtract(&bag("cpus:1;ports:[9-10]")).unwrap_err();
    assert_eq!(why.to_string(), "ports:[9-10] is not contained");
    assert_eq!(resources, before);
    assert_eq!(
        resources
            .checked_sub(&bag("gpus:1"))
            .unwrap_err()
            .wanted
            .name(),
        "gpus"
    );
    resources.add(&bag("mem(eng):1")).unwrap();
    assert_eq!(resources.mem(), Milli::MAX);
}

#[test]
fn what_is_no_resource_is_not_made() {
    // RM-14, RM-21
    let one = || Value::Scalar(Milli::from_units(1));
    for name in [
        "",
        " a",
        "a ",
        "a\tb",
        "a(b",
        "a)b",
        "a:b",
        "a;b",
        &"x".repeat(256),
    ] {
        assert!(Resource::new(name, one()).is_err(), "{name:?} is accepted");
        let bytes = postcard::to_allocvec(&(name, None::<Role>, one())).unwrap();
        assert!(
            postcard::from_bytes::<Resource>(&bytes).is_err(),
            "{name:?} is decoded"
        );
    }
    assert!(Resource::new("a", Value::Scalar(Milli::from_thousandths(-1))).is_err());
    let negative = postcard::to_allocvec(&("a", None::<Role>, 0_u8, -1_i64)).unwrap();
    assert!(postcard::from_bytes::<Resource>(&negative).is_err());
    let fine = Resource::new("a", one()).unwrap();
    let bytes = postcard::to_allocvec(&("a", None::<u8>, one())).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(fine));
}

#[test]
fn a_bag_has_one_encoding() {
    let entry = |text: &str| Resources::parse_entries(text).unwrap().remove(0);
    for entries in [
        ["mem:1", "cpus:1"],
        ["cpus:1", "cpus:1"],
        ["cpus(eng):1", "cpus:1"],
        ["cpus:1", "mem:0"],
        ["cpus:1", "ports:[]"],
    ] {
        let bytes = postcard::to_allocvec(&entries.map(entry)[..]).unwrap();
        assert!(
            postcard::from_bytes::<Resources>(&bytes).is_err(),
            "{entries:?}"
        );
    }
    let bytes = postcard::to_allocvec(&["cpus:1", "cpus(eng):1"].map(entry)[..]).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(bag("cpus:1;cpus(eng):1")));
}

#[test]
#[should_panic(expected = "a legal name")]
fn an_illegal_name_in_code_is_a_fault_of_the_code() {
    let _ = Resources::new().with_scalar("a:b", Milli::ZERO);
}

#[test]
fn quantities_are_plain_numbers() {
    // RM-28, TV-01
    let quantities = |text| Quantities::parse(text).unwrap();
    let resources = bag("cpus:1;cpus(eng):2;ports:[1-3,9-9];gpu:{a,b}");
    assert_eq!(
        Quantities::from(&resources),
        quantities("cpus:3;gpu:2;ports:4")
    );
    assert_eq!(
        quantities("mem:1;cpus:1;cpus:0.0004;mem:2").to_string(),
        "cpus:1;mem:3"
    );
    let mut rest = quantities("cpus:3;mem:1");
    rest.saturating_sub(&quantities("cpus:1;mem:2;disk:5"));
    assert_eq!(rest, quantities("cpus:2"));
    assert!(rest.contains(&quantities("cpus:2;mem:0")) && !rest.contains(&quantities("mem:1")));
    for bad in [
        "cpus:-1",
        "cpus:nan",
        "cpus:[1-2]",
        "cpus",
        ":1",
        "cpus:1:2",
        "cpus(a):1",
    ] {
        assert!(Quantities::parse(bad).is_err(), "{bad}");
        assert!(Ceilings::parse(bad).is_err(), "{bad}");
    }
    let why = Quantities::parse("mem:9223372036854775;cpus:1;mem:1").unwrap_err();
    assert_eq!(why.position(), 28);
}

#[test]
fn amounts_and_bounds_are_checked_one_by_one() {
    // RM-28, RM-29
    let units = Milli::from_units;
    let (mut quantities, mut ceilings) = (Quantities::new(), Ceilings::new());
    for (name, amount) in [("mem", 1), ("cpus", 2), ("mem", 3), ("gpus", 0)] {
        quantities.insert(name, units(amount)).unwrap();
    }
    assert_eq!(
        quantities.to_string(),
        "cpus:2;mem:4",
        "summed, and no zero kept"
    );
    assert_eq!(ceilings.insert("gpus", Milli::ZERO), Ok(None));
    assert_eq!(ceilings.insert("cpus", units(2)), Ok(None));
    assert_eq!(ceilings.insert("cpus", units(3)), Ok(Some(units(2))));
    assert_eq!(ceilings.to_string(), "cpus:3;gpus:0");
    let negative = || Milli::from_thousandths(-1);
    assert!(quantities.insert("cpus", negative()).is_err());
    assert!(ceilings.insert("cpus", negative()).is_err());
    assert!(quantities.insert("a:b", units(1)).is_err() && ceilings.insert("", units(1)).is_err());
    let entries = Vec::from([(Arc::from("cpus"), negative())]);
    assert!(Quantities::try_from(entries.clone()).is_err() && Ceilings::try_from(entries).is_err());
}

#[test]
fn tv_21_tv_23_are_about_what_contains_what() {
    // TV-21, RM-28: an offer is refused if the refused contains it, name by name.
    for (refused, offered, expected) in [
        ("cpus:2", "cpus:1", true),
        ("cpus:2", "cpus:2", true),
        ("cpus:2", "cpus:3", false),
        ("cpus:2", "cpus:1;mem:64", false),
    ] {
        assert_eq!(
            bag(refused).contains(&bag(offered)),
            expected,
            "{refused} {offered}"
        );
    }
    // TV-23: worth offering is what contains one of the least amounts.
    let least = ["cpus:0.01", "mem:32"].map(|text| Quantities::parse(text).unwrap());
    for (free, expected) in [
        ("cpus:0.005;mem:64", true),
        ("cpus:0.02", true),
        ("cpus:0.005;mem:16", false),
        ("disk:1000", false),
        ("mem:31.999", false),
        ("cpus:0.01", true),
        ("mem:32", true),
    ] {
        let free = bag(free).total();
        assert_eq!(
            least.iter().any(|one| free.contains(one)),
            expected,
            "{free}"
        );
    }
}

#[test]
fn an_absent_ceiling_is_no_bound() {
    // RM-29
    let ceilings = Ceilings::parse("cpus:2;gpus:0").unwrap();
    assert_eq!(ceilings.to_string(), "cpus:2;gpus:0");
    assert_eq!(
        (ceilings.bound("gpus"), ceilings.bound("mem")),
        (Some(Milli::ZERO), None)
    );
    for (quantities, within) in [("cpus:2;mem:9", true), ("cpus:3", false), ("gpus:1", false)] {
        let quantities = Quantities::parse(quantities).unwrap();
        assert_eq!(ceilings.contains(&quantities), within, "{quantities}");
    }
    let why = Ceilings::parse("cpus:1;mem:1;cpus:1")
        .unwrap_err()
        .to_string();
    assert!(
        why.ends_with("at 13: expected a name that is not there yet"),
        "{why}"
    );
    let bytes = postcard::to_allocvec(&ceilings).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(ceilings));
    assert!(
        postcard::from_bytes::<Quantities>(&bytes).is_err(),
        "a zero is not canonical"
    );
}

/// The smallest things that a bag is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Amount,
    Number(u64),
    Name(String),
}

type Model = BTreeMap<(String, Option<String>, Cell), i64>;

#[derive(Clone, Debug)]
struct Draft {
    name: &'static str,
    role: &'static str,
    cells: Vec<(Cell, i64)>,
}

impl Draft {
    fn made(&self) -> Resource {
        let value = match self.cells.first() {
            None => Value::Ranges(Ranges::new()),
            Some((Cell::Amount, n)) => Value::Scalar(Milli::from_thousandths(*n)),
            Some((Cell::Number(_) | Cell::Name(_), _)) => self.set(),
        };
        Resource::new(self.name, value)
            .unwrap()
            .reserved_to(role(self.role))
            .unwrap()
    }

    fn set(&self) -> Value {
        let (mut ranges, mut items) = (Ranges::new(), Items::new());
        for (cell, _) in &self.cells {
            match cell {
                Cell::Amount => unreachable!("a set has no amount"),
                Cell::Number(n) => ranges.insert(*n..=*n),
                Cell::Name(name) => assert!(items.insert(name).unwrap()),
            }
        }
        if items.is_empty() {
            Value::Ranges(ranges)
        } else {
            Value::Items(items)
        }
    }
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let scalar = (0_i64..4)
        .prop_map(|n| Vec::from([(Cell::Amount, n)]))
        .boxed();
    let numbers = prop::collection::btree_set(0_u64..6, 0..5)
        .prop_map(|set: BTreeSet<u64>| set.into_iter().map(|n| (Cell::Number(n), 1)).collect())
        .boxed();
    let names = prop::collection::btree_set("[a-c]", 1..3)
        .prop_map(|set: BTreeSet<String>| set.into_iter().map(|n| (Cell::Name(n), 1)).collect())
        .boxed();
    let named = prop_oneof![
        scalar.clone().prop_map(|cells| ("cpus", cells)),
        scalar.clone().prop_map(|cells| ("mem", cells)),
        numbers.clone().prop_map(|cells| ("ports", cells)),
        names.clone().prop_map(|cells| ("gpu", cells)),
        // A name with all kinds of values at once.
        prop_oneof![scalar, numbers, names].prop_map(|cells| ("mixed", cells)),
    ];
    let draft = (named, prop::sample::select(Vec::from(["*", "a", "a/b"])))
        .prop_map(|((name, cells), role)| Draft { name, role, cells });
    prop::collection::vec(draft, 0..8)
}

fn both(drafts: &[Draft]) -> (Resources, Model) {
    let (mut ours, mut model) = (Resources::new(), Model::new());
    for draft in drafts {
        ours.insert(draft.made()).unwrap();
        let reserved = Some(draft.role.to_string()).filter(|role| role != "*");
        for (cell, n) in &draft.cells {
            put(
                &mut model,
                &(draft.name.into(), reserved.clone(), cell.clone()),
                *n,
            );
        }
    }
    (ours, model)
}

fn put(model: &mut Model, key: &(String, Option<String>, Cell), n: i64) {
    let sum = model.get(key).copied().unwrap_or(0) + n;
    let sum = if key.2 == Cell::Amount {
        sum
    } else {
        sum.min(1)
    };
    if sum > 0 {
        model.insert(key.clone(), sum);
    }
}

/// Takes a bag apart into cells.
fn cells(resources: &Resources) -> Model {
    let mut model = Model::new();
    for resource in resources {
        let reserved = resource.reservation_role().map(|role| role.to_string());
        let key = |cell| (resource.name().to_string(), reserved.clone(), cell);
        match resource.value() {
            Value::Scalar(n) => {
                model.insert(key(Cell::Amount), n.thousandths());
            }
            Value::Ranges(set) => {
                model.extend(set.iter().flatten().map(|n| (key(Cell::Number(n)), 1)));
            }
            Value::Items(set) => {
                model.extend(set.iter().map(|n| (key(Cell::Name(n.into())), 1)));
            }
        }
    }
    model
}

/// Builds the same bag anew, one entry after the other, from the last to the first.
fn rebuilt(resources: &Resources) -> Resources {
    let mut again = Resources::new();
    for entry in resources.iter().rev() {
        assert!(!entry.value().is_zero(), "{entry} is zero");
        again.insert(entry.clone()).unwrap();
    }
    again
}

proptest! {
    #[test]
    fn bags_agree_with_cells(a in drafts(), b in drafts()) {
        let ((a, model_a), (b, model_b)) = (both(&a), both(&b));
        prop_assert_eq!(&cells(&a), &model_a);
        prop_assert_eq!(&rebuilt(&a), &a);
        prop_assert_eq!(a == b, model_a == model_b);

        let (mut sum, mut model_sum) = (a.clone(), model_a.clone());
        sum.add(&b).unwrap();
        model_b.iter().for_each(|(key, n)| put(&mut model_sum, key, *n));
        prop_assert_eq!(cells(&sum), model_sum);
        prop_assert_eq!(&rebuilt(&sum), &sum);
        prop_assert!(sum.contains(&a) && sum.contains(&b));

        let within = |(key, n): (&_, &i64)| model_a.get(key).is_some_and(|m| m >= n);
        let contained = model_b.iter().all(within);
        prop_assert_eq!(a.contains(&b), contained);
        let rest = a.checked_sub(&b);
        prop_assert_eq!(rest.is_ok(), contained);
        let rest = sum.checked_sub(&b).unwrap();
        let mut model_rest = cells(&sum);
        for (key, n) in &model_b {
            *model_rest.get_mut(key).unwrap() -= n;
        }
        model_rest.retain(|_, n| *n > 0);
        prop_assert_eq!(cells(&rest), model_rest);
        prop_assert_eq!(&rebuilt(&rest), &rest);
    }

    #[test]
    fn numbers_agree_with_cells(a in drafts(), b in drafts()) {
        let ((a, model), (b, model_b)) = (both(&a), both(&b));
        let total = |model: &Model, name: &str, amounts_only: bool| {
            let of_name = model.iter().filter(|((n, _, _), _)| n == name);
            let counted = of_name.filter(|((_, _, c), _)| !amounts_only || *c == Cell::Amount);
            let in_thousandths = counted.map(|((_, _, cell), n)| match cell {
                Cell::Amount => *n,
                Cell::Number(_) | Cell::Name(_) => n * 1_000,
            });
            Milli::from_thousandths(in_thousandths.sum())
        };
        let (mut sum, mut rest) = (Quantities::from(&a), Quantities::from(&a));
        sum.add(&Quantities::from(&b));
        rest.saturating_sub(&Quantities::from(&b));
        for name in ["cpus", "gpu", "mem", "mixed", "ports"] {
            let (in_a, in_b) = (total(&model, name, false), total(&model_b, name, false));
            prop_assert_eq!(a.scalar(name), total(&model, name, true));
            prop_assert_eq!(Quantities::from(&a).amount(name), in_a);
            prop_assert_eq!(sum.amount(name), in_a.checked_add(in_b).unwrap());
            prop_assert_eq!(rest.amount(name), in_a.checked_sub(in_b).unwrap_or(Milli::ZERO));
        }
        for quantities in [sum, rest] {
            prop_assert_eq!(Quantities::parse(&quantities.to_string()), Ok(quantities.clone()));
            let bytes = postcard::to_allocvec(&quantities).unwrap();
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(quantities));
        }
    }

    #[test]
    fn what_is_written_reads_back(a in drafts()) {
        let a = both(&a).0;
        prop_assert_eq!(Resources::parse(&a.to_string()), Ok(a));
    }

    #[test]
    fn no_text_panics(text in any::<String>(), like in "[a-c*(){}\\[\\]:;, 0-9.e\n-]{0,32}") {
        for text in [text, like] {
            if let Ok(resources) = Resources::parse(&text) {
                prop_assert_eq!(&rebuilt(&resources), &resources);
                prop_assert_eq!(Resources::parse(&resources.to_string()), Ok(resources));
            }
            let _ = (Quantities::parse(&text), Ceilings::parse(&text));
            let _ = (Ranges::parse(&text), Items::parse(&text));
        }
    }

    #[test]
    fn no_bytes_make_an_uncanonical_bag(
        drafts in drafts(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        random in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bag = both(&drafts).0;
        let mut bytes = postcard::to_allocvec(&bag).unwrap();
        prop_assert_eq!(postcard::from_bytes(&bytes), Ok(bag));
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [bytes, random] {
            if let Ok(decoded) = postcard::from_bytes::<Resources>(&bytes) {
                prop_assert_eq!(&rebuilt(&decoded), &decoded);
                prop_assert!(decoded.iter().all(|r| r.value().quantity() > Milli::ZERO));
            }
            if let Ok(decoded) = postcard::from_bytes::<Quantities>(&bytes) {
                prop_assert_eq!(Quantities::parse(&decoded.to_string()), Ok(decoded));
            }
        }
    }
}

#[test]
fn what_is_shared_by_name_can_be_taken_out() {
    let left = |a: &str, b: &str| {
        let (a, b) = (Resources::parse(a).unwrap(), Resources::parse(b).unwrap());
        a.without_shared(&b).to_string()
    };
    let all = "cpus:2;disks:{a,b};ports:[1-5]";
    assert_eq!(
        left(all, "cpus:1;disks:{b,c};ports:[4-9]"),
        "cpus:2;disks:{a};ports:[1-3]"
    );
    assert_eq!(left(all, "disks:{a,b};ports:[0-9];zebras:{z}"), "cpus:2");
    assert_eq!(left(all, "ports(eng):[1-5]"), all);
}
