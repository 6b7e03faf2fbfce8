//! Reading the text of resources, attributes and quantities, with the position of what is wrong.
//!
//! The grammar is the proper part of Mesos' (RM-07, RM-10): what Mesos' tokenizer lets through by
//! accident is refused. Blanks (ASCII spaces) do not count within a value; around names and roles,
//! other white space of ASCII does not count either. Writing is the
//! `Display` of each type, and what is written reads back. Deliberately not here: JSON.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::details::Details;
use super::invalid::check_name;
use super::items::{self, Items};
use super::metadata::Metadata;
use super::milli::{InvalidScalar, Milli, Written};
use super::ranges::Ranges;
use super::resource::Resource;
use super::value::Value;
use crate::roles::Role;

/// How much of a text an error repeats, in bytes.
const EXCERPT_BYTES: usize = 120;

/// What an error expects where a name should stand.
pub(crate) const NAME: &str =
    r#"a name of at most 255 bytes without "():;" and control characters"#;
/// What an error expects where a plain number should stand.
pub(crate) const NUMBER: &str = "a non-negative number";
const VALUE: &str = r#"a non-negative number, a range list "[1-3]" or a set "{a,b}""#;

/// A text that does not follow its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: at {position}: expected {expected}")]
pub struct ParseError {
    what: &'static str,
    text: String,
    position: usize,
    expected: &'static str,
}

impl ParseError {
    /// Returns where the text goes wrong, in bytes from its beginning.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Returns what should stand there.
    pub const fn expected(&self) -> &'static str {
        self.expected
    }
}

/// Shortens a text to what surrounds a position.
pub(super) fn excerpt(text: &str, position: usize) -> String {
    if text.len() <= EXCERPT_BYTES {
        return text.into();
    }
    let from = text.floor_char_boundary(position.saturating_sub(EXCERPT_BYTES / 2));
    let to = text.floor_char_boundary((from + EXCERPT_BYTES).min(text.len()));
    let before = if from == 0 { "" } else { "…" };
    let after = if to == text.len() { "" } else { "…" };
    format!("{before}{}{after}", &text[from..to])
}

/// A place in a text that is being read.
pub(crate) struct Cursor<'a> {
    what: &'static str,
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning; `what` names the kind of text in errors.
    pub(crate) const fn new(what: &'static str, text: &'a str) -> Self {
        Self { what, text, at: 0 }
    }

    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn error(&self, position: usize, expected: &'static str) -> ParseError {
        ParseError {
            what: self.what,
            text: excerpt(self.text, position),
            position,
            expected,
        }
    }

    /// Takes one of `signs` if it stands right here, before any blank.
    pub(crate) fn eat_here(&mut self, signs: &[char]) -> bool {
        let next = self.rest().chars().next().filter(|c| signs.contains(c));
        self.at += next.map_or(0, char::len_utf8);
        next.is_some()
    }

    pub(crate) fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    /// Skips blanks and returns whether `sign` follows.
    pub(crate) fn sees(&mut self, sign: char) -> bool {
        self.skip_blanks();
        self.rest().starts_with(sign)
    }

    /// Skips blanks and takes `sign` if it follows.
    pub(crate) fn eat(&mut self, sign: char) -> bool {
        let found = self.sees(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    pub(crate) fn expect(&mut self, sign: char, expected: &'static str) -> Result<(), ParseError> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(self.error(self.at, expected))
    }

    pub(crate) fn expect_end(&mut self) -> Result<(), ParseError> {
        self.skip_blanks();
        if self.is_at_end() {
            return Ok(());
        }
        Err(self.error(self.at, "the end of the text"))
    }

    /// Takes what stands before the first of `stops`, or before the end.
    pub(crate) fn take_until(&mut self, stops: &[char]) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(stops).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// Reads `[1-3,5-5]`. Overlaps merge (RM-05), anything lax is refused (RM-07).
    pub(crate) fn ranges(&mut self) -> Result<Ranges, ParseError> {
        self.expect('[', r#""[""#)?;
        if self.eat(']') {
            return Ok(Ranges::new());
        }
        let mut ranges = Vec::new();
        loop {
            self.skip_blanks();
            let start = self.at;
            let first = self.port()?;
            self.expect('-', r#""-" and the last number of the range"#)?;
            let last = self.port()?;
            if first > last {
                return Err(self.error(start, "a range whose last number is not below its first"));
            }
            ranges.push(first..=last);
            if self.eat(']') {
                return Ok(ranges.into_iter().collect());
            }
            self.expect(',', r#""," or "]""#)?;
        }
    }

    /// Reads a number of a range: decimal, or hexadecimal after `0x`.
    fn port(&mut self) -> Result<u64, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let text = without_blanks(self.take_until(&['-', ',', ']', ';', '\n']));
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let (digits, radix) = hex.map_or((text.as_str(), 10), |digits| (digits, 16));
        // `from_str_radix` alone would take a plus sign.
        let number = match digits.chars().all(|c| c.is_digit(radix)) {
            true => u64::from_str_radix(digits, radix).ok(),
            false => None,
        };
        number.ok_or_else(|| self.error(start, "a whole number below 2^64"))
    }

    /// Reads `{a,b}`. Repeated items are refused (RM-06).
    pub(crate) fn items(&mut self) -> Result<Items, ParseError> {
        self.expect('{', r#""{""#)?;
        let mut items = Vec::new();
        if self.eat('}') {
            return Ok(Items::new());
        }
        loop {
            self.skip_blanks();
            let start = self.at;
            let item = without_blanks(self.take_until(&[',', '}', ';']));
            items.push((item, start));
            if self.eat('}') {
                break;
            }
            self.expect(',', r#""," or "}""#)?;
        }
        self.collect_items(items)
    }

    fn collect_items(&self, mut items: Vec<(String, usize)>) -> Result<Items, ParseError> {
        items.sort();
        let mut names: Vec<Arc<str>> = Vec::with_capacity(items.len());
        for (item, start) in items {
            if items::check(&item).is_err() {
                return Err(self.error(start, "an item: a text without \"()[]{}:\""));
            }
            if names.last().is_some_and(|last| **last == *item) {
                return Err(self.error(start, "an item that is not there yet"));
            }
            names.push(item.into());
        }
        Ok(Items::try_from(names).expect("the items are checked, sorted and there once"))
    }

    /// Reads a number that ends before one of `stops`; `expected` is for what is no number.
    pub(crate) fn scalar(
        &mut self,
        stops: &[char],
        expected: &'static str,
    ) -> Result<Written, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let text = without_blanks(self.take_until(stops));
        Milli::read(&text).map_err(|why| self.error(start, expected_scalar(why, expected)))
    }

    /// Reads one value of a resource.
    fn value(&mut self) -> Result<Value, ParseError> {
        if self.sees('[') {
            return self.ranges().map(Value::Ranges);
        }
        if self.sees('{') {
            return self.items().map(Value::Items);
        }
        self.kept_scalar(&[';', ':'], VALUE).map(Value::Scalar)
    }

    /// Reads a number as [`Cursor::scalar`] does, and refuses one that rounds to nothing (TV-01).
    pub(super) fn kept_scalar(
        &mut self,
        stops: &[char],
        expected: &'static str,
    ) -> Result<Milli, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let written = self.scalar(stops, expected)?;
        if written.vanished {
            return Err(self.error(start, "0, or a number of at least 0.0005"));
        }
        Ok(written.value)
    }

    /// Reads one `name(role)<details>:value`.
    fn resource(&mut self) -> Result<Resource, ParseError> {
        let start = self.at;
        let name = self.take_until(&['(', ':', ';']).trim_ascii();
        check_name(name).map_err(|_| self.error(start, NAME))?;
        let mut details = Details::default();
        let mut described = start;
        if self.eat('(') {
            described = self.at - 1;
            details = Details::of(Metadata::reserved_to(self.role()?));
            if self.eat('<') {
                described = self.at - 1;
                details = self.details(details)?;
            }
        }
        self.expect(':', r#"":" and a value"#)?;
        let resource = Resource::new(name, self.value()?)
            .expect("the name is checked, and what is read is not negative");
        details
            .describe(resource)
            .map_err(|(at, expected)| self.error(at.unwrap_or(described), expected))
    }

    fn role(&mut self) -> Result<Role, ParseError> {
        let start = self.at;
        let text = self.take_until(&[')']);
        if self.is_at_end() {
            return Err(self.error(start, r#"a role and ")""#));
        }
        let role = Role::new(text.trim_ascii()).map_err(|_| self.error(start, "a valid role"))?;
        self.expect(')', r#"")""#)?;
        Ok(role)
    }

    /// Reads a text in double quotes, in which `\` stands before a quote and before itself.
    pub(super) fn quoted(&mut self) -> Result<String, ParseError> {
        self.expect('"', "a text in double quotes")?;
        let start = self.at;
        let mut text = String::new();
        let mut signs = self.rest().char_indices();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '"' => {
                    self.at = start + at + 1;
                    return Ok(text);
                }
                '\\' => match signs.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some(_) | None => {
                        return Err(self.error(start + at, r#""\"" or "\\""#));
                    }
                },
                plain => text.push(plain),
            }
        }
        Err(self.error(self.text.len(), "a closing double quote"))
    }

    /// Takes what separates two entries; returns whether another one follows.
    pub(crate) fn next_entry(&mut self) -> Result<bool, ParseError> {
        let first = self.at == 0;
        self.skip_blanks();
        if !first && !self.is_at_end() {
            self.expect(';', r#"";" or the end of the text"#)?;
        }
        let rest = self.rest();
        let entry = rest.find(|c: char| c != ';' && !c.is_ascii_whitespace());
        self.at += entry.unwrap_or(rest.len());
        Ok(entry.is_some())
    }
}

/// Says what should stand in the place of a number that is none.
pub(crate) const fn expected_scalar(why: InvalidScalar, expected: &'static str) -> &'static str {
    match why {
        InvalidScalar::TooLarge => "a number of at most 9223372036854775.807",
        InvalidScalar::Subnormal => "0, or a number that is not so close to it",
        InvalidScalar::NotANumber | InvalidScalar::Infinite | InvalidScalar::Negative => expected,
    }
}

/// Removes blanks, which do not count within a value (RM-07).
pub(crate) fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').collect()
}

/// Reads all entries of `name(role):value;…` with their positions, zeros among them.
pub(super) fn entries<'a>(
    text: &'a str,
) -> Result<(Cursor<'a>, Vec<(usize, Resource)>), ParseError> {
    let mut cursor = Cursor::new("resources", text);
    let mut entries: Vec<(usize, Resource)> = Vec::new();
    while cursor.next_entry()? {
        let start = cursor.at();
        entries.push((start, cursor.resource()?));
    }
    Ok((cursor, entries))
}
