//! Offer constraints: which agents a framework wants to be offered at all.
//!
//! A framework states them per role; the allocator asks before any other work on a pair (OF-45).
//! They go by attributes, hostname, region and zone as Mesos' do, and beyond it by resources and
//! with comparisons of numbers (OF-47). Where a value is of a kind that a predicate cannot judge,
//! it passes: the scheduler shall see for itself (OF-43). Comparisons of numbers, which are our
//! own, hold for numbers only: `temp:-3` is a text (RM-57), and not at least zero.
//!
//! Deliberately not here: who states them, and what is remembered of the answers.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use serde::{Deserialize, Serialize};

use crate::attributes::{AttributeValue, Attributes};
use crate::limits;
use crate::resources::{Milli, Quantities, Resources};

/// What an agent must be like: one of the groups must hold, and of it every constraint (OF-41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<Constraint>>", into = "Vec<Vec<Constraint>>")]
pub struct Constraints(Arc<[Vec<Constraint>]>);

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// What is looked at.
    pub selector: Selector,
    /// What must hold of it.
    pub predicate: Predicate,
}

/// What of an agent is looked at (OF-42).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// The first attribute of this name.
    Attribute(String),
    /// The name in the network.
    Hostname,
    /// The region; absent if the agent names none.
    Region,
    /// The zone; absent if the agent names none.
    Zone,
    /// How much of a resource the agent has in all; zero is absent. Sets are counted.
    Total(String),
    /// How much of a resource would be offered; zero is absent. Sets are counted.
    Offered(String),
}

/// What must hold (OF-43).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predicate {
    /// It is there.
    Exists,
    /// It is not there.
    NotExists,
    /// It is this text; what is absent is not.
    TextEquals(String),
    /// It is not this text; what is absent is not.
    TextNotEquals(String),
    /// The whole text matches.
    TextMatches(Pattern),
    /// The whole text does not match, or is absent.
    TextNotMatches(Pattern),
    /// The number compares so; what is absent is zero if it is a resource, and else only unequal.
    /// So are texts, negative numbers among them (RM-57), and ranges.
    Number(Comparison, Milli),
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

/// A regular expression of bounded size (OF-44).
///
/// Matching takes time linear in the text, whatever the expression. One that was decoded is a text
/// until [`Constraints::compile`]: what is compiled takes many times as much.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: Arc<str>,
    program: Option<Arc<PikeVM>>,
}

/// Why something is not a set of constraints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConstraints {
    /// There is no group, or one without constraints.
    #[error("there is no group of constraints, or an empty one")]
    Empty,
    /// There are more than a framework may state.
    #[error("there are more than {} constraints", limits::CONSTRAINTS)]
    TooMany,
    /// A predicate that can never judge what is selected.
    #[error("{0:?} can never be decided: it compares texts with numbers")]
    Mismatch(String),
    /// Something that is not a regular expression, or too large a one.
    #[error("invalid or too large pattern {text:?}: {problem}")]
    Pattern {
        /// The expression, or its beginning.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// All together take more than a framework's may.
    #[error(
        "the patterns take more than {} bytes once they are compiled",
        limits::PATTERNS_PROGRAM_BYTES
    )]
    Patterns,
}

/// An agent, as constraints look at it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name in the network.
    pub hostname: &'a str,
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// Its region.
    pub region: Option<&'a str>,
    /// Its zone.
    pub zone: Option<&'a str>,
    /// All that it has.
    pub total: &'a Resources,
    /// What would be offered.
    pub offered: &'a Resources,
}

/// What a selector found.
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Number(Milli),
    /// Something that has no order and is no text.
    Other,
}

impl Constraints {
    /// Checks groups of constraints.
    pub fn new(groups: Vec<Vec<Constraint>>) -> Result<Self, InvalidConstraints> {
        if groups.is_empty() || groups.iter().any(Vec::is_empty) {
            return Err(InvalidConstraints::Empty);
        }
        if groups.iter().map(Vec::len).sum::<usize>() > limits::CONSTRAINTS {
            return Err(InvalidConstraints::TooMany);
        }
        match groups.iter().flatten().find(|it| !it.is_decidable()) {
            None => Ok(Self(Arc::from(groups))),
            Some(bad) => Err(InvalidConstraints::Mismatch(alloc::format!("{bad}"))),
        }
    }

    /// Makes patterns ready that were decoded, and takes what they need of `room`, in bytes.
    pub fn compile(&mut self, room: &mut usize) -> Result<(), InvalidConstraints> {
        let has_some = self.0.iter().flatten().any(|it| it.pattern().is_some());
        if !has_some {
            return Ok(());
        }
        let mut groups = self.0.to_vec();
        for constraint in groups.iter_mut().flatten() {
            if let Predicate::TextMatches(pattern) | Predicate::TextNotMatches(pattern) =
                &mut constraint.predicate
            {
                let taken = pattern.compile()?;
                *room = room
                    .checked_sub(taken)
                    .ok_or(InvalidConstraints::Patterns)?;
            }
        }
        self.0 = Arc::from(groups);
        Ok(())
    }

    /// Returns whether an agent is wanted.
    pub fn admits(&self, agent: &Subject<'_>) -> bool {
        let all_hold = |group: &Vec<Constraint>| group.iter().all(|it| it.holds(agent));
        self.0.iter().any(all_hold)
    }

    /// Returns a constraint that keeps an agent out: the first of the first group. `None` if the
    /// agent is wanted.
    pub fn obstacle(&self, agent: &Subject<'_>) -> Option<&Constraint> {
        if self.admits(agent) {
            return None;
        }
        self.0.first()?.iter().find(|it| !it.holds(agent))
    }

    /// Returns whether nothing matters but what many agents have in common: attributes, region and
    /// zone.
    pub fn depends_on_labels_only(&self) -> bool {
        let all = self.0.iter().flatten();
        let mut selectors = all.map(|it| &it.selector);
        selectors.all(|it| match it {
            Selector::Attribute(_) | Selector::Region | Selector::Zone => true,
            Selector::Hostname | Selector::Total(_) | Selector::Offered(_) => false,
        })
    }

    /// Returns whether what would be offered matters, and not only what the agent is.
    pub fn depends_on_offer(&self) -> bool {
        let all = self.0.iter().flatten();
        let mut selectors = all.map(|it| &it.selector);
        selectors.any(|it| matches!(it, Selector::Offered(_)))
    }
}

impl Constraint {
    const fn pattern(&self) -> Option<&Pattern> {
        match &self.predicate {
            Predicate::TextMatches(pattern) | Predicate::TextNotMatches(pattern) => Some(pattern),
            Predicate::Exists
            | Predicate::NotExists
            | Predicate::TextEquals(_)
            | Predicate::TextNotEquals(_)
            | Predicate::Number(..) => None,
        }
    }

    fn holds(&self, agent: &Subject<'_>) -> bool {
        let found = self.selector.find(agent);
        let is_resource = self.selector.is_resource();
        match &self.predicate {
            Predicate::Exists => !matches!(found, Found::Nothing),
            Predicate::NotExists => matches!(found, Found::Nothing),
            Predicate::TextEquals(wanted) => found.is_text(false, |text| text == wanted),
            Predicate::TextNotEquals(wanted) => found.is_text(true, |text| text != wanted),
            Predicate::TextMatches(pattern) => found.is_text(false, |text| pattern.matches(text)),
            Predicate::TextNotMatches(pattern) => {
                found.is_text(true, |text| !pattern.matches(text))
            }
            Predicate::Number(comparison, than) => match found {
                Found::Number(number) => comparison.holds(number, *than),
                Found::Nothing if is_resource => comparison.holds(Milli::ZERO, *than),
                Found::Nothing | Found::Text(_) | Found::Other => {
                    *comparison == Comparison::Unequal
                }
            },
        }
    }

    /// Whether there is any agent that the predicate can judge.
    const fn is_decidable(&self) -> bool {
        if matches!(self.selector, Selector::Attribute(_)) {
            return true;
        }
        match &self.predicate {
            Predicate::Exists | Predicate::NotExists => true,
            Predicate::Number(..) => self.selector.is_resource(),
            Predicate::TextEquals(_)
            | Predicate::TextNotEquals(_)
            | Predicate::TextMatches(_)
            | Predicate::TextNotMatches(_) => !self.selector.is_resource(),
        }
    }
}

impl Selector {
    fn find<'a>(&self, agent: &Subject<'a>) -> Found<'a> {
        let text = |text: Option<&'a str>| text.map_or(Found::Nothing, Found::Text);
        let amount = |of: &Resources, name: &str| match Quantities::from(of).amount(name) {
            amount if amount.is_zero() => Found::Nothing,
            amount => Found::Number(amount),
        };
        match self {
            Self::Attribute(name) => match agent.attributes.first(name) {
                None => Found::Nothing,
                Some(AttributeValue::Text(text)) => Found::Text(text),
                Some(AttributeValue::Scalar(number)) => Found::Number(*number),
                Some(AttributeValue::Ranges(_)) => Found::Other,
            },
            Self::Hostname => Found::Text(agent.hostname),
            Self::Region => text(agent.region),
            Self::Zone => text(agent.zone),
            Self::Total(name) => amount(agent.total, name),
            Self::Offered(name) => amount(agent.offered, name),
        }
    }

    const fn is_resource(&self) -> bool {
        match self {
            Self::Total(_) | Self::Offered(_) => true,
            Self::Attribute(_) | Self::Hostname | Self::Region | Self::Zone => false,
        }
    }
}

impl Found<'_> {
    /// Judges a text; what is there and is none passes.
    fn is_text(&self, absent: bool, holds: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Nothing => absent,
            Self::Text(text) => holds(text),
            Self::Number(_) | Self::Other => true,
        }
    }
}

impl Comparison {
    fn holds(self, number: Milli, than: Milli) -> bool {
        match self {
            Self::Below => number < than,
            Self::AtMost => number <= than,
            Self::Equal => number == than,
            Self::Unequal => number != than,
            Self::AtLeast => number >= than,
            Self::Above => number > than,
        }
    }
}

impl Pattern {
    /// Reads a regular expression, without look-around or back-references. Its classes are those
    /// of ASCII, and `.` is one byte: names of machines are made of these.
    pub fn new(text: &str) -> Result<Self, InvalidConstraints> {
        let mut pattern = Self::undone(text)?;
        pattern.compile()?;
        Ok(pattern)
    }

    /// Takes a text as it is.
    fn undone(text: &str) -> Result<Self, InvalidConstraints> {
        if text.len() > limits::PATTERN_BYTES {
            let (length, most) = (text.len(), limits::PATTERN_BYTES);
            let problem = alloc::format!("it has {length} bytes, and {most} are allowed");
            return Err(invalid(text, problem));
        }
        Ok(Self {
            text: Arc::from(text),
            program: None,
        })
    }

    /// Makes it ready, unless it is, and returns how many bytes that takes.
    fn compile(&mut self) -> Result<usize, InvalidConstraints> {
        let program = match &self.program {
            Some(program) => program,
            None => self.program.insert(Arc::new(compiled(&self.text)?)),
        };
        Ok(program.get_nfa().memory_usage())
    }

    /// Returns the expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether a whole text matches. What is no regular expression matches nothing.
    pub fn matches(&self, text: &str) -> bool {
        match &self.program {
            Some(program) => matches(program, text),
            None => compiled(&self.text).is_ok_and(|program| matches(&program, text)),
        }
    }
}

fn invalid(text: &str, problem: String) -> InvalidConstraints {
    let text = text.chars().take(80).collect();
    InvalidConstraints::Pattern { text, problem }
}

fn compiled(text: &str) -> Result<PikeVM, InvalidConstraints> {
    let (syntax, program) = (syntax::Config::new(), thompson::Config::new());
    let most = limits::PATTERN_PROGRAM_BYTES;
    PikeVM::builder()
        .configure(PikeVM::config().match_kind(MatchKind::All))
        .syntax(syntax.unicode(false).utf8(false).nest_limit(20))
        .thompson(program.utf8(false).nfa_size_limit(Some(most)))
        .build(text)
        .map_err(|error| invalid(text, alloc::format!("{error}")))
}

fn matches(program: &PikeVM, text: &str) -> bool {
    let input = Input::new(text).anchored(Anchored::Yes);
    let mut found = program.create_captures();
    // Of all matches from the start, the last one found is the longest.
    program.search(&mut program.create_cache(), &input, &mut found);
    found.get_match().is_some_and(|it| it.end() == text.len())
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = InvalidConstraints;

    fn try_from(text: String) -> Result<Self, InvalidConstraints> {
        Self::undone(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().into()
    }
}

impl TryFrom<Vec<Vec<Constraint>>> for Constraints {
    type Error = InvalidConstraints;

    fn try_from(groups: Vec<Vec<Constraint>>) -> Result<Self, InvalidConstraints> {
        Self::new(groups)
    }
}

impl From<Constraints> for Vec<Vec<Constraint>> {
    fn from(constraints: Constraints) -> Self {
        constraints.0.to_vec()
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Attribute(name) => write!(f, "attribute {name:?}"),
            Selector::Hostname => f.write_str("hostname"),
            Selector::Region => f.write_str("region"),
            Selector::Zone => f.write_str("zone"),
            Selector::Total(name) => write!(f, "total of {name:?}"),
            Selector::Offered(name) => write!(f, "offered of {name:?}"),
        }?;
        match &self.predicate {
            Predicate::Exists => f.write_str(" exists"),
            Predicate::NotExists => f.write_str(" does not exist"),
            Predicate::TextEquals(text) => write!(f, " is {text:?}"),
            Predicate::TextNotEquals(text) => write!(f, " is not {text:?}"),
            Predicate::TextMatches(pattern) => write!(f, " matches {:?}", pattern.as_str()),
            Predicate::TextNotMatches(pattern) => {
                write!(f, " does not match {:?}", pattern.as_str())
            }
            Predicate::Number(comparison, than) => write!(f, " {comparison} {than}"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn attribute(name: &str) -> Selector {
        Selector::Attribute(name.into())
    }

    fn equals(text: &str) -> Predicate {
        Predicate::TextEquals(text.into())
    }

    fn unequal(text: &str) -> Predicate {
        Predicate::TextNotEquals(text.into())
    }

    fn matches(text: &str) -> Predicate {
        Predicate::TextMatches(Pattern::new(text).unwrap())
    }

    fn matches_not(text: &str) -> Predicate {
        Predicate::TextNotMatches(Pattern::new(text).unwrap())
    }

    fn number(comparison: Comparison, than: i64) -> Predicate {
        Predicate::Number(comparison, Milli::from_units(than))
    }

    /// Whether one constraint admits an agent with these attributes.
    fn admits(attributes: &str, selector: Selector, predicate: Predicate) -> bool {
        let constraint = Constraint {
            selector,
            predicate,
        };
        let constraints = Constraints::new(vec![vec![constraint]]).unwrap();
        let subject = Subject {
            hostname: "node-7.example",
            attributes: &Attributes::parse(attributes).unwrap(),
            region: Some("eu"),
            zone: None,
            total: &Resources::parse("cpus:8;ports:[1-10]").unwrap(),
            offered: &Resources::parse("cpus:2;cpus(eng):1").unwrap(),
        };
        let admitted = constraints.admits(&subject);
        assert_eq!(constraints.obstacle(&subject).is_none(), admitted);
        admitted
    }

    #[test]
    fn tv_38_what_cannot_be_judged_passes() {
        // TV-38, OF-42, OF-43
        for value in ["[1-3]", "2.5"] {
            let attributes = alloc::format!("rack:{value}");
            for predicate in [equals("x"), unequal("x"), matches("x"), matches_not("x")] {
                let told = predicate.clone();
                assert!(
                    admits(&attributes, attribute("rack"), predicate),
                    "{told:?}"
                );
            }
        }
        for (predicate, expected) in [
            (equals("x"), false),
            (matches(".*"), false),
            (unequal("x"), true),
            (matches_not(".*"), true),
            (Predicate::Exists, false),
            (Predicate::NotExists, true),
            (number(Comparison::Below, 5), false),
            (number(Comparison::Unequal, 5), true),
        ] {
            let told = predicate.clone();
            assert_eq!(
                admits("", attribute("rack"), predicate),
                expected,
                "{told:?}"
            );
        }
        // The first of several counts.
        assert!(admits("rack:a;rack:b", attribute("rack"), equals("a")));
        assert!(!admits("rack:a;rack:b", attribute("rack"), equals("b")));
    }

    #[test]
    fn names_of_machines_are_looked_at() {
        // OF-42
        assert!(admits(
            "",
            Selector::Hostname,
            matches(r"node-\d+\.example")
        ));
        assert!(!admits("", Selector::Hostname, matches("node")));
        assert!(admits("", Selector::Region, equals("eu")));
        assert!(!admits("", Selector::Zone, equals("eu")));
        assert!(admits("", Selector::Zone, Predicate::NotExists));
    }

    #[test]
    fn a_whole_text_must_match() {
        // OF-43: however the alternatives are written.
        for pattern in ["a|ab", "ab|a", "a|ab|abc", "(?:a|b)*"] {
            assert!(Pattern::new(pattern).unwrap().matches("ab"), "{pattern}");
            assert!(!Pattern::new(pattern).unwrap().matches("abx"), "{pattern}");
        }
        assert!(!Pattern::new("b").unwrap().matches("ab"));
    }

    #[test]
    fn patterns_are_bounded() {
        // OF-44
        for bad in ["(", "a)|(b", "[z-a]", "(?=x)", r"(a)\1"] {
            let error = Pattern::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid or too large pattern"), "{error}");
        }
        // One that is too long is not even compiled.
        let long = Pattern::new(&"x".repeat(limits::PATTERN_BYTES + 1)).unwrap_err();
        assert!(long.to_string().contains("it has 1025 bytes"), "{long}");
        assert!(Pattern::new("(?:(?:x{50}){50}){50}").is_err());
        // Time is linear: this would not end with backtracking.
        let text = "a".repeat(5_000);
        assert!(!Pattern::new("(?:a|a)*(?:a*)*b").unwrap().matches(&text));
    }

    #[test]
    fn numbers_are_compared() {
        // OF-47
        use Comparison::{Above, AtLeast, AtMost, Below, Equal, Unequal};
        let speed =
            |comparison, than| admits("speed:3", attribute("speed"), number(comparison, than));
        for (comparison, at_two, at_three, at_four) in [
            (Below, false, false, true),
            (AtMost, false, true, true),
            (Equal, false, true, false),
            (Unequal, true, false, true),
            (AtLeast, true, true, false),
            (Above, true, false, false),
        ] {
            let found = [2, 3, 4].map(|than| speed(comparison, than));
            assert_eq!(found, [at_two, at_three, at_four], "{comparison}");
        }
        // RM-57: what is negative is a text.
        for text in ["temp:-3", "temp:fast", "temp:[1-3]"] {
            for comparison in [Below, AtMost, Equal, Unequal, AtLeast, Above] {
                let admitted = admits(text, attribute("temp"), number(comparison, 0));
                assert_eq!(admitted, comparison == Unequal, "{text} {comparison}");
            }
        }
        let cpus = || Selector::Offered("cpus".into());
        assert!(admits("", cpus(), number(AtLeast, 3)));
        assert!(!admits("", cpus(), number(Above, 3)));
        assert!(admits(
            "",
            Selector::Total("ports".into()),
            number(Equal, 10)
        ));
        let gpus = || Selector::Total("gpus".into());
        assert!(admits("", gpus(), number(Equal, 0)));
        assert!(admits("", gpus(), Predicate::NotExists));
    }

    #[test]
    fn one_group_must_hold_and_of_it_all() {
        // OF-41
        let is = |name: &str, text: &str| Constraint {
            selector: attribute(name),
            predicate: equals(text),
        };
        let groups = vec![
            vec![is("rack", "r1"), is("disk", "ssd")],
            vec![is("rack", "r2")],
        ];
        let constraints = Constraints::new(groups).unwrap();
        let (nothing, bytes) = (
            Resources::new(),
            postcard::to_allocvec(&constraints).unwrap(),
        );
        assert_eq!(
            postcard::from_bytes::<Constraints>(&bytes).unwrap(),
            constraints
        );
        let obstacle = |attributes: &str| {
            let subject = Subject {
                hostname: "",
                attributes: &Attributes::parse(attributes).unwrap(),
                region: None,
                zone: None,
                total: &nothing,
                offered: &nothing,
            };
            constraints.obstacle(&subject).map(ToString::to_string)
        };
        assert_eq!(obstacle("rack:r1;disk:ssd"), None);
        assert_eq!(obstacle("rack:r2"), None);
        assert_eq!(obstacle("rack:r1").unwrap(), r#"attribute "disk" is "ssd""#);
        assert_eq!(Constraints::new(vec![]), Err(InvalidConstraints::Empty));
        let empty = vec![vec![is("rack", "r1")], vec![]];
        assert_eq!(Constraints::new(empty), Err(InvalidConstraints::Empty));
        let many = vec![vec![is("rack", "r1"); limits::CONSTRAINTS + 1]];
        assert_eq!(Constraints::new(many), Err(InvalidConstraints::TooMany));
        let absurd = Constraint {
            selector: Selector::Hostname,
            predicate: number(Comparison::Equal, 1),
        };
        let error = Constraints::new(vec![vec![absurd]]).unwrap_err();
        assert!(matches!(error, InvalidConstraints::Mismatch(_)));
    }
}
