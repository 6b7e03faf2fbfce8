//! The `tepui` command: runs tasks, looks at clusters, starts one to try things out.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The launcher of containers and their init are this same executable under another name.
    tepui::run_if_hidden();
    tepui::cli::tepui()
}
