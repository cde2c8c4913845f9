//! The arguments of both programs.
//!
//! They stand in one place so that tests can hold them against the manual pages and the completions. Values are
//! parsed here, at the edge: an address that can't be listened at or a malformed id is a usage error, and the
//! programs never see it. Usage errors exit with 64 (`EX_USAGE`, sysexits.h); help and version with 0.

use std::path::PathBuf;

use clap::Parser;

use crate::config::ListenAddress;

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

const EX_USAGE: i32 = 64;
