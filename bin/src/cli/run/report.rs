//! Where the steps of a run and the output of its tasks go.
//!
//! Called by the session. Steps go to standard error, line by line, with a spinner below them on a
//! terminal; what tasks write goes to where they write it. With `--json` everything goes to
//! standard output, one object a line. Deliberately not here: what a step says (see `step`).

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};
use tepui_core::ids::TaskId;
use tepui_core::protocol::agent::OutputFile;

use super::step::Step;
use crate::cli::Io;

/// How steps are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One line a step.
    Lines,
    /// Lines, and a spinner while there is something to wait for.
    Spinner,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Quiet,
}

impl Style {
    /// Chooses lines or a spinner by where standard error goes.
    pub(super) fn for_people() -> Self {
        match io::stderr().is_terminal() {
            true => Self::Spinner,
            false => Self::Lines,
        }
    }
}

/// Writes steps and output.
pub(super) struct Report<'a, 'b> {
    io: &'a mut Io<'b>,
    style: Style,
    spinner: ProgressBar,
    /// Whether the terminal's cursor stands after output without a line break.
    midline: bool,
}

impl<'a, 'b> Report<'a, 'b> {
    /// Makes a report.
    pub(super) fn new(io: &'a mut Io<'b>, style: Style) -> Self {
        let spinner = match style {
            Style::Spinner => ProgressBar::new_spinner(),
            Style::Lines | Style::Json | Style::Quiet => {
                ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            }
        };
        Self {
            io,
            style,
            spinner,
            midline: false,
        }
    }

    /// Shows a step.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        match self.style {
            Style::Quiet => Ok(()),
            Style::Json => {
                let line = serde_json::to_string(step).expect("steps have text keys");
                writeln!(self.io.out, "{line}")?;
                self.io.out.flush()
            }
            Style::Lines | Style::Spinner => {
                if matches!(step, Step::Output(_) | Step::Exit { .. }) {
                    return Ok(());
                }
                let newline = if self.midline { "\n" } else { "" };
                self.midline = false;
                let Self { io, spinner, .. } = self;
                match spinner.suspend(|| writeln!(io.err, "{newline}tepui: {step}")) {
                    // Whoever closed standard error does not want steps; the task goes on.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        self.style = Style::Quiet;
                        Ok(())
                    }
                    written => written,
                }
            }
        }
    }

    /// Shows what is being waited for, on a terminal.
    pub(super) fn wait_for(&mut self, what: &str) {
        if self.style == Style::Spinner {
            self.spinner.set_message(what.to_owned());
            self.spinner.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// Leaves the terminal to the tasks.
    pub(super) fn clear(&mut self) {
        self.spinner.disable_steady_tick();
        self.spinner.finish_and_clear();
    }

    /// Passes on what a task wrote.
    pub(super) fn output(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        if self.style == Style::Json {
            return self.step(&Step::output(piece.task, piece.file, piece.bytes));
        }
        let out: &mut dyn Write = match piece.file {
            OutputFile::Stdout => self.io.out,
            OutputFile::Stderr => self.io.err,
        };
        let midline = piece.bytes.last().is_some_and(|byte| *byte != b'\n');
        self.spinner.suspend(|| {
            match piece.label {
                None => out.write_all(piece.bytes)?,
                Some(label) => {
                    for line in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
                        write!(out, "{label}: ")?;
                        out.write_all(line)?;
                    }
                }
            }
            out.flush()
        })?;
        // Only on a terminal do our lines stand between those of the tasks.
        self.midline = self.style == Style::Spinner && midline;
        Ok(())
    }
}

/// A piece of what a task wrote. With a label these are whole lines but for the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// The task.
    pub(super) task: &'a TaskId,
    /// What each line begins with, if several tasks write.
    pub(super) label: Option<&'a str>,
    /// Where it wrote it.
    pub(super) file: OutputFile,
    /// What it wrote.
    pub(super) bytes: &'a [u8],
}

#[cfg(test)]
mod tests {
    use tepui_core::ids::{AgentId, OfferId};
    use tepui_core::protocol::offer::Offer;
    use tepui_core::protocol::status::{Exit, Reason, Source, TaskState, TaskStatus};
    use tepui_core::resources::Resources;
    use tepui_core::time::Time;

    use super::*;

    fn story(style: Style, label: Option<&str>) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            out: &mut out,
            err: &mut err,
        };
        let mut report = Report::new(&mut io, style);
        let task = TaskId::new("run-1").unwrap();
        let resources = Resources::parse("cpus:0.5;mem:64").unwrap();
        let offer = Offer {
            hostname: "box".into(),
            ..Offer::new(
                OfferId::new("rio-1-O1").unwrap(),
                "rio-1-0001".parse().unwrap(),
                AgentId::new("rio-1-S1").unwrap(),
                Resources::parse("cpus:2;mem:1000").unwrap(),
            )
        };
        let status = TaskStatus {
            reason: Some(Reason::CommandFailed),
            exit: Some(Exit::Code(3)),
            ..TaskStatus::new(
                task.clone(),
                TaskState::Failed,
                Source::Executor,
                Time::ZERO,
            )
        };
        report.step(&Step::offer(&offer)).unwrap();
        report
            .step(&Step::staging(&task, &offer, &resources))
            .unwrap();
        for (file, bytes) in [
            (OutputFile::Stdout, b"one\ntwo".as_slice()),
            (OutputFile::Stderr, b"\xff\n"),
        ] {
            let task = &task;
            let piece = Piece {
                task,
                label,
                file,
                bytes,
            };
            report.output(&piece).unwrap();
        }
        report.step(&Step::task(&status, &resources)).unwrap();
        report.step(&Step::Exit { code: 3 }).unwrap();
        (
            String::from_utf8_lossy(&out).into_owned(),
            String::from_utf8_lossy(&err).into_owned(),
        )
    }

    #[test]
    fn steps_go_to_standard_error_and_output_where_it_belongs() {
        let (out, err) = story(Style::Lines, None);
        assert_eq!(out, "one\ntwo");
        assert_eq!(
            err,
            "tepui: offer rio-1-O1 from agent rio-1-S1 on box: cpus:2;mem:1000\n\
             tepui: task run-1 staging (cpus:0.5;mem:64)\n\
             \u{fffd}\n\
             tepui: task run-1 failed: exit code 3; command-failed (cpus:0.5;mem:64)\n"
        );
    }

    /// A pipe whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_standard_error_costs_the_steps_and_nothing_else() {
        let mut out = Vec::new();
        let mut io = Io {
            out: &mut out,
            err: &mut Closed,
        };
        let mut report = Report::new(&mut io, Style::Lines);
        let task = TaskId::new("run-1").unwrap();
        for _ in 0..2 {
            report.step(&Step::Disconnected).unwrap();
        }
        let piece = Piece {
            task: &task,
            label: None,
            file: OutputFile::Stdout,
            bytes: b"on",
        };
        report.output(&piece).unwrap();
        let file = OutputFile::Stderr;
        let error = report.output(&Piece { file, ..piece }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "the task is told");
        assert_eq!(out, b"on");
    }

    #[test]
    fn the_output_of_several_tasks_is_told_apart() {
        let (out, _) = story(Style::Quiet, Some("web"));
        assert_eq!(out, "web: one\nweb: two");
    }

    #[test]
    fn json_is_one_object_a_line_and_nothing_else() {
        let (out, err) = story(Style::Json, Some("web"));
        assert_eq!(err, "");
        let lines: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let events: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["event"].as_str())
            .collect();
        assert_eq!(
            events,
            ["offer", "task", "output", "output", "task", "exit"]
        );
        assert_eq!(lines[2]["text"], "one\ntwo");
        assert_eq!(
            (&lines[3]["hex"], &lines[3]["text"]),
            (&"ff0a".into(), &().into())
        );
        assert_eq!(
            lines[4],
            serde_json::json!({
                "event": "task",
                "task": "run-1",
                "state": "failed",
                "agent": null,
                "reason": "command-failed",
                "message": "",
                "at": "1970-01-01T00:00:00.000000Z",
                "exit": { "code": 3, "signal": null },
                "breach": null,
                "resources": {
                    "text": "cpus:0.5;mem:64",
                    "amounts": { "cpus": 0.5, "mem": 64.0 },
                },
            })
        );
        assert_eq!(lines[5], serde_json::json!({ "event": "exit", "code": 3 }));
    }
}
