//! Sets of CPUs or memory nodes, in the form in which the kernel lists them: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// More CPUs than any kernel can have.
const MOST: u32 = 65_536;

/// A set of CPUs, or of memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuList(BTreeSet<u32>);

/// A text that lists no CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not list numbers below {MOST}, as in 0-3,8")]
pub struct NotAList {
    text: String,
}

impl CpuList {
    /// Returns whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts what is in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Goes through it in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Returns the smallest.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// Returns whether a number is in it.
    pub fn contains(&self, number: u32) -> bool {
        self.0.contains(&number)
    }

    /// Returns whether they have something in common.
    pub fn meets(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    /// Returns what is in it and not in another.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    /// Adds what is in another.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = NotAList;

    fn from_str(text: &str) -> Result<Self, NotAList> {
        let wrong = || NotAList {
            text: text.chars().take(100).collect(),
        };
        let number = |text: &str| {
            let number = text.trim().parse::<u32>().ok();
            number.filter(|number| *number < MOST).ok_or_else(wrong)
        };
        let mut found = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            found.extend(first..=last);
        }
        Ok(Self(found))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| *next == last + 1) {
                last = next;
            }
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        for text in ["", "0", "0-3", "0-1,4,6-8", "65535"] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(list.to_string(), text);
        }
        assert_eq!("3,1-2\n".parse::<CpuList>().unwrap().to_string(), "1-3");
        for text in [
            "x",
            "1-",
            "-1",
            "4-2",
            "0-99999999999",
            "65536",
            "0-65536",
            "1;2",
        ] {
            assert!(text.parse::<CpuList>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_sets() {
        let list = |text: &str| text.parse::<CpuList>().unwrap();
        assert_eq!(list("0-5").without(&list("1,3-4")), list("0,2,5"));
        assert!(list("0-5").meets(&list("5-9")) && !list("0-5").meets(&list("6")));
        let mut more = list("1");
        more.add(&list("2,7"));
        assert_eq!((more.len(), more.to_string().as_str()), (3, "1-2,7"));
    }
}
