//! Short-lived devices, one after the other: new connections are served at any time. During a restart, they may have to wait.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ws_router_core::frame::client_frame;

use super::device::{Endpoint, Pace, join, register};
use super::error::Error;
use super::progress::Progress;

/// Visits one listener after the other until the run is over.
pub(crate) fn until(endpoints: &[Endpoint], progress: &Progress, is_over: &AtomicBool) {
    for endpoint in endpoints.iter().cycle() {
        if is_over.load(Relaxed) || progress.has_failed() {
            return;
        }
        let start = Instant::now();
        if let Err(error) = visit(endpoint) {
            return progress.fail(Error::Visitor(Box::new(error)));
        }
        progress.visits.fetch_add(1, Relaxed);
        progress.longest_visit.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
        // Each connection leaves a port in TIME_WAIT for a minute.
        thread::sleep(Duration::from_millis(50));
    }
}

/// Registers, joins two members, passes a message between them, and disconnects.
fn visit(endpoint: &Endpoint) -> Result<(), Error> {
    let id = register(endpoint, "key=k&host_key=h&reg_type=lobby", super::PATIENCE)?;
    let mut one = join(endpoint, &id, "", Pace::Full, super::PATIENCE)?;
    let mut other = join(endpoint, &id, "", Pace::Full, super::PATIENCE)?;
    let context = Error::io("message");
    one.write_all(&client_frame(0x82, [9, 8, 7, 6], b"hello")).map_err(context)?;
    let mut received = [0; 7];
    other.read_exact(&mut received).map_err(context)?;
    if received != *b"\x82\x05hello" { Err(Error::Received(received)) } else { Ok(()) }
}
