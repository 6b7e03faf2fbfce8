//! The laws of the algebra, each tried on 10,000 random cases against a naive model.
//!
//! The model knows nothing of entries: it maps the smallest things, a thousandth of something, one
//! port, one name, one exclusive disk, one copy of a shared volume, to how many there are. A case
//! is a list of numbers, each of which is unpacked into one of a few sorts of resources, so that
//! they meet often and a failing case shrinks to small numbers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::operations::{
    create, destroy, grow_volume, reserve, shrink_volume, unreserve, update_reservations,
};
use super::super::*;

/// One resource of each sort.
static SORTS: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let texts = [
        "cpus:1",
        "cpus(a):1",
        r#"cpus(a)<dynamic="a/b">:1"#,
        r#"cpus(*)<dynamic="a",principal="p",label="k"="v">:1"#,
        "cpus(*)<revocable>:1",
        "mem:1",
        "mem(b):1",
        "disk:1",
        "disk(a):1",
        r#"disk(a)<path="/d">:1"#,
        r#"disk(*)<raw,profile="f",provider="x">:1"#,
        "ports:[1-1]",
        r#"ports(*)<dynamic="a">:[1-1]"#,
        "gpu:{a}",
        "gpu(b):{a}",
        "mixed:1",
        "mixed:[1-1]",
        "mixed:{a}",
        r#"disk(*)<mount="/m">:1"#,
        r#"disk(a)<mount="/m">:1"#,
        "disk(*)<block>:1",
        r#"disk(*)<raw,id="i",provider="x">:1"#,
        r#"disk(a)<volume="v",rw="p">:1"#,
        r#"disk(a)<path="/d",volume="w",rw="p">:1"#,
        r#"disk(a)<volume="s",rw="p",shared>:1"#,
        r#"disk(b)<volume="s",rw="p",shared>:1"#,
    ];
    let entries = texts.map(Resources::parse_any);
    entries.into_iter().collect()
});

impl Resources {
    fn parse_any(text: &str) -> Resource {
        Self::parse(text).unwrap().into_iter().next().unwrap()
    }
}

/// The smallest things; those that do not add up have their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Amount,
    Number(u64),
    Name(u8),
    Whole(i64),
    Copy(i64),
}

type Model = BTreeMap<(usize, Cell), i64>;

/// Which numbers and names a bag has: those of one side are not on the other.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Unpacks a number into cells of one sort.
fn cells_of(draft: u32, side: Side) -> (usize, Vec<(Cell, i64)>) {
    let sorts = SORTS.len() as u32;
    let (sort, rest) = ((draft % sorts) as usize, draft / sorts);
    let resource = &SORTS[sort];
    let size = i64::from(rest % 2) + 1;
    if resource.is_shared() {
        return (
            sort,
            [(Cell::Copy(size), i64::from(rest / 2 % 3) + 1)].into(),
        );
    }
    if resource.is_exclusive() {
        return (sort, [(Cell::Whole(size), 1)].into());
    }
    let bits = |width: u64| (0..width).filter(move |bit| rest >> bit & 1 == 1);
    let cells = match (resource.value(), side) {
        (Value::Scalar(_), _) => [(Cell::Amount, i64::from(rest % 5))].into(),
        (Value::Ranges(_), Side::Left) => bits(6).map(|n| (Cell::Number(n), 1)).collect(),
        (Value::Ranges(_), Side::Right) => bits(6).map(|n| (Cell::Number(n + 9), 1)).collect(),
        (Value::Items(_), Side::Left) => bits(3).map(|n| (Cell::Name(n as u8), 1)).collect(),
        (Value::Items(_), Side::Right) => bits(3).map(|n| (Cell::Name(n as u8 + 3), 1)).collect(),
    };
    (sort, cells)
}

/// Adds cells as the rules say: amounts, disks and copies count, numbers and names do not.
fn put(model: &mut Model, sort: usize, cell: Cell, count: i64) {
    if count == 0 {
        return;
    }
    let held = model.entry((sort, cell)).or_insert(0);
    *held = match cell {
        Cell::Number(_) | Cell::Name(_) => 1,
        Cell::Amount | Cell::Whole(_) | Cell::Copy(_) => *held + count,
    };
}

fn both(drafts: &[u32], side: Side) -> (Resources, Model) {
    let (mut bag, mut model) = (Resources::new(), Model::new());
    for draft in drafts {
        let (sort, cells) = cells_of(*draft, side);
        for resource in made(sort, &cells) {
            bag.insert(resource).unwrap();
        }
        for (cell, count) in cells {
            put(&mut model, sort, cell, count);
        }
    }
    (bag, model)
}

fn left(drafts: &[u32]) -> Resources {
    both(drafts, Side::Left).0
}

/// Makes resources of cells of one sort.
fn made(sort: usize, cells: &[(Cell, i64)]) -> Vec<Resource> {
    let of = |value| SORTS[sort].clone().resized(value).unwrap();
    let scalar = |n| of(Value::Scalar(Milli::from_thousandths(n)));
    let (mut numbers, mut names, mut made) = (Ranges::new(), Items::new(), Vec::new());
    for (cell, count) in cells {
        match cell {
            Cell::Amount => made.push(scalar(*count)),
            Cell::Number(n) => numbers.insert(*n..=*n),
            Cell::Name(n) => assert!(
                names
                    .insert(["a", "b", "c", "d", "e", "f"][*n as usize])
                    .unwrap()
            ),
            Cell::Whole(size) => made.extend((0..*count).map(|_| scalar(*size))),
            Cell::Copy(size) => {
                made.push(
                    scalar(*size)
                        .with_copies(u32::try_from(*count).unwrap())
                        .unwrap(),
                );
            }
        }
    }
    if !numbers.is_empty() {
        made.push(of(Value::Ranges(numbers)));
    }
    if !names.is_empty() {
        made.push(of(Value::Items(names)));
    }
    made
}

fn bag_of(model: &Model) -> Resources {
    let mut bag = Resources::new();
    for ((sort, cell), count) in model {
        for resource in made(*sort, &[(*cell, *count)]) {
            bag.insert(resource).unwrap();
        }
    }
    bag
}

fn sort_of(resource: &Resource) -> usize {
    let same = |sort: &Resource| {
        (sort.name(), sort.value().kind()) == (resource.name(), resource.value().kind())
            && sort.metadata() == resource.metadata()
    };
    SORTS
        .iter()
        .position(same)
        .expect("a resource of a known sort")
}

/// Takes a bag apart.
fn cells(bag: &Resources) -> Model {
    let mut model = Model::new();
    for resource in bag {
        let sort = sort_of(resource);
        match resource.value() {
            Value::Scalar(amount) => {
                let n = amount.thousandths();
                let (cell, count) = if resource.is_shared() {
                    (Cell::Copy(n), i64::from(resource.copies()))
                } else if resource.is_exclusive() {
                    (Cell::Whole(n), 1)
                } else {
                    (Cell::Amount, n)
                };
                put(&mut model, sort, cell, count);
            }
            Value::Ranges(set) => {
                (set.iter().flatten()).for_each(|n| put(&mut model, sort, Cell::Number(n), 1));
            }
            Value::Items(set) => set.iter().for_each(|name| {
                let n = name.as_bytes()[0] - b'a';
                put(&mut model, sort, Cell::Name(n), 1);
            }),
        }
    }
    model
}

/// Returns a part of a model, chosen by a number.
fn part(model: &Model, mut choice: u64) -> Model {
    let mut part = Model::new();
    for ((sort, cell), count) in model {
        let taken = (choice % 4).min(count.unsigned_abs());
        choice = choice.rotate_right(5).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        put(&mut part, *sort, *cell, taken.cast_signed());
    }
    part
}

fn covers(model: &Model, other: &Model) -> bool {
    other
        .iter()
        .all(|(key, n)| model.get(key).is_some_and(|held| held >= n))
}

fn sum(a: &Resources, b: &Resources) -> Resources {
    let mut sum = a.clone();
    sum.add(b).unwrap();
    sum
}

/// The same things whoever they are reserved to, with how many there are of each.
fn unreserved(model: &Model) -> Model {
    let mut classes = Model::new();
    for ((sort, cell), count) in model {
        let like = |other: &Resource| {
            other.name() == SORTS[*sort].name()
                && other.value().kind() == SORTS[*sort].value().kind()
                && other.metadata().is_same_thing(SORTS[*sort].metadata())
        };
        let class = SORTS.iter().position(like).unwrap();
        *classes.entry((class, *cell)).or_insert(0) += count;
    }
    classes
}

fn drafts() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), 0..8)
}

fn text_of_a_bag() -> impl Strategy<Value = String> {
    let words = [
        "cpus",
        "disk",
        "(",
        ")",
        "*",
        "a",
        "<",
        ">",
        "dynamic=",
        "\"a\"",
        "\"a/b\"",
        "volume=",
        "rw=",
        "raw",
        "mount",
        "shared",
        "revocable",
        "label=",
        "\"",
        "\\",
        "=",
        ",",
        ":",
        ";",
        "1",
        "0.5",
        "[1-2]",
        "{x}",
        " ",
        "é",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn law_01_a_sum_has_the_cells_of_both(a in drafts(), b in drafts()) {
        // RM-04, RM-06, RM-18, RM-19
        let ((a, mut model), (b, model_b)) = (both(&a, Side::Left), both(&b, Side::Left));
        prop_assert_eq!(&cells(&a), &model);
        for ((sort, cell), count) in model_b {
            put(&mut model, sort, cell, count);
        }
        prop_assert_eq!(cells(&sum(&a, &b)), model);
    }

    #[test]
    fn law_02_contained_is_what_has_no_cell_more(
        a in drafts(),
        b in drafts(),
        choice in any::<u64>(),
    ) {
        // RM-20, RM-24
        let ((a, model), (b, model_b)) = (both(&a, Side::Left), both(&b, Side::Left));
        prop_assert_eq!(a.contains(&b), covers(&model, &model_b));
        let part = part(&model, choice);
        prop_assert!(a.contains(&bag_of(&part)));
        prop_assert_eq!(bag_of(&part).contains(&a), covers(&part, &model));
    }

    #[test]
    fn law_03_a_difference_has_the_cells_left(a in drafts(), choice in any::<u64>()) {
        // RM-20
        let (a, mut model) = both(&a, Side::Left);
        let part = part(&model, choice);
        let rest = a.checked_sub(&bag_of(&part)).unwrap();
        for (key, count) in &part {
            *model.get_mut(key).unwrap() -= count;
        }
        model.retain(|_, count| *count > 0);
        prop_assert_eq!(cells(&rest), model);
    }

    #[test]
    fn law_04_addition_commutes(a in drafts(), b in drafts()) {
        let (a, b) = (left(&a), left(&b));
        prop_assert_eq!(sum(&a, &b), sum(&b, &a));
    }

    #[test]
    fn law_05_addition_associates(a in drafts(), b in drafts(), c in drafts()) {
        let (a, b, c) = (left(&a), left(&b), left(&c));
        prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
    }

    #[test]
    fn law_06_nothing_is_neutral(a in drafts()) {
        // RM-13
        let (a, nothing) = (left(&a), Resources::new());
        prop_assert_eq!(&sum(&a, &nothing), &a);
        prop_assert_eq!(&sum(&nothing, &a), &a);
        prop_assert_eq!(&a.checked_sub(&nothing).unwrap(), &a);
        prop_assert!(a.checked_sub(&a).unwrap().is_empty());
    }

    #[test]
    fn law_07_what_was_added_can_be_taken_away(a in drafts(), b in drafts()) {
        let (a, b) = (left(&a), both(&b, Side::Right).0);
        prop_assert_eq!(sum(&a, &b).checked_sub(&b), Ok(a));
    }

    #[test]
    fn law_08_what_was_taken_can_be_put_back(a in drafts(), choice in any::<u64>()) {
        let (a, model) = both(&a, Side::Left);
        let part = bag_of(&part(&model, choice));
        let mut rest = a.checked_sub(&part).unwrap();
        prop_assert_eq!(rest.overlap(&part), None);
        rest.add(&part).unwrap();
        prop_assert_eq!(rest, a);
    }

    #[test]
    fn law_09_a_bag_contains_itself_and_nothing(a in drafts()) {
        let a = left(&a);
        prop_assert!(a.contains(&a) && a.contains(&Resources::new()));
        prop_assert_eq!(Resources::new().contains(&a), a.is_empty());
    }

    #[test]
    fn law_10_a_part_of_a_part_is_a_part(a in drafts(), one in any::<u64>(), two in any::<u64>()) {
        let (a, model) = both(&a, Side::Left);
        let half = part(&model, one);
        let quarter = part(&half, two);
        prop_assert!(bag_of(&half).contains(&bag_of(&quarter)));
        prop_assert!(a.contains(&bag_of(&quarter)));
    }

    #[test]
    fn law_11_each_other_s_parts_are_equal(a in drafts(), choice in any::<u64>()) {
        let (a, model) = both(&a, Side::Left);
        let b = bag_of(&part(&model, choice));
        prop_assert_eq!(a.contains(&b) && b.contains(&a), a == b);
    }

    #[test]
    fn law_12_a_sum_contains_its_summands(a in drafts(), b in drafts()) {
        let (a, b) = (left(&a), left(&b));
        prop_assert!(sum(&a, &b).contains(&a) && sum(&a, &b).contains(&b));
    }

    #[test]
    fn law_13_adding_to_both_keeps_the_order(a in drafts(), c in drafts(), choice in any::<u64>()) {
        let (a, model) = both(&a, Side::Left);
        let (b, c) = (bag_of(&part(&model, choice)), left(&c));
        prop_assert!(sum(&a, &c).contains(&sum(&b, &c)));
    }

    #[test]
    fn law_14_a_bag_has_one_form(mut a in drafts(), turn in any::<prop::sample::Index>()) {
        // RM-18: whatever the order of adding, and no entry is nothing.
        let before = left(&a);
        if !a.is_empty() {
            let at = turn.index(a.len());
            a.rotate_left(at);
            a[1..].reverse();
        }
        let after = left(&a);
        prop_assert_eq!(&before, &after);
        prop_assert!(after.iter().all(|entry| entry.value().quantity() > Milli::ZERO));
        let entries: Vec<Resource> = after.into_iter().collect();
        prop_assert_eq!(Resources::try_from(entries), Ok(before));
    }

    #[test]
    fn law_15_what_fails_changes_nothing(a in drafts(), b in drafts()) {
        let (mut a, b) = (left(&a), left(&b));
        let before = a.clone();
        if a.subtract(&b).is_err() {
            prop_assert_eq!(&a, &before);
            prop_assert!(!a.contains(&b));
        } else {
            prop_assert!(before.contains(&b));
        }
    }

    #[test]
    fn law_16_totals_add_up(a in drafts(), b in drafts()) {
        // RM-28: of what is shared the copies count once.
        let apart = |bag: Resources| bag.filter(|entry| !entry.is_shared());
        let (a, b) = (apart(left(&a)), apart(both(&b, Side::Right).0));
        let mut totals = a.total();
        totals.add(&b.total());
        prop_assert_eq!(sum(&a, &b).total(), totals);
    }

    #[test]
    fn law_17_a_filter_cuts_in_two(a in drafts(), sort in any::<prop::sample::Index>()) {
        // RM-26
        let (a, sort) = (left(&a), &SORTS[sort.index(SORTS.len())]);
        let keeps = |entry: &Resource| entry.metadata() >= sort.metadata();
        let (kept, dropped) = (a.filter(keeps), a.filter(|entry| !keeps(entry)));
        prop_assert!(kept.iter().all(keeps) && !dropped.iter().any(keeps));
        prop_assert_eq!(sum(&kept, &dropped), a);
    }

    #[test]
    fn law_18_offered_is_what_an_ancestor_has(a in drafts(), to in 0_usize..6) {
        // RM-23
        let a = left(&a);
        let to = ["*", "a", "a/b", "a/b/c", "b", "ab"][to];
        let offered = a.allocatable_to(&Role::new(to).unwrap());
        let expected = a.filter(|entry| entry.reservation_role().is_none_or(|role| {
            format!("{to}/").starts_with(&format!("{role}/"))
        }));
        prop_assert_eq!(offered, expected);
    }

    #[test]
    fn law_19_enough_is_found_and_no_more(a in drafts(), b in drafts(), choice in any::<u64>()) {
        // RM-25
        let ((a, model), (b, model_b)) = (both(&a, Side::Left), both(&b, Side::Left));
        let found = a.find(&b);
        prop_assert_eq!(found.is_some(), covers(&unreserved(&model), &unreserved(&model_b)));
        if let Some(found) = found {
            prop_assert!(a.contains(&found));
            prop_assert_eq!(unreserved(&cells(&found)), unreserved(&model_b));
        }
        prop_assert!(a.find(&bag_of(&part(&model, choice))).is_some());
    }

    #[test]
    fn law_20_the_unreserved_is_found_first(a in drafts(), choice in any::<u64>()) {
        // RM-25
        let (a, mut model) = both(&a, Side::Left);
        model.retain(|(sort, _), _| !SORTS[*sort].is_reserved());
        let target = bag_of(&part(&model, choice));
        prop_assert_eq!(a.find(&target), Some(target));
    }

    #[test]
    fn law_21_smaller_is_a_part_or_refused(a in drafts(), most in 0_i64..6) {
        // RM-27
        let most = Milli::from_thousandths(most);
        for entry in &left(&a) {
            let whole = entry.is_exclusive() || entry.is_shared() || !entry.is_scalar();
            match entry.shrunk_to(most) {
                Some(less) => {
                    let quantity = entry.value().quantity().min(most);
                    prop_assert_eq!(less.value().quantity(), quantity);
                    prop_assert_eq!(less.metadata(), entry.metadata());
                }
                None => prop_assert!(whole && entry.value().quantity() > most),
            }
        }
    }

    #[test]
    fn law_22_reserving_can_be_undone(a in drafts(), choice in any::<u64>()) {
        // RM-22, RM-33, RM-36, RM-37
        let (a, mut model) = both(&a, Side::Left);
        let fit = |entry: &Resource| {
            !entry.is_revocable() && !entry.is_persistent_volume() && !entry.has_provider()
        };
        model.retain(|(sort, _), _| fit(&SORTS[*sort]));
        let mut wanted = Resources::new();
        for entry in &bag_of(&part(&model, choice)) {
            let role = entry.reservation_role();
            let role = role.map_or_else(|| "z".into(), |role| format!("{role}/z"));
            let level = Reservation::dynamic(Role::new(&role).unwrap());
            wanted.insert(entry.clone().push_reservation(level).unwrap()).unwrap();
        }
        if !wanted.is_empty() {
            let reserved = reserve(&a, &wanted).unwrap();
            prop_assert!(reserved.contains(&wanted));
            prop_assert_eq!(reserved.total(), a.total());
            prop_assert_eq!(unreserve(&reserved, &wanted), Ok(a));
        }
    }

    #[test]
    fn law_23_an_update_keeps_all_but_the_reservation(
        a in drafts(),
        from in 0_usize..4,
        to in 0_usize..4,
    ) {
        // RM-34
        let stacks = ["", r#"<dynamic="y">"#, r#"<dynamic="y",dynamic="y/z">"#, r#"<dynamic="z">"#];
        let bag = |stack: &str| {
            Resources::parse(&format!("cpus(*){stack}:3;new(*){stack}:[1-4]")).unwrap()
        };
        let (source, target) = (bag(stacks[from]), bag(stacks[to]));
        let total = sum(&left(&a), &source);
        let updated = update_reservations(&total, &source, &target).unwrap();
        prop_assert_eq!(updated.total(), total.total());
        prop_assert_eq!(updated.checked_sub(&target), total.checked_sub(&source));
        prop_assert_eq!(update_reservations(&updated, &target, &source), Ok(total));
    }

    #[test]
    fn law_24_a_volume_can_be_destroyed_again(a in drafts(), disk in 0_usize..4, size in 1_u32..4) {
        // RM-44, RM-45
        let (disk, more) = [
            ("disk(a):4", ""), (r#"disk(a)<path="/d">:4"#, r#"path="/d","#),
            (r#"disk(a)<mount="/m">:4"#, r#"mount="/m","#), ("disk(b):4", ""),
        ][disk];
        let role = &disk[..7];
        let size = if disk.contains("mount") { 4 } else { size };
        let volume = format!(r#"{role}<{more}volume="new",rw="p">:{size}"#);
        let volume = Resources::parse(&volume).unwrap();
        let total = sum(&left(&a), &Resources::parse(disk).unwrap());
        let created = create(&total, &volume).unwrap();
        prop_assert_eq!(created.total(), total.total());
        prop_assert!(create(&sum(&created, &total), &volume).is_err(), "its id is taken");
        prop_assert_eq!(destroy(&created, &volume), Ok(total));
    }

    #[test]
    fn law_25_a_volume_that_grew_can_shrink(a in drafts(), old in 1_i64..9, more in 1_i64..9) {
        // RM-46, RM-47
        let of = |text: &str, n| {
            let value = Value::Scalar(Milli::from_thousandths(n));
            Resources::parse_any(text).resized(value).unwrap()
        };
        let text = r#"disk(a)<path="/d",volume="new",rw="p">:1"#;
        let (volume, grown) = (of(text, old), of(text, old + more));
        let addition = of(r#"disk(a)<path="/d">:1"#, more);
        let mut total = left(&a);
        total.insert(volume.clone()).unwrap();
        total.insert(addition.clone()).unwrap();
        let after = grow_volume(&total, &volume, &addition).unwrap();
        prop_assert!(after.iter().any(|entry| *entry == grown));
        let less = Milli::from_thousandths(more);
        prop_assert_eq!(shrink_volume(&after, &grown, less), Ok(total));
    }

    #[test]
    fn law_26_text_reads_back(a in drafts()) {
        // RM-07, RM-10
        let a = left(&a);
        prop_assert_eq!(Resources::parse(&a.to_string()), Ok(a));
    }

    #[test]
    fn law_27_json_reads_back(a in drafts()) {
        // RM-11
        let a = left(&a);
        let written = serde_json::to_string(&json::write(&a, None)).unwrap();
        let shapes: Vec<json::Resource> = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(json::read_bag(&shapes), Ok(a));
    }

    #[test]
    fn law_28_bytes_read_back_and_only_in_one_form(
        a in drafts(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let a = left(&a);
        let mut bytes = postcard::to_allocvec(&a).unwrap();
        prop_assert_eq!(postcard::from_bytes(&bytes), Ok(a));
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((bag, rest)) = postcard::take_from_bytes::<Resources>(&bytes) {
            let read = bytes.len() - rest.len();
            let mut again = Resources::new();
            bag.iter().rev().for_each(|entry| again.insert(entry.clone()).unwrap());
            prop_assert_eq!(&again, &bag);
            prop_assert_eq!(Resources::parse(&bag.to_string()), Ok(bag.clone()));
            // Postcard itself takes padded numbers; of unpadded ones there is one form.
            prop_assert!(postcard::to_allocvec(&bag).unwrap().len() <= read);
        }
    }

    #[test]
    fn law_29_ranges_have_a_normal_form(
        a in any::<u32>(),
        b in any::<u32>(),
        top in any::<bool>(),
    ) {
        // RM-04
        let base = if top { u64::MAX - 31 } else { 0 };
        let ones = |bits: u32| (0..32).filter(move |n| bits >> n & 1 == 1).map(move |n| base + n);
        let ranges = |bits: u32| ones(bits).map(|n| n..=n).collect::<Ranges>();
        let (ours, theirs) = (ranges(a), ranges(b));
        prop_assert_eq!(ours.union(&theirs), ranges(a | b));
        prop_assert_eq!(ours.subtract(&theirs), ranges(a & !b));
        prop_assert_eq!(ours.intersect(&theirs), ranges(a & b));
        prop_assert_eq!(ours.contains(&theirs), a | b == a);
        prop_assert_eq!(ours.count(), u128::from(a.count_ones()));
        let runs = (a & !(a << 1)).count_ones() as usize;
        prop_assert_eq!(ours.iter().count(), runs);
    }

    #[test]
    fn law_30_no_text_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..48),
        like in text_of_a_bag(),
    ) {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), like] {
            if let Ok(bag) = Resources::parse(&text) {
                prop_assert_eq!(Resources::parse(&bag.to_string()), Ok(bag));
            }
            let _ = Resources::parse_entries(&text);
        }
        let _ = postcard::from_bytes::<Resources>(&bytes);
        let _ = serde_json::from_slice::<Vec<json::Resource>>(&bytes);
    }
}
