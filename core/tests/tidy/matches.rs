//! No wildcard in a match on one of our enums, as far as text can tell.
//!
//! Clippy's own lint sees only a whole arm that is `_`. This rule looks at every place of a
//! pattern: a part of a tuple, what `Some` holds, the field of a variant. Where one arm names a
//! variant of ours, no other arm that could stand for the same value has `_` or a bare name there:
//! it would swallow the next variant. So `(None, A) | (Some(_), _)` is fine, for the two have
//! nothing in common. Deliberately not here: what a `..` among named fields leaves out.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::{closing, code_only, is_word, line_of, without_tests, word_at, words};

/// How many places a `..` in a tuple stands for, from its own on.
const ARITY: usize = 8;
const LINT: &str = "clippy::wildcard_enum_match_arm";

/// The way to a part of a pattern, from outside: constructors and places.
type Place = Vec<String>;

/// What a pattern says of one place.
#[derive(Debug, Default)]
struct Part {
    /// The variants and literals that it names.
    names: BTreeSet<String>,
    /// The enum of ours that they are of.
    ours: Option<String>,
    /// Whether it takes whatever there is.
    anything: bool,
}

/// One alternative of an arm.
type Row = BTreeMap<Place, Part>;

pub(crate) fn enums_declared(source: &str) -> BTreeSet<String> {
    let code = code_only(source);
    let names = words(&code, "enum").map(|at| word_at(code[at + 4..].trim_start()).to_string());
    names.filter(|name| !name.is_empty()).collect()
}

pub(crate) fn check_wildcard_arms(enums: &BTreeSet<String>, source: &str) -> Vec<String> {
    let code = code_only(without_tests(source));
    let mut findings = Vec::new();
    for waiver in ["allow", "expect"] {
        for (at, _) in code.match_indices(&format!("{waiver}({LINT}")) {
            findings.push(format!("line {}: waives {LINT}", line_of(&code, at)));
        }
    }
    for at in words(&code, "match") {
        let Some(open) = match_body(&code, at) else {
            continue;
        };
        let reader = Reader {
            enums,
            owner: owner(&code, at),
        };
        let mut rows = Vec::new();
        for pattern in arm_patterns(&code[open + 1..closing(&code, open)]) {
            for alternative in pieces(&pattern, "|") {
                let mut row = Row::new();
                reader.read(alternative, &Place::new(), &mut row);
                rows.push(row);
            }
        }
        let pairs = rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b)));
        if let Some(name) = pairs.into_iter().find_map(|(a, b)| swallowed(a, b)) {
            let line = line_of(&code, at);
            findings.push(format!("line {line}: a `_` in a match on {name}"));
        }
    }
    findings
}

/// The enum of ours, named in one row, of which the other would take any variant.
fn swallowed<'a>(named: &'a Row, wild: &Row) -> Option<&'a str> {
    let apart = named.iter().any(|(place, part)| {
        let other = wild.get(place).filter(|other| !other.names.is_empty());
        !part.names.is_empty() && other.is_some_and(|other| other.names.is_disjoint(&part.names))
    });
    named.iter().filter(|_| !apart).find_map(|(place, part)| {
        let above = |(at, other): (&Place, &Part)| other.anything && place.starts_with(at);
        part.ours.as_deref().filter(|_| wild.iter().any(above))
    })
}

fn match_body(code: &str, at: usize) -> Option<usize> {
    let mut i = at;
    while let Some(c) = code[i..].chars().next() {
        match c {
            '(' | '[' => i = closing(code, i),
            '{' => return Some(i),
            ';' | '}' | ')' => return None,
            _ => {}
        }
        i += code[i..].chars().next()?.len_utf8();
    }
    None
}

/// The type whose `impl` holds the place: what `Self` means there.
fn owner(code: &str, at: usize) -> Option<&str> {
    let mut owner = None;
    for start in words(&code[..at], "impl") {
        let line = code[..start].rsplit('\n').next().unwrap_or("");
        let Some(open) = code[start..].find('{').map(|i| start + i) else {
            continue;
        };
        // Not an `impl Trait` among the parameters of a function.
        if line.trim().is_empty() && open < at && closing(code, open) > at {
            owner = Some(implementor(&code[start + 4..open]));
        }
    }
    owner
}

/// The type that the header of an `impl` is for: `<T> Trait<T> for Type<T> where ..`.
fn implementor(header: &str) -> &str {
    if let Some((_, after)) = header.split_once(" for ") {
        return word_at(after.trim());
    }
    let mut depth = 0usize;
    for (at, c) in header.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            c if depth == 0 && is_word(c) => return word_at(&header[at..]),
            _ => {}
        }
    }
    ""
}

/// The patterns of a match's own arms, without their guards.
fn arm_patterns(body: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    for (part, separator) in split(body, &["=>"]) {
        heads.last_mut().expect("never empty").push_str(part);
        if separator {
            heads.push(String::new());
        }
    }
    heads.pop();
    let patterns = heads.iter().map(|head| {
        // Before a pattern stands the start, a comma, or the end of a block that was an arm.
        let parts = split(head, &[","]);
        let mut rest = parts.last().map_or("", |(part, _)| *part).trim();
        while rest.starts_with('{') || rest.starts_with("#[") {
            let open = rest.find(['{', '[']).expect("just found");
            rest = rest[closing(rest, open) + 1..].trim_start();
        }
        split(rest, &[" if ", "\nif "])[0].0.trim().to_string()
    });
    patterns.collect()
}

/// Splits at a separator outside of all brackets, and says after each part whether one follows.
fn split<'a>(text: &'a str, separators: &[&str]) -> Vec<(&'a str, bool)> {
    let mut parts = Vec::new();
    let (mut from, mut i) = (0, 0);
    while let Some(c) = text[i..].chars().next() {
        if let Some(found) = separators.iter().find(|s| text[i..].starts_with(**s)) {
            parts.push((&text[from..i], true));
            i += found.len();
            from = i;
            continue;
        }
        if matches!(c, '(' | '[' | '{') {
            i = closing(text, i).min(text.len() - 1);
        }
        i += text[i..].chars().next().map_or(1, char::len_utf8);
    }
    parts.push((&text[from..], false));
    parts
}

fn pieces<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let parts = split(text, &[separator]).into_iter();
    let parts = parts.map(|(part, _)| part.trim());
    parts.filter(|part| !part.is_empty()).collect()
}

struct Reader<'a> {
    enums: &'a BTreeSet<String>,
    /// What `Self` is.
    owner: Option<&'a str>,
}

impl Reader<'_> {
    fn read(&self, pattern: &str, place: &Place, row: &mut Row) {
        for alternative in pieces(pattern, "|") {
            self.read_one(alternative, place, row);
        }
    }

    fn read_one(&self, pattern: &str, place: &Place, row: &mut Row) {
        let mut pattern = pattern.trim_start_matches('&').trim();
        for word in ["ref ", "mut "] {
            pattern = pattern.strip_prefix(word).unwrap_or(pattern).trim();
        }
        if let Some((_, after)) = pattern.split_once(" @ ") {
            self.read(after, place, row);
            return;
        }
        if pattern.starts_with('(') {
            let inside = &pattern[1..closing(pattern, 0)];
            // Brackets around one pattern only hold it together.
            if pieces(inside, ",").len() == 1 && !inside.trim_end().ends_with(',') {
                self.read(inside, place, row);
            } else {
                self.read_tuple(inside, "", place, row);
            }
            return;
        }
        let end = pattern.find(|c| !is_word(c) && c != ':');
        let path = &pattern[..end.unwrap_or(pattern.len())];
        let rest = pattern[path.len()..].trim();
        let part = row.entry(place.clone()).or_default();
        let is_bare = path.starts_with(|c: char| c.is_lowercase() || c == '_')
            && !["true", "false"].contains(&path)
            && !path.contains("::");
        if is_bare && rest.is_empty() {
            part.anything = true;
            return;
        }
        let constructor = path.rsplit("::").next().unwrap_or(path);
        if let Some(name) = self.ours(path) {
            part.ours = Some(name);
        }
        // What a range holds cannot be told from its text.
        if !pattern.contains("..=") && !rest.starts_with("..") {
            let name = if constructor.is_empty() {
                pattern
            } else {
                constructor
            };
            part.names.insert(name.to_string());
        }
        if rest.starts_with('(') {
            self.read_tuple(&rest[1..closing(rest, 0)], constructor, place, row);
        } else if rest.starts_with('{') {
            for field in pieces(&rest[1..closing(rest, 0)], ",") {
                let (name, pattern) = field.split_once(':').unwrap_or((field, "_"));
                if !name.starts_with("..") {
                    self.read(pattern, &below(place, constructor, name), row);
                }
            }
        }
    }

    fn read_tuple(&self, inside: &str, constructor: &str, place: &Place, row: &mut Row) {
        for (i, part) in pieces(inside, ",").into_iter().enumerate() {
            if part == ".." {
                for i in i..ARITY {
                    let place = below(place, constructor, &i.to_string());
                    row.entry(place).or_default().anything = true;
                }
            } else {
                self.read(part, &below(place, constructor, &i.to_string()), row);
            }
        }
    }

    /// The enum of ours that a path names a variant of.
    fn ours(&self, path: &str) -> Option<String> {
        let (before, variant) = path.rsplit_once("::")?;
        let name = before.rsplit("::").next().unwrap_or(before);
        let name = if name == "Self" { self.owner? } else { name };
        let is_variant = variant.starts_with(char::is_uppercase);
        (is_variant && self.enums.contains(name)).then(|| name.to_string())
    }
}

fn below(place: &Place, constructor: &str, part: &str) -> Place {
    let mut place = place.clone();
    place.push(format!("{constructor}.{}", part.trim()));
    place
}

#[test]
fn the_type_of_an_impl_is_found() {
    assert_eq!(implementor("<'a, T: Into<u8>> Planner<'a, T> "), "Planner");
    assert_eq!(
        implementor("<T> Trait<T> for Type<T> where T: Copy "),
        "Type"
    );
    let code = "impl A {\n fn f(\n  x: u8,\n  y: impl B,\n ) { here }\n}\nimpl C {}";
    assert_eq!(owner(code, code.find("here").unwrap()), Some("A"));
}

#[test]
fn wildcards_in_matches_on_our_enums_are_found() {
    let enums = enums_declared("pub enum Effect { A, B(u8) }\nenum Other { X }");
    assert_eq!(enums.len(), 2);
    let found = |source: &str| check_wildcard_arms(&enums, source);
    let bad = |arms: &str| {
        let findings = found(&format!(
            "impl fmt::Display for Effect {{ match e {{ {arms} }} }}"
        ));
        assert_eq!(findings, ["line 1: a `_` in a match on Effect"], "{arms}");
    };
    bad("Effect::A => { g(|| 1) } Effect::B(x) => h(x), _ => {}");
    bad("crate::Effect::A => 1, other => 2");
    bad("Self::A => 1, _ => 2");
    bad("Some(Effect::A) => 1, _ => 2");
    bad("Some(Effect::A) => 1, Some(_) => 2, None => 3");
    bad("Ok(Some(&Effect::A)) => 1, Ok(None | Some(_)) => 2, Err(e) => 3");
    bad("(Self::A, Self::A) => 1, (Self::A | Self::B(_), _) => 2");
    bad("(n, Effect::A) => f::<A, B>(n), (_, e) => 2");
    bad("(Effect::A, 1) => { 1 }\n _ => 2");
    bad("Pair(Effect::A, _) => 1, Pair(..) => 2");
    bad("whole @ Effect::A => 1, _ if late => 2");
    bad("(None, Effect::A) => 1, (Some(_), _) => 2, (None, _) => 3");
    bad("(42, Effect::A) => 1, (42..=47, _) => 2, (n, Effect::A | Effect::B(_)) => 3");
    bad("Row { effect: Effect::A, .. } => 1, Row { effect, .. } => 2");
    let good = |source: &str| assert_eq!(found(source), [""; 0], "{source}");
    good("match n { 0 => match e { Effect::A => 1, Effect::B(_) => 2 }, _ => Effect::A }");
    good("match e { Some(Effect::A) => 1, Some(Effect::B(_)) | None => 2 }");
    good("match p { (Effect::A, n) => 1, (Effect::B(x), _) if x > 1 => 2 }");
    good("match e { (Effect::A | Effect::B(_)) => 1 }");
    good("match p { (Some(_), _) => 1, (None, Effect::A) => 2, (None, Effect::B(_)) => 3 }");
    good("match p { (true, Effect::A | Effect::B(_)) => 1, (false, _) => 2 }");
    good("match e { Ok(Effect::A | Effect::B(_)) => 1, Err(_) => 2 }");
    good("impl Thing { fn f() { match n { Self::MOST => 1, _ => 2 } } }");
    let waived = "#[allow(clippy::wildcard_enum_match_arm)]";
    assert_eq!(found(waived).len(), 1);
}
