//! The daemon's program: reads its arguments and runs.

use std::process::ExitCode;

use ws_router_admin_api::cli::{self, Router};
use ws_router_server::daemon;

fn main() -> ExitCode {
    daemon::block_requests();
    let arguments = cli::parse_or_exit::<Router>();
    daemon::run(arguments)
}
