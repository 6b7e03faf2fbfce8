//! Tables of text, row by row and in bounded memory, with the place of what is wrong in them.
//!
//! Used by the importers of traces.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::str::FromStr;

/// The longest row that is read.
const ROW_BYTES: u64 = 64 * 1024;
/// The most rows that are read: what is kept of each stays in memory.
const ROWS: u64 = 5_000_000;

/// What is wrong with a table, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    line: u64,
    /// From 1; zero is the whole row.
    column: usize,
    problem: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, "line {}: {}", self.line, self.problem),
            column => write!(f, "line {}, column {column}: {}", self.line, self.problem),
        }
    }
}

impl Wrong {
    /// Says that nothing is there.
    pub(super) fn empty(expected: &str) -> Self {
        Self {
            line: 1,
            column: 0,
            problem: format!("it is empty: expected {expected}"),
        }
    }
}

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows<R> {
    reader: BufReader<R>,
    line: u64,
    text: String,
}

impl<R: Read> Rows<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: 0,
            text: String::new(),
        }
    }

    /// Reads the first row, however long, up to its bound.
    pub(super) fn head(mut self) -> io::Result<String> {
        let mut text = Vec::new();
        let mut bounded = (&mut self.reader).take(ROW_BYTES);
        bounded.read_until(b'\n', &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Reads the next row, if there is one.
    pub(super) fn next(&mut self, separator: char) -> Result<Option<Row<'_>>, Wrong> {
        self.line += 1;
        self.text.clear();
        let line = self.line;
        let wrong = |problem| Wrong {
            line,
            column: 0,
            problem,
        };
        let mut bounded = (&mut self.reader).take(ROW_BYTES);
        let read = bounded.read_line(&mut self.text);
        let read = read.map_err(|error| wrong(format!("{error}; expected a row of text")))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == ROW_BYTES {
            return Err(wrong(format!("expected less than {ROW_BYTES} bytes")));
        }
        if line > ROWS {
            return Err(wrong(format!("expected at most {ROWS} rows")));
        }
        let cells = self.text.trim_end().split(separator).collect();
        Ok(Some(Row { line, cells }))
    }
}

/// One row, cut into cells.
#[derive(Debug)]
pub(super) struct Row<'a> {
    line: u64,
    cells: Vec<&'a str>,
}

impl Row<'_> {
    /// Says what is wrong with a cell, from 0.
    pub(super) fn wrong(&self, cell: usize, expected: impl fmt::Display) -> Wrong {
        let text: String = self.text(cell).chars().take(40).collect();
        Wrong {
            line: self.line,
            column: cell + 1,
            problem: format!("{text:?}: expected {expected}"),
        }
    }

    /// Checks how many cells there are.
    pub(super) fn expect(&self, cells: usize, names: &str) -> Result<(), Wrong> {
        if self.cells.len() == cells {
            return Ok(());
        }
        Err(Wrong {
            line: self.line,
            column: 0,
            problem: format!("{} cells, expected {cells}: {names}", self.cells.len()),
        })
    }

    /// Returns the whole row, its cells joined again.
    pub(super) fn join(&self, separator: char) -> String {
        self.cells.join(&separator.to_string())
    }

    /// Returns a cell's text; what is not there is empty.
    pub(super) fn text(&self, cell: usize) -> &str {
        self.cells.get(cell).copied().unwrap_or_default().trim()
    }

    /// Reads a cell as a number between zero and `most`.
    pub(super) fn number<T>(&self, cell: usize, most: T) -> Result<T, Wrong>
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let number = self.text(cell).parse().ok();
        let number = number.filter(|number: &T| *number <= most);
        number.ok_or_else(|| self.wrong(cell, format_args!("a whole number from 0 to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &[u8]) -> Result<Vec<String>, String> {
        let mut rows = Rows::new(text);
        let row = rows.next(',').map_err(|wrong| wrong.to_string())?;
        let row = row.map(|row| row.cells.into_iter().map(String::from).collect());
        Ok(row.unwrap_or_default())
    }

    #[test]
    fn rows_are_cut_and_bounded_and_what_is_wrong_has_its_place() {
        assert_eq!(first(b"a,b,\r\nc").unwrap(), ["a", "b", ""]);
        assert!(first(b"").unwrap().is_empty());
        assert!(first(b"\xff\xfe\n").unwrap_err().starts_with("line 1: "));
        let long = vec![b'x'; 100_000];
        assert!(first(&long).unwrap_err().contains("bytes"));

        let mut rows = Rows::new(&b"a\n1,x"[..]);
        rows.next(',').unwrap();
        let row = rows.next(',').unwrap().unwrap();
        assert_eq!(row.number(0, 9_u32).unwrap(), 1);
        let texts = [
            row.number(1, 9_u32).unwrap_err().to_string(),
            row.number(2, 9_u32).unwrap_err().to_string(),
            row.number(0, 0_u32).unwrap_err().to_string(),
            row.expect(3, "a,b,c").unwrap_err().to_string(),
        ];
        let expected = [
            "line 2, column 2: \"x\": expected a whole number from 0 to 9",
            "line 2, column 3: \"\": expected a whole number from 0 to 9",
            "line 2, column 1: \"1\": expected a whole number from 0 to 0",
            "line 2: 2 cells, expected 3: a,b,c",
        ];
        assert_eq!(texts, expected);
    }
}
