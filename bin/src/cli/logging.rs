//! Where log lines go: to standard error, as text or as JSON.
//!
//! Called once by each binary; libraries only emit. Deliberately not here: what is logged.

use clap::builder::EnumValueParser;
use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::text::Text;

/// The layout of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Nothing
    Off,
    /// What must be looked at
    Error,
    /// What may have to be
    Warn,
    /// What happens
    Info,
    /// Why it happens
    Debug,
    /// Every message
    Trace,
}

/// Flags of the daemons.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct DaemonLogArgs {
    /// How to write log lines
    #[arg(long, default_value = "text", value_name = "FORMAT", env = "TEPUI_LOG_FORMAT",
          value_parser = Text(EnumValueParser::<LogFormat>::new()))]
    log_format: LogFormat,
    /// How much to log
    #[arg(long, default_value = "info", value_name = "LEVEL", env = "TEPUI_LOG_LEVEL",
          value_parser = Text(EnumValueParser::<LogLevel>::new()))]
    log_level: LogLevel,
}

/// The flag of `tepui`, whose standard error belongs to people.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ClientLogArgs {
    /// How much to log
    #[arg(long, default_value = "off", value_name = "LEVEL", env = "TEPUI_LOG_LEVEL", global = true,
          value_parser = Text(EnumValueParser::<LogLevel>::new()))]
    log_level: LogLevel,
}

impl DaemonLogArgs {
    /// Starts logging.
    pub(super) fn install(self) {
        install(self.log_format, self.log_level);
    }
}

impl ClientLogArgs {
    /// Starts logging.
    pub(super) fn install(self) {
        install(LogFormat::Text, self.log_level);
    }
}

fn install(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Off => return,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Other people's crates speak of their own concerns: only their warnings are ours.
    let ours = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("tepui", level);
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colours).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(ours))
        .init();
}
