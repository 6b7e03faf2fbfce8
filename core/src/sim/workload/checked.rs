//! Checks of the tasks that have some, in all kinds, and so often that something comes of them
//! before such a task ends.
//!
//! Deliberately not here: what they find out ([`crate::sim`]'s `probes`).

use alloc::boxed::Box;
use core::time::Duration;

use crate::protocol::check::{CheckInfo, Family, HealthCheck, HttpProbe, Probe, Rhythm};
use crate::protocol::task::{CommandInfo, TaskInfo};

const RHYTHM: Rhythm = Rhythm {
    delay: Duration::from_millis(500),
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(3),
};

/// Adds checks to a task that the agent itself runs; of which kind goes by its number.
pub(super) fn add_checks(task: &mut TaskInfo, n: u64) {
    if task.command.is_none() {
        return;
    }
    let family = Family::V4;
    let health = match n / 2 % 2 {
        0 => Probe::Tcp { port: 80, family },
        _ => Probe::Http(HttpProbe {
            tls: false,
            port: 80,
            path: "/health".into(),
            family,
        }),
    };
    task.health_check = Some(Box::new(HealthCheck {
        probe: health,
        rhythm: RHYTHM,
        consecutive_failures: 1 + (n % 3) as u32,
        grace: Duration::from_secs(n % 5),
    }));
    // One that may take for ever tries nothing again once nobody answers.
    let timeout = match n % 7 {
        0 => Duration::ZERO,
        _ => RHYTHM.timeout,
    };
    if n.is_multiple_of(2) {
        task.check = Some(Box::new(CheckInfo {
            probe: Probe::Command(Box::new(CommandInfo::shell("true"))),
            rhythm: Rhythm { timeout, ..RHYTHM },
        }));
    }
}
