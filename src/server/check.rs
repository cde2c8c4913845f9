//! `--check` and `--print-config`: the modes that only read the configuration.

use std::io::{self, Write};

use crate::access::Access;
use crate::capacity::{Capacity, WorstCase};
use crate::certificate_store;
use crate::config::{Config, Problems, Source};
use crate::exit::ExitError;

/// Reads all files that a start would read, and reports every problem. Without any, prints what the configuration allows
/// in the worst case, with a warning for each limit that exceeds what the system allows.
pub fn check(source: &Source) -> Result<(), ExitError> {
    let config = source.read()?;
    read_files(&config)?;
    let WorstCase { facts, warnings } = Capacity::of_process().worst_case(&config);
    for warning in warnings {
        // If standard error is closed, the output below remains.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    for fact in facts {
        print(&format!("{fact}\n"));
    }
    print("ok\n");
    Ok(())
}

/// Prints the effective configuration with all keys.
pub fn print_config(source: &Source) -> Result<(), ExitError> {
    print(&source.read()?.to_toml());
    Ok(())
}

/// Reads the files that a configuration names: certificates, which are only checked, and those of the access rules.
pub fn read_files(config: &Config) -> Result<Access, Problems> {
    let mut problems = certificate_store::problems(config);
    let access = Access::load(&config.access);
    if let Err(found) = &access {
        problems.extend_from_slice(&found.0);
    }
    if problems.is_empty() { access } else { Err(Problems(problems)) }
}

fn print(text: &str) {
    // If standard output is closed, the exit status remains.
    let _ = io::stdout().write_all(text.as_bytes());
}
