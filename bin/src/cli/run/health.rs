//! How `tepui run` finds out whether its tasks are healthy, as flags.
//!
//! Deliberately not here: who tries it, and what follows, which are the agent's.

use std::time::Duration;

use clap::{ArgGroup, Args};
use tepui_core::protocol::check::{Family, HealthCheck, HttpProbe, Probe, Rhythm};
use tepui_core::protocol::task::CommandInfo;

use crate::cli::text::Text;
use crate::cli::values;

/// The flags of which one makes a check.
const KINDS: [&str; 4] = ["health_cmd", "health_http", "health_https", "health_tcp"];

/// What an HTTP check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Http {
    port: u16,
    path: String,
}

/// How health is checked.
#[derive(Clone, Debug, Default, Args)]
#[command(
    next_help_heading = "Health",
    group = ArgGroup::new("health").args(KINDS)
)]
pub(super) struct HealthArgs {
    /// Check health by a shell command in the task's container: 0 is healthy
    #[arg(long, value_name = "CMD", value_parser = Text(command))]
    health_cmd: Option<String>,
    /// Check health by a request to a port of the task: 200 to 399 is healthy
    #[arg(long, value_name = "PORT[/PATH]", value_parser = Text(http))]
    health_http: Option<Http>,
    /// The same by TLS; certificates are not judged
    #[arg(long, value_name = "PORT[/PATH]", value_parser = Text(http))]
    health_https: Option<Http>,
    /// Check health by a connection to a port of the task
    #[arg(long, value_name = "PORT", value_parser = Text(port))]
    health_tcp: Option<u16>,
    /// Ask at `::1` and not at `127.0.0.1`
    #[arg(long, requires = "health", conflicts_with = "health_cmd")]
    health_ipv6: bool,
    /// How long after its start health is first checked [default: 15s]
    #[arg(long, value_name = "TIME", requires = "health", value_parser = Text(values::duration))]
    health_delay: Option<Duration>,
    /// How long after a check has ended the next begins [default: 10s]
    #[arg(long, value_name = "TIME", requires = "health", value_parser = Text(values::duration))]
    health_interval: Option<Duration>,
    /// How long a check may take; 0 is for ever [default: 20s]
    #[arg(long, value_name = "TIME", requires = "health", value_parser = Text(values::duration))]
    health_timeout: Option<Duration>,
    /// How long after its start failures do not count, if it was never healthy [default: 10s]
    #[arg(long, value_name = "TIME", requires = "health", value_parser = Text(values::duration))]
    health_grace: Option<Duration>,
    /// How many failures in a row kill the task [default: 3]
    #[arg(long, value_name = "COUNT", requires = "health", value_parser = Text(values::count))]
    health_failures: Option<u32>,
}

impl HealthArgs {
    /// Returns the check that is asked for; `None` is none.
    pub(super) fn check(&self) -> Option<Box<HealthCheck>> {
        let usual = HealthCheck::new(self.probe()?);
        let rhythm = usual.rhythm;
        Some(Box::new(HealthCheck {
            rhythm: Rhythm {
                delay: self.health_delay.unwrap_or(rhythm.delay),
                interval: self.health_interval.unwrap_or(rhythm.interval),
                timeout: self.health_timeout.unwrap_or(rhythm.timeout),
            },
            consecutive_failures: self.health_failures.unwrap_or(usual.consecutive_failures),
            grace: self.health_grace.unwrap_or(usual.grace),
            ..usual
        }))
    }

    fn probe(&self) -> Option<Probe> {
        let family = match self.health_ipv6 {
            true => Family::V6,
            false => Family::V4,
        };
        let http = |asked: &Http, tls| {
            Probe::Http(HttpProbe {
                tls,
                port: asked.port,
                path: asked.path.clone(),
                family,
            })
        };
        let command = |text: &String| Probe::Command(Box::new(CommandInfo::shell(text)));
        let tcp = |port| Probe::Tcp { port, family };
        let probe = self.health_cmd.as_ref().map(command);
        let probe = probe.or_else(|| self.health_http.as_ref().map(|asked| http(asked, false)));
        let probe = probe.or_else(|| self.health_https.as_ref().map(|asked| http(asked, true)));
        probe.or_else(|| self.health_tcp.map(tcp))
    }
}

fn command(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains('\0') {
        true => Err("expected a shell command without NUL".into()),
        false => Ok(text.into()),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| "expected a port from 1 to 65535".into())
}

/// Reads a port and a path.
fn http(text: &str) -> Result<Http, String> {
    let (number, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let is_plain = path.chars().all(|c| c.is_ascii_graphic());
    match port(number) {
        Ok(port) if is_plain => Ok(Http {
            port,
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        }),
        Ok(_) | Err(_) => Err("expected PORT[/PATH], such as 8080/health, without spaces".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        health: HealthArgs,
    }

    fn check(words: &[&str]) -> Result<Option<Box<HealthCheck>>, clap::Error> {
        let line = Line::try_parse_from([&["tepui"], words].concat())?;
        Ok(line.health.check())
    }

    #[test]
    fn flags_make_a_health_check() {
        // TK-95, TK-96
        assert_eq!(check(&[]).unwrap(), None);
        let usual = |probe| Some(Box::new(HealthCheck::new(probe)));
        let web = |tls, port, path: &str, family| {
            Probe::Http(HttpProbe {
                tls,
                port,
                path: path.into(),
                family,
            })
        };
        let command = Probe::Command(Box::new(CommandInfo::shell("test -e up")));
        for (words, probe) in [
            (vec!["--health-cmd", "test -e up"], command),
            (vec!["--health-http", "80"], web(false, 80, "/", Family::V4)),
            (
                vec!["--health-https", "8443/up?a", "--health-ipv6"],
                web(true, 8443, "/up?a", Family::V6),
            ),
            (
                vec!["--health-tcp", "22"],
                Probe::Tcp {
                    port: 22,
                    family: Family::V4,
                },
            ),
        ] {
            assert_eq!(check(&words).unwrap(), usual(probe), "{words:?}");
        }
        let all = check(&[
            "--health-tcp=1",
            "--health-delay=1s",
            "--health-interval=2s",
            "--health-timeout=0s",
            "--health-grace=4s",
            "--health-failures=5",
        ]);
        let all = all.unwrap().unwrap();
        let seconds = Duration::from_secs;
        let rhythm = Rhythm {
            delay: seconds(1),
            interval: seconds(2),
            timeout: seconds(0),
        };
        assert_eq!(all.rhythm, rhythm);
        assert_eq!((all.consecutive_failures, all.grace), (5, seconds(4)));
        for words in [
            &["--health-tcp=1", "--health-http=1"][..],
            &["--health-cmd=x", "--health-ipv6"],
            &["--health-ipv6"],
            &["--health-interval=1s"],
            &["--health-failures=0", "--health-tcp=1"],
            &["--health-tcp=0"],
            &["--health-tcp=65536"],
            &["--health-http=/x"],
            &["--health-http=80x"],
            &["--health-http=80/a b"],
            &["--health-cmd="],
        ] {
            assert!(check(words).is_err(), "{words:?}");
        }
    }
}
