//! The relay against the limit: `cargo bench`, or `cargo bench -- --help`.
//!
//! A load generator runs on one core and a server on the other, and a bare event loop in the same run shows what the kernel
//! allows. [`scenario`] lists the scenarios, [`measure`] measures one once, [`servers`] starts the servers, [`generator`]
//! makes the load, [`limit`] and [`textbook`] are the reference servers, and [`report`] prints the figures.
//!
//! This program knows the router only by its sockets and its process, so it can compare any two builds of it.
//!
//! What the router adds to a plain relay, beside the plain scenarios to compare it with:
//!
//! ```text
//! cargo bench --bench relay -- --only ws-router --scenario 'pair-64,pair-64k,pair-1m,pairs-500-w16,paired-*,stalled-pair'
//! cargo bench --bench relay -- --only ws-router --scenario sends,beside-sends,beside-watchers-1000,idle-waiting-10k
//! cargo bench --bench relay -- --only ws-router --scenario pair-64,pair-64-session,pair-64k,pair-64k-session
//! ```

mod arguments;
mod crowd;
mod flight;
mod frames;
mod generator;
mod handshake;
mod histogram;
mod limit;
mod link;
mod load;
mod measure;
mod plan;
mod process;
mod report;
mod scenario;
mod servers;
mod textbook;
mod unmask;

use std::io;
use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser;
use measure::{check, measure};
use report::{Outcome, Series, head, write_json};

fn main() -> ExitCode {
    let plain: Vec<String> = std::env::args().skip(1).collect();
    let result = match servers::serve(&plain).or_else(|| load::serve(&plain)) {
        Some(result) => result.map(|()| ExitCode::SUCCESS),
        None => run(&Arguments::parse()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    if arguments.list {
        for scenario in scenario::all() {
            println!("{}", scenario.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.is_quick() { run_quick(arguments) } else { run_full(arguments) }
}

/// Checks contents, order and count, but no times.
fn run_quick(arguments: &Arguments) -> io::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for scenario in arguments.select(scenario::quick())? {
        for contender in arguments.contenders()?.iter().filter(|contender| contender.can(&scenario)) {
            match check(&scenario, contender, &arguments.conditions()) {
                Ok(()) => passed += 1,
                Err(error) => {
                    failed += 1;
                    println!("FAILED {} with {}: {error}", scenario.name, contender.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures all servers in turn, round by round, so that a change of the machine's speed affects all of them.
fn run_full(arguments: &Arguments) -> io::Result<ExitCode> {
    let contenders = arguments.contenders()?;
    let mut outcomes = Vec::new();
    let mut code = ExitCode::SUCCESS;
    println!("{}", head());
    for scenario in arguments.select(scenario::all())? {
        let able: Vec<_> = contenders.iter().filter(|contender| contender.can(&scenario)).collect();
        let series = able.iter().map(|contender| Series { server: contender.name.clone(), samples: Vec::new() });
        let mut outcome = Outcome { series: series.collect(), scenario };
        for _ in 0..arguments.rounds {
            for (contender, series) in able.iter().zip(&mut outcome.series) {
                match measure(&outcome.scenario, contender, &arguments.conditions()) {
                    Ok(sample) => series.samples.push(sample),
                    Err(error) => {
                        code = ExitCode::FAILURE;
                        println!("FAILED {} with {}: {error}", outcome.scenario.name, contender.name);
                    }
                }
            }
        }
        print!("{}", outcome.table());
        outcomes.push(outcome);
    }
    if let Some(path) = &arguments.json {
        write_json(path, &outcomes)?;
    }
    Ok(code)
}
