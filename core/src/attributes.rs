//! What operators say about an agent, in words of their own: racks, zones, generations.
//!
//! Attributes travel with every offer and mean nothing to the system (RM-58). Deliberately not
//! here: constraints over them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::resources::{
    Cursor, InvalidScalar, Milli, ParseError, Ranges, Written, expected_scalar, without_blanks,
};

/// What ends an attribute.
const ENDS: &[char] = &[';', '\n'];
const VALUE: &str = r#"a number, a range list "[1-3]" or a text"#;
const KEY: &str = "a key of 1 to 255 bytes without control characters";

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AttributeValue {
    /// A number.
    Scalar(Milli),
    /// Ranges of numbers.
    Ranges(Ranges),
    /// Anything else.
    Text(Arc<str>),
}

/// A key and what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Attribute {
    name: Arc<str>,
    value: AttributeValue,
}

/// An attribute as a peer sends it, before it is checked. The fields are those of [`Attribute`].
#[derive(Deserialize)]
struct Raw {
    name: Arc<str>,
    value: AttributeValue,
}

/// Why something is not an attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttribute {
    /// The key is empty, too long, or holds a colon, a semicolon or a control character.
    #[error("invalid attribute key {0:?}")]
    Key(String),
    /// The number is negative.
    #[error("the number of attribute {0:?} is negative")]
    Negative(Arc<str>),
    /// The text, written down, would not read back as this text.
    #[error("invalid text of an attribute: {0}")]
    Text(ParseError),
    /// The text, written down, would read back as something else: a number, say.
    #[error("the text of attribute {0:?} does not read back as the same text")]
    NotAText(Arc<str>),
}

/// Attributes in the order in which they were given; keys may repeat (RM-57).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Vec<Attribute>);

impl Attribute {
    /// Checks an attribute: what it writes must read back.
    pub fn new(name: &str, value: AttributeValue) -> Result<Self, InvalidAttribute> {
        Self::checked(Arc::from(name), value)
    }

    fn checked(name: Arc<str>, value: AttributeValue) -> Result<Self, InvalidAttribute> {
        if !is_key(&name) {
            return Err(InvalidAttribute::Key(name.chars().take(80).collect()));
        }
        match &value {
            AttributeValue::Ranges(_) => {}
            AttributeValue::Scalar(amount) => {
                if *amount < Milli::ZERO {
                    return Err(InvalidAttribute::Negative(name));
                }
            }
            AttributeValue::Text(text) => {
                let mut cursor = Cursor::new("text", text);
                let read = read_value(&mut cursor).map_err(InvalidAttribute::Text)?;
                if read != value || !cursor.is_at_end() {
                    return Err(InvalidAttribute::NotAText(name));
                }
            }
        }
        Ok(Self { name, value })
    }

    /// Returns the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it says.
    pub const fn value(&self) -> &AttributeValue {
        &self.value
    }
}

impl Attributes {
    /// Makes no attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads text such as `rack:r1;zone:[1-3];speed:2.5` (RM-57). A newline separates as well.
    /// Blanks count in keys and not in values.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("attributes", text);
        let mut attributes = Vec::new();
        while !cursor.is_at_end() {
            // Before a separator no blank is skipped: it may belong to a key.
            if cursor.eat_here(ENDS) {
                continue;
            }
            attributes.push(read_attribute(&mut cursor)?);
            if !cursor.is_at_end() && !cursor.eat_here(ENDS) {
                return Err(cursor.error(cursor.at(), r#"";", a newline or the end of the text"#));
            }
        }
        Ok(Self(attributes))
    }

    /// Returns whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Visits them in the order in which they were given.
    pub fn iter(&self) -> core::slice::Iter<'_, Attribute> {
        self.0.iter()
    }

    /// Adds one at the end.
    pub fn push(&mut self, attribute: Attribute) {
        self.0.push(attribute);
    }

    /// Returns what the first attribute of this key says.
    pub fn first(&self, name: &str) -> Option<&AttributeValue> {
        let found = self.0.iter().find(|attribute| &*attribute.name == name);
        found.map(|attribute| &attribute.value)
    }
}

fn is_key(text: &str) -> bool {
    (1..=limits::ID_BYTES).contains(&text.len())
        && !text.contains([':', ';'])
        && !text.chars().any(char::is_control)
}

fn read_attribute(cursor: &mut Cursor<'_>) -> Result<Attribute, ParseError> {
    let start = cursor.at();
    let name = cursor.take_until(&[':', ';', '\n']);
    if !is_key(name) {
        return Err(cursor.error(start, KEY));
    }
    cursor.expect(':', r#"":" and a value"#)?;
    let value = read_value(cursor)?;
    Ok(Attribute {
        name: Arc::from(name),
        value,
    })
}

/// Reads a value and the blanks after it.
fn read_value(cursor: &mut Cursor<'_>) -> Result<AttributeValue, ParseError> {
    if cursor.sees('[') {
        let ranges = cursor.ranges()?;
        cursor.skip_blanks();
        return Ok(AttributeValue::Ranges(ranges));
    }
    let start = cursor.at();
    if cursor.sees('{') {
        return Err(cursor.error(start, VALUE));
    }
    let text = without_blanks(cursor.take_until(ENDS));
    if text.is_empty() {
        return Err(cursor.error(start, VALUE));
    }
    match Milli::read(&text) {
        Ok(Written { value, vanished: _ }) => Ok(AttributeValue::Scalar(value)),
        Err(InvalidScalar::NotANumber | InvalidScalar::Infinite | InvalidScalar::Negative) => {
            check_text(cursor, start, &text)?;
            Ok(AttributeValue::Text(text.into()))
        }
        Err(why @ (InvalidScalar::TooLarge | InvalidScalar::Subnormal)) => {
            Err(cursor.error(start, expected_scalar(why, VALUE)))
        }
    }
}

/// Checks that parentheses match and that other brackets and control characters are absent
/// (RM-07).
fn check_text(cursor: &Cursor<'_>, start: usize, text: &str) -> Result<(), ParseError> {
    let mut open = 0_usize;
    for c in text.chars() {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return Err(cursor.error(start, r#""(" before ")""#)),
            ')' => open -= 1,
            '[' | ']' | '{' | '}' => {
                return Err(cursor.error(start, r#"a text without "[]{}""#));
            }
            c if c.is_control() => {
                return Err(cursor.error(start, "a text without control characters"));
            }
            _ => {}
        }
    }
    if open > 0 {
        return Err(cursor.error(start, r#"")" after "(""#));
    }
    if text.len() > limits::TEXT_BYTES {
        return Err(cursor.error(start, "a text of at most 4096 bytes"));
    }
    Ok(())
}

impl TryFrom<Raw> for Attribute {
    type Error = InvalidAttribute;

    fn try_from(raw: Raw) -> Result<Self, InvalidAttribute> {
        Self::checked(raw.name, raw.value)
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = &'a Attribute;
    type IntoIter = core::slice::Iter<'a, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromStr for Attributes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(amount) => amount.fmt(f),
            Self::Ranges(ranges) => ranges.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.value)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, attribute) in self.0.iter().enumerate() {
            let semicolon = if n == 0 { "" } else { ";" };
            write!(f, "{semicolon}{attribute}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Attributes::parse(text)
            .unwrap_or_else(|why| panic!("{why}"))
            .to_string()
    }

    fn text(text: &str) -> AttributeValue {
        AttributeValue::Text(text.into())
    }

    #[test]
    fn each_kind_is_read() {
        // RM-57
        let attributes = Attributes::parse("rack:r1;zone:[1-3];speed:2.5\ngen: x 1").unwrap();
        let values: Vec<_> = attributes
            .iter()
            .map(|a| (a.name(), a.value().clone()))
            .collect();
        let expected = [
            ("rack", text("r1")),
            ("zone", AttributeValue::Ranges("[1-3]".parse().unwrap())),
            (
                "speed",
                AttributeValue::Scalar(Milli::from_thousandths(2_500)),
            ),
            ("gen", text("x1")),
        ];
        assert_eq!(values, expected);
        assert_eq!(
            attributes.to_string(),
            "rack:r1;zone:[1-3];speed:2.5;gen:x1"
        );
    }

    #[test]
    fn tv_07_what_is_no_number_is_text() {
        // RM-57, RM-07, TV-07
        for word in [
            "-3", "1e400", "inf", "nan", "0x10", "(a)", "a:b", "1.2.3", "é",
        ] {
            let attributes = Attributes::parse(&alloc::format!("k:{word}")).unwrap();
            assert_eq!(attributes.first("k"), Some(&text(word)), "{word}");
        }
    }

    #[test]
    fn order_repetition_and_blanks() {
        // RM-57: the first of repeated keys wins; keys are not trimmed.
        let attributes = Attributes::parse(";;\n a :1;a:b;a:c;\n").unwrap();
        assert_eq!(attributes.to_string(), " a :1;a:b;a:c");
        assert_eq!(attributes.first("a"), Some(&text("b")));
        assert!(attributes.first(" a ").is_some() && attributes.first("x").is_none());
        assert_eq!(
            (attributes.len(), Attributes::parse("").unwrap().is_empty()),
            (3, true)
        );
        assert_eq!(shown("a:[1-2] ;b:[]"), "a:[1-2];b:[]");
    }

    #[test]
    fn errors_have_a_position() {
        // RM-57: an error, where Mesos aborts.
        for (bad, expected) in [
            (
                ":a",
                "at 0: expected a key of 1 to 255 bytes without control characters",
            ),
            ("a", r#"at 1: expected ":" and a value"#),
            ("a:1;b", r#"at 5: expected ":" and a value"#),
            (
                "a:",
                r#"at 2: expected a number, a range list "[1-3]" or a text"#,
            ),
            (
                "a: ;",
                r#"at 3: expected a number, a range list "[1-3]" or a text"#,
            ),
            (
                "a:{x}",
                r#"at 2: expected a number, a range list "[1-3]" or a text"#,
            ),
            ("a:x[1]", r#"at 2: expected a text without "[]{}""#),
            ("a:a)b(", r#"at 2: expected "(" before ")""#),
            ("a:(b", r#"at 2: expected ")" after "(""#),
            ("a:x\ty", "at 2: expected a text without control characters"),
            (
                "a:[1-2]x",
                r#"at 7: expected ";", a newline or the end of the text"#,
            ),
            (
                "a:1e308",
                "at 2: expected a number of at most 9223372036854775.807",
            ),
            (
                "a:1e-310",
                "at 2: expected 0, or a number that is not so close to it",
            ),
        ] {
            let why = Attributes::parse(bad).unwrap_err().to_string();
            assert_eq!(
                why,
                alloc::format!("invalid attributes {bad:?}: {expected}")
            );
        }
    }

    #[test]
    fn what_does_not_read_back_is_not_made() {
        let amount = |n| AttributeValue::Scalar(Milli::from_thousandths(n));
        for (name, value) in [
            ("", amount(1)),
            ("a:b", amount(1)),
            ("a\n", amount(1)),
            ("a", amount(-1)),
            ("a", text("")),
            ("a", text("3")),
            ("a", text("[1-3]")),
            ("a", text("x y")),
            ("a", text("x;y:z")),
            ("a", text("{x}")),
            ("a", text(&"x".repeat(limits::TEXT_BYTES + 1))),
        ] {
            assert!(
                Attribute::new(name, value.clone()).is_err(),
                "{name:?} {value:?}"
            );
            let bytes = postcard::to_allocvec(&(name, value)).unwrap();
            assert!(
                postcard::from_bytes::<Attribute>(&bytes).is_err(),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(given in "[ab:;\n\\[\\]{}(), 0-9.e-]{0,24}") {
            if let Ok(attributes) = Attributes::parse(&given) {
                let again = Attributes::parse(&attributes.to_string());
                prop_assert_eq!(again, Ok(attributes.clone()));
                let bytes = postcard::to_allocvec(&attributes).unwrap();
                prop_assert_eq!(postcard::from_bytes(&bytes), Ok(attributes));
            }
        }

        #[test]
        fn what_is_made_reads_back(
            name in any::<String>(),
            word in "\\PC{0,8}",
            number in any::<i64>(),
        ) {
            let scalar = AttributeValue::Scalar(Milli::from_thousandths(number));
            for value in [text(&word), scalar] {
                let Ok(attribute) = Attribute::new(&name, value) else { continue };
                let mut attributes = Attributes::new();
                attributes.push(attribute);
                prop_assert_eq!(Attributes::parse(&attributes.to_string()), Ok(attributes));
            }
        }

        #[test]
        fn no_text_and_no_bytes_panic(
            text in any::<String>(),
            bytes in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let _ = Attributes::parse(&text);
            if let Ok(attributes) = postcard::from_bytes::<Attributes>(&bytes) {
                prop_assert_eq!(Attributes::parse(&attributes.to_string()), Ok(attributes));
            }
        }
    }
}
