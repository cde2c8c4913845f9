//! The benchmark's command line.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::measure::Conditions;
use crate::scenario::Scenario;
use crate::servers::{Contender, standard};

/// Measures the relay against the limit of the kernel's loopback, interleaved, in one run.
#[derive(Debug, Parser)]
#[command(name = "relay")]
pub(crate) struct Arguments {
    /// Only check contents, order and count, not times; exits with 1 if one is wrong.
    #[arg(long)]
    quick: bool,
    /// List the scenarios.
    #[arg(long)]
    pub(crate) list: bool,
    /// Number of rounds; each measures every server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Seconds of each measurement, after a quarter of it as warm-up.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Only these scenarios, by name or by a prefix with a star.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Another build of ws-router to measure, such as before=/tmp/old/ws-router.
    #[arg(long, value_name = "NAME=PATH")]
    server: Vec<Contender>,
    /// Only these servers, of limit-read, limit-round, textbook, ws-router and those named by --server.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Count the system calls of each delivery, by perf.
    #[arg(long)]
    syscalls: bool,
    /// Write all samples to a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The server's core.
    #[arg(long, default_value_t = 1)]
    server_core: usize,
    /// The generator's core.
    #[arg(long, default_value_t = 0)]
    generator_core: usize,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Returns whether only the contents are checked: on request, and when this isn't run by `cargo bench` but by
    /// `cargo test --all-targets`.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick || !self.bench
    }

    /// Returns the selected servers.
    pub(crate) fn contenders(&self) -> io::Result<Vec<Contender>> {
        let mut contenders = standard();
        contenders.extend(self.server.iter().cloned());
        if let Some(name) = self.only.iter().find(|name| contenders.iter().all(|known| known.name != **name)) {
            return Err(io::Error::other(format!("--only {name}: there is no such server")));
        }
        contenders.retain(|known| self.only.is_empty() || self.only.contains(&known.name));
        Ok(contenders)
    }

    /// Returns the selected scenarios.
    pub(crate) fn select(&self, mut scenarios: Vec<Scenario>) -> io::Result<Vec<Scenario>> {
        let fits = |name: &str, wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == wanted,
        };
        if let Some(name) = self.scenario.iter().find(|wanted| !scenarios.iter().any(|known| fits(known.name, wanted)))
        {
            return Err(io::Error::other(format!("--scenario {name}: there is no such scenario; see --list")));
        }
        scenarios.retain(|known| self.scenario.is_empty() || self.scenario.iter().any(|name| fits(known.name, name)));
        Ok(scenarios)
    }

    /// Returns the settings of a run.
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions {
            time: Duration::from_secs_f64(self.seconds),
            server_core: self.server_core,
            generator_core: self.generator_core,
            counts_calls: self.syscalls,
        }
    }
}
