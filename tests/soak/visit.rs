//! Devices that connect for a moment, one after the other: a new connection is served at any time, also during a restart,
//! if perhaps later.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ws_router_core::frame::client_frame;

use super::device::{Endpoint, Pace, ask, join};
use super::progress::Progress;

/// Visits one listener after the other until the run is over.
pub(crate) fn until(endpoints: &[Endpoint], progress: &Progress, is_over: &AtomicBool) {
    for endpoint in endpoints.iter().cycle() {
        if is_over.load(Relaxed) || progress.has_failed() {
            return;
        }
        let start = Instant::now();
        if let Err(error) = visit(endpoint) {
            return progress.fail(format!("a visitor: {error}"));
        }
        progress.visits.fetch_add(1, Relaxed);
        progress.longest_visit.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
        // Each connection leaves a port in TIME_WAIT for a minute.
        thread::sleep(Duration::from_millis(50));
    }
}

/// Registers, brings two members together, passes a message, and leaves.
fn visit(endpoint: &Endpoint) -> Result<(), String> {
    let (status, id) = ask(endpoint, "/register?key=k&host_key=h&reg_type=lobby", super::PATIENCE)?;
    if status != 200 {
        return Err(format!("register: {status} {id}"));
    }
    let mut one = join(endpoint, &id, "", Pace::Full, super::PATIENCE)?;
    let mut other = join(endpoint, &id, "", Pace::Full, super::PATIENCE)?;
    let context = |error: std::io::Error| format!("message: {error}");
    let mut message = Vec::new();
    message.extend(client_frame(0x82, [9, 8, 7, 6], b"hello"));
    one.write_all(&message).map_err(context)?;
    let mut received = [0; 7];
    other.read_exact(&mut received).map_err(context)?;
    if received != *b"\x82\x05hello" { Err(format!("received {received:?}")) } else { Ok(()) }
}
