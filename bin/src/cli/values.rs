//! What can stand after a flag, and what is said if something else does.
//!
//! Called by clap for each value. An error says what was expected and, where the text has a
//! grammar, at which byte it goes wrong (counted from 0); flag and value are put before it by
//! `failure`. Deliberately not here: what the values mean.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use tepui_core::agent::Recover;
use tepui_core::allocator::MOST_WEIGHT;
use tepui_core::attributes::Attributes;
use tepui_core::auth::PeerRole;
use tepui_core::ids::{AgentId, FrameworkId, InvalidId};
use tepui_core::limits;
use tepui_core::master::{CallRate, Rate};
use tepui_core::protocol::node::Domain;
use tepui_core::resources::{Ceilings, Milli, ParseError, Quantities, Resource, Resources, Value};
use tepui_core::roles::Role;

use crate::master_node::OfferTimeout;

/// How many calls wait for their turn if nothing is said of that.
const WAITING_CALLS: usize = 10_000;

/// As long as no deadline that is counted from now needs to be: clocks of all kinds can add it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A time span such as `90s`, `1h30m` or `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as 500ms, 90s or 1h30m";
    let (at, problem) = match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => (0, "it is longer than 100 years"),
        Ok(duration) => return Ok(duration),
        Err(humantime::DurationError::InvalidCharacter(at)) => (at, "this character has no place"),
        Err(humantime::DurationError::NumberExpected(at)) => (at, "a number is missing"),
        Err(humantime::DurationError::UnknownUnit { start, end, .. }) if start == end => {
            (start, "a unit is missing")
        }
        Err(humantime::DurationError::UnknownUnit { start, .. }) => (start, "the unit is unknown"),
        Err(humantime::DurationError::NumberOverflow) => (0, "it is longer than 100 years"),
        Err(humantime::DurationError::Empty) => (0, "it is empty"),
    };
    Err(format!("at {at}: {problem}; {EXPECTED}"))
}

/// A time span that is not zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err("expected a duration longer than zero".into());
    }
    Ok(duration)
}

/// How long an offer stands: a time span that is not zero, or `never`, when it is not taken back.
pub(super) fn offer_timeout(text: &str) -> Result<OfferTimeout, String> {
    if text == "never" {
        return Ok(OfferTimeout(None));
    }
    match positive_duration(text) {
        Ok(duration) => Ok(OfferTimeout(Some(duration))),
        Err(why) => Err(format!("{why}, or `never`")),
    }
}

/// At most so many agents in so much time, such as `20/1m`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    const EXPECTED: &str = "expected a number of agents and a time such as 20/1m";
    let Some((agents, per)) = text.split_once('/') else {
        return Err(format!("at {}: there is no /; {EXPECTED}", text.len()));
    };
    let agents: u32 = match agents.parse() {
        Ok(0) | Err(_) => return Err(format!("at 0: no number above zero; {EXPECTED}")),
        Ok(agents) => agents,
    };
    let per = positive_duration(per)?;
    Ok(Rate { agents, per })
}

/// Reads where a machine stands, as in `eu-west/a`.
pub(super) fn domain(text: &str) -> Result<Domain, String> {
    match text.split_once('/') {
        Some((region, zone)) if !region.is_empty() && !zone.is_empty() => Ok(Domain {
            region: region.into(),
            zone: zone.into(),
        }),
        Some(_) | None => Err("expected a region and a zone such as eu-west/a".into()),
    }
}

/// Whose calls are heard how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedRate {
    /// The principal; `None` is all others together.
    pub(super) who: Option<String>,
    /// `None` is not bounded.
    pub(super) rate: Option<CallRate>,
}

/// Reads whose calls are heard how fast, as in `web=100/1s:500`.
pub(super) fn call_rate(text: &str) -> Result<NamedRate, String> {
    const EXPECTED: &str =
        "expected a principal, or *, and a rate such as web=100/1s:500 or web=unlimited";
    let Some((who, rate)) = text.split_once('=') else {
        return Err(format!("at {}: there is no =; {EXPECTED}", text.len()));
    };
    if who.is_empty() {
        return Err(format!("at 0: there is no principal; {EXPECTED}"));
    }
    let who = (who != "*").then(|| who.to_string());
    if rate == "unlimited" {
        return Ok(NamedRate { who, rate: None });
    }
    let (rate, waiting) = match rate.split_once(':') {
        Some((rate, waiting)) => (rate, waiting.parse().ok()),
        None => (rate, Some(WAITING_CALLS)),
    };
    let Some(waiting) = waiting else {
        return Err(format!("after the colon: not a number; {EXPECTED}"));
    };
    let Some((calls, per)) = rate.split_once('/') else {
        return Err(format!("after the =: there is no /; {EXPECTED}"));
    };
    let calls: u32 = match calls.parse() {
        Ok(0) | Err(_) => return Err(format!("after the =: no number above zero; {EXPECTED}")),
        Ok(calls) => calls,
    };
    let per = positive_duration(per)?;
    let rate = CallRate {
        calls,
        per,
        waiting,
    };
    Ok(NamedRate {
        who,
        rate: Some(rate),
    })
}

/// A part of a hundred, such as `50%`.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    number
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "expected a percentage from 0% to 100%".into())
}

/// CPU cores, to the thousandth.
pub(super) fn cpus(text: &str) -> Result<Milli, String> {
    let cores = decimal(text, "a number of cores such as 2 or 0.5")?;
    const MOST: u128 = 1_000_000 * 1000;
    thousandths(cores, 0, MOST).ok_or_else(|| {
        "expected at least 0.001 cores, at most a million, and no finer parts than 0.001".into()
    })
}

/// Memory in MiB; a plain number is MiB, letters name other units.
pub(super) fn memory(text: &str) -> Result<Milli, String> {
    const EXPECTED: &str = "a size such as 64 (MiB), 64M, 1.5G or 1GiB";
    let digits = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 0,
        "k" | "kb" | "kib" => -10,
        "g" | "gb" | "gib" => 10,
        "t" | "tb" | "tib" => 20,
        _ => {
            let at = number.len();
            return Err(format!("at {at}: the unit is unknown; expected {EXPECTED}"));
        }
    };
    let size = decimal(number, EXPECTED)?;
    const MOST: u128 = 1_000_000 * 1_048_576 * 1000;
    thousandths(size, shift, MOST).ok_or_else(|| {
        "expected at least 0.001 MiB (about 1K), at most a million TiB, and no finer parts".into()
    })
}

/// A decimal number as digits and a count of those after the point.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    places: u32,
}

fn decimal(text: &str, expected: &str) -> Result<Decimal, String> {
    let mut number = Decimal {
        digits: 0,
        places: 0,
    };
    let (mut point, mut any) = (false, false);
    for (at, c) in text.char_indices() {
        match (c, c.to_digit(10)) {
            (_, Some(digit)) => {
                let more = number.digits.checked_mul(10);
                let more = more.and_then(|digits| digits.checked_add(digit.into()));
                number.digits =
                    more.ok_or_else(|| format!("at {at}: too many digits; expected {expected}"))?;
                number.places += u32::from(point);
                any = true;
            }
            ('.', None) if !point => point = true,
            _ => return Err(format!("at {at}: no digit; expected {expected}")),
        }
    }
    if !any {
        return Err(format!("at {}: no digit; expected {expected}", text.len()));
    }
    Ok(number)
}

/// Multiplies by 2 to the power of `shift` and takes thousandths: `None` if that is nothing, too
/// much, or not exact for units that are not smaller than ours.
fn thousandths(number: Decimal, shift: i32, most: u128) -> Option<Milli> {
    let scale = 10u128.checked_pow(number.places)?;
    let scaled = u128::from(number.digits) * 1000;
    let (product, divisor) = match shift {
        0.. => (scaled << shift, scale),
        _ => (scaled, scale << -shift),
    };
    // A KiB is no whole number of thousandths of a MiB, so small units are rounded up.
    if shift >= 0 && product % divisor != 0 {
        return None;
    }
    let amount = product.div_ceil(divisor);
    if amount == 0 || amount > most {
        return None;
    }
    i64::try_from(amount).ok().map(Milli::from_thousandths)
}

/// An environment variable.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    const EXPECTED: &str = "expected NAME=VALUE";
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("at {}: there is no =; {EXPECTED}", text.len()));
    };
    if name.is_empty() {
        return Err(format!("at 0: the name is empty; {EXPECTED}"));
    }
    if let Some(at) = text.find('\0') {
        return Err(format!("at {at}: a NUL cannot be passed on; {EXPECTED}"));
    }
    Ok((name.into(), value.into()))
}

/// A file or directory. None of ours begins with a dash, so a flag is not taken for one.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let dash = path.as_os_str().as_encoded_bytes().starts_with(b"-");
        match dash {
            true => Err("expected a path; one that begins with a dash is written ./-x"),
            false => Ok(path),
        }
    })
}

/// A name that people give.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected a name that is not empty".into());
    }
    if text.starts_with('-') {
        return Err("expected a name that does not begin with a dash".into());
    }
    if text.len() > limits::TEXT_BYTES {
        let (bytes, most) = (text.len(), limits::TEXT_BYTES);
        return Err(format!("it has {bytes} bytes; expected at most {most}"));
    }
    Ok(text.into())
}

/// A program and its arguments, as clap collected them: checked before a cluster is asked.
pub(super) fn command(words: &[String]) -> Result<(), String> {
    let program = words.first().map_or("", String::as_str);
    if program.is_empty() {
        return Err("expected a program to run".into());
    }
    // Without --name it is the task's name; and no longer path can be executed.
    if program.len() > limits::TEXT_BYTES {
        let (bytes, most) = (program.len(), limits::TEXT_BYTES);
        return Err(format!("it has {bytes} bytes; expected at most {most}"));
    }
    let (arguments, most) = (words.len() - 1, limits::COMMAND_ENTRIES);
    if arguments > most {
        return Err(format!(
            "it has {arguments} arguments; expected at most {most}"
        ));
    }
    Ok(())
}

/// What an agent makes of what runs already.
pub(super) fn recover(text: &str) -> Result<Recover, String> {
    match text {
        "reconnect" => Ok(Recover::Reconnect),
        "cleanup" => Ok(Recover::Cleanup),
        _ => Err("expected reconnect or cleanup".into()),
    }
}

/// A framework's id.
pub(super) fn framework_id(text: &str) -> Result<FrameworkId, String> {
    text.parse()
        .map_err(|error: InvalidId| format!("{error}; expected a framework's id"))
}

/// An agent's id.
pub(super) fn agent_id(text: &str) -> Result<AgentId, String> {
    text.parse()
        .map_err(|error: InvalidId| format!("{error}; expected an agent's id"))
}

/// The name of a cluster, with which its ids begin.
pub(super) fn cluster(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
        return Err("expected 1 to 64 letters, digits, - or _".into());
    }
    Ok(text.into())
}

/// The part that a certificate's bearer may play.
pub(super) fn peer_role(text: &str) -> Result<PeerRole, String> {
    text.parse()
        .map_err(|_| "expected master, agent, framework or operator".into())
}

/// The role in whose name resources are taken.
pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::new(text).map_err(|error| format!("{error}; expected * or a path such as ads/web"))
}

/// Resources in their text syntax.
pub(super) fn resources(text: &str) -> Result<Resources, String> {
    let resources = Resources::parse(text).map_err(|error| misread(&error))?;
    resources.iter().try_for_each(check_kind)?;
    Ok(resources)
}

/// Amounts by name, none of them zero: of ranges and sets how many.
pub(super) fn amounts(text: &str) -> Result<Quantities, String> {
    const EXPECTED: &str = "expected amounts above zero such as cpus:64;mem:262144";
    let parsed = Ceilings::parse(text).map_err(|error| misread(&error))?;
    if parsed.is_empty() {
        return Err(EXPECTED.into());
    }
    let mut amounts = Quantities::new();
    for (name, amount) in parsed.iter() {
        if amount.is_zero() {
            return Err(format!("{name}:0: {EXPECTED}"));
        }
        if name == "gpus" && !amount.is_whole() {
            return Err(format!("gpus:{amount}: expected a whole number for gpus"));
        }
        let inserted = amounts.insert(name, amount);
        inserted.expect("names and amounts were read");
    }
    Ok(amounts)
}

/// Bounds by name: of ranges and sets how many; zero forbids.
pub(super) fn limits(text: &str) -> Result<Ceilings, String> {
    let limits = Ceilings::parse(text).map_err(|error| misread(&error))?;
    if limits.is_empty() {
        return Err("expected amounts such as cpus:64;gpus:0".into());
    }
    match limits.bound("gpus") {
        Some(count) if !count.is_whole() => {
            Err(format!("gpus:{count}: expected a whole number for gpus"))
        }
        _ => Ok(limits),
    }
}

/// A role and its weight.
pub(super) fn weight(text: &str) -> Result<(Role, Milli), String> {
    const EXPECTED: &str = "expected ROLE=WEIGHT such as ads/web=1.5";
    let (name, weight) = text.rsplit_once('=').ok_or(EXPECTED)?;
    let role = role(name)?;
    let weight: Milli = weight.parse().map_err(|_| EXPECTED)?;
    if weight.is_zero() || weight > MOST_WEIGHT {
        return Err(format!(
            "expected a weight above 0, and of {MOST_WEIGHT} at most"
        ));
    }
    Ok((role, weight))
}

/// Checks that a well-known name has its kind of value (RM-08): nobody means anything else.
fn check_kind(resource: &Resource) -> Result<(), String> {
    let (name, value) = (resource.name(), resource.value());
    let expected = match (name, value) {
        ("cpus" | "mem" | "disk", Value::Ranges(_) | Value::Items(_)) => "a number",
        ("gpus", Value::Ranges(_) | Value::Items(_)) => "a whole number",
        ("gpus", Value::Scalar(count)) if !count.is_whole() => "a whole number",
        ("ports", Value::Scalar(_) | Value::Items(_)) => "a range list such as [31000-32000]",
        ("ports", Value::Ranges(ranges)) if ranges.iter().any(|r| *r.end() > 65_535) => {
            "ports up to 65535"
        }
        (_, Value::Scalar(_) | Value::Ranges(_) | Value::Items(_)) => return Ok(()),
    };
    Err(format!("{resource}: expected {expected} for {name}"))
}

/// What an agent offers, with what is said to be zero: that is not detected.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Resource>);

/// What an agent offers, in the text syntax of resources.
pub(super) fn entries(text: &str) -> Result<Entries, String> {
    let entries = Resources::parse_entries(text).map_err(|error| misread(&error))?;
    entries.iter().try_for_each(check_kind)?;
    Ok(Entries(entries))
}

/// Attributes in their text syntax.
pub(super) fn attributes(text: &str) -> Result<Attributes, String> {
    Attributes::parse(text).map_err(|error| misread(&error))
}

fn misread(error: &ParseError) -> String {
    format!("at {}: expected {}", error.position(), error.expected())
}

/// How many of something.
pub(super) fn count(text: &str) -> Result<u32, String> {
    in_range(text, 1..=1_000_000)
}

/// For how many days a certificate holds.
pub(super) fn days(text: &str) -> Result<u32, String> {
    in_range(text, 1..=3650)
}

fn in_range(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        format!("expected a whole number from {least} to {most}")
    })
}

/// Where randomness starts.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected a whole number from 0 to 18446744073709551615".into())
}

/// Seeds of a swarm, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    first: u64,
    last: u64,
}

impl Seeds {
    /// Returns one of them by its place, from 0.
    pub(super) fn nth(self, n: u64) -> Option<u64> {
        let seed = self.first.checked_add(n)?;
        (seed <= self.last).then_some(seed)
    }

    /// Returns how many there are.
    pub(super) const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// A range of seeds such as `1..200`, or one.
pub(super) fn seeds(text: &str) -> Result<Seeds, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let ends = first.parse().ok().zip(last.parse().ok());
    let ends = ends.filter(|(first, last)| first <= last);
    let (first, last) = ends.ok_or("expected two seeds such as 1..200, or one")?;
    Ok(Seeds { first, last })
}

/// How many threads work.
pub(super) fn jobs(text: &str) -> Result<u32, String> {
    in_range(text, 1..=1_024)
}

/// The beginning of an id, or all of it.
pub(super) fn id_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected an id or the beginning of one".into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_above_zero() {
        let read = amounts("mem:1024;cpus:2.5;gpus:2;ports:10").unwrap();
        assert_eq!(read.to_string(), "cpus:2.5;gpus:2;mem:1024;ports:10");
        for (text, expected) in [
            ("", "expected amounts above zero such as cpus:64;mem:262144"),
            ("cpus", "at 4: expected "),
            (
                "cpus:1;cpus:2",
                "at 7: expected a name that is not there yet",
            ),
            ("cpus:1;mem:0", "mem:0: expected amounts above zero"),
            ("gpus:0.5", "gpus:0.5: expected a whole number for gpus"), // RM-55
            ("cpus:-1", "at 5: expected "),
        ] {
            let error = amounts(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn well_known_resources_have_their_kind() {
        // RM-08
        for (text, expected) in [
            ("cpus:[1-2]", "cpus:[1-2]: expected a number for cpus"),
            ("mem:{a}", "mem:{a}: expected a number for mem"),
            ("gpus:0.5", "gpus:0.5: expected a whole number for gpus"),
            (
                "ports:5",
                "ports:5: expected a range list such as [31000-32000] for ports",
            ),
            (
                "cpus:1;ports:[1-65536]",
                "ports:[1-65536]: expected ports up to 65535 for ports",
            ),
        ] {
            assert_eq!(resources(text).unwrap_err(), expected);
            assert_eq!(entries(text).unwrap_err(), expected);
        }
        let text = "cpus:0.5;gpus:2;labels:{a};ports:[1-65535];slots:[1-99999]";
        assert_eq!(resources(text).unwrap().to_string(), text);
    }

    #[test]
    fn sizes_are_mebibytes_unless_they_say_otherwise() {
        for (text, thousandths) in [
            ("64", 64_000),
            ("64M", 64_000),
            ("64MiB", 64_000),
            ("1G", 1_024_000),
            ("1.5g", 1_536_000),
            ("1t", 1_048_576_000),
            ("512K", 500),
            ("1K", 1),
            ("0.5", 500),
        ] {
            assert_eq!(
                memory(text),
                Ok(Milli::from_thousandths(thousandths)),
                "{text}"
            );
        }
        for bad in [
            "",
            "M",
            "0",
            "1X",
            "-1",
            "1.2.3",
            "0.0001",
            "99999999999T",
            "1 G",
        ] {
            assert!(memory(bad).is_err(), "{bad:?} is accepted");
        }
        assert!(
            memory("12Q")
                .unwrap_err()
                .starts_with("at 2: the unit is unknown")
        );
    }

    #[test]
    fn cores_are_thousandths() {
        // RM-02
        assert_eq!(cpus(".5"), Ok(Milli::from_thousandths(500)));
        assert_eq!(cpus("2"), Ok(Milli::from_thousandths(2000)));
        assert_eq!(cpus("0.001"), Ok(Milli::from_thousandths(1)));
        for bad in [
            "",
            ".",
            "0",
            "0.0001",
            "-1",
            "two",
            "1e3",
            "NaN",
            "99999999999999999999",
        ] {
            assert!(cpus(bad).is_err(), "{bad:?} is accepted");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(
            duration("5")
                .unwrap_err()
                .starts_with("at 1: a unit is missing")
        );
        assert!(
            duration("5 parsecs")
                .unwrap_err()
                .contains("the unit is unknown")
        );
        assert!(duration("").unwrap_err().contains("it is empty"));
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn rates_are_agents_by_time() {
        let rate = |text| rate(text).map(|rate| (rate.agents, rate.per));
        assert_eq!(rate("20/1m"), Ok((20, Duration::from_secs(60))));
        for bad in ["", "20", "/1m", "0/1m", "-1/1m", "20/", "20/0s", "20/x"] {
            assert!(rate(bad).is_err(), "{bad:?} is accepted");
        }
        assert!(rate("20").unwrap_err().starts_with("at 2: there is no /"));
        assert_eq!((percent("50%"), percent("0%")), (Ok(50), Ok(0)));
        for bad in ["", "50", "%", "101%", "-1%", "1.5%"] {
            assert!(percent(bad).is_err(), "{bad:?} is accepted");
        }
    }

    #[test]
    fn domains_are_a_region_and_a_zone() {
        let read = domain("eu-west/a").unwrap();
        assert_eq!((&*read.region, &*read.zone), ("eu-west", "a"));
        for bad in ["", "eu", "/a", "eu/"] {
            assert!(domain(bad).is_err(), "{bad:?} is accepted");
        }
    }

    #[test]
    fn calls_have_rates_by_principal() {
        let rate = |calls, waiting| CallRate {
            calls,
            per: Duration::from_secs(1),
            waiting,
        };
        for (text, who, expected) in [
            ("web=100/1s:5", Some("web"), Some(rate(100, 5))),
            ("web=7/1s", Some("web"), Some(rate(7, WAITING_CALLS))),
            ("*=1/1s:0", None, Some(rate(1, 0))),
            ("web=unlimited", Some("web"), None),
        ] {
            let read = call_rate(text).unwrap();
            assert_eq!((read.who.as_deref(), read.rate), (who, expected), "{text}");
        }
        for bad in [
            "",
            "web",
            "=1/1s",
            "web=",
            "web=1",
            "web=0/1s",
            "web=1/0s",
            "web=1/1s:x",
        ] {
            assert!(call_rate(bad).is_err(), "{bad:?} is accepted");
        }
    }

    #[test]
    fn variables_have_names() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(
            variable("A")
                .unwrap_err()
                .starts_with("at 1: there is no =")
        );
        assert!(variable("=b").is_err());
    }
}
