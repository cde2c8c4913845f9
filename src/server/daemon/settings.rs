//! Where the configuration comes from, and the modes that only read it: `--check` and `--print-config`.

use std::io::{self, Write};
use std::path::PathBuf;

use super::certificates;
use super::exit::ExitError;
use super::room::{Room, WorstCase};
use crate::access::Access;
use crate::config::{self, Config, Problems};

/// Where the configuration comes from; the same at the start and at each reload.
#[derive(Debug, Clone)]
pub(super) struct Source(Option<PathBuf>);

impl Source {
    /// Takes the file that was named, or else the system's.
    pub(super) fn new(named: Option<PathBuf>) -> Self {
        Self(named)
    }

    /// Reads the file. Without one in the system's place the defaults apply; one that was named has to be there.
    pub(super) fn read(&self) -> Result<Config, Problems> {
        config::load_for(self.0.as_deref())
    }

    /// Reads all that a start would read, and tells everything that is wrong with it; if nothing is, what the
    /// configuration allows in the worst case, and where that doesn't fit.
    pub(super) fn check(&self) -> Result<(), ExitError> {
        let config = self.read()?;
        read_files(&config)?;
        let WorstCase { facts, warnings } = Room::here().hold(&config);
        for warning in warnings {
            // Like the output below: who doesn't listen has heard enough.
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        for fact in facts {
            print(&format!("{fact}\n"));
        }
        print("ok\n");
        Ok(())
    }

    /// Shows the configuration as it would be used, every key written out.
    pub(super) fn show(&self) -> Result<(), ExitError> {
        print(&self.read()?.to_toml());
        Ok(())
    }
}

/// Reads the files that a configuration names: certificates, which are only looked at, and those of the access rules.
pub(super) fn read_files(config: &Config) -> Result<Access, Problems> {
    let mut problems = certificates::problems(config);
    let access = Access::load(&config.access);
    if let Err(found) = &access {
        problems.extend_from_slice(&found.0);
    }
    if problems.is_empty() { access } else { Err(Problems(problems)) }
}

fn print(text: &str) {
    // Who closes our standard output has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
}
