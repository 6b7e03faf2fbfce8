//! Which master, with which certificate, and what is said if that does not work.
//!
//! Called by every command that talks to a cluster. Deliberately not here: the conversation.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tepui_core::protocol::operator::{Answer, Call};

use super::addresses;
use super::context;
use super::exit::Exit;
use super::failure::Failure;
use super::text::{Given, Sourced, Text};
use super::values;
use crate::client;
use crate::loopback;
use crate::operator::Operator;
use crate::target::Target;
use crate::transport::greeting::DialError;

/// How long a command waits for a master that says nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where the cluster is, and who we are.
#[derive(Clone, Debug, Args)]
pub(super) struct ClusterArgs {
    /// The master of the cluster
    #[arg(long, value_name = "HOST:PORT", env = "TEPUI_MASTER",
          value_parser = Sourced(Text(addresses::master_address)))]
    master: Option<Given<String>>,
    /// The directory with our certificate, or with one directory a role
    #[arg(long, value_name = "DIR", env = "TEPUI_TLS_DIR",
          value_parser = Sourced(values::path()))]
    tls_dir: Option<Given<PathBuf>>,
    /// A cluster of ~/.config/tepui/config.toml; by default the current one
    #[arg(long, value_name = "NAME", env = "TEPUI_CONTEXT",
          value_parser = Sourced(Text(values::name)))]
    context: Option<Given<String>>,
}

impl ClusterArgs {
    /// Returns where to go, or `None` without a master.
    ///
    /// Flags come first, then what a context says that a flag names, then variables, then any other
    /// context; certificates of a master on this machine are found without any of them.
    pub(super) fn target(&self) -> Result<Option<Target>, Failure> {
        let named = self.context.as_ref().filter(|context| context.by_flag);
        let context = match (&self.master, &self.tls_dir, named) {
            (Some(_), Some(_), None) => None,
            (None, ..) | (_, None, _) | (.., Some(_)) => {
                let name = self.context.as_ref().map(|context| context.value.as_str());
                context::find(name)?
            }
        };
        let of_context = context.as_ref().map(|context| &context.master);
        let master = first(self.master.as_ref(), of_context, named.is_some());
        let Some(master) = master.cloned() else {
            return Ok(None);
        };
        let known = context.filter(|context| context.master == master);
        let known = known.and_then(|context| context.tls_dir);
        let tls_dir = first(self.tls_dir.as_ref(), known.as_ref(), named.is_some());
        let tls_dir = tls_dir.cloned().or_else(|| loopback::find(&master));
        let Some(tls_dir) = tls_dir else {
            let message = "--tls-dir: expected the directory of our certificate, here, in \
                           TEPUI_TLS_DIR or in the contexts file; `tepui cert issue` makes one";
            return Err(Failure::new(Exit::Usage, message));
        };
        Ok(Some(Target { master, tls_dir }))
    }
}

/// Chooses between what was given and what a context says, which goes before variables if a flag
/// names it.
fn first<'a, T>(
    given: Option<&'a Given<T>>,
    of_context: Option<&'a T>,
    is_named: bool,
) -> Option<&'a T> {
    let by_flag = given.filter(|given| given.by_flag || !is_named);
    let by_flag = by_flag.map(|given| &given.value);
    by_flag
        .or(of_context)
        .or_else(|| given.map(|given| &given.value))
}

/// Flags of every command that asks the master something.
#[derive(Clone, Debug, Args)]
pub(super) struct OperatorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How long to wait for the master
    #[arg(long, value_name = "TIME", default_value = "10s",
          value_parser = Text(values::positive_duration))]
    timeout: Duration,
}

impl OperatorArgs {
    /// Returns where the master is, and who we are.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let message = "--master: expected HOST:PORT, here or in TEPUI_MASTER; \
                       `tepui dev` starts a cluster";
        let target = self.cluster.target()?;
        target.ok_or_else(|| Failure::new(Exit::Usage, message))
    }

    /// Connects to the master.
    pub(super) async fn connect(&self, target: &Target) -> Result<Operator, Failure> {
        let operator = Operator::connect(target, self.timeout).await;
        operator.map_err(|error| disconnected(&error, target))
    }

    /// Asks the master one thing.
    pub(super) async fn ask(&self, call: Call) -> Result<Answer, Failure> {
        let mut answers = self.ask_all([call]).await?;
        Ok(answers.pop().expect("one answer a question"))
    }

    /// Asks the master several things, over one connection.
    pub(super) async fn ask_all(
        &self,
        calls: impl IntoIterator<Item = Call>,
    ) -> Result<Vec<Answer>, Failure> {
        let target = self.target()?;
        let failed = |error| disconnected(&error, &target);
        let operator = self.connect(&target).await?;
        let asking = async {
            let mut answers = Vec::new();
            for call in calls {
                answers.push(operator.ask(call).await?);
            }
            Ok(answers)
        };
        let answers = tokio::time::timeout(self.timeout, asking).await;
        let answers = answers.map_err(|_| {
            let timeout = humantime::format_duration(self.timeout);
            let message = format_args!(
                "no answer from the master at {} within {timeout}; a longer --timeout may help",
                target.master
            );
            Failure::new(Exit::Timeout, message)
        })?;
        let answers = answers.map_err(failed)?;
        operator.close().await;
        Ok(answers)
    }
}

/// Says that the master gave an answer to another question.
pub(super) fn unexpected(answer: &Answer) -> Failure {
    Failure::failed(format_args!(
        "the master answered something else than it was asked: {answer:?}"
    ))
}

/// Says what went wrong between us and a master.
pub(super) fn disconnected(error: &client::Error, target: &Target) -> Failure {
    let master = &target.master;
    let tls_dir = target.tls_dir.display();
    if error.is_denied() {
        let message = format_args!(
            "the master at {master} does not accept the certificate in {tls_dir}: {error}; \
             `tepui cert show {tls_dir}` shows it"
        );
        return Failure::new(Exit::Denied, message);
    }
    if error.is_credentials() {
        let message = format_args!("--tls-dir {tls_dir}: {error}; `tepui cert issue` makes one");
        return Failure::new(Exit::Usage, message);
    }
    if let client::Error::Dial(DialError::Certificate { .. }) = error {
        let message = format_args!(
            "the master at {master} does not prove that it is of our cluster: {error}; \
             is {tls_dir} for another one?"
        );
        return Failure::new(Exit::Denied, message);
    }
    let silent = matches!(error, client::Error::Dial(DialError::NoAnswer { .. }));
    let exit = if silent { Exit::Timeout } else { Exit::Failed };
    let message =
        format_args!("no master at {master}: {error}; is it running? `tepui dev` starts a cluster");
    Failure::new(exit, message)
}
