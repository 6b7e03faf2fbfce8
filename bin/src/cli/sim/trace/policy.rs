//! The policies that a trace can be run with.
//!
//! Each is the allocator of the library with one thing changed, but for the last.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;
use tepui_core::allocator::drf::{Options, Packing, SorterKind};
use tepui_core::allocator::random::Random;
use tepui_core::roles::Role;
use tepui_core::sim;

/// How offers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli::sim) enum Policy {
    /// By dominant shares, agents in any order
    Drf,
    /// By lot, agents in any order
    Lot,
    /// By dominant shares, the emptiest agent first
    Spread,
    /// By dominant shares, the fullest agent first
    BestFit,
    /// By dominant shares, but whoever waited for a minute comes first
    Ageing,
    /// The other allocator of the library, which knows no shares
    Random,
}

impl Policy {
    /// Returns its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drf => "drf",
            Self::Lot => "lot",
            Self::Spread => "spread",
            Self::BestFit => "best-fit",
            Self::Ageing => "ageing",
            Self::Random => "random",
        }
    }

    /// Makes what a simulated master takes, for the roles of a trace.
    pub(super) fn allocator(self, roles: &BTreeSet<&Role>) -> sim::Policy {
        let mut options = Options::default();
        let packing = |packing: Packing| roles.iter().map(move |role| ((*role).clone(), packing));
        match self {
            Self::Drf => {}
            Self::Lot => {
                options.role_sorter = SorterKind::Random;
                options.framework_sorter = SorterKind::Random;
            }
            Self::Spread => options.packing = packing(Packing::Spread).collect(),
            Self::BestFit => options.packing = packing(Packing::BestFit).collect(),
            Self::Ageing => options.ageing = Some(Duration::from_secs(60)),
            Self::Random => return sim::Policy::new(|seed| Box::new(Random::new(seed))),
        }
        sim::Policy::drf(options)
    }
}
