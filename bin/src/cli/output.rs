//! Lists of things, as tables for people and as JSON for programs.
//!
//! Called by the commands that list. The JSON is a contract: names and shapes are those of the
//! structs here, which are deliberately not the protocol's own, so that the protocol can change.
//! Fields may be added; none is renamed, removed, or given another meaning. An absent value is
//! `null`. Deliberately not here: the views themselves (see `views`), and the steps of `run`.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The columns that fit most terminals
    Table,
    /// All columns
    Wide,
    /// An array of objects; a stable contract
    Json,
    /// One KIND/ID a line
    Name,
}

/// Flags of every command that lists.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    /// Print no line of column titles
    #[arg(long)]
    no_headers: bool,
    /// Print ids only, one a line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Always shown.
    Narrow(&'static str),
    /// Shown with `-o wide` only.
    Wide(&'static str),
}

/// One thing of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What names it, whole.
    pub(super) id: String,
    /// One text a column.
    pub(super) cells: Vec<String>,
    /// The same for programs.
    pub(super) json: serde_json::Value,
}

/// Things of one kind.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// What they are, in one word.
    pub(super) kind: &'static str,
    /// The columns of their table.
    pub(super) columns: &'static [Column],
    /// The things.
    pub(super) rows: Vec<Row>,
}

impl Listing {
    /// Prints the list as the flags want it.
    pub(super) fn print(&self, args: OutputArgs, out: &mut dyn Write) -> io::Result<()> {
        if args.quiet {
            return self
                .rows
                .iter()
                .try_for_each(|row| writeln!(out, "{}", row.id));
        }
        match args.output {
            Format::Table | Format::Wide => self.print_table(args, out),
            Format::Json => {
                let all = self.rows.iter().map(|row| row.json.clone()).collect();
                let all = serde_json::Value::Array(all);
                writeln!(out, "{all:#}")
            }
            Format::Name => {
                let mut names = self.rows.iter();
                names.try_for_each(|row| writeln!(out, "{}/{}", self.kind, row.id))
            }
        }
    }

    fn print_table(&self, args: OutputArgs, out: &mut dyn Write) -> io::Result<()> {
        let shown = |column: &Column| match column {
            Column::Narrow(_) => true,
            Column::Wide(_) => args.output == Format::Wide,
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !args.no_headers {
            let columns = self.columns.iter().filter(|column| shown(column));
            table.add_row(columns.map(|column| match column {
                Column::Narrow(title) | Column::Wide(title) => *title,
            }));
        }
        for row in &self.rows {
            assert_eq!(row.cells.len(), self.columns.len(), "a {} row", self.kind);
            let cells = row.cells.iter().zip(self.columns);
            let cells = cells.filter(|(_, column)| shown(column));
            table.add_row(cells.map(|(cell, _)| match cell.is_empty() {
                true => "-".to_owned(),
                false => printable(cell),
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Peers choose names and messages: none of them may move the cursor or start a line of its own.
pub(super) fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let row = |id: &str, state: &str, note: &str| Row {
            id: id.into(),
            cells: vec![id.into(), state.into(), note.into()],
            json: serde_json::json!({ "id": id, "state": state, "note": note }),
        };
        Listing {
            kind: "task",
            columns: &[
                Column::Narrow("ID"),
                Column::Narrow("STATE"),
                Column::Wide("NOTE"),
            ],
            rows: vec![
                row("t1", "running", ""),
                row("task-2", "staging", "a\x1b[2Jb"),
            ],
        }
    }

    fn printed(output: Format, no_headers: bool, quiet: bool) -> String {
        let args = OutputArgs {
            output,
            no_headers,
            quiet,
        };
        let mut out = Vec::new();
        listing().print(args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_have_no_borders_and_no_trailing_blanks() {
        assert_eq!(
            printed(Format::Table, false, false),
            "ID       STATE\nt1       running\ntask-2   staging\n"
        );
        assert_eq!(
            printed(Format::Table, true, false),
            "t1       running\ntask-2   staging\n"
        );
    }

    #[test]
    fn wide_shows_all_columns_and_escapes_what_peers_wrote() {
        assert_eq!(
            printed(Format::Wide, false, false),
            "ID       STATE     NOTE\n\
             t1       running   -\n\
             task-2   staging   a\\u{1b}[2Jb\n"
        );
    }

    #[test]
    fn names_and_ids() {
        assert_eq!(
            printed(Format::Name, false, false),
            "task/t1\ntask/task-2\n"
        );
        assert_eq!(printed(Format::Table, false, true), "t1\ntask-2\n");
    }

    #[test]
    fn json_is_an_array_of_objects() {
        let parsed: serde_json::Value =
            serde_json::from_str(&printed(Format::Json, false, false)).unwrap();
        assert_eq!(parsed[1]["state"], "staging");
        assert_eq!(parsed.as_array().unwrap().len(), 2);
    }
}
