//! A panic anywhere ends the process with a line in the log.

use std::panic::{self, PanicHookInfo};
use std::process;
use std::thread;

use super::fault::Status;

/// Ends the process when any thread or task panics; the service manager then starts a whole one again.
pub(super) fn end_the_process() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        tracing::error!(place, thread, error = text(info), "a mistake in the program, the router ends");
        process::exit(Status::Software as i32);
    }));
}

/// Tells a fixed text. One that was composed may quote what a peer sent, and stays out of the log.
fn text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("panic")
}

#[cfg(test)]
mod tests;
