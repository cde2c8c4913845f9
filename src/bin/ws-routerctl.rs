//! The control program: reads its arguments and asks the daemon, or a deployment from outside.

use std::process::ExitCode;

use ws_router_admin_api::cli::{self, Control};

fn main() -> ExitCode {
    let arguments = cli::parse_or_exit::<Control>();
    ws_router_ctl::run(arguments)
}
