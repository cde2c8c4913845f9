//! The control program: asks the daemon over its admin socket, or a deployment from outside.

use std::process::ExitCode;

use clap::Parser;
use ws_router::cli::Control;
use ws_router::ctl;

fn main() -> ExitCode {
    match Control::try_parse() {
        Ok(arguments) => ctl::run(arguments),
        Err(answer) => ctl::explain(&answer),
    }
}
