//! Many entries: what they cost, and what must not be there twice.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::work;
use super::super::*;
use super::bag;

/// One port for each entry, none next to another, the highest first.
fn ports(count: usize) -> Vec<String> {
    let port = |n: usize| format!("ports:[{}-{}]", 2 * n, 2 * n);
    (0..count).rev().map(port).collect()
}

#[test]
fn many_entries_of_one_name_are_summed_at_once() {
    // MESOS-3051, RM-04, RM-30: twice as many cost little more than twice as much.
    let by_text = |count: usize| {
        let text = ports(count).join(";");
        work::of(|| Resources::parse(&text).unwrap())
    };
    let by_json = |count: usize| {
        let each = ports(count).into_iter();
        let shapes: Vec<_> = each
            .flat_map(|text| json::write(&bag(&text), None))
            .collect();
        work::of(|| json::read_bag(&shapes).unwrap())
    };
    let by_hand = |count: usize| {
        let entries: Vec<Resource> = ports(count).iter().flat_map(|text| bag(text)).collect();
        work::of(|| Resources::of(entries).unwrap())
    };
    for read in [
        &by_text as &dyn Fn(usize) -> (Resources, usize),
        &by_json,
        &by_hand,
    ] {
        let ((some, less), (all, more)) = (read(1_000), read(2_000));
        assert_eq!((some.len(), all.len()), (1, 1));
        assert_eq!(all.ranges("ports").count(), 2_000);
        assert!(less >= 1_000 && more <= 3 * less, "{less} and then {more}");
    }
    let names: Vec<String> = (0..2_000).map(|n| format!("gpu:{{g{n}}}")).collect();
    assert_eq!(bag(&names.join(";")).items("gpu").len(), 2_000);
}

#[test]
fn one_of_many_is_found_without_looking_at_all() {
    // RM-30: reservations of one name, told apart by their labels.
    let entry = |n: usize| format!(r#"cpus(*)<dynamic="a",label="n"="{n:05}">:1"#);
    for count in [64_usize, 4_096] {
        let all: Vec<String> = (0..count).map(entry).collect();
        let all = bag(&all.join(";"));
        let one = bag(&entry(count / 2));
        let most = 2 * (NEAR + 2 + count.ilog2() as usize);
        let (contained, looks) = work::of(|| all.contains(&one));
        assert!(contained && looks <= most, "{looks} of {count}");
        let (rest, looks) = work::of(|| all.checked_sub(&one).unwrap());
        assert!(
            rest.len() == count - 1 && looks <= 2 * most,
            "{looks} of {count}"
        );
    }
}

#[test]
fn what_two_bags_have_in_common_is_taken_out_in_one_walk() {
    // OF-14, RM-30: twice as many reservations cost little more than twice as much.
    let entry = |n: usize| format!(r#"cpus(*)<dynamic="a",label="n"="{n:05}">:2"#);
    let walk = |count: usize| {
        let all: Vec<String> = (0..count).map(entry).collect();
        let all = bag(&all.join(";"));
        let half: Vec<String> = (0..count).step_by(2).map(entry).collect();
        let (rest, looks) = work::of(|| all.less(&bag(&half.join(";"))));
        assert_eq!(rest.len(), count / 2);
        looks
    };
    let (some, twice) = (walk(1_000), walk(2_000));
    assert!(some >= 500 && twice <= 3 * some, "{some} and then {twice}");
}

#[test]
fn what_is_taken_out_beyond_what_there_is_takes_nothing_else() {
    // RM-19, RM-48
    let disk = r#"disk(*)<dynamic="a",volume="v",rw="/v",shared>"#;
    for (of, others, rest) in [
        ("cpus:2;mem:8", "cpus:3;mem:5;gpus:1", "mem:3"),
        (
            "ports:[1-5];gpu:{a,b}",
            "ports:[4-9];gpu:{b,c}",
            "gpu:{a};ports:[1-3]",
        ),
        ("cpus:2", "cpus(eng):1", "cpus:2"),
    ] {
        assert_eq!(
            bag(of).less(&bag(others)).to_string(),
            rest,
            "{of} less {others}"
        );
    }
    let copies = |copies: u32| {
        let one = bag(&format!("{disk}:4"));
        let one = one.iter().next().unwrap().clone();
        Resources::of([one.with_copies(copies).unwrap()]).unwrap()
    };
    assert_eq!(copies(3).less(&copies(1)), copies(2));
    assert_eq!(copies(1).less(&copies(3)), Resources::new());
}

#[test]
fn numbers_and_names_of_an_agent_are_there_once() {
    // RM-12; I1: sets are disjoint by name, whoever they are reserved to.
    for (text, twice) in [
        ("ports(a):[1-5];ports(b):[3-9]", "ports(b):[3-5]"),
        ("ports:[1-5];ports(b):[5-5]", "ports(b):[5-5]"),
        (
            "ports:[1-9];ports(a):[20-30];ports(b):[2-3]",
            "ports(b):[2-3]",
        ),
        (
            "ports(a):[18446744073709551615-18446744073709551615];ports:[0-18446744073709551615]",
            "ports(a):[18446744073709551615-18446744073709551615]",
        ),
        ("a:[1-1];gpu:{a,b};gpu(x):{b,c}", "gpu(x):{b}"),
    ] {
        // The algebra has no objection.
        let both = bag(text);
        assert_eq!(both.doubled().unwrap().to_string(), twice, "{text}");
        let why = Resources::parse_entries(text).unwrap_err();
        let last = text.rfind(';').unwrap() + 1;
        assert_eq!(
            (why.position(), why.expected()),
            (last, gather::APART),
            "{text}"
        );
        let shapes = json::write(&both, None);
        let why = json::read_configured(&shapes).unwrap_err();
        assert_eq!(why.path, format!("[{}]", shapes.len() - 1), "{text}");
        assert!(json::read_bag(&shapes).is_ok(), "{text}");
    }
    for fine in [
        "ports(a):[1-5];ports(b):[6-9]",
        "ports:[1-5];ports:[3-9]",
        "ports(a):[1-5];other(b):[3-9]",
        "gpu:{a};gpu(x):{b}",
        "cpus:1;cpus(a):1",
        "ports(a):[];ports(b):[3-9]",
    ] {
        assert!(Resources::parse_entries(fine).is_ok(), "{fine}");
        assert_eq!(bag(fine).doubled(), None, "{fine}");
    }
    assert_eq!(bag("a:1;a:[1-1];a:{x}").doubled(), None, "kinds are apart");
}

#[test]
fn bags_are_made_of_entries_and_give_them_back() {
    // RM-13, RM-28
    let disk = r#"disk(*)<mount="/m">:5"#;
    let text = format!("cpus:1;cpus:2;gpus:0;{disk};{disk};ports:[3-4];ports(a):[1-2];gpu:{{b,a}}");
    let entries = Resources::parse_entries(&text).unwrap();
    let sums = Resources::of(entries.clone()).unwrap();
    assert_eq!(sums, bag(&text));
    let amounts: Quantities = entries.iter().collect();
    assert_eq!(amounts, sums.total());
    assert_eq!(
        (amounts.amount("ports"), amounts.amount("gpus")),
        (Milli::from_units(4), Milli::ZERO)
    );
    assert_eq!(sums.ranges("ports").to_string(), "[1-4]");
    assert_eq!(sums.items("gpu").to_string(), "{a,b}");
    assert!(sums.ranges("cpus").is_empty() && sums.items("ports").is_empty());
    let given: Vec<Resource> = sums.clone().into_iter().collect();
    assert_eq!(Resources::of(given.into_iter().rev()), Ok(sums));
    let most = bag("mem:9223372036854775.807");
    let why = Resources::of(most.clone().into_iter().chain(most)).unwrap_err();
    assert!(why.to_string().starts_with("the sum of \"mem\""), "{why}");
    let one = Milli::from_units(1);
    assert_eq!(
        Quantities::of([("b", one), ("a", one), ("b", one)])
            .unwrap()
            .to_string(),
        "a:1;b:2"
    );
    assert!(Quantities::of([("a:b", one)]).is_err());
}

/// Signs that texts may be misread by: all sorts of blanks, and those of the grammar.
fn sign() -> impl Strategy<Value = char> {
    prop_oneof![
        any::<char>(),
        prop::sample::select(
            "\u{a0}\u{3000}\u{2028}\u{85}\u{feff} \t\n\"\\<>=,;:()[]{}a/*."
                .chars()
                .collect::<Vec<_>>()
        ),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,6}",
        prop::collection::vec(sign(), 1..5).prop_map(|signs| signs.into_iter().collect()),
    ]
}

/// What of a resource has a text of somebody's making.
fn described(name: &str, texts: &[String]) -> Option<Resource> {
    let plain = Resource::new(name, Value::Scalar(Milli::from_units(1))).ok()?;
    let one = |at: usize| texts[at % texts.len()].as_str();
    let text = |at: usize| Arc::<str>::from(one(at));
    let mut reservations = Reservations::new();
    let level = |role: Role| Reservation::Dynamic {
        role,
        principal: Some(text(1)),
        labels: Labels::from_unordered(Vec::from([Label::new(one(2), one(3))])).unwrap_or_default(),
    };
    if let Ok(role) = Role::new(one(0)) {
        let pushed = reservations.push(level(role));
        pushed.ok()?;
    }
    let source = (name == "disk").then(|| Source {
        vendor: Some(text(4)),
        id: Some(text(5)),
        ..Source::of(DiskKind::Path {
            root: Some(text(6)),
        })
    });
    let metadata = Metadata {
        volume: (name == "disk" && !reservations.is_empty())
            .then(|| VolumeId::new(one(8)).ok())
            .flatten()
            .map(|id| Volume::new(id, one(7))),
        reservations,
        source,
        provider: ProviderId::new(one(9)).ok(),
        ..Metadata::default()
    };
    plain.with_metadata(metadata).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn law_26_any_text_that_is_accepted_reads_back(
        name in any_text(),
        role in any_text(),
        texts in prop::collection::vec(any_text(), 3),
    ) {
        // RM-07, RM-08, RM-10, RM-60
        let mut made = Vec::new();
        let amount = || Value::Scalar(Milli::from_units(1));
        if let Ok(reserved) = Role::new(&role) {
            made.push(Resource::new("cpus", amount()).unwrap().reserved_to(reserved).unwrap());
        }
        made.extend(Resource::new(&name, amount()));
        let mut items = Items::new();
        if items.insert(&name).is_ok() {
            made.push(Resource::new("set", Value::Items(items)).unwrap());
        }
        made.extend(["cpus", "disk", &name].iter().filter_map(|name| described(name, &texts)));
        let whole = Resources::of(made.clone()).unwrap();
        prop_assert_eq!(Resources::parse(&whole.to_string()), Ok(whole));
        for one in made {
            let text = one.to_string();
            let alone = Resources::of([one]).unwrap();
            prop_assert_eq!(Resources::parse(&text), Ok(alone), "{:?}", text);
        }
    }

    #[test]
    fn numbers_are_found_twice_exactly_if_they_are(
        sets in prop::collection::vec((0_usize..4, any::<u16>()), 0..5),
    ) {
        // I1, against sets of numbers
        let mut owned = [0_u32; 4];
        let mut all = Vec::new();
        for (owner, bits) in sets {
            owned[owner] |= u32::from(bits);
            let numbers = (0..16_u64).filter(|n| bits >> n & 1 == 1).map(|n| n..=n).collect();
            let entry = Resource::new("ports", Value::Ranges(numbers)).unwrap();
            all.push(entry.reserved_to(super::role(["*", "a", "b", "c"][owner])).unwrap());
        }
        let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
        let met = pairs.iter().any(|(a, b)| owned[*a] & owned[*b] != 0);
        prop_assert_eq!(Resources::of(all).unwrap().doubled().is_some(), met);
    }
}
