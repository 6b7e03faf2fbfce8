//! The first frame in both directions, and the reasons for which a connection ends.
//!
//! The transport sends and checks it; the machines see it in their `Connected` inputs. Deliberately
//! not here: certificates. What a peer claims here counts only as far as its certificate proves it.
//!
//! A `Hello` is read before versions are agreed on, so it changes in one way only: fields are added
//! at the end, and readers skip what they do not know.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::auth::PeerRole;

/// The oldest protocol that this build speaks.
pub const PROTOCOL_MIN: u16 = Version::FIRST.0;
/// The newest protocol that this build speaks.
pub const PROTOCOL_MAX: u16 = Version::NEWEST.0;

/// What a peer says of itself before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest protocol that it speaks.
    pub protocol_min: u16,
    /// The newest protocol that it speaks.
    pub protocol_max: u16,
    /// The cluster that it belongs to, once it knows.
    pub cluster: Option<String>,
    /// The part that it plays on this connection; its certificate must say the same.
    pub role: PeerRole,
    /// A name for people; the certificate's is the one that counts.
    pub name: String,
    /// The highest leadership that it has seen, or its own if it leads.
    pub epoch: u64,
    /// One bit for each optional ability; unknown bits are ignored.
    pub capabilities: u64,
}

impl Hello {
    /// Makes the greeting of this build, with nothing seen and no abilities.
    pub fn new(role: PeerRole, name: &str) -> Self {
        Self {
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            cluster: None,
            role,
            name: name.into(),
            epoch: 0,
            capabilities: 0,
        }
    }

    /// Returns the newest protocol that both sides speak.
    pub fn common_protocol(&self, other: &Self) -> Option<Version> {
        let newest = self.protocol_max.min(other.protocol_max);
        let oldest = self.protocol_min.max(other.protocol_min);
        (oldest <= newest).then_some(Version(newest))
    }
}

/// Why one side ended a connection. The codes are part of the protocol: they never change, and new
/// ones are added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CloseReason {
    /// It leaves in good order.
    ShuttingDown,
    /// No protocol is spoken by both sides.
    ProtocolVersion,
    /// A frame is in a layout that it does not know.
    FrameVersion,
    /// A frame is longer than allowed.
    FrameTooLarge,
    /// The stream ended within a frame.
    Truncated,
    /// A frame's content makes no sense.
    Malformed,
    /// The other side's role has no business here, or is not the one its certificate proves.
    WrongRole,
    /// The other side belongs to another cluster.
    WrongCluster,
    /// The other side leads, or led, in an epoch that is over.
    StaleEpoch,
    /// The other side's certificate is expired, not yet valid, or names nobody.
    Certificate,
    /// The other side did not take its messages in time.
    Overloaded,
    /// A newer connection of the same peer takes this one's place.
    Replaced,
    /// The other side was silent for too long.
    IdleTimeout,
    /// The other side did not greet in time.
    HelloTimeout,
    /// The other side is not permitted to do what it asked for.
    Denied,
    /// The other side has too many connections already.
    Crowded,
    /// The other side's machine is down for maintenance; it may try again later (TK-120).
    Maintenance,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [Self; 17] = [
        Self::ShuttingDown,
        Self::ProtocolVersion,
        Self::FrameVersion,
        Self::FrameTooLarge,
        Self::Truncated,
        Self::Malformed,
        Self::WrongRole,
        Self::WrongCluster,
        Self::StaleEpoch,
        Self::Certificate,
        Self::Overloaded,
        Self::Replaced,
        Self::IdleTimeout,
        Self::HelloTimeout,
        Self::Denied,
        Self::Crowded,
        Self::Maintenance,
    ];

    /// Returns the code on the wire.
    pub const fn code(self) -> u32 {
        match self {
            Self::ShuttingDown => 0,
            Self::ProtocolVersion => 1,
            Self::FrameVersion => 2,
            Self::FrameTooLarge => 3,
            Self::Truncated => 4,
            Self::Malformed => 5,
            Self::WrongRole => 6,
            Self::WrongCluster => 7,
            Self::StaleEpoch => 8,
            Self::Certificate => 9,
            Self::Overloaded => 10,
            Self::Replaced => 11,
            Self::IdleTimeout => 12,
            Self::HelloTimeout => 13,
            Self::Denied => 14,
            Self::Crowded => 15,
            Self::Maintenance => 16,
        }
    }

    /// Finds the reason of a code; `None` for those of a newer protocol.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| u64::from(reason.code()) == code)
    }

    /// Returns the text for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting down",
            Self::ProtocolVersion => "no protocol version in common",
            Self::FrameVersion => "unknown frame version",
            Self::FrameTooLarge => "frame too large",
            Self::Truncated => "stream ended within a frame",
            Self::Malformed => "malformed frame",
            Self::WrongRole => "wrong role",
            Self::WrongCluster => "wrong cluster",
            Self::StaleEpoch => "stale epoch",
            Self::Certificate => "unacceptable certificate",
            Self::Overloaded => "too many messages waiting",
            Self::Replaced => "replaced by a newer connection",
            Self::IdleTimeout => "silent for too long",
            Self::HelloTimeout => "no greeting in time",
            Self::Denied => "not permitted",
            Self::Crowded => "too many connections",
            Self::Maintenance => "machine down for maintenance",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_found_again() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.code() as usize, index, "{reason} changed its code");
            assert_eq!(
                CloseReason::from_code(u64::from(reason.code())),
                Some(reason)
            );
        }
        let next = CloseReason::ALL.len() as u64;
        assert_eq!(CloseReason::from_code(next), None);
        assert_eq!(CloseReason::from_code(u64::MAX), None);
    }

    #[test]
    fn the_newest_common_protocol_is_agreed_on() {
        // FW-23: who is too old has none in common
        let speaks = |min, max| Hello {
            protocol_min: min,
            protocol_max: max,
            ..Hello::new(PeerRole::Agent, "a")
        };
        assert_eq!(
            speaks(1, 3).common_protocol(&speaks(2, 5)),
            Some(Version(3))
        );
        assert_eq!(
            speaks(2, 5).common_protocol(&speaks(1, 3)),
            Some(Version(3))
        );
        assert_eq!(
            speaks(1, 1).common_protocol(&speaks(1, 1)),
            Some(Version(1))
        );
        assert_eq!(speaks(1, 2).common_protocol(&speaks(3, 4)), None);
        assert_eq!(speaks(4, 1).common_protocol(&speaks(1, 4)), None);
    }
}
