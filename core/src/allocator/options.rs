//! How a [`super::drf::Drf`] behaves: what Mesos has as flags, and the policies that it never had.
//!
//! Every policy is off by default. Deliberately not here: quota and weights, which change while an
//! allocator runs and are told as changes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::resources::{Milli, Quantities};
use crate::roles::Role;

/// How a [`super::drf::Drf`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a framework waits for what it did not want, the least length of a refusal, and how
    /// often it is looked at what quota held back (TL-03). Less than a millisecond is one.
    pub interval: Duration,
    /// What is worth an offer: at least one of these, ranges and sets by how many. If there is
    /// none, anything is (AL-33).
    pub min_allocatable: Vec<Quantities>,
    /// Names that shares are not counted by (AL-15).
    pub excluded: Vec<String>,
    /// Names of scalars that are counted in any case, beside `cpus`, `mem`, `disk` and `gpus`: the
    /// first twelve. Of all others those in quotas are, and the first few that agents have; see
    /// [`super::drf`].
    pub counted: Vec<String>,
    /// How roles are put in order, at every level of the hierarchy.
    pub role_sorter: SorterKind,
    /// How the frameworks of a role are put in order.
    pub framework_sorter: SorterKind,
    /// Who may have agents with graphics processors (AL-12).
    pub gpus: GpuRule,
    /// The region of the master; agents that name another are only for frameworks that can cope
    /// with it (AL-11). `None`: all regions are alike.
    pub region: Option<String>,
    /// Which part of the agents must be back after a change of masters before anything is granted
    /// while there is quota (AL-07).
    pub recovery_part: Milli,
    /// For how long these agents are waited for at most.
    pub recovery_timeout: Duration,
    /// How many agents a pass looks at before it lets others have their turn; fewer if many
    /// frameworks are looked at for each. Zero is one.
    pub agents_per_slice: usize,
    /// Seeds the order of agents.
    pub seed: u64,

    /// Policy: what becomes of demands that frameworks state.
    pub demands: DemandRule,
    /// Policy: when a grant that is not answered is taken back; `None` is never.
    pub lease: Option<Duration>,
    /// Policy: the most that one framework may hold in grants that it has not answered, of
    /// whatever reservation and sort; ranges and sets by how many.
    pub most_offered: Option<Quantities>,
    /// Policy: after how long without a grant a framework comes before all others; `None` is
    /// never.
    pub ageing: Option<Duration>,
    /// Policy: which agents a role is offered first. A role that is not named goes by the nearest
    /// one above it that is, and else by [`Packing::Random`].
    /// Where changes follow each slice of a pass before the right agent is found, another one may
    /// be offered.
    pub packing: BTreeMap<Role, Packing>,
}

impl Default for Options {
    /// An interval of one second; 0.01 cpus or 32 MiB are worth an offer; all policies are off.
    fn default() -> Self {
        let least = |text| Quantities::parse(text).expect("the defaults are well-formed");
        Self {
            interval: Duration::from_secs(1),
            min_allocatable: Vec::from([least("cpus:0.01"), least("mem:32")]),
            excluded: Vec::new(),
            counted: Vec::new(),
            role_sorter: SorterKind::Drf,
            framework_sorter: SorterKind::Drf,
            gpus: GpuRule::Capable,
            region: None,
            recovery_part: Milli::from_thousandths(800),
            recovery_timeout: Duration::from_secs(600),
            agents_per_slice: 1_024,
            seed: 0,
            demands: DemandRule::Ignored,
            lease: None,
            most_offered: None,
            ageing: None,
            packing: BTreeMap::new(),
        }
    }
}

/// How those who want something are put in order (AL-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SorterKind {
    /// By weighted dominant share, the lowest first (AL-15, AL-16).
    #[default]
    Drf,
    /// By lot, in proportion to weights (AL-19).
    Random,
}

/// Who may have agents with graphics processors (AL-12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GpuRule {
    /// Frameworks that say they use some, lest others crowd them out.
    #[default]
    Capable,
    /// Everybody.
    Everyone,
}

/// What becomes of demands that frameworks state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DemandRule {
    /// Nothing.
    #[default]
    Ignored,
    /// Offers are cut to them; without a fitting shape there is none.
    Honoured,
}

/// Which agents a role is offered first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Any.
    #[default]
    Random,
    /// The one with the most left, so that load is even.
    Spread,
    /// The one with the least left that is worth an offer, so that large gaps stay.
    BestFit,
}
