//! Why a command fails, in one line: what, where, and what to do next.
//!
//! Called by all commands; here clap's errors are brought to one line as well. Deliberately not
//! here: printing (see `cli`), and the codes themselves (see `exit`).

use std::fmt;
use std::io;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::exit::Exit;
use super::text::VARIABLE;

/// An exit code and one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// What is printed after `error: `; empty to print nothing.
    pub(crate) message: String,
}

impl Failure {
    /// Makes a failure; line breaks in the message become semicolons.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: one_line(&message.to_string()),
        }
    }

    /// Tried, and failed.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A value on the command line cannot be used.
    pub(crate) fn usage(flag: &str, value: &str, problem: impl fmt::Display) -> Self {
        let value = quoted(value);
        Self::new(Exit::Usage, format_args!("{flag} {value}: {problem}"))
    }

    /// Says the same for `run`, whose own failures must not look like codes of its task.
    pub(crate) fn of_run(self) -> Self {
        Self {
            exit: self.exit.of_run(),
            ..self
        }
    }
}

impl From<io::Error> for Failure {
    /// Writing to standard output or error failed; that is the only input and output of commands.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                exit: Exit::BrokenPipe,
                message: String::new(),
            };
        }
        Self::failed(format_args!("cannot write the output: {error}"))
    }
}

/// Brings an error of clap's to one line that names the flag, the value and what was expected.
///
/// `program` is the name under which help can be asked for.
pub(crate) fn from_clap(error: &clap::Error, program: &str) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        Some(ContextValue::Number(number)) => Some(number.to_string()),
        Some(_) | None => None,
    };
    let flag = text(ContextKind::InvalidArg).map(|arg| flag_name(&arg));
    let flag = flag.as_deref().unwrap_or("the command line");
    let program = command_of(text(ContextKind::Usage)).unwrap_or_else(|| program.to_owned());
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let valid = text(ContextKind::ValidValue).unwrap_or_default();
    let from = text(VARIABLE).map_or_else(String::new, |variable| format!(" from {variable}"));
    let message = match error.kind() {
        ErrorKind::ValueValidation => {
            let source = std::error::Error::source(error).map(ToString::to_string);
            let problem = source.unwrap_or_else(|| "expected text in UTF-8".into());
            format!("{flag} {}{from}: {problem}", quoted(&value))
        }
        ErrorKind::InvalidValue if value.is_empty() => match valid.is_empty() {
            true => format!("{flag}: expected a value"),
            false => format!("{flag}: expected a value: one of {valid}"),
        },
        ErrorKind::InvalidValue => {
            format!("{flag} {}{from}: expected one of {valid}", quoted(&value))
        }
        ErrorKind::UnknownArgument => unknown_argument(flag, text(ContextKind::SuggestedArg)),
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = did_you_mean(text(ContextKind::SuggestedSubcommand));
            format!("{name:?}: expected a command of {program}{hint}")
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).map(|arg| flag_name(&arg));
            match other {
                Some(other) if other == flag => format!("{flag}: expected at most once"),
                Some(other) => format!("{flag}: cannot go together with {other}"),
                None => format!("{flag}: cannot go together with the others"),
            }
        }
        ErrorKind::MissingRequiredArgument => format!("expected {flag}, which is missing"),
        ErrorKind::TooManyValues => format!("{flag} {value:?}: expected fewer values"),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{flag}: expected more values")
        }
        ErrorKind::NoEquals => format!("{flag}: expected a value after ="),
        ErrorKind::InvalidUtf8 => "the command line: expected text in UTF-8".into(),
        ErrorKind::MissingSubcommand => format!("{program}: expected a command"),
        // Help is not an error; the rest, and what clap may add later, still is one line.
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion
        | ErrorKind::Io
        | ErrorKind::Format
        | _ => error.to_string(),
    };
    let about_a_value = matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8
    );
    if about_a_value || message.ends_with('?') {
        return Failure::new(Exit::Usage, message);
    }
    Failure::new(Exit::Usage, format_args!("{message}; see {program} --help"))
}

/// Finds the command that was read, such as `tepui agent`, in the usage that goes with an error.
fn command_of(usage: Option<String>) -> Option<String> {
    let usage = usage?;
    let words = usage.strip_prefix("Usage: ")?.split_whitespace();
    let command = words.take_while(|word| word.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let command: Vec<&str> = command.collect();
    (!command.is_empty()).then(|| command.join(" "))
}

/// `--mem <SIZE>` is `--mem`, `<TASK>` is `TASK`, `<CMD>...` is `CMD`.
fn flag_name(arg: &str) -> String {
    let names = arg.split(", ").map(|arg| {
        let word = arg.split([' ', '=']).next().unwrap_or(arg);
        word.trim_matches(['<', '>', '[', ']', '.'])
    });
    names.collect::<Vec<_>>().join(", ")
}

fn unknown_argument(argument: &str, similar: Option<String>) -> String {
    if argument.starts_with('-') {
        let hint = did_you_mean(similar);
        format!("{argument}: expected a known flag{hint}")
    } else {
        let argument = quoted(argument);
        format!("{argument}: expected no further argument; a task's command comes after --")
    }
}

fn did_you_mean(similar: Option<String>) -> String {
    similar.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Quotes a value; of a long one the beginning will do.
fn quoted(value: &str) -> String {
    const SHOWN: usize = 100;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// Joins an error and its causes; what an error says already of its cause is not said twice.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_without_their_values() {
        assert_eq!(flag_name("--mem <SIZE>"), "--mem");
        assert_eq!(flag_name("<CMD>..."), "CMD");
        assert_eq!(flag_name("--role <ROLE>, --name <NAME>"), "--role, --name");
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::failed("a\n  b\n\nc");
        assert_eq!(failure.message, "a; b; c");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_worth_a_line() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit.code(), failure.message.as_str()), (141, ""));
    }
}
