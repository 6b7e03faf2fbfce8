//! That the command line is well formed, and that its help tells the truth.

use clap::{Command, CommandFactory, Parser};

use super::{Cli, agent_args::AgentArgs, master_args::MasterArgs};

/// Splits a line as a shell would, as far as our examples go: quotes, and an end at `>` or `#`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '>' | '#') if word.is_none() => return words,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "an open quote in {line:?}");
    words.extend(word);
    words
}

fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    let lines: Vec<String> = help
        .iter()
        .flat_map(|help| help.lines())
        .map(Into::into)
        .collect();
    let examples = lines.iter().filter_map(|line| line.strip_prefix("  tepui"));
    examples.map(|rest| format!("tepui{rest}")).collect()
}

fn check_examples(command: &Command, path: &str) {
    let children = command
        .get_subcommands()
        .filter(|child| child.get_name() != "help");
    let children: Vec<&Command> = children.collect();
    let examples = examples(command);
    if children.is_empty() {
        assert!(!examples.is_empty(), "{path} has no example in its help");
        let own = examples.iter().any(|example| example.starts_with(path));
        assert!(own, "no example of {path} is one of it");
    }
    for example in &examples {
        let words = words(example);
        let result = match words[0].as_str() {
            "tepui" => Cli::try_parse_from(&words).map(drop),
            "tepui-master" => MasterArgs::try_parse_from(&words).map(drop),
            "tepui-agent" => AgentArgs::try_parse_from(&words).map(drop),
            other => panic!("{path}: no program {other:?} in {example:?}"),
        };
        assert!(
            result.is_ok(),
            "{path}: {example:?}: {}",
            result.unwrap_err()
        );
    }
    for child in children {
        check_examples(child, &format!("{path} {}", child.get_name()));
    }
}

#[test]
fn the_command_lines_are_well_formed() {
    Cli::command().debug_assert();
    MasterArgs::command().debug_assert();
    AgentArgs::command().debug_assert();
}

#[test]
fn every_command_has_examples_and_they_parse() {
    check_examples(&Cli::command(), "tepui");
    check_examples(&MasterArgs::command(), "tepui-master");
    check_examples(&AgentArgs::command(), "tepui-agent");
}

#[test]
fn every_flag_is_explained() {
    fn check(command: &Command, path: &str) {
        for argument in command.get_arguments() {
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "{path}: {name} has no help");
        }
        for child in command.get_subcommands() {
            assert!(
                child.get_about().is_some(),
                "{path} {} has no help",
                child.get_name()
            );
            check(child, &format!("{path} {}", child.get_name()));
        }
    }
    check(&Cli::command(), "tepui");
    check(&MasterArgs::command(), "tepui-master");
    check(&AgentArgs::command(), "tepui-agent");
}

#[test]
fn words_are_split_as_in_a_shell() {
    assert_eq!(words("a 'b c' \"\" d > e"), ["a", "b c", "", "d"]);
}
