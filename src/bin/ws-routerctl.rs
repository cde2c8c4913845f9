//! The control program: reads its arguments and asks the daemon, or a deployment from outside.

use std::process::ExitCode;

use ws_router::cli::{self, Control};
use ws_router::ctl;

fn main() -> ExitCode {
    let arguments = cli::parse_or_exit::<Control>();
    ctl::run(arguments)
}
