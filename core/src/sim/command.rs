//! What simulated programs are told to do: a few words of shell.
//!
//! Read by containers and by the executors in them.

use core::time::Duration;

/// Understands `sleep SECONDS` and `exit CODE`, joined by `;`. `sleep inf` never ends; without a
/// `sleep` the duration is left open.
pub(super) fn parse(command: &str) -> (Option<Duration>, i32) {
    let mut after: Option<Duration> = None;
    let mut code = 0;
    for part in command.split(';').map(str::trim) {
        let (word, argument) = part.split_once(' ').unwrap_or((part, ""));
        match word {
            "sleep" => {
                let more = seconds(argument.trim()).unwrap_or(Duration::MAX);
                after = Some(after.unwrap_or_default().saturating_add(more));
            }
            "exit" => code = argument.trim().parse().unwrap_or(2),
            _ => {}
        }
    }
    (after, code)
}

/// Reads seconds with up to six decimals.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut micros: u64 = 0;
    for i in 0..6 {
        let digit = part.chars().nth(i).unwrap_or('0').to_digit(10)?;
        micros = micros * 10 + u64::from(digit);
    }
    Some(Duration::from_secs(whole.parse().ok()?) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_say_how_long_they_run_and_how_they_end() {
        let secs = |s: f64| Some(Duration::from_secs_f64(s));
        assert_eq!(parse("sleep 3.2"), (secs(3.2), 0));
        assert_eq!(parse("sleep 1; sleep 0.5 ; exit 7"), (secs(1.5), 7));
        assert_eq!(parse("exit 1"), (None, 1));
        assert_eq!(parse("make all"), (None, 0));
        assert_eq!(parse("sleep inf"), (Some(Duration::MAX), 0));
    }
}
