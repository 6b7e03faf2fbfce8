//! What an agent gives to containers, as flags.
//!
//! Shared by `tepui-agent` and `dev`. Deliberately not here: what tasks ask for.

use std::path::PathBuf;

use clap::Args;
use tepui_core::limits::LOG_FILES;
use tepui_isolation::isolators::Allowed;
use tepui_isolation::launch::{CapabilitySet, IdRange, UserNamespace};
use tepui_isolation::{Logs, Mode};

use super::exit::Exit;
use super::failure::Failure;
use super::limit_args::{LimitArgs, bytes};
use super::text::Text;
use super::values;
use crate::daemon::{ContainerOptions, Isolation};

/// The smallest file of output, in bytes; sizes are rounded down to thousandths of a mebibyte.
const LEAST_LOG: u64 = 15 * 1024;
/// The least that a task may send in a second, in bytes: some packets.
const LEAST_EGRESS: u64 = 15 * 1024;

/// What containers may have.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Containers")]
pub(super) struct ContainerArgs {
    /// A path of the machine that tasks may have as a volume, with what is below it; can be given
    /// several times. Without it they can have none
    #[arg(long, value_name = "PATH", value_parser = values::path())]
    host_volume: Vec<PathBuf>,
    /// A directory or a file of the machine that tasks without an image do not see; can be given
    /// several times. They never see the agent's own: its work directory, keys and passwords
    #[arg(long, value_name = "PATH", value_parser = values::path())]
    hide: Vec<PathBuf>,
    /// Give tasks without an image a `/tmp` of their own, in memory that counts as theirs
    #[arg(long)]
    private_tmp: bool,
    /// A directory with images in files, which tasks name as `file:///PATH[#NAME]`: layouts of OCI,
    /// and tar archives of them or of `docker save`; can be given several times
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    image_dir: Vec<PathBuf>,
    /// The registry of images that name none, such as `registry.example:5000`
    #[arg(long, value_name = "HOST[:PORT]", env = "TEPUI_REGISTRY",
          value_parser = Text(registry))]
    registry: Option<String>,
    /// A registry that is asked over HTTP; can be given several times. Those on this machine are
    /// anyhow
    #[arg(long, value_name = "HOST[:PORT]", value_parser = Text(registry))]
    insecure_registry: Vec<String>,
    /// Names and passwords for registries, in the form of Docker's config.json
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    registry_credentials: Option<PathBuf>,
    /// How much of the disk of images is kept free, by removing those that nobody has
    #[arg(long, value_name = "PERCENT", default_value = "10%",
          value_parser = Text(values::percent))]
    image_headroom: u8,
    /// The directory with the networks that tasks may join, as CNI has it
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    networks: Option<PathBuf>,
    /// Where CNI plugins are; can be given several times. By default in the usual places
    #[arg(long, value_name = "DIR", value_parser = values::path(), requires = "networks")]
    network_plugins: Vec<PathBuf>,
    /// The most that each task sends over each of its networks in a second, such as `100M`; by
    /// default there is no limit
    #[arg(long, value_name = "SIZE", value_parser = Text(egress), requires = "networks")]
    network_egress: Option<u64>,
    /// The capabilities that containers may have at most, by default what container runtimes leave
    #[arg(long, value_name = "NAME,..", value_parser = Text(capabilities))]
    capabilities: Option<CapabilitySet>,
    /// The directory of the seccomp profiles that tasks may name
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    seccomp_profiles: Option<PathBuf>,
    /// Filter no system calls, except for tasks that name a profile
    #[arg(long)]
    no_seccomp: bool,
    /// The users of the machine that those of tasks are, such as `100000:65536`: the first, which
    /// is their root, and how many. By default they are the machine's own
    #[arg(long, value_name = "FIRST[:COUNT]", value_parser = Text(users))]
    user_namespaces: Option<UserNamespace>,
    /// Let no program gain rights by being executed, such as sudo
    #[arg(long)]
    no_new_privileges: bool,
    /// The largest file of what a task writes: a full one gets a number, and another takes its
    /// place. `0` is one file without a bound
    #[arg(long, value_name = "SIZE", default_value = "10M", value_parser = Text(log_size))]
    log_size: LogSize,
    /// How many such files of standard output, and of standard error, are kept of each task
    #[arg(long, value_name = "COUNT", default_value = "5", value_parser = Text(log_files))]
    log_files: u32,
    #[command(flatten)]
    limits: LimitArgs,
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogSize(u64);

impl ContainerArgs {
    /// Returns what containers may have.
    pub(super) fn options(self) -> ContainerOptions {
        let mut options = ContainerOptions {
            allowed: Allowed {
                capabilities: self.capabilities.unwrap_or(CapabilitySet::DEFAULT),
                seccomp: !self.no_seccomp,
                unconfined: self.no_seccomp,
                profiles: self.seccomp_profiles,
                no_new_privileges: self.no_new_privileges,
                user_namespace: self.user_namespaces,
                private_tmp: self.private_tmp,
                ..Allowed::default()
            },
            host_volumes: self.host_volume,
            hidden: self.hide,
            image_directories: self.image_dir,
            default_registry: self.registry,
            insecure_registries: self.insecure_registry,
            registry_credentials: self.registry_credentials,
            networks: self.networks,
            network_plugins: self.network_plugins,
            network_egress: self.network_egress,
            image_headroom: self.image_headroom,
            logs: Logs {
                file_bytes: self.log_size.0,
                files: self.log_files,
            },
            ..ContainerOptions::default()
        };
        self.limits.add_to(&mut options);
        options
    }

    /// Refuses flags that plain processes have no use for, by name: nothing would come of them.
    pub(super) fn check(&self, isolation: Isolation) -> Result<(), Failure> {
        let Some(flag) = self.flag() else {
            return Ok(());
        };
        let why = match isolation {
            Isolation::Process => "tasks run as plain processes".to_owned(),
            Isolation::Auto => {
                let detected = Mode::detect();
                if detected.mode == Mode::Container {
                    return Ok(());
                }
                format!("there are no containers here: {}", detected.reason)
            }
            Isolation::Container => return Ok(()),
        };
        let problem = format_args!("{flag}: expected together with containers; {why}");
        Err(Failure::new(Exit::Usage, problem))
    }

    /// Returns the first flag that only containers have a use for.
    fn flag(&self) -> Option<&'static str> {
        let given = [
            (!self.host_volume.is_empty(), "--host-volume"),
            (!self.hide.is_empty(), "--hide"),
            (self.private_tmp, "--private-tmp"),
            (!self.image_dir.is_empty(), "--image-dir"),
            (!self.insecure_registry.is_empty(), "--insecure-registry"),
            (
                self.registry_credentials.is_some(),
                "--registry-credentials",
            ),
            (self.networks.is_some(), "--networks"),
            (self.capabilities.is_some(), "--capabilities"),
            (self.seccomp_profiles.is_some(), "--seccomp-profiles"),
            (self.no_seccomp, "--no-seccomp"),
            (self.user_namespaces.is_some(), "--user-namespaces"),
            (self.no_new_privileges, "--no-new-privileges"),
        ];
        let first = given.into_iter().find(|(is_given, _)| *is_given);
        first.map(|(_, flag)| flag).or_else(|| self.limits.flag())
    }
}

/// Reads how much is sent in a second: of less than a packet nothing would ever be.
fn egress(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    match bytes {
        0..LEAST_EGRESS => Err(format!("expected at least {} KiB", LEAST_EGRESS / 1024)),
        LEAST_EGRESS.. => Ok(bytes),
    }
}

/// Reads the size of a file of output; a line of a few pages is to fit.
fn log_size(text: &str) -> Result<LogSize, String> {
    if text == "0" {
        return Ok(LogSize(0));
    }
    let expected = |why: String| format!("{why}; 16K at least, or 0");
    let size = bytes(text).map_err(expected)?;
    match size >= LEAST_LOG {
        true => Ok(LogSize(size)),
        false => Err("expected 16K at least, or 0".into()),
    }
}

fn log_files(text: &str) -> Result<u32, String> {
    let count = values::count(text).ok();
    let count = count.filter(|count| (*count as usize) <= LOG_FILES);
    count.ok_or_else(|| format!("expected a number from 1 to {LOG_FILES}"))
}

/// Reads the name of a registry.
fn registry(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]/".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) && !text.contains("//") {
        true => Ok(text.to_owned()),
        false => Err("expected HOST[:PORT], such as registry.example:5000".into()),
    }
}

/// Reads which users tasks' are; nobody's root is the machine's.
fn users(text: &str) -> Result<UserNamespace, String> {
    let (first, count) = text.split_once(':').unwrap_or((text, "65536"));
    let range = first.parse::<u32>().ok().zip(count.parse::<u32>().ok());
    // The last number of all is no user's.
    let range = range
        .filter(|(first, count)| *first > 0 && *count > 0 && first.checked_add(*count).is_some());
    let (first, count) = range.ok_or("expected FIRST[:COUNT], such as 100000:65536")?;
    let ids = vec![IdRange {
        inside: 0,
        outside: first,
        count,
    }];
    Ok(UserNamespace {
        uids: ids.clone(),
        gids: ids,
    })
}

/// Reads a set of capabilities.
fn capabilities(text: &str) -> Result<CapabilitySet, String> {
    text.parse().map_err(|_| {
        "expected names of capabilities joined by commas, such as CHOWN,NET_BIND_SERVICE".into()
    })
}
