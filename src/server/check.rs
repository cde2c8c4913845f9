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
    let (config, _) = read(source)?;
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

/// Prints the effective configuration with all keys, each with the place where it is set.
pub fn print_config(source: &Source) -> Result<(), ExitError> {
    print(&source.load().to_toml()?);
    Ok(())
}

/// Reads the configuration and the files that it names: certificates, which are only checked, and those of the access
/// rules. Fails with the problems of all files.
pub fn read(source: &Source) -> Result<(Config, Access), Problems> {
    let mut loaded = source.load();
    let mut problems = certificate_store::problems(loaded.config());
    let access = Access::load(&loaded.config().access).unwrap_or_else(|found| {
        problems.extend(found.0);
        Access::default()
    });
    for problem in problems {
        let rules = loaded.config().access.iter().enumerate();
        let mut of_rule =
            rules.filter(|(index, rule)| problem.starts_with(&format!("access rule {}: ", rule.title(*index))));
        match of_rule.next().map(|(index, _)| index) {
            Some(index) => loaded.add_rule_problem(index, problem),
            None => loaded.add_file_problem(&problem),
        }
    }
    Ok((loaded.finish()?, access))
}

fn print(text: &str) {
    // If standard output is closed, the exit status remains.
    let _ = io::stdout().write_all(text.as_bytes());
}
