//! Who a peer is, as proved by its certificate.
//!
//! Deliberately not here: certificates (the transport reads them) and access rules.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// The part that a peer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PeerRole {
    /// Shares agents between frameworks.
    Master,
    /// Offers a machine and runs tasks.
    Agent,
    /// Takes offers and launches tasks.
    Framework,
    /// Looks on and gives orders: the command line.
    Operator,
}

impl PeerRole {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Master, Self::Agent, Self::Framework, Self::Operator];

    /// Returns the word for it, as it stands in certificates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Agent => "agent",
            Self::Framework => "framework",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}: expected master, agent, framework or operator")]
pub struct UnknownRole(pub String);

impl FromStr for PeerRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.into()))
    }
}

/// A proved identity: a role and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The part it may play.
    pub role: PeerRole,
    /// Its name, unique within the role by the care of whoever issues certificates.
    pub name: String,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.name)
    }
}
