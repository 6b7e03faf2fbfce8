//! The door to the hidden subcommands: every binary that holds a containerizer calls
//! [`run_if_hidden`] before anything else.

use std::env;
use std::process;

use crate::{launcher, nursery};

/// The zeroth argument of a launcher.
pub(crate) const LAUNCHER: &str = "tepui-launcher";
/// The zeroth argument of a nursery, of which a container's init is a copy.
pub(crate) const NURSERY: &str = "tepui-init";
/// The first argument of both. Two words, so that nobody gets here by the name of a link alone.
pub(crate) const HIDDEN: &str = "--hidden-subcommand";

/// Runs the launcher or the nursery of its inits and exits, if that is what this process was
/// started as; returns at once otherwise.
///
/// Call it first in `main`: no thread may have been started yet.
pub fn run_if_hidden() {
    let mut arguments = env::args_os();
    let (Some(name), Some(marker)) = (arguments.next(), arguments.next()) else {
        return;
    };
    if marker != HIDDEN {
        return;
    }
    if name == LAUNCHER {
        process::exit(launcher::main());
    }
    if name == NURSERY {
        process::exit(nursery::main());
    }
}
