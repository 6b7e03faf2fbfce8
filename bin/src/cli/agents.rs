//! What operators ask and say about agents.
//!
//! Called by `cli`. Deliberately not here: columns and JSON (see `views`), and what follows from an
//! order, which the master decides.

use std::io::{self, BufRead, IsTerminal};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use tepui_core::ids::AgentId;
use tepui_core::protocol::node::{DrainConfig, Standing};
use tepui_core::protocol::operator::{AgentView, Answer, Call};

use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::OutputArgs;
use super::text::Text;
use super::{Io, Threads, block_on, usage, values, views};

/// The pause between two looks at an agent that is being drained.
const POLL: Duration = Duration::from_millis(500);

/// What can be asked and said about agents.
#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    /// List agents
    #[command(after_help = "Examples:\n  tepui agent list\n  tepui agent list -o wide")]
    List(ListArgs),
    /// Offer an agent to nobody until it is reactivated; what runs goes on
    #[command(after_help = "\
Examples:
  tepui agent deactivate tepui-1-S1
  tepui agent deactivate tepui-1-S1 --output json")]
    Deactivate(OrderArgs),
    /// Offer an agent again
    #[command(after_help = "\
Examples:
  tepui agent reactivate tepui-1-S1
  tepui agent reactivate tepui-1-S1 --quiet")]
    Reactivate(OrderArgs),
    /// End all that an agent runs, and offer it to nobody until it is reactivated
    Drain(DrainArgs),
    /// Say that an agent is gone for good, with all that it runs
    Gone(GoneArgs),
    /// Show what the containers of an agent use
    Usage(usage::UsageArgs),
}

/// Flags of the orders about one agent.
#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// The agent's id
    #[arg(value_parser = Text(values::agent_id))]
    agent: AgentId,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui agent drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui agent drain tepui-1-S1
  tepui agent drain tepui-1-S1 --deadline 10m --wait
  tepui agent drain tepui-1-S1 --gone --yes

`tepui agent reactivate` calls it off, or offers the agent again once it is drained.")]
pub(super) struct DrainArgs {
    /// The agent's id
    #[arg(value_parser = Text(values::agent_id))]
    agent: AgentId,
    /// The longest that its tasks may take to end; each as long as it wants by default
    #[arg(long, value_name = "TIME", value_parser = Text(values::duration))]
    deadline: Option<Duration>,
    /// Give the agent up for good once it is drained
    #[arg(long)]
    gone: bool,
    /// Do not ask whether --gone is meant
    #[arg(short, long, requires = "gone")]
    yes: bool,
    /// Wait until it is drained
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui agent gone`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui agent gone tepui-1-S1
  tepui agent gone tepui-1-S1 --yes

Frameworks hear at once that its tasks are gone. Should the agent be there after all, it ends what
it runs, and itself. Started again, it joins under another id.")]
pub(super) struct GoneArgs {
    /// The agent's id
    #[arg(value_parser = Text(values::agent_id))]
    agent: AgentId,
    /// Do not ask whether that is meant, for it cannot be undone
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Lists agents, and changes how they stand.
pub(super) fn agent(command: &AgentCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        AgentCommand::List(args) => list(args, io),
        AgentCommand::Deactivate(args) => {
            let agent = args.agent.clone();
            order(args, Call::Deactivate { agent }, io)
        }
        AgentCommand::Reactivate(args) => {
            let agent = args.agent.clone();
            order(args, Call::Reactivate { agent }, io)
        }
        AgentCommand::Drain(args) => drain(args, io),
        AgentCommand::Gone(args) => gone(args, io),
        AgentCommand::Usage(args) => usage::usage(args, io),
    }
}

/// Drains an agent, and waits for the end of that if it is wanted. One that is gone by then is not
/// listed.
fn drain(args: &DrainArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let agent = args.agent.clone();
    if args.gone && !args.yes && !confirms(&agent, io)? {
        return Err(Failure::failed(format_args!("agent {agent} is left alone")));
    }
    let config = DrainConfig {
        max_grace: args.deadline,
        mark_gone: args.gone,
    };
    let call = Call::Drain { agent, config };
    let shown = block_on(Threads::One, async {
        let answers = args.operator.ask_all([call, Call::Agents]).await?;
        let [done, agents] = <[Answer; 2]>::try_from(answers).expect("an answer each");
        check(done)?;
        let mut shown = only(agents, &args.agent)?;
        let drains = |shown: &[AgentView]| {
            let mut standings = shown.iter().map(|agent| agent.standing);
            standings.any(|standing| matches!(standing, Standing::Draining(_)))
        };
        while args.wait && drains(&shown) {
            tokio::time::sleep(POLL).await;
            shown = only(args.operator.ask(Call::Agents).await?, &args.agent)?;
        }
        Ok(shown)
    })?;
    views::agents(&shown, SystemTime::now()).print(args.output, io.out)?;
    let is_off = |agent: &AgentView| agent.standing == Standing::Active;
    if args.wait && shown.iter().any(is_off) {
        let message = format_args!("the drain of agent {} was called off", args.agent);
        return Err(Failure::failed(message));
    }
    Ok(Exit::Success)
}

/// Leaves one agent of a list, if it is there.
fn only(agents: Answer, agent: &AgentId) -> Result<Vec<AgentView>, Failure> {
    let Answer::Agents(mut agents) = agents else {
        return Err(unexpected(&agents));
    };
    agents.retain(|row| row.id == *agent);
    Ok(agents)
}

fn list(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answer = block_on(Threads::One, args.operator.ask(Call::Agents))?;
    let Answer::Agents(agents) = answer else {
        return Err(unexpected(&answer));
    };
    views::agents(&agents, SystemTime::now()).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// Gives an order, and shows how the agent stands then.
fn order(args: &OrderArgs, call: Call, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answers = block_on(Threads::One, args.operator.ask_all([call, Call::Agents]))?;
    let [done, agents] = <[Answer; 2]>::try_from(answers).expect("an answer each");
    check(done)?;
    let agents = only(agents, &args.agent)?;
    views::agents(&agents, SystemTime::now()).print(args.output, io.out)?;
    Ok(Exit::Success)
}

fn gone(args: &GoneArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let agent = args.agent.clone();
    if !args.yes && !confirms(&agent, io)? {
        return Err(Failure::failed(format_args!("agent {agent} is left alone")));
    }
    let call = Call::MarkGone { agent };
    check(block_on(Threads::One, args.operator.ask(call))?)?;
    writeln!(io.out, "{}", args.agent)?;
    Ok(Exit::Success)
}

fn confirms(agent: &AgentId, io: &mut Io<'_>) -> Result<bool, Failure> {
    let question = format!("give agent {agent} up, with all that it runs");
    asks_for(&question, io)
}

/// Asks whether something is meant that cannot be undone. Where nobody can answer, a flag has to
/// say so.
pub(super) fn asks_for(question: &str, io: &mut Io<'_>) -> Result<bool, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "expected --yes where nobody can be asked, for it cannot be undone";
        return Err(Failure::new(Exit::Usage, message));
    }
    write!(io.err, "{question}? [y/N] ")?;
    io.err.flush()?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format_args!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn check(answer: Answer) -> Result<(), Failure> {
    if let Answer::NotFound(why) = answer {
        let message = format_args!("{why}; `tepui agent list` lists them");
        return Err(Failure::new(Exit::NotFound, message));
    }
    if let Answer::Conflict(why) = answer {
        return Err(Failure::failed(why));
    }
    if answer != Answer::Updated {
        return Err(unexpected(&answer));
    }
    Ok(())
}
