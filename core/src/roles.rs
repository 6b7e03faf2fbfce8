//! Roles: the paths by which the cluster is divided between groups of frameworks.
//!
//! A role that exists is valid: it was checked where it was made or decoded (RM-60). Deliberately
//! not here: shares, quota and weights, which the allocator keeps for each role.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::from_text;
use crate::limits;

/// The role of whoever has none, and of what is reserved to nobody.
const ANY: &str = "*";

/// A checked role: components separated by `/`, or `*`. Cloning one copies a pointer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Role(Arc<str>);

/// Why a text is not a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid role {text:?}: {problem}")]
pub struct InvalidRole {
    text: String,
    problem: &'static str,
}

impl Role {
    /// Checks a text (RM-60). A `)` is refused beside what Mesos refuses, since it would end the
    /// role in the text of resources; so are all control characters and all sorts of blanks, by
    /// which roles would look alike that are not.
    pub fn new(text: &str) -> Result<Self, InvalidRole> {
        match problem(text) {
            None => Ok(Self(Arc::from(text))),
            Some(problem) => Err(InvalidRole {
                text: text.chars().take(80).collect(),
                problem,
            }),
        }
    }

    /// Makes `*`.
    pub fn any() -> Self {
        Self(Arc::from(ANY))
    }

    /// Returns whether this is `*`.
    pub fn is_any(&self) -> bool {
        &*self.0 == ANY
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this lies strictly below `ancestor`, as `a/b` does below `a`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        let rest = self.0.strip_prefix(&*ancestor.0);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Visits the components in order.
    pub fn components(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.split('/')
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > limits::TEXT_BYTES {
        return Some("it is longer than 4096 bytes");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("it contains a blank or a control character");
    }
    if text.contains(')') {
        return Some("it contains a closing parenthesis");
    }
    if text == ANY {
        return None;
    }
    text.split('/').find_map(|component| match component {
        "" => Some("it begins or ends with a slash, or has two in a row"),
        "." | ".." => Some("one of its parts is \".\" or \"..\""),
        ANY => Some("one of its parts is \"*\""),
        part if part.starts_with('-') => Some("one of its parts begins with \"-\""),
        _ => None,
    })
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::new(text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::new)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    fn role(text: &str) -> Role {
        Role::new(text).unwrap()
    }

    #[test]
    fn tv_24_the_grammar_of_roles() {
        // TV-24, RM-60
        let bad = [
            "a//b",
            "/a",
            "a/",
            "-a",
            "a/..",
            "a b",
            "",
            "/",
            "a/.",
            "a/*",
            "*/a",
            "a/-b",
            "a\tb",
            "a\u{8}",
            "a\u{7f}",
            "a\n",
            "a)b",
            "a\u{a0}",
            "\u{3000}a",
            "a\u{2028}b",
        ];
        for text in bad {
            assert!(Role::new(text).is_err(), "{text:?} is accepted");
            let bytes = postcard::to_allocvec(text).unwrap();
            assert!(
                postcard::from_bytes::<Role>(&bytes).is_err(),
                "{text:?} is decoded"
            );
        }
        for text in ["a-b", "*", "a/b.c", "**", "a*", "...", "é"] {
            assert_eq!(role(text).to_string(), text);
            let bytes = postcard::to_allocvec(&role(text)).unwrap();
            assert_eq!(postcard::from_bytes(&bytes), Ok(role(text)));
        }
        assert!(Role::new(&"x".repeat(limits::TEXT_BYTES + 1)).is_err());
        let error = Role::new("a/").unwrap_err().to_string();
        let expected = "invalid role \"a/\": it begins or ends with a slash, or has two in a row";
        assert_eq!(error, expected);
    }

    #[test]
    fn below_is_strict_and_by_component() {
        assert!(role("a/b").is_below(&role("a")));
        assert!(role("a/b/c").is_below(&role("a")));
        assert!(!role("a").is_below(&role("a")));
        assert!(!role("a").is_below(&role("a/b")));
        assert!(!role("ab/c").is_below(&role("a")));
        assert!(!role("a").is_below(&Role::any()));
        assert!(Role::any().is_any() && !role("**").is_any());
        assert_eq!(role("a/b").components().collect::<Vec<_>>(), ["a", "b"]);
    }
}
