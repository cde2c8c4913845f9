//! Arguments of both programs.
//!
//! They are in one place so that tests can compare them with the manual pages and the completions. Values are parsed
//! here, so an invalid address or a malformed id is a usage error that the programs never see. Usage errors exit with 64
//! (`EX_USAGE`, sysexits.h); help and version with 0.

// --help prints these doc comments; they aren't written for rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::Kind;
use ws_router_core::secret::Token;

use crate::ListenAddress;

/// Relays messages between devices on different private networks
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "ws-router", version, max_term_width = 100)]
#[command(after_help = "Without a configuration it serves plain HTTP on [::]:8741. See ws-router(8).")]
pub struct Router {
    /// Read this configuration [default: /etc/ws-router/ws-router.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen here instead of on the file's listeners: [::]:8741, unix:/PATH or systemd:NAME; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<ListenAddress>,

    /// Check the configuration and all files that it names, print the problems or "ok", and exit
    #[arg(long, conflicts_with_all = ["print_config", "inetd"])]
    pub check: bool,

    /// Check with the rights of this user [default for root: those of ws-router.service]
    #[arg(long = "as", value_name = "USER", requires = "check")]
    pub check_as: Option<String>,

    /// Print the findings of the check as JSON
    #[arg(long, requires = "check")]
    pub json: bool,

    /// Print the effective configuration with all keys, and exit
    #[arg(long, conflicts_with = "inetd")]
    pub print_config: bool,

    /// Serve the socket on descriptor 0, as passed by inetd
    #[arg(long, conflicts_with = "listen")]
    pub inetd: bool,
}

/// Shows and controls a running ws-router
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "ws-routerctl", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "See ws-routerctl(1).")]
pub struct Control {
    /// Use this admin socket [default: /run/ws-router/admin.sock, or that of the user's own daemon]
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,

    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub json: bool,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the control program.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List the registrations
    List(ListOptions),
    /// Show a registration and its members
    Show {
        /// The registration; write an id that begins with a hyphen after --
        #[arg(value_name = "ID", value_parser = RegistrationId::parse)]
        id: RegistrationId,
    },
    /// Remove registrations and close their members' connections
    Remove {
        /// The registrations; write ids that begin with a hyphen after --
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Close connections of members, by the numbers that "show" prints
    Disconnect {
        /// The members
        #[arg(value_name = "N", required = true, value_parser = member)]
        members: Vec<MemberId>,
    },
    /// Show the state of the daemon
    Status,
    /// Check the daemon, its configuration and this machine, and report what to change, the worst first
    Doctor,
    /// Show live activity: totals, registrations by traffic, and their members
    Top {
        /// Time between updates
        #[arg(long, short = 'd', value_name = "TIME", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Show what happened to a registration, and why it or its members are gone
    Why {
        /// The registration, which may have ended; write an id that begins with a hyphen after --
        #[arg(value_name = "ID", value_parser = RegistrationId::parse)]
        id: RegistrationId,
    },
    /// Print events as they happen, one per line, until interrupted
    Events {
        /// Wait for further events; this is the default
        #[arg(long, short)]
        follow: bool,
    },
    /// Reload the configuration and the certificates
    Reload {
        /// If this process doesn't answer on the admin socket, send it SIGHUP instead; for service managers
        #[arg(long, value_name = "PID", value_parser = process)]
        or_signal: Option<u32>,
    },
    /// Take the daemon out of service gradually, and show the progress
    Drain {
        /// Close the members within this time, those of one registration together
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
        over: Duration,
        /// Put the daemon back into service
        #[arg(long, conflicts_with = "over")]
        undo: bool,
    },
    /// Replace the daemon with the program that is on the disk now, without dropping a connection
    Upgrade,
    /// Test a deployment from outside: register, join twice, pass messages, remove
    Check(Check),
    /// Connect standard input and output with those of another machine, through a deployment
    Pipe(Pipe),
    /// Join a registration as a device: each line is a text message
    Join(Join),
    /// Connect standard input and output, or local TCP connections, with a service that "expose" makes reachable
    Connect(Connect),
    /// Make TCP services reachable through a deployment, for "connect" elsewhere
    Expose(Expose),
    /// Create a token for an access rule: print the line for the file of tokens, and once the token itself
    Token {
        /// Name of the token in that file
        #[arg(value_name = "NAME", value_parser = token_name)]
        name: String,
    },
    /// Print the versions of this program and of the daemon
    Version,
}

/// Arguments of `list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ListOptions {
    /// List only registrations that have members
    #[arg(long)]
    pub busy: bool,

    /// Sort, the largest first
    #[arg(long, value_name = "KEY", value_enum)]
    pub sort: Option<SortKey>,
}

/// Keys that registrations are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum SortKey {
    Id,
    Age,
    Members,
    Messages,
    Bytes,
    Outbox,
}

/// Address of a deployment, and credentials for it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Deployment {
    /// Address at which devices reach the router, such as https://example.com:8741
    #[arg(value_name = "URL", value_parser = url)]
    pub url: http::Uri,

    /// Accept any certificate, such as a self-signed one
    #[arg(long)]
    pub insecure: bool,

    /// Send the token in this file, if the access rules require one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Send the certificate in this PEM file, if the router asks for one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,

    /// Private key of this certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Check {
    /// The deployment.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Print one line and exit as monitoring systems expect: 0 ok, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    pub monitor: bool,

    /// Warn if the certificate expires sooner, or a message takes longer: days=N,rtt=TIME
    #[arg(long, value_name = "LIMITS", default_value = "days=14", requires = "monitor", value_parser = thresholds)]
    pub warning: Thresholds,

    /// The same for the critical state
    #[arg(long, value_name = "LIMITS", default_value = "days=3", requires = "monitor", value_parser = thresholds)]
    pub critical: Thresholds,

    /// Fail if a step takes longer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub timeout: Duration,
}

/// Thresholds for the results of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// Minimum number of days until the certificate expires.
    pub days: Option<u64>,
    /// Maximum time of a message through the router.
    pub rtt: Option<Duration>,
}

/// Arguments of `pipe`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Pipe {
    /// The deployment.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Join as a host, and create the registration if it doesn't exist; the default without --id
    #[arg(long, conflicts_with = "client")]
    pub host: bool,

    /// Join as a client; the default with --id
    #[arg(long, requires = "id")]
    pub client: bool,

    /// Join this registration instead of a new one
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    pub id: Option<RegistrationId>,

    /// Join with this key, which other users on this machine can see; prefer $WS_ROUTER_KEY
    #[arg(long, value_name = "KEY", conflicts_with = "key_file", value_parser = shown_key)]
    pub key: Option<ShownKey>,

    /// Join with the key in this file
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Read nothing from standard input
    #[arg(long, short = 'n')]
    pub no_input: bool,

    /// Send and receive only the data, if the other end is another program
    #[arg(long)]
    pub plain: bool,

    /// Fail if nothing is received from the other end for this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

/// Arguments of `join`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(group(clap::ArgGroup::new("registration").required(true).args(["id", "register"])))]
pub struct Join {
    /// The deployment.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Join this registration
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    pub id: Option<RegistrationId>,

    /// Create a registration, print its id, and join it
    #[arg(long)]
    pub register: bool,

    /// Kind of the registration to create: lobby, hostclient or paired
    #[arg(long, value_name = "KIND", default_value = "lobby", requires = "register", value_parser = kind)]
    pub kind: Kind,

    /// Join as a host; the default with --register
    #[arg(long, conflicts_with = "client")]
    pub host: bool,

    /// Join as a client; the default with --id
    #[arg(long)]
    pub client: bool,

    /// Join with the key in this file, instead of $WS_ROUTER_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Read nothing from standard input, and stay until the router closes the connection
    #[arg(long, short = 'n')]
    pub no_input: bool,

    /// Fail if the router doesn't answer within this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

/// Arguments of `connect`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(allow_missing_positional = true)]
pub struct Connect {
    /// Name of the service, if there are several
    #[arg(value_name = "NAME", value_parser = service_name)]
    pub name: Option<String>,

    /// The deployment.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Registration of the services
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    pub id: RegistrationId,

    /// Use the key in this file, instead of $WS_ROUTER_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Connect each TCP connection to this port, instead of standard input and output; of 127.0.0.1 unless ADDR is another
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = local_address)]
    pub listen: Option<SocketAddr>,

    /// Fail if the router doesn't answer, or nothing is received from the other end, for this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

/// Arguments of `expose`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Expose {
    /// The services; clients that name none reach the first one
    #[arg(value_name = "[NAME=]HOST:PORT", required = true, value_parser = Service::parse)]
    pub services: Vec<Service>,

    /// The deployment.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Register under this id instead of a new one
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    pub id: Option<RegistrationId>,

    /// Use the key in this file, instead of $WS_ROUTER_KEY
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Reject clients while so many are connected
    #[arg(long, value_name = "N", default_value = "100", value_parser = connections)]
    pub connections: NonZeroUsize,

    /// Give up on a router or a service that doesn't answer, and on a client that is silent, for this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

/// TCP service that `expose` makes reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name by which clients ask for it: the given one, or else host and port as they were written.
    pub name: String,
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Service {
    fn parse(text: &str) -> Result<Self, ArgumentError> {
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        let (host, port) = address.rsplit_once(':').ok_or(ArgumentError::Service)?;
        let bare = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
            None if !host.is_empty() && !host.contains(['[', ']', ':', '/']) => host,
            _ => return Err(ArgumentError::Service),
        };
        let port = port.parse::<NonZeroU16>().map_err(|_| ArgumentError::Service)?;
        if name != text {
            service_name(name)?;
        }
        Ok(Self { name: name.into(), host: bare.into(), port: port.get() })
    }
}

/// Key from the arguments, which Debug doesn't show.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownKey(String);

impl ShownKey {
    /// Returns the key.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownKey(..)")
    }
}

/// Parses the program's arguments. Exits with 64 if they are invalid, and with 0 after help and version.
pub fn parse_or_exit<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|refusal| {
        // If standard error is closed, the exit status remains.
        let _ = refusal.print();
        std::process::exit(exit_status(&refusal))
    })
}

/// Returns the exit status for clap's error, help or version.
fn exit_status(refusal: &clap::Error) -> i32 {
    if refusal.use_stderr() { EX_USAGE } else { 0 }
}

/// Reason for which an argument is invalid, with the fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum ArgumentError {
    #[error("a member is a number, as printed by \"ws-routerctl show ID\"")]
    Member,
    #[error("a process id is a positive number")]
    Process,
    #[error("write 1 to 64 letters, digits and - _ . @")]
    TokenName,
    #[error("write a number and a unit, such as 10s")]
    Time,
    #[error("must be longer than 0, such as 10s")]
    NoTime,
    #[error("write a time from 100ms to 1h")]
    Interval,
    #[error("write limits such as days=14,rtt=500ms, or one of them")]
    Thresholds,
    #[error("must not be empty")]
    EmptyKey,
    #[error("write lobby, hostclient or paired")]
    Kind,
    #[error("write a service such as 127.0.0.1:22, or ssh=127.0.0.1:22 to give it a name")]
    Service,
    #[error("a name is 1 to 256 visible ASCII characters other than =")]
    ServiceName,
    #[error("write a port such as 8080, or an address and a port such as 127.0.0.1:8080")]
    LocalAddress,
    #[error("write a number from 1 to 10000")]
    Connections,
    #[error("must be at most a day, 24h")]
    LongDrain,
    #[error("write it like https://example.com:8741 (http, https, ws or wss)")]
    Url,
}

fn member(text: &str) -> Result<MemberId, ArgumentError> {
    text.parse().map(MemberId).map_err(|_| ArgumentError::Member)
}

/// Parses a process id. For kill(2), 0 and negative numbers are process groups.
fn process(text: &str) -> Result<u32, ArgumentError> {
    text.parse::<i32>().ok().and_then(|id| id.try_into().ok()).filter(|id| *id > 0).ok_or(ArgumentError::Process)
}

fn token_name(text: &str) -> Result<String, ArgumentError> {
    if Token::is_name(text) { Ok(text.into()) } else { Err(ArgumentError::TokenName) }
}

fn time(text: &str) -> Result<Duration, ArgumentError> {
    let time = humantime::parse_duration(text).map_err(|_| ArgumentError::Time)?;
    if time.is_zero() { Err(ArgumentError::NoTime) } else { Ok(time) }
}

fn interval(text: &str) -> Result<Duration, ArgumentError> {
    let interval = time(text)?;
    if INTERVALS.contains(&interval) { Ok(interval) } else { Err(ArgumentError::Interval) }
}

fn thresholds(text: &str) -> Result<Thresholds, ArgumentError> {
    let invalid = ArgumentError::Thresholds;
    let mut limits = Thresholds::default();
    for limit in text.split(',') {
        match limit.split_once('=').ok_or(invalid)? {
            ("days", days) if limits.days.is_none() => limits.days = Some(days.parse().map_err(|_| invalid)?),
            ("rtt", rtt) if limits.rtt.is_none() => limits.rtt = Some(time(rtt)?),
            _ => return Err(invalid),
        }
    }
    Ok(limits)
}

fn shown_key(text: &str) -> Result<ShownKey, ArgumentError> {
    if text.is_empty() { Err(ArgumentError::EmptyKey) } else { Ok(ShownKey(text.into())) }
}

fn kind(text: &str) -> Result<Kind, ArgumentError> {
    Kind::from_param(text).ok_or(ArgumentError::Kind)
}

fn service_name(text: &str) -> Result<String, ArgumentError> {
    let is_name = (1..=MAX_SERVICE_NAME).contains(&text.len());
    if is_name && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=') {
        Ok(text.into())
    } else {
        Err(ArgumentError::ServiceName)
    }
}

fn local_address(text: &str) -> Result<SocketAddr, ArgumentError> {
    match text.parse() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse().map_err(|_| ArgumentError::LocalAddress),
    }
}

fn connections(text: &str) -> Result<NonZeroUsize, ArgumentError> {
    text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MOST_CONNECTIONS).ok_or(ArgumentError::Connections)
}

fn span(text: &str) -> Result<Duration, ArgumentError> {
    let span = humantime::parse_duration(text).map_err(|_| ArgumentError::Time)?;
    if span > LONGEST_DRAIN { Err(ArgumentError::LongDrain) } else { Ok(span) }
}

fn url(text: &str) -> Result<http::Uri, ArgumentError> {
    // Schemes are case-insensitive (RFC 3986, section 3.1); the parser keeps their case.
    let text = match text.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => text.to_owned(),
    };
    let url: http::Uri = text.parse().map_err(|_| ArgumentError::Url)?;
    let is_known = matches!(url.scheme_str(), Some("http" | "https" | "ws" | "wss"));
    // The parser accepts any digits as a port; without a valid one, the authority is more than the host.
    let is_plain = url.query().is_none()
        && url
            .authority()
            .is_some_and(|it| !it.as_str().contains('@') && (it.port().is_some() || it.as_str() == it.host()));
    if is_known && is_plain { Ok(url) } else { Err(ArgumentError::Url) }
}

const EX_USAGE: i32 = 64;

/// Intervals of `top`: the shortest that a person can follow, and the longest that doesn't look like a hang.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// Length of a service's name; the router accepts 1024 bytes from a client.
const MAX_SERVICE_NAME: usize = 256;

/// Clients of one `expose`: each takes two descriptors.
const MOST_CONNECTIONS: usize = 10_000;

/// The daemon's own limit.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
