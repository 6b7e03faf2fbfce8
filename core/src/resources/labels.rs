//! Labels: keys and values that mean something to whoever wrote them, and nothing to us.
//!
//! Reservations and disks carry them as a part of their identity, and their order does not count
//! (RM-18, RM-32). So there is one canonical form, always kept: sorted. Deliberately not here:
//! what a label means.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::parse::excerpt;
use crate::limits;

/// A key, and a value if it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// What it says something about.
    pub key: Arc<str>,
    /// What it says.
    pub value: Option<Arc<str>>,
}

/// Labels, sorted; one may be there several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Label>")]
pub struct Labels(Vec<Label>);

/// Why a text is not fit to be a principal, a path, a part of a label and the like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}: {problem}")]
pub struct InvalidText {
    what: &'static str,
    text: String,
    problem: &'static str,
}

/// Why something are not labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// A key or a value is not fit.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// There are too many.
    #[error("there are more than {} labels", limits::LABELS)]
    TooMany,
    /// A peer's labels are not in canonical form.
    #[error("the labels are out of order at {key:?}")]
    Order {
        /// The key of the first one that should stand before the one before it.
        key: Arc<str>,
    },
}

/// Checks a text of somebody's making: 1 to 4096 bytes without control characters, so that it can
/// be written in one line.
pub(super) fn check_text(what: &'static str, text: &str) -> Result<(), InvalidText> {
    let problem = if text.is_empty() {
        "it is empty"
    } else if text.len() > limits::TEXT_BYTES {
        "it is longer than 4096 bytes"
    } else if text.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(InvalidText {
        what,
        text: excerpt(text, 0),
        problem,
    })
}

impl Label {
    /// Makes a label with a value.
    pub fn new(key: &str, value: &str) -> Self {
        Self {
            key: Arc::from(key),
            value: Some(Arc::from(value)),
        }
    }

    /// Checks both texts; a value may be empty.
    pub(super) fn check(&self) -> Result<(), InvalidText> {
        check_text("label key", &self.key)?;
        match self.value.as_deref() {
            None | Some("") => Ok(()),
            Some(value) => check_text("label value", value),
        }
    }
}

impl Labels {
    /// Makes no labels.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Checks labels in any order.
    pub fn from_unordered(mut labels: Vec<Label>) -> Result<Self, InvalidLabels> {
        labels.sort();
        Self::try_from(labels)
    }

    /// Returns whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visits them in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Label> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Label>> for Labels {
    type Error = InvalidLabels;

    /// Takes labels of a peer, who has to send them sorted: a value has one encoding.
    fn try_from(labels: Vec<Label>) -> Result<Self, InvalidLabels> {
        if labels.len() > limits::LABELS {
            return Err(InvalidLabels::TooMany);
        }
        labels.iter().try_for_each(Label::check)?;
        match labels.windows(2).find(|pair| pair[0] > pair[1]) {
            Some(pair) => Err(InvalidLabels::Order {
                key: Arc::clone(&pair[1].key),
            }),
            None => Ok(Self(labels)),
        }
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = core::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
