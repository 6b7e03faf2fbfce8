//! Names of things: checked strings at the edge, small numbers for sessions.
//!
//! An id that exists is valid: it was checked where it was made or decoded (RM-61). Cloning one
//! copies a pointer. Inside a machine rows go by [`crate::table::Key`]; strings are looked up once.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// What an [`Id`] names. Only a marker.
pub trait Kind {
    /// The word for it in messages.
    const NOUN: &'static str;
}

/// The kinds of [`Id`].
pub mod kind {
    use super::Kind;

    /// Marks the id of a leadership of a master.
    #[derive(Debug)]
    pub enum Master {}
    /// Marks the id of an agent.
    #[derive(Debug)]
    pub enum Agent {}
    /// Marks the id of a framework.
    #[derive(Debug)]
    pub enum Framework {}
    /// Marks the id of an offer.
    #[derive(Debug)]
    pub enum Offer {}
    /// Marks the id of a task.
    #[derive(Debug)]
    pub enum Task {}
    /// Marks the id of an executor.
    #[derive(Debug)]
    pub enum Executor {}
    /// Marks the id of an operation.
    #[derive(Debug)]
    pub enum Operation {}
    /// Marks the id of a container.
    #[derive(Debug)]
    pub enum Container {}

    impl Kind for Master {
        const NOUN: &'static str = "master id";
    }
    impl Kind for Agent {
        const NOUN: &'static str = "agent id";
    }
    impl Kind for Framework {
        const NOUN: &'static str = "framework id";
    }
    impl Kind for Offer {
        const NOUN: &'static str = "offer id";
    }
    impl Kind for Task {
        const NOUN: &'static str = "task id";
    }
    impl Kind for Executor {
        const NOUN: &'static str = "executor id";
    }
    impl Kind for Operation {
        const NOUN: &'static str = "operation id";
    }
    impl Kind for Container {
        const NOUN: &'static str = "container id";
    }
}

/// Names one leadership of a master; the prefix of the ids that it hands out.
pub type MasterId = Id<kind::Master>;
/// Names an agent: `<master>-S<n>`.
pub type AgentId = Id<kind::Agent>;
/// Names a framework: `<master>-<n>`, at least four digits.
pub type FrameworkId = Id<kind::Framework>;
/// Names an offer: `<master>-O<n>`.
pub type OfferId = Id<kind::Offer>;
/// Names a task within its framework; the framework chooses it.
pub type TaskId = Id<kind::Task>;
/// Names an executor within its framework and agent; the framework chooses it.
pub type ExecutorId = Id<kind::Executor>;
/// Names an operation within its framework; the framework chooses it.
pub type OperationId = Id<kind::Operation>;
/// Names a container within its agent; the agent chooses it.
pub type ContainerId = Id<kind::Container>;

/// A checked name of something of kind `K`.
pub struct Id<K> {
    text: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {noun} {text:?}: {problem}")]
pub struct InvalidId {
    noun: &'static str,
    text: String,
    problem: &'static str,
}

impl<K: Kind> Id<K> {
    /// Checks a text: 1 to 255 bytes, not `.` or `..`, without slashes or control characters.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > limits::ID_BYTES {
            "it is longer than 255 bytes"
        } else if text == "." || text == ".." {
            "it names a directory"
        } else if text.contains(['/', '\\']) {
            "it contains a slash"
        } else if text.chars().any(|c| c.is_control()) {
            "it contains a control character"
        } else {
            return Ok(Self::from_checked(text));
        };
        Err(InvalidId {
            noun: K::NOUN,
            text: text.chars().take(80).collect(),
            problem,
        })
    }
}

impl<K> Id<K> {
    fn from_checked(text: &str) -> Self {
        Self {
            text: Arc::from(text),
            kind: PhantomData,
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl MasterId {
    /// Names the leadership of `epoch` by the master whose cluster is `cluster`.
    pub fn of(cluster: &str, epoch: u64) -> Result<Self, InvalidId> {
        Self::new(&format!("{cluster}-{epoch}"))
    }
}

impl AgentId {
    /// Names the `n`th agent admitted under `master`.
    pub fn numbered(master: &MasterId, n: u64) -> Self {
        Self::from_checked(&format!("{master}-S{n}"))
    }
}

impl FrameworkId {
    /// Names the `n`th framework subscribed under `master`.
    pub fn numbered(master: &MasterId, n: u64) -> Self {
        Self::from_checked(&format!("{master}-{n:04}"))
    }

    /// Returns whether `master` may have given this id.
    pub fn is_from(&self, master: &MasterId) -> bool {
        self.number_from(master).is_some()
    }

    /// Returns the number in it, if `master` may have given it.
    pub fn number_from(&self, master: &MasterId) -> Option<u64> {
        let rest = self.as_str().strip_prefix(master.as_str())?;
        let number = rest.strip_prefix('-')?.parse().ok()?;
        (*self == Self::numbered(master, number)).then_some(number)
    }

    /// Returns whether a leadership before `master`, which is that of `epoch`, may have given this
    /// id: it has the same cluster and a lower epoch.
    pub fn is_from_before(&self, master: &MasterId, epoch: u64) -> bool {
        self.epoch(master, epoch).is_some_and(|other| other < epoch)
    }

    /// Returns whether only a leadership after `master`, which is that of `epoch`, may have given
    /// this id: it has the same cluster and a higher epoch.
    pub fn is_from_after(&self, master: &MasterId, epoch: u64) -> bool {
        self.epoch(master, epoch).is_some_and(|other| other > epoch)
    }

    /// Returns the epoch in it, if it is of the cluster of `master`, which is that of `epoch`.
    fn epoch(&self, master: &MasterId, epoch: u64) -> Option<u64> {
        let cluster = master.as_str().strip_suffix(&format!("-{epoch}"))?;
        let rest = self.as_str().strip_prefix(cluster)?.strip_prefix('-')?;
        let (own, n) = rest.split_once('-')?;
        let (own, n): (u64, u64) = (own.parse().ok()?, n.parse().ok()?);
        // A number has one spelling.
        (self.as_str() == format!("{cluster}-{own}-{n:04}")).then_some(own)
    }
}

impl OfferId {
    /// Names the `n`th offer made under `master`.
    pub fn numbered(master: &MasterId, n: u64) -> Self {
        Self::from_checked(&format!("{master}-O{n}"))
    }

    /// Returns the number in it, if it looks like one that a master gives.
    pub(crate) fn number(&self) -> Option<u64> {
        let (_, number) = self.as_str().rsplit_once("-O")?;
        number.parse().ok()
    }
}

impl ContainerId {
    /// Names the `n`th container of an agent.
    pub fn numbered(n: u64) -> Self {
        Self::from_checked(&format!("c{n:06}"))
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self {
            text: Arc::clone(&self.text),
            kind: PhantomData,
        }
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::new)
    }
}

/// Makes something of a text where it stands in what is decoded: most texts are short and there are
/// many, so that a copy in between would cost as much as the text.
pub(crate) fn from_text<'de, D, T, E>(
    deserializer: D,
    make: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    let made = PhantomData;
    deserializer.deserialize_str(Text { make, made })
}

/// Sees a text.
struct Text<F, T, E> {
    make: F,
    made: PhantomData<fn() -> Result<T, E>>,
}

impl<F, T, E> Visitor<'_> for Text<F, T, E>
where
    F: FnOnce(&str) -> Result<T, E>,
    E: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<R: serde::de::Error>(self, text: &str) -> Result<T, R> {
        (self.make)(text).map_err(R::custom)
    }
}

/// One connection. It never comes back: reconnecting makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub u64);

/// Names one run of a machine, from its start to its end: a process, and so a container, belongs to
/// one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub u128);

/// One question on a connection, chosen by the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Names one status update, so that exactly that one is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UpdateId(pub u128);

impl fmt::Debug for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn tv_25_the_grammar_of_ids() {
        // RM-61, TV-25, VA-10, TL-32
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\nb",
            "\u{7f}",
            &"x".repeat(256),
        ] {
            assert!(TaskId::new(bad).is_err(), "{bad:?} is accepted");
        }
        for good in ["a", "a b", "...", "é", &"x".repeat(255)] {
            assert_eq!(TaskId::new(good).unwrap().as_str(), good);
        }
        let error = TaskId::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "invalid task id \"a/b\": it contains a slash");
    }

    #[test]
    fn ids_are_checked_when_they_are_decoded() {
        let bytes = postcard::to_allocvec("..").unwrap();
        assert!(postcard::from_bytes::<TaskId>(&bytes).is_err());
        let bytes = postcard::to_allocvec("fine").unwrap();
        assert_eq!(
            postcard::from_bytes::<TaskId>(&bytes).unwrap().as_str(),
            "fine"
        );
    }

    #[test]
    fn ids_carry_the_master_and_the_epoch() {
        let master = MasterId::of("rio", 7).unwrap();
        assert_eq!(AgentId::numbered(&master, 12).as_str(), "rio-7-S12");
        assert_eq!(FrameworkId::numbered(&master, 3).as_str(), "rio-7-0003");
        assert_eq!(OfferId::numbered(&master, 7).as_str(), "rio-7-O7");
    }

    #[test]
    fn an_id_is_from_the_master_whose_name_it_begins_with() {
        let master = MasterId::of("rio", 7).unwrap();
        for (text, is_from) in [
            ("rio-7-0012", true),
            ("rio-7-12", false),
            ("rio-7-S12", false),
            ("rio-7", false),
            ("rio-71-0012", false),
            ("rome-7-0012", false),
        ] {
            let id = FrameworkId::new(text).unwrap();
            assert_eq!(id.is_from(&master), is_from, "{text}");
        }
    }

    #[test]
    fn an_id_from_before_has_a_lower_epoch_of_the_same_cluster() {
        let master = MasterId::of("rio-2", 7).unwrap();
        let is_from_before = |text: &str| {
            let id = FrameworkId::new(text).unwrap();
            id.is_from_before(&master, 7)
        };
        for good in ["rio-2-6-0000", "rio-2-1-12345"] {
            assert!(is_from_before(good), "{good}");
        }
        let is_from_after = |text: &str| {
            let id = FrameworkId::new(text).unwrap();
            id.is_from_after(&master, 7)
        };
        assert!(is_from_after("rio-2-8-0000"));
        for bad in [
            "rio-2-7-0000",
            "rio-2-6-0000",
            "rio-8-0000",
            "rio-2-08-0000",
        ] {
            assert!(!is_from_after(bad), "{bad}");
        }
        for bad in [
            "rio-2-7-0000",
            "rio-2-8-0000",
            "rio-6-0000",
            "rio-2-06-0000",
            "rio-2-6-+001",
            "rio-2-6-1",
            "rio-2-6-00001",
            "rio-2-6-S1",
            "rio-2-60000",
            "executors",
        ] {
            assert!(!is_from_before(bad), "{bad}");
        }
    }
}
