//! What stands around every value parser: bad text, and where a value came from.
//!
//! Used by all flags with a grammar (see `values`). The parsers that clap has say nothing about a
//! value that is no UTF-8, and take an environment variable for its flag. Deliberately not here:
//! the line that people read (see `failure`).

use std::ffi::{OsStr, OsString};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, Error};

/// A parser of text whose errors know flag, value, and the variable that the value came from.
#[derive(Clone, Debug)]
pub(super) struct Text<P>(pub(super) P);

impl<P: TypedValueParser> TypedValueParser for Text<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        if value.to_str().is_some() {
            return self.0.parse_ref(command, arg, value);
        }
        let mut error = Error::new(ErrorKind::ValueValidation).with_cmd(command);
        // As the errors of the parser itself would tell.
        let name = arg.map_or_else(|| "...".to_owned(), ToString::to_string);
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        let value = value.to_string_lossy().into_owned();
        error.insert(ContextKind::InvalidValue, ContextValue::String(value));
        Err(error)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, Error> {
        let parsed = self.parse_ref(command, arg, value);
        if source == ValueSource::EnvVariable {
            return parsed.map_err(|error| from_variable(error, arg));
        }
        parsed
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// A value, and whether a flag gave it; otherwise an environment variable did.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    /// What was given.
    pub(super) value: T,
    /// Whether it stands on the command line.
    pub(super) by_flag: bool,
}

/// A parser that notes where its value came from.
#[derive(Clone, Debug)]
pub(super) struct Sourced<P>(pub(super) P);

impl<P: TypedValueParser> TypedValueParser for Sourced<P> {
    type Value = Given<P::Value>;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, Error> {
        let value = self.0.parse_ref_(command, arg, value, source)?;
        let by_flag = source == ValueSource::CommandLine;
        Ok(Given { value, by_flag })
    }
}

/// Errors about a value have no use for a prior argument; the variable takes its place.
pub(super) const VARIABLE: ContextKind = ContextKind::PriorArg;

fn from_variable(mut error: Error, arg: Option<&Arg>) -> Error {
    if let Some(variable) = arg.and_then(Arg::get_env) {
        let variable = variable.to_string_lossy().into_owned();
        error.insert(VARIABLE, ContextValue::String(variable));
    }
    error
}

/// Lets every flag with a value take what follows it, even if that begins with a dash: the value's
/// own parser knows better what is wrong with `--cpus -1` than that there is no flag `-1`.
pub(super) fn values_may_begin_with_dashes(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let flag = arg.get_long().is_some() && arg.get_action().takes_values();
            arg.allow_hyphen_values(flag)
        })
        .mut_subcommands(values_may_begin_with_dashes)
}

/// Finds a flag that stands right before `--` and wants a value. It would take the `--` for one,
/// and what comes after it would look out of place.
pub(super) fn flag_before_the_end(command: &Command, args: &[OsString]) -> Option<String> {
    let end = args.iter().position(|arg| arg == "--")?;
    let last = args.get(end.checked_sub(1)?)?.to_str()?;
    wants_value(command, last.strip_prefix("--")?).then(|| last.to_owned())
}

fn wants_value(command: &Command, long: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|arg| arg.get_long() == Some(long) && arg.get_action().takes_values())
        || command
            .get_subcommands()
            .any(|child| wants_value(child, long))
}
