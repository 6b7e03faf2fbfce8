//! The policies that a trace can be run with.
//!
//! Each is the allocator of the library with one thing changed, but for the last.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;
use tepui_core::allocator::drf::{DemandRule, Options, Packing, SorterKind};
use tepui_core::allocator::random::Random;
use tepui_core::roles::Role;
use tepui_core::sim::{self, Asking};

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
    /// By dominant shares, and schedulers say how much they want: offers are cut to that
    Demand,
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
            Self::Demand => "demand",
            Self::Random => "random",
        }
    }

    /// Returns how schedulers ask for what they need.
    pub(super) fn asking(self) -> Asking {
        match self {
            Self::Demand => Asking::Demands,
            Self::Drf | Self::Lot | Self::Spread | Self::BestFit | Self::Ageing | Self::Random => {
                Asking::Offers
            }
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
            Self::Demand => options.demands = DemandRule::Honoured,
            Self::Random => return sim::Policy::new(|seed| Box::new(Random::new(seed))),
        }
        sim::Policy::drf(options)
    }
}
