//! The daemon's program: reads its arguments and runs.

use std::process::ExitCode;

use ws_router_admin_api::cli::{self, Router};
use ws_router_server::{signals, startup};

fn main() -> ExitCode {
    signals::block_requests();
    let arguments = cli::parse_or_exit::<Router>();
    startup::run(arguments)
}
