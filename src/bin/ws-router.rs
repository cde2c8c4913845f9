//! The daemon's program: reads its arguments and runs.

use std::process::ExitCode;

use ws_router::cli::{self, Router};
use ws_router::daemon;

fn main() -> ExitCode {
    let arguments = cli::parse_or_exit::<Router>();
    daemon::run(arguments)
}
