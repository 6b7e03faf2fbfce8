//! Versions of the protocol: who may be told what.
//!
//! Two peers speak the lower of the newest versions that they know, which they find out when they
//! greet ([`super::hello`]). The rules:
//!
//! - Enums grow at the end only, and structures not at all: a message of any version is read alike
//!   by all who know it.
//! - Each message knows since which version it is ([`Spoken`]). Nobody is sent one that is newer
//!   than what was agreed on: it is dropped by its sender, and nothing is said in its place. So a
//!   message may be new only if silence is an answer to it, or if it answers one as new.
//!
//! | version | new in it | what is said to older peers |
//! |---|---|---|
//! | 1 to 14 | spoken by builds before any release, and by none since: messages of theirs read otherwise | they are refused when they greet |
//! | 15 | everything else | |
//! | 16 | inverse offers, and what is answered to them | nothing: the framework has not answered, as operators see; it is not asked to leave |
//! | 17 | that an agent is lost | nothing: the framework hears of its tasks and operations |
//! | 18 | rows and events of what is gone or over, and of maintenance | a reader is told to begin anew, without them |
//! | 19 | in which roles a call was not heard | nothing: the framework says the like of it again in all its roles |
//!
//! What is on disks is not agreed on with anybody. A build reads logs and snapshots that are laid
//! out as its own ([`Durable::LAYOUT`](crate::machine::Durable::LAYOUT)); before an upgrade that
//! changes these, and after one that is taken back, it refuses them by an error that names both
//! layouts, and believes nothing of them. Deliberately not here: how bytes are laid out, and the
//! greeting itself.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::disk::DiskChange;
use super::events::{Event, Kind, Row};
use super::offer::Operation;
use super::operation::Conversion;
use super::{agent, executor, operator, scheduler};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u16);

impl Version {
    /// The oldest that this build speaks.
    pub const FIRST: Self = Self(15);
    /// The one with inverse offers.
    pub const INVERSE_OFFERS: Self = Self(16);
    /// The one in which frameworks are told of lost agents.
    pub const AGENT_LOST: Self = Self(17);
    /// The one with rows of what is gone or over, and of maintenance.
    pub const MORE_ROWS: Self = Self(18);
    /// The one in which frameworks hear in which roles a call was not heard.
    pub const UNHEARD: Self = Self(19);
    /// The newest that this build speaks.
    pub const NEWEST: Self = Self::UNHEARD;

    /// Returns whether a peer with whom this was agreed on knows a message.
    pub fn knows<M: Spoken + ?Sized>(self, message: &M) -> bool {
        message.since() <= self
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What peers say to each other.
pub trait Spoken {
    /// Returns since which version of the protocol there is such a message.
    fn since(&self) -> Version;
}

impl Spoken for scheduler::Call {
    fn since(&self) -> Version {
        match self {
            // Told whole or not at all: what it asks for may be newer than the call.
            Self::Accept { operations, .. } => {
                let all = operations.iter().map(Spoken::since);
                all.max().unwrap_or(Version::FIRST)
            }
            Self::Subscribe { .. }
            | Self::Teardown
            | Self::Decline { .. }
            | Self::Suppress { .. }
            | Self::Revive { .. }
            | Self::Kill { .. }
            | Self::Acknowledge { .. }
            | Self::AcknowledgeOperation { .. }
            | Self::ReconcileOperations { .. }
            | Self::Update { .. }
            | Self::Reconcile { .. }
            | Self::Message { .. }
            | Self::ShutdownExecutor { .. }
            | Self::Demand { .. } => Version::FIRST,
            Self::AcceptInverse { .. } | Self::DeclineInverse { .. } => Version::INVERSE_OFFERS,
        }
    }
}

impl Spoken for Operation {
    fn since(&self) -> Version {
        match self {
            Self::Launch(_) | Self::LaunchGroup(_) => Version::FIRST,
            Self::Convert { change, .. } => change.since(),
        }
    }
}

impl Spoken for Conversion {
    fn since(&self) -> Version {
        match self {
            Self::Reserve(_)
            | Self::Unreserve(_)
            | Self::Create(_)
            | Self::Destroy(_)
            | Self::Grow { .. }
            | Self::Shrink { .. }
            | Self::Disk(DiskChange::Create { .. } | DiskChange::Destroy { .. }) => Version::FIRST,
        }
    }
}

impl Spoken for scheduler::Event {
    fn since(&self) -> Version {
        match self {
            Self::Subscribed { .. }
            | Self::Heartbeat
            | Self::Offers(_)
            | Self::Rescind(_)
            | Self::Update(_)
            | Self::Error { .. }
            | Self::Rejected { .. }
            | Self::OperationUpdate(_)
            | Self::Updated
            | Self::Reconciled(_)
            | Self::Message { .. }
            | Self::ExecutorEnded { .. } => Version::FIRST,
            Self::InverseOffers(_) | Self::RescindInverse(_) => Version::INVERSE_OFFERS,
            Self::AgentLost { .. } => Version::AGENT_LOST,
            Self::Unheard { .. } => Version::UNHEARD,
        }
    }
}

impl Spoken for operator::Request {
    fn since(&self) -> Version {
        if let operator::Call::Snapshot { of } = &self.call {
            of.since()
        } else if let operator::Call::WatchAll { .. } = &self.call {
            Version::MORE_ROWS
        } else {
            Version::FIRST
        }
    }
}

impl Spoken for operator::Response {
    fn since(&self) -> Version {
        let newest = if let operator::Answer::Snapshot(page) = &self.answer {
            page.rows.iter().map(Row::kind).max()
        } else if let operator::Answer::Events(batch) = &self.answer {
            batch.events.iter().map(Event::kind).max()
        } else {
            None
        };
        newest.map_or(Version::FIRST, Kind::since)
    }
}

impl Spoken for agent::ToMaster {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

impl Spoken for agent::ToAgent {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

impl Spoken for executor::Call {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

impl Spoken for executor::Event {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

/// Text is understood by everybody; connections can be tried with it.
impl Spoken for str {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

/// As `str`.
impl Spoken for String {
    fn since(&self) -> Version {
        Version::FIRST
    }
}

impl<M: Spoken + ?Sized> Spoken for &M {
    fn since(&self) -> Version {
        (**self).since()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::auth::PeerRole;
    use crate::ids::{AgentId, OfferId, RequestId};
    use crate::protocol::events;
    use crate::protocol::hello::Hello;
    use crate::protocol::maintenance::MachineId;
    use crate::protocol::node::AgentLoss;
    use crate::protocol::refusal::CallKind;

    #[test]
    fn builds_that_read_messages_otherwise_are_not_spoken_to() {
        // S7
        let ours = Hello::new(PeerRole::Agent, "one");
        let before = Hello {
            protocol_min: 1,
            protocol_max: 5,
            ..ours.clone()
        };
        assert_eq!(ours.common_protocol(&before), None);
        assert!(Version::FIRST < Version::NEWEST, "two versions can meet");
    }

    #[test]
    fn a_peer_is_told_what_it_knows() {
        let id = OfferId::new("m-O1").unwrap();
        let (offers, refuse) = (vec![id.clone()], None);
        let accept = scheduler::Call::AcceptInverse {
            offers: offers.clone(),
            refuse,
        };
        let decline = scheduler::Call::Decline { offers, refuse };
        let (asked, void) = (
            scheduler::Event::InverseOffers(Vec::new()),
            scheduler::Event::RescindInverse(id.clone()),
        );
        let newer: [&dyn Spoken; 3] = [&accept, &asked, &void];
        let older: [&dyn Spoken; 3] = [&decline, &scheduler::Event::Rescind(id), &"text"];
        for message in newer {
            assert!(!Version::FIRST.knows(message));
            assert!(Version::INVERSE_OFFERS.knows(message));
        }
        for message in older {
            assert!(Version::FIRST.knows(message) && Version::NEWEST.knows(message));
        }
        let agent = AgentId::new("m-S1").unwrap();
        let why = AgentLoss::Gone;
        let lost = scheduler::Event::AgentLost { agent, why };
        assert!(!Version::INVERSE_OFFERS.knows(&lost));
        assert!(Version::AGENT_LOST.knows(&lost));
        let (call, roles) = (CallKind::Demand, Vec::new());
        let unheard = scheduler::Event::Unheard { call, roles };
        assert!(!Version::MORE_ROWS.knows(&unheard) && Version::UNHEARD.knows(&unheard));
        let asks = |call| operator::Request {
            id: RequestId(1),
            call,
            after: None,
        };
        let of = |of| asks(operator::Call::Snapshot { of });
        assert!(Version::FIRST.knows(&of(Kind::Agents)));
        assert!(!Version::AGENT_LOST.knows(&of(Kind::Gone)));
        assert!(!Version::AGENT_LOST.knows(&asks(operator::Call::WatchAll { after: None })));
        let version = events::Version {
            epoch: 1,
            number: 1,
        };
        let answers = |row| operator::Response {
            id: RequestId(1),
            answer: operator::Answer::Snapshot(events::Snapshot {
                from: version,
                upto: version,
                rows: vec![row],
            }),
            next: None,
        };
        let machine = MachineId::of_hostname("a");
        assert!(!Version::AGENT_LOST.knows(&answers(Row::Down(machine.clone()))));
        assert!(Version::MORE_ROWS.knows(&answers(Row::Down(machine))));
    }
}
