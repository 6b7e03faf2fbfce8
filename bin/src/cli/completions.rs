//! `tepui completions`: scripts by which shells complete the command lines of all our programs.
//!
//! Called by `cli`. Deliberately not here: where the scripts belong, which the shells decide.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::agent_args::AgentArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::master_args::MasterArgs;
use super::{Cli, Io};

/// Flags of `tepui completions`.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "\
Examples:
  tepui completions bash > ~/.local/share/bash-completion/completions/tepui
  tepui completions zsh > ~/.zfunc/_tepui
  tepui completions fish > ~/.config/fish/completions/tepui.fish
  tepui completions zsh --for tepui-agent > ~/.zfunc/_tepui-agent")]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
    /// For which program
    #[arg(long = "for", value_enum, default_value_t = Program::Tepui, value_name = "PROGRAM")]
    program: Program,
}

/// A program of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Program {
    /// The command
    Tepui,
    /// The master's daemon
    #[value(name = "tepui-master")]
    Master,
    /// The agent's daemon
    #[value(name = "tepui-agent")]
    Agent,
}

/// Prints a script.
pub(super) fn completions(args: CompletionsArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let (mut command, name) = match args.program {
        Program::Tepui => (Cli::command(), "tepui"),
        Program::Master => (MasterArgs::command(), "tepui-master"),
        Program::Agent => (AgentArgs::command(), "tepui-agent"),
    };
    // The generator panics if it cannot write, say because its reader has seen enough.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io.out.write_all(&script)?;
    Ok(Exit::Success)
}
