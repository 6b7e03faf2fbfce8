//! What operators ask and say about machines: the maintenance schedule, and taking machines out of
//! service.
//!
//! Called by `cli`. A schedule is read from a file in the form in which it is printed as JSON.
//! Deliberately not here: whether an order fits what there is, which the master decides.

use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tepui_core::limits;
use tepui_core::protocol::maintenance::{
    InverseOfferView, MachineId, MachineView, Unavailability, Window,
};
use tepui_core::protocol::operator::{Answer, Call};
use tepui_core::time::Time;

use super::agents::asks_for;
use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::{Column, Listing, OutputArgs, Row};
use super::text::Text;
use super::times::rfc3339;
use super::views::row;
use super::{Io, Threads, block_on, values};

/// What can be asked and said about machines.
#[derive(Debug, Subcommand)]
pub(super) enum MaintenanceCommand {
    /// Print the schedule
    #[command(after_help = "\
Examples:
  tepui maintenance schedule
  tepui maintenance schedule -o json > schedule.json")]
    Schedule(ListArgs),
    /// Post a schedule in place of the one before
    Set(SetArgs),
    /// Take machines of the schedule out of service, with all that they run
    Down(DownArgs),
    /// Take machines into service again
    Up(UpArgs),
    /// List the machines of the schedule, and which frameworks leave them
    #[command(after_help = "\
Examples:
  tepui maintenance status
  tepui maintenance status --output json")]
    Status(ListArgs),
}

/// Flags of `tepui maintenance set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui maintenance set schedule.json
  tepui maintenance schedule -o json > schedule.json

The file holds windows in JSON; without a duration a window has no end:
  [{\"machines\": [\"host-1\", \"10.0.0.7\", \"host-2/10.0.0.8\"],
    \"start\": \"2026-12-01T20:00:00Z\", \"duration\": \"2h\"}]
Frameworks are asked to leave machines that are newly in it. Those that are not in it are up; an
empty list ends all windows.")]
pub(super) struct SetArgs {
    /// The file with the schedule; - is standard input
    #[arg(value_parser = values::path())]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui maintenance down`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui maintenance down host-1 10.0.0.7
  tepui maintenance down host-2/10.0.0.8 --yes

Their agents end all that they run, and themselves; frameworks hear that those tasks are gone. No
agent joins from there until `tepui maintenance up`; then they join under other ids.")]
pub(super) struct DownArgs {
    /// The machines as they are in the schedule
    #[arg(required = true, value_name = "MACHINE", value_parser = Text(machine))]
    machines: Vec<MachineId>,
    /// Do not ask whether that is meant, for it cannot be undone
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui maintenance up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui maintenance up host-1 10.0.0.7

They are no longer in the schedule.")]
pub(super) struct UpArgs {
    /// The machines as they are in the schedule
    #[arg(required = true, value_name = "MACHINE", value_parser = Text(machine))]
    machines: Vec<MachineId>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Shows and changes the maintenance of machines.
pub(super) fn maintenance(command: &MaintenanceCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        MaintenanceCommand::Schedule(args) => {
            let answer = block_on(Threads::One, args.operator.ask(Call::Schedule))?;
            let Answer::Schedule(windows) = answer else {
                return Err(unexpected(&answer));
            };
            schedule(&windows).print(args.output, io.out)?;
        }
        MaintenanceCommand::Set(args) => {
            let windows = read(args)?;
            let call = Call::SetSchedule { windows };
            order(&args.operator, call)?.print(args.output, io.out)?;
        }
        MaintenanceCommand::Down(args) => {
            let names: Vec<String> = args.machines.iter().map(MachineId::to_string).collect();
            let what = format!("machines {} down, with all that they run", names.join(", "));
            if !args.yes && !asks_for(&format!("take {what}"), io)? {
                return Err(Failure::failed("the machines are left alone"));
            }
            let machines = args.machines.clone();
            let call = Call::MachinesDown { machines };
            order(&args.operator, call)?.print(args.output, io.out)?;
        }
        MaintenanceCommand::Up(args) => {
            let machines = args.machines.clone();
            let call = Call::MachinesUp { machines };
            order(&args.operator, call)?.print(args.output, io.out)?;
        }
        MaintenanceCommand::Status(args) => {
            let calls = [Call::Machines, Call::InverseOffers];
            let answers = block_on(Threads::One, args.operator.ask_all(calls))?;
            let [machines, responses] = <[Answer; 2]>::try_from(answers).expect("an answer each");
            status(machines, responses)?.print(args.output, io.out)?;
        }
    }
    Ok(Exit::Success)
}

/// Gives an order, and lists how the machines stand then.
fn order(operator: &OperatorArgs, call: Call) -> Result<Listing, Failure> {
    let calls = [call, Call::Machines, Call::InverseOffers];
    let answers = block_on(Threads::One, operator.ask_all(calls))?;
    let [done, machines, responses] = <[Answer; 3]>::try_from(answers).expect("an answer each");
    if let Answer::Invalid(why) = done {
        return Err(Failure::new(Exit::Usage, why));
    }
    if let Answer::Conflict(why) = done {
        let message = format_args!("{why}; `tepui maintenance status` lists machines");
        return Err(Failure::failed(message));
    }
    if done != Answer::Updated {
        return Err(unexpected(&done));
    }
    status(machines, responses)
}

/// Reads a machine's name: `hostname`, `address` or `hostname/address`.
fn machine(text: &str) -> Result<MachineId, String> {
    const EXPECTED: &str = "expected a hostname, an IP address, or both as in host-1/10.0.0.7";
    let (hostname, ip) = match (text.split_once('/'), text.parse::<IpAddr>()) {
        (Some((hostname, ip)), _) => {
            let ip: Result<IpAddr, _> = ip.parse();
            let ip = ip.map_err(|error| format!("{error}; {EXPECTED}"))?;
            if hostname.is_empty() {
                return Err(format!("the hostname is empty; {EXPECTED}"));
            }
            (hostname.to_owned(), Some(ip))
        }
        (None, Ok(ip)) => (String::new(), Some(ip)),
        (None, Err(_)) => (text.to_owned(), None),
    };
    let machine = MachineId { hostname, ip };
    machine
        .checked()
        .map_err(|error| format!("{error}; {EXPECTED}"))
}

/// A window as it is written down and printed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WindowJson {
    machines: Vec<String>,
    /// RFC 3339, in UTC.
    start: String,
    /// Such as `2h30m`; null is without end.
    duration: Option<String>,
}

impl WindowJson {
    fn of(window: &Window) -> Self {
        let Unavailability { start, duration } = window.unavailability;
        Self {
            machines: window.machines.iter().map(MachineId::to_string).collect(),
            start: rfc3339(start),
            duration: duration.map(|it| humantime::format_duration(it).to_string()),
        }
    }

    fn window(self) -> Result<Window, String> {
        let machines = self.machines.iter().map(|text| {
            let found = machine(text);
            found.map_err(|why| format!("machines: {text:?}: {why}"))
        });
        let machines = machines.collect::<Result<_, _>>()?;
        let duration = self.duration.map(|text| {
            let duration = values::duration(&text);
            duration.map_err(|why| format!("duration: {text:?}: {why}"))
        });
        Ok(Window {
            machines,
            unavailability: Unavailability {
                start: moment(&self.start)?,
                duration: duration.transpose()?,
            },
        })
    }
}

fn moment(text: &str) -> Result<Time, String> {
    const EXPECTED: &str = "expected a moment such as 2026-12-01T20:00:00Z";
    let parsed = humantime::parse_rfc3339(text);
    let moment = parsed.map_err(|error| format!("start: {text:?}: {error}; {EXPECTED}"))?;
    let since = moment.duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| format!("start: {text:?}: it is before 1970; {EXPECTED}"))?;
    Ok(Time::ZERO + since)
}

/// Reads a schedule from a file. What is wrong with it is said with the place.
fn read(args: &SetArgs) -> Result<Vec<Window>, Failure> {
    let name = args.file.display().to_string();
    let wrong = |problem: String| Failure::usage("FILE", &name, problem);
    let text = text_of(args).map_err(|error| wrong(error.to_string()))?;
    let windows: Vec<WindowJson> =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let windows = windows.into_iter().enumerate().map(|(n, window)| {
        let window = window.window();
        window.map_err(|problem| wrong(format!("window {}: {problem}", n + 1)))
    });
    windows.collect()
}

/// Reads no more than any schedule takes.
fn text_of(args: &SetArgs) -> io::Result<String> {
    let file: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(fs::File::open(&args.file)?)
    };
    let mut text = String::new();
    let most = 4 * limits::FRAME_BYTES as u64;
    if file.take(most + 1).read_to_string(&mut text)? as u64 > most {
        let message = format!("it is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

/// Lists the windows of a schedule. They have no names, so their numbers stand for them.
fn schedule(windows: &[Window]) -> Listing {
    let rows = windows.iter().enumerate().map(|(n, window)| {
        let json = WindowJson::of(window);
        let cells = vec![
            json.start.clone(),
            json.duration.clone().unwrap_or_default(),
            json.machines.join(","),
        ];
        row(&(n + 1).to_string(), cells, &json)
    });
    Listing {
        kind: "window",
        columns: &[
            Column::Narrow("START"),
            Column::Narrow("DURATION"),
            Column::Narrow("MACHINES"),
        ],
        rows: rows.collect(),
    }
}

#[derive(Serialize)]
struct MachineJson<'a> {
    machine: String,
    /// `draining` or `down`.
    mode: &'static str,
    /// RFC 3339, in UTC.
    start: String,
    /// Null is without end.
    duration_seconds: Option<f64>,
    agents: usize,
    /// Which frameworks were asked to leave its agents, and what they say.
    responses: Vec<ResponseJson<'a>>,
}

#[derive(Serialize)]
struct ResponseJson<'a> {
    framework: &'a str,
    agent: &'a str,
    /// The question that is open, if one is.
    inverse_offer: Option<&'a str>,
    /// The last answer: `unknown`, `accepted` or `declined`.
    response: &'static str,
    /// When that was said; RFC 3339, in UTC.
    at: Option<String>,
}

impl<'a> ResponseJson<'a> {
    fn of(view: &'a InverseOfferView) -> Self {
        Self {
            framework: view.framework.as_str(),
            agent: view.agent.as_str(),
            inverse_offer: view.open.as_ref().map(|id| id.as_str()),
            response: view.leaving.as_str(),
            at: view.leaving.at().map(rfc3339),
        }
    }
}

fn status(machines: Answer, responses: Answer) -> Result<Listing, Failure> {
    let Answer::Machines(machines) = machines else {
        return Err(unexpected(&machines));
    };
    let Answer::InverseOffers(responses) = responses else {
        return Err(unexpected(&responses));
    };
    let rows = machines.iter().map(|view| machine_row(view, &responses));
    Ok(Listing {
        kind: "machine",
        columns: &[
            Column::Narrow("MACHINE"),
            Column::Narrow("MODE"),
            Column::Narrow("START"),
            Column::Narrow("DURATION"),
            Column::Narrow("AGENTS"),
            Column::Narrow("LEAVE"),
            Column::Narrow("STAY"),
            Column::Narrow("SILENT"),
        ],
        rows: rows.collect(),
    })
}

fn machine_row(view: &MachineView, responses: &[InverseOfferView]) -> Row {
    let name = view.machine.to_string();
    let Unavailability { start, duration } = view.unavailability;
    let own = responses
        .iter()
        .filter(|it| it.machines.contains(&view.machine));
    let json = MachineJson {
        machine: name.clone(),
        mode: view.mode.as_str(),
        start: rfc3339(start),
        duration_seconds: duration.map(|it| it.as_secs_f64()),
        agents: view.agents,
        responses: own.map(ResponseJson::of).collect(),
    };
    let lasts = |it: Duration| humantime::format_duration(it).to_string();
    let cells = vec![
        name.clone(),
        view.mode.as_str().to_owned(),
        json.start.clone(),
        duration.map(lasts).unwrap_or_default(),
        view.agents.to_string(),
        view.accepted.to_string(),
        view.declined.to_string(),
        view.unknown.to_string(),
    ];
    row(&name, cells, &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Window>, String> {
        let windows: Vec<WindowJson> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        windows.into_iter().map(WindowJson::window).collect()
    }

    #[test]
    fn a_schedule_is_read_as_it_is_printed() {
        // TK-118
        let text = r#"[
            {"machines": ["A", "10.0.0.7", "b/::1"], "start": "2026-12-01T20:00:00Z",
             "duration": "2h 30m"},
            {"machines": ["c"], "start": "1970-01-01T00:00:01.5Z"}
        ]"#;
        let windows = parsed(text).unwrap();
        assert_eq!(windows[0].machines[0], MachineId::of_hostname("a"));
        let names: Vec<String> = windows[0]
            .machines
            .iter()
            .map(MachineId::to_string)
            .collect();
        assert_eq!(names, ["a", "10.0.0.7", "b/::1"]);
        let lasts = windows[0].unavailability.duration;
        assert_eq!(lasts, Some(Duration::from_secs(9_000)));
        let forever = Unavailability {
            start: Time::from_micros(1_500_000),
            duration: None,
        };
        assert_eq!(windows[1].unavailability, forever);
        let printed: Vec<WindowJson> = windows.iter().map(WindowJson::of).collect();
        let again = parsed(&serde_json::to_string(&printed).unwrap()).unwrap();
        assert_eq!(again, windows);
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said() {
        // VA-26: unparsable address, negative duration, a name that is none
        let with = |machine: &str, start: &str, rest: &str| {
            let text = format!(r#"[{{"machines": ["{machine}"], "start": "{start}"{rest}}}]"#);
            parsed(&text).unwrap_err()
        };
        let good = "2026-12-01T20:00:00Z";
        for (problem, expected) in [
            (with("a/10.0.0.300", good, ""), "invalid IP address syntax"),
            (with("/10.0.0.3", good, ""), "the hostname is empty"),
            (with("", good, ""), "neither a hostname nor an IP address"),
            (with("a b", good, ""), "has a blank"),
            (with("a", "tomorrow", ""), "start: \"tomorrow\": "),
            (
                with("a", good, r#", "duration": "-2h""#),
                "duration: \"-2h\": at 0",
            ),
            (
                with("a", good, r#", "until": "2h""#),
                "unknown field `until`",
            ),
        ] {
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
