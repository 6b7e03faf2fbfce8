//! The agent's daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The launcher of containers and their init are this same executable under another name.
    tepui::run_if_hidden();
    tepui::cli::tepui_agent()
}
