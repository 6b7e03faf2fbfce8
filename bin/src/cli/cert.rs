//! `tepui cert`: a cluster's certificate authority, and one certificate a peer.
//!
//! Called by `cli`, and by the master when it makes its own for a try on one machine. Deliberately
//! not here: what a certificate contains (see `tepui_transport::authority`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::StringValueParser;
use clap::{Args, Subcommand};
use tepui_core::auth::{PeerRole, Principal};
use tepui_transport::authority::{Authority, Validity};
use tepui_transport::tls::Credentials;

use super::exit::Exit;
use super::failure::Failure;
use super::node::unfit;
use super::text::Text;
use super::{Io, times, values};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Make a certificate authority
    Init(InitArgs),
    /// Make a certificate for one peer
    Issue(IssueArgs),
    /// Show whom a certificate names, and how long it holds
    Show(ShowArgs),
}

/// Flags of `tepui cert init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui cert init ca")]
pub(super) struct InitArgs {
    /// The directory to make it in; keep it private, and off the machines of the cluster
    #[arg(value_name = "CA_DIR")]
    dir: PathBuf,
}

/// Flags of `tepui cert issue`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui cert issue --ca ca --role master --name m1 --out m1/tls
  tepui cert issue --ca ca --role agent --name a1 --out a1/tls --days 90
  tepui cert issue --ca ca --role operator --name ann --out ann/tls/operator
  tepui cert issue --ca ca --role framework --name ann --out ann/tls/framework")]
pub(super) struct IssueArgs {
    /// What its bearer may be: master, agent, framework or operator
    #[arg(long, value_parser = Text(values::peer_role))]
    role: PeerRole,
    /// Its bearer's name
    #[arg(long, value_parser = Text(StringValueParser::new()))]
    name: String,
    /// The directory to write certificate, key and the authority's certificate to
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    out: PathBuf,
    /// The directory of the authority
    #[arg(
        long,
        value_name = "CA_DIR",
        default_value = "ca",
        env = "TEPUI_CA_DIR",
        value_parser = values::path()
    )]
    ca: PathBuf,
    /// For how many days it holds
    #[arg(long, default_value = "365", value_parser = Text(values::days))]
    days: u32,
}

/// Flags of `tepui cert show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui cert show ann/tls/operator")]
pub(super) struct ShowArgs {
    /// The directory with the certificate
    dir: PathBuf,
}

/// Runs a command about certificates.
pub(super) fn cert(command: &CertCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        CertCommand::Init(args) => {
            Authority::create(&args.dir).map_err(|error| unfit("CA_DIR", &args.dir, &error))?;
            let dir = args.dir.display();
            writeln!(io.out, "made an authority in {dir}; keep its key private")?;
            writeln!(
                io.out,
                "next: tepui cert issue --ca {dir} --role master --name NAME --out DIR"
            )?;
        }
        CertCommand::Issue(args) => issue(args, io)?,
        CertCommand::Show(args) => show(&args.dir, io)?,
    }
    Ok(Exit::Success)
}

fn issue(args: &IssueArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let authority = Authority::open(&args.ca).map_err(|error| unfit("--ca", &args.ca, &error))?;
    let principal = Principal {
        role: args.role,
        name: args.name.clone(),
    };
    let validity = Validity::for_the_next(DAY * args.days);
    authority
        .issue(&principal, validity, &args.out)
        .map_err(|error| unfit("--out", &args.out, &error))?;
    writeln!(
        io.out,
        "made a certificate for {principal} in {}",
        args.out.display()
    )?;
    Ok(())
}

fn show(dir: &Path, io: &mut Io<'_>) -> Result<(), Failure> {
    let unfit = |error| unfit("DIR", dir, &error);
    let credentials = Credentials::load(dir).map_err(unfit)?;
    let validity = credentials.validity().map_err(unfit)?;
    let principal = credentials.principal();
    writeln!(io.out, "role          {}", principal.role)?;
    writeln!(io.out, "name          {}", principal.name)?;
    writeln!(
        io.out,
        "valid from    {}",
        times::rfc3339_of(validity.not_before)
    )?;
    writeln!(
        io.out,
        "valid until   {}",
        times::rfc3339_of(validity.not_after)
    )?;
    Ok(())
}
