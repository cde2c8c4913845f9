//! The arguments of both programs.
//!
//! They stand in one place so that tests can hold them against the manual pages and the completions. Values are
//! parsed here, at the edge: an address that can't be listened at or a malformed id is a usage error, and the
//! programs never see it. Usage errors exit with 64 (`EX_USAGE`, sysexits.h); help and version with 0.

// Doc comments here are what --help prints, and not written for rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::secret::Token;

use crate::ListenAddress;

/// Lets devices on different private networks talk to each other through this server.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "ws-router", version, max_term_width = 100)]
#[command(after_help = "Without a configuration it serves plain HTTP on [::]:8741. See ws-router(8).")]
pub struct Router {
    /// Reads this file, and fails if it can't [default: /etc/ws-router/ws-router.toml if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listens here instead of at the file's listeners: [::]:8741, unix:/PATH or systemd:NAME; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<ListenAddress>,

    /// Reads everything that a start would read, prints the problems or "ok", and exits
    #[arg(long, conflicts_with_all = ["print_config", "inetd"])]
    pub check: bool,

    /// Prints the configuration in force, every key written out, and exits
    #[arg(long, conflicts_with = "inetd")]
    pub print_config: bool,

    /// Serves the socket on descriptor 0, as inetd passes it
    #[arg(long, conflicts_with = "listen")]
    pub inetd: bool,
}

/// Looks into a running ws-router, and acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "ws-routerctl", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "See ws-routerctl(1).")]
pub struct Control {
    /// Finds the daemon at this admin socket [default: /run/ws-router/admin.sock, or that of the user's own daemon]
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,

    /// Prints JSON for programs instead of tables for people
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the control program can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Lists the registrations
    List,
    /// Shows a registration and its members
    Show {
        /// The registration
        #[arg(value_name = "ID", value_parser = RegistrationId::parse)]
        id: RegistrationId,
    },
    /// Removes registrations and closes their members' connections
    Remove {
        /// The registrations
        #[arg(value_name = "ID", required = true, value_parser = RegistrationId::parse)]
        ids: Vec<RegistrationId>,
    },
    /// Closes connections of members, by the numbers that "show" prints
    Disconnect {
        /// The members
        #[arg(value_name = "N", required = true, value_parser = member)]
        members: Vec<MemberId>,
    },
    /// Shows how the daemon is doing
    Status,
    /// Shows live what goes on: totals, registrations by their traffic, and their members
    Top {
        /// Looks at the daemon so often
        #[arg(long, short = 'd', value_name = "TIME", default_value = "1s", value_parser = interval)]
        interval: Duration,
    },
    /// Tells what happened to a registration, and why it or its devices went away
    Why {
        /// The registration, even one that has ended
        #[arg(value_name = "ID", value_parser = RegistrationId::parse)]
        id: RegistrationId,
    },
    /// Prints what happens, a line each, until it is interrupted
    Events {
        /// Prints JSON lines, as --json does
        #[arg(long)]
        follow: bool,
    },
    /// Has the daemon read its configuration and certificates again
    Reload,
    /// Takes the daemon out of service gently, and shows how it goes on
    Drain {
        /// Closes the members within this time, a registration's together
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
        over: Duration,
        /// Puts the daemon back into service
        #[arg(long, conflicts_with = "over")]
        undo: bool,
    },
    /// Has the daemon become the program that is on the disk now, without dropping a connection
    Upgrade,
    /// Proves a deployment from outside: registers, joins twice, passes a message, times it, removes
    Check(Check),
    /// Connects standard input and output with those of another end, through a deployment
    Pipe(Pipe),
    /// Makes a token that lets a device in: prints the line for the file of tokens, and the token itself this once
    Token {
        /// What the token is called in that file
        #[arg(value_name = "NAME", value_parser = token_name)]
        name: String,
    },
    /// Prints the versions of this program and of the daemon
    Version,
}

/// A deployment, as devices reach it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Deployment {
    /// Where devices reach the router, such as https://example.com:8741
    #[arg(value_name = "URL", value_parser = url)]
    pub url: http::Uri,

    /// Accepts any certificate, such as a self-signed one
    #[arg(long)]
    pub insecure: bool,

    /// Shows the token in this file, where the access rules ask for one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Shows the certificate in this PEM file, where the router asks for one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,

    /// The private key of this certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// How to prove a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Check {
    /// Where it is.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Prints one line and exits as monitoring systems expect: 0 ok, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    pub monitor: bool,

    /// Warns when the certificate lasts less, or a message takes longer: days=N,rtt=TIME
    #[arg(long, value_name = "LIMITS", default_value = "days=14", requires = "monitor", value_parser = thresholds)]
    pub warning: Thresholds,

    /// The same for what is critical
    #[arg(long, value_name = "LIMITS", default_value = "days=3", requires = "monitor", value_parser = thresholds)]
    pub critical: Thresholds,

    /// Gives up when a step takes longer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub timeout: Duration,
}

/// Limits of what a check finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// The least number of days for which the certificate is to be good.
    pub days: Option<u64>,
    /// The longest that a message may take through the router.
    pub rtt: Option<Duration>,
}

/// What to be the end of.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Pipe {
    /// Where it is.
    #[command(flatten)]
    pub deployment: Deployment,

    /// Joins as a host, and registers if there is no such registration; the default without --id
    #[arg(long, conflicts_with = "client")]
    pub host: bool,

    /// Joins as a client; the default with --id
    #[arg(long, requires = "id")]
    pub client: bool,

    /// Joins this registration instead of a fresh one
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    pub id: Option<RegistrationId>,

    /// Joins with this key, which others on this machine can see then; better $WS_ROUTER_KEY
    #[arg(long, value_name = "KEY", conflicts_with = "key_file", value_parser = shown_key)]
    pub key: Option<ShownKey>,

    /// Joins with the key in this file
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Reads nothing from standard input
    #[arg(long, short = 'n')]
    pub no_input: bool,

    /// Sends and takes the bare data, for an end that is another program
    #[arg(long)]
    pub plain: bool,

    /// Takes the other end for gone when nothing is heard of it for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

/// A key that stood in the arguments; shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownKey(String);

impl ShownKey {
    /// Hands the key out, to be shown to a router.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownKey(..)")
    }
}

/// Reads the program's arguments; ends the process with 64 if they make no sense, and with 0 after help and version.
pub fn parse_or_exit<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|refusal| {
        // When there is nobody to read the text, the status still tells.
        let _ = refusal.print();
        std::process::exit(exit_status(&refusal))
    })
}

/// Tells the exit status that goes with what clap has to say.
fn exit_status(refusal: &clap::Error) -> i32 {
    if refusal.use_stderr() { EX_USAGE } else { 0 }
}

fn member(text: &str) -> Result<MemberId, String> {
    text.parse().map(MemberId).map_err(|_| "a member is a number, as \"ws-routerctl show ID\" prints it".into())
}

fn token_name(text: &str) -> Result<String, String> {
    if Token::is_name(text) { Ok(text.into()) } else { Err("write 1 to 64 letters, digits and - _ . @".into()) }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| "write a number and a unit, such as 10s".to_string())?;
    if time.is_zero() { Err("no time is too little; write for instance 10s".into()) } else { Ok(time) }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = time(text)?;
    if INTERVALS.contains(&interval) { Ok(interval) } else { Err("write a time from 100ms to 1h".into()) }
}

fn thresholds(text: &str) -> Result<Thresholds, String> {
    let mend = || "write limits such as days=14,rtt=500ms, or one of them".to_string();
    let mut limits = Thresholds::default();
    for limit in text.split(',') {
        match limit.split_once('=').ok_or_else(mend)? {
            ("days", days) if limits.days.is_none() => limits.days = Some(days.parse().map_err(|_| mend())?),
            ("rtt", rtt) if limits.rtt.is_none() => limits.rtt = Some(time(rtt)?),
            _ => return Err(mend()),
        }
    }
    Ok(limits)
}

fn shown_key(text: &str) -> Result<ShownKey, String> {
    if text.is_empty() { Err("an empty key opens nothing".into()) } else { Ok(ShownKey(text.into())) }
}

fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|_| "write a number and a unit, such as 60s".to_string())?;
    if span > LONGEST_DRAIN { Err("that is long; the most is a day, 24h".into()) } else { Ok(span) }
}

fn url(text: &str) -> Result<http::Uri, String> {
    let mend = "write it like https://example.com:8741 (http, https, ws or wss)";
    let url: http::Uri = text.parse().map_err(|_| mend.to_string())?;
    let known = matches!(url.scheme_str(), Some("http" | "https" | "ws" | "wss"));
    // The parser takes any digits for a port; where they are none, there is more written than the host.
    let plain = url.query().is_none()
        && url
            .authority()
            .is_some_and(|it| !it.as_str().contains('@') && (it.port().is_some() || it.as_str() == it.host()));
    if known && plain { Ok(url) } else { Err(mend.into()) }
}

const EX_USAGE: i32 = 64;

/// As fast as a person sees, and not so slow that it looks stuck for good.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What the daemon takes at most.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
