//! Runs a command in a container which has a directory of its own by an isolator that is not of
//! this crate ([`isolator`]), and prints what that wrote down.
//!
//! `cargo run --example scratch [COMMAND]`, as root, where there are control groups.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example is a program"
)]

mod isolator;

use std::error::Error;
use std::sync::mpsc::channel;

use isolator::Scratch;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::{Config, Containerizer, Mode};

fn main() -> Result<(), Box<dyn Error>> {
    // Launchers are this binary too.
    tepui_isolation::entry::run_if_hidden();
    let command = std::env::args().nth(1);
    let command = command.unwrap_or_else(|| "date > $SCRATCH/now; cat $SCRATCH/now".to_owned());
    let dir = std::env::temp_dir().join(format!("tepui-scratch-{}", std::process::id()));
    let accounts = dir.join("accounts");
    let scratch = Scratch {
        directory: dir.join("scratch"),
        accounts: accounts.clone(),
        most: 100,
    };
    let config = Config {
        cgroup_root: format!("tepui-scratch-{}", std::process::id()),
        ..Config::new(&dir, Mode::Container)
    };
    let (sender, events) = channel();
    let sink = move |event| {
        // Who does not listen any more wants to know no more.
        let _ = sender.send(event);
    };
    let containerizer = Containerizer::start_with(config, vec![Box::new(scratch)], Box::new(sink))?;
    let id = ContainerId::numbered(1);
    let spec = ContainerSpec::new(CommandInfo::shell(command), vec![id.as_str().to_owned()]);
    containerizer.send(ContainerCommand::Launch { id, spec });
    for event in events {
        println!("{event:?}");
        match event {
            ContainerEvent::Started { .. }
            | ContainerEvent::Recovered
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. } => {}
            ContainerEvent::LaunchFailed { .. }
            | ContainerEvent::Exited { .. }
            | ContainerEvent::Lost { .. } => break,
        }
    }
    containerizer.shutdown()?;
    print!("{}", std::fs::read_to_string(accounts).unwrap_or_default());
    print!(
        "{}",
        std::fs::read_to_string(dir.join("sandboxes/c000001/stdout"))?
    );
    Ok(std::fs::remove_dir_all(dir)?)
}
