//! Responses to hostile clients, their cost, and the latency of an innocent pair: `cargo bench --bench hostile`.
//!
//! The daemon has one core. The pair has the other, and exchanges a message and its answer once a millisecond. The attackers
//! are a process of their own that gets the idle time of the pair's core. The pair's times are the kernel's, so attackers
//! slow it down only through the daemon. Each attack gets a new daemon, and the pair's latency is compared with that of the
//! idle daemon right before. The table is Markdown, as in tests/bench/README.md. With `--quick`, and when this isn't run by
//! `cargo bench`, only the responses and the pair's messages are checked, and no times.

mod attacks;
mod daemon;
#[allow(clippy::unwrap_used)] // A program of the tests.
#[path = "../../support/descriptors.rs"]
mod descriptors;
mod door;
#[allow(dead_code)] // What other benchmarks need.
#[path = "../histogram.rs"]
mod histogram;
mod line;
mod members;
mod pair;
#[allow(dead_code)] // What other benchmarks need.
#[path = "../process.rs"]
mod process;
mod stage;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use attacks::{ATTACKS, Attack};
use daemon::Daemon;
use histogram::Histogram;
use pair::Pair;
use process::{cpu_time, memory, peak_memory, pin};
use stage::Attackers;

/// Measures the cost of hostile clients, and the latency of an innocent pair.
#[derive(Debug, Parser)]
#[command(name = "hostile")]
struct Arguments {
    /// Only check the responses and the pair's messages, not times.
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Run only these attacks.
    #[arg(long, value_delimiter = ',')]
    attack: Vec<String>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // The daemon and the attackers have the same limit.
    descriptors::raise_limit();
    let plain: Vec<String> = std::env::args().skip(1).collect();
    let result = match stage::serve(&plain) {
        Some(result) => result.map(|()| ExitCode::SUCCESS),
        None => run(&Arguments::parse()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let is_quick = arguments.quick || !arguments.bench;
    let time = if is_quick { Duration::from_millis(500) } else { Duration::from_secs_f64(arguments.seconds) };
    let chosen =
        |attack: &&Attack| arguments.attack.is_empty() || arguments.attack.iter().any(|name| name == attack.name);
    let mut code = ExitCode::SUCCESS;
    if !is_quick {
        pin(&[OWN_CORE])?;
        println!("{HEAD}");
    }
    for attack in ATTACKS.iter().filter(chosen) {
        match measure(attack, time, is_quick) {
            Ok(row) if is_quick => println!("{}: {}", attack.name, row.answers),
            Ok(row) => println!("{}", row.shown(attack)),
            Err(error) => {
                println!("FAILED {}: {error}", attack.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Result of an attack.
struct Row {
    answers: String,
    /// Number of cores that the daemon used.
    load: f64,
    /// Highest growth of its memory, in bytes.
    memory: u64,
    idle: Histogram,
    beside: Histogram,
}

fn measure(attack: &Attack, time: Duration, is_quick: bool) -> io::Result<Row> {
    let daemon = Daemon::start(attack.setting, (!is_quick).then_some(DAEMON_CORE), OWN_CORE)?;
    let mut pair = Pair::join(daemon.address)?;
    pair.run_for(time / 4)?;
    let idle = pair.run_for(time)?;
    let resident = memory(daemon.pid())?.rss;
    let before = cpu_time(daemon.pid())?;
    let mut attackers = Attackers::start(attack, daemon.attacked, time)?;
    let beside = pair.run_for(time)?;
    let load = (cpu_time(daemon.pid())?.saturating_sub(before)).as_secs_f64() / time.as_secs_f64();
    let grown = peak_memory(daemon.pid())?.saturating_sub(resident);
    let answers = attackers.finish()?;
    pair.run_for(time / 10)?;
    if !answers.contains(attack.expected) {
        return Err(io::Error::other(format!("{} was expected, and they got: {answers}", attack.expected)));
    }
    Ok(Row { answers, load, memory: grown, idle, beside })
}

impl Row {
    fn shown(&self, attack: &Attack) -> String {
        let quantile = |histogram: &Histogram, share| histogram.quantile(share).unwrap_or(f64::NAN);
        let (idle, beside) = (quantile(&self.idle, 0.99), quantile(&self.beside, 0.99));
        format!(
            "| {} | {} | {} | {:.2} | {:.1} | {:.0} | {:.0} | {:.1} |",
            attack.name,
            attack.what,
            self.answers,
            self.load,
            self.memory as f64 / f64::from(1 << 20),
            idle,
            beside,
            beside / idle
        )
    }
}

const HEAD: &str = "\
| attack | what it does | answers per second | daemon's cores | memory, MiB | pair's p99 alone, us | during, us | ratio |
|---|---|---|---|---|---|---|---|";
const DAEMON_CORE: usize = 1;
const OWN_CORE: usize = 0;
