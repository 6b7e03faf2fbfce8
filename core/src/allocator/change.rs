//! What an allocator hears: one closed enum.
//!
//! Whoever embeds an allocator makes these; [`super`] says what it owes the allocator. Deliberately
//! not here: what each does to the books.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::grant::GrantIds;
use super::profile::{AgentTraits, FrameworkProfile};
use crate::demand::Demand;
use crate::keys::{AgentKey, FrameworkKey};
use crate::quota::Quota;
use crate::resources::{Milli, Resources};
use crate::roles::Role;

/// A fact that an allocator is told. Past tense: it cannot be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// An agent joined, active.
    AgentAdded {
        /// Which one.
        agent: AgentKey,
        /// All that it has.
        total: Resources,
        /// What it is like.
        traits: AgentTraits,
    },
    /// An agent has more or less than before, or is not what it was (AL-43). What is granted or
    /// used stays booked; refusals of what it had are forgotten.
    AgentChanged {
        /// Which one.
        agent: AgentKey,
        /// All that it has now.
        total: Resources,
        /// What it is like now.
        traits: AgentTraits,
    },
    /// An agent is gone, with everything that was booked on it.
    AgentRemoved {
        /// Which one.
        agent: AgentKey,
    },
    /// An agent may be offered, or no longer.
    AgentActive {
        /// Which one.
        agent: AgentKey,
        /// Whether it may.
        active: bool,
    },
    /// A framework joined, active.
    FrameworkAdded {
        /// Which one.
        framework: FrameworkKey,
        /// What it is like, and wants.
        profile: FrameworkProfile,
    },
    /// A framework is not what it was, or wants something else (RQ-03). In roles that it left its
    /// grants are taken back; what it uses stays charged to them.
    FrameworkChanged {
        /// Which one.
        framework: FrameworkKey,
        /// What it is like now, and wants.
        profile: FrameworkProfile,
    },
    /// A framework is gone. Whatever it still held is returned.
    FrameworkRemoved {
        /// Which one.
        framework: FrameworkKey,
    },
    /// A framework is connected, or no longer. Its refusals are forgotten (OF-35).
    FrameworkActive {
        /// Which one.
        framework: FrameworkKey,
        /// Whether it may be offered anything.
        active: bool,
    },
    /// A framework wants nothing in these roles.
    Suppressed {
        /// Which one.
        framework: FrameworkKey,
        /// In which roles; empty means all.
        roles: Vec<Role>,
    },
    /// A framework wants offers in these roles again, and forgets its refusals there.
    Revived {
        /// Which one.
        framework: FrameworkKey,
        /// In which roles; empty means all.
        roles: Vec<Role>,
    },
    /// Something is in use that was not granted here, such as a task that an agent reported.
    Used {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// What.
        resources: Resources,
    },
    /// Something granted is in use now. If nothing of the kind is left of these grants it is in use
    /// even so, as if it were [`Used`](Self::Used), and they stay as they are.
    Accepted {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// Out of which grants: those that are answered together are one from then on, and end
        /// with the youngest.
        grants: GrantIds,
        /// What: all or a part of what is left of them.
        resources: Resources,
    },
    /// Something granted is free again: it was not accepted.
    Returned {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// Out of which grants: those that are answered together are one from then on, and end
        /// with the youngest.
        grants: GrantIds,
        /// What: all or a part of what is left of them.
        resources: Resources,
        /// For how long the framework does not want the same again; `None` and zero are not at
        /// all. An allocator may let it wait a little even so, lest things go back and forth.
        refuse: Option<Duration>,
    },
    /// Something in use is free again.
    Freed {
        /// Who used it.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// What.
        resources: Resources,
    },
    /// Something that a framework was granted is something else now, such as reserved (AL-39). The
    /// agent's total changes with it.
    Converted {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// Out of which grants: those that are answered together are one from then on, and end
        /// with the youngest.
        grants: GrantIds,
        /// What it was: all or a part of what is left of them.
        before: Resources,
        /// What it is now.
        after: Resources,
    },
    /// Something that nobody held is something else now, by the will of an operator (AL-40).
    ///
    /// Whoever says so has taken back what was in the way. What an allocator granted meanwhile it
    /// takes back by itself.
    FreeConverted {
        /// Where.
        agent: AgentKey,
        /// What it was.
        before: Resources,
        /// What it is now.
        after: Resources,
    },
    /// The weight of a role; 1 unless it was set (AL-17). One that is not above zero is none: it is
    /// ignored, and the role keeps what it had. Beyond
    /// [`MOST_WEIGHT`](super::MOST_WEIGHT) all weigh the same.
    WeightSet {
        /// Which one.
        role: Role,
        /// Its weight; above zero.
        weight: Milli,
    },
    /// The quota of a role, at any level of the hierarchy; the default takes it away (RQ-12).
    ///
    /// Where a guarantee is above a limit, that of the role or one further up, the limit holds, and
    /// no more is kept free than it leaves. [`crate::quota`] can tell before.
    QuotaSet {
        /// Which one. What is below it counts as well.
        role: Role,
        /// What it is promised, and may have.
        quota: Quota,
    },
    /// Only these agents are offered from now on; what is offered stays (AL-09).
    Whitelisted {
        /// Their names in the network. `None` is all agents, an empty set none.
        hostnames: Option<BTreeSet<String>>,
    },
    /// The embedder took over from somebody else, who had these many agents. As long as most of
    /// them are away, quotas would be kept wrongly: nothing is granted (AL-07).
    Recovering {
        /// How many.
        agents: usize,
    },
    /// The wait for agents is over, however many came.
    Resumed,
    /// A framework says what it wants in a role. Without a word from it, that is anything.
    Demanded {
        /// Which one.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// What it wants; `None` is anything again.
        demand: Option<Demand>,
    },
}
