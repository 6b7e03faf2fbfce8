//! Why and how tasks are in their states, in words.
//!
//! Called by what shows tasks. Deliberately not here: how they are listed.

use tepui_core::protocol::status::{Limited, TaskStatus};

/// Says why and how a task is in its state: exit, reason, broken limit, message; what there is.
pub(super) fn ending(status: &TaskStatus) -> String {
    let mut parts = Vec::new();
    if let Some(exit) = status.exit {
        parts.push(exit.to_string());
    }
    if let Some(reason) = status.reason {
        parts.push(reason.to_string());
    }
    if let Some(breach) = status.breach {
        let (used, limit) = (breach.used, breach.limit);
        parts.push(match breach.resource {
            Limited::Memory => format!("used {used} MiB of memory, the limit is {limit} MiB"),
            Limited::Pids => format!("used {used} processes, the limit is {limit}"),
            Limited::Disk => format!("used {used} MiB of disk, the limit is {limit} MiB"),
            Limited::Ports => format!("listened on port {used}, which it does not have"),
        });
    }
    // The message of a command's end says in words what the exit says already.
    let repeats = status
        .exit
        .is_some_and(|exit| status.message.ends_with(&exit.to_string()));
    if !status.message.is_empty() && !repeats {
        parts.push(status.message.clone());
    }
    parts.join("; ")
}

/// Names a resource whose limit was broken, for programs.
pub(super) fn limited(resource: Limited) -> &'static str {
    match resource {
        Limited::Memory => "memory",
        Limited::Pids => "pids",
        Limited::Disk => "disk",
        Limited::Ports => "ports",
    }
}
