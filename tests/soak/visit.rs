//! Devices that come for a moment, one after the other, all the time: a new connection is served at any moment, also
//! while the program is being replaced, only perhaps a little later.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ws_router_core::frame::client_frame;

use super::course::Course;
use super::device::{Pace, Place, ask, join};

/// Visits one place after the other until it is over.
pub(crate) fn until(places: &[Place], course: &Course, is_over: &AtomicBool) {
    for place in places.iter().cycle() {
        if is_over.load(Relaxed) || course.has_failed() {
            return;
        }
        let begun = Instant::now();
        if let Err(error) = visit(place) {
            return course.fail(format!("a visitor: {error}"));
        }
        course.visits.fetch_add(1, Relaxed);
        course.longest_visit.fetch_max(begun.elapsed().as_micros() as u64, Relaxed);
        // Each leaves its port taken for a minute.
        thread::sleep(Duration::from_millis(50));
    }
}

/// Registers, brings two members together, passes a message, and leaves.
fn visit(place: &Place) -> Result<(), String> {
    let (status, id) = ask(place, "/register?key=k&host_key=h&reg_type=lobby", super::PATIENCE)?;
    if status != 200 {
        return Err(format!("register: {status} {id}"));
    }
    let mut one = join(place, &id, "", Pace::Full, super::PATIENCE)?;
    let mut other = join(place, &id, "", Pace::Full, super::PATIENCE)?;
    let told = |error: std::io::Error| format!("message: {error}");
    let mut message = Vec::new();
    message.extend(client_frame(0x82, [9, 8, 7, 6], b"hello"));
    one.write_all(&message).map_err(told)?;
    let mut heard = [0; 7];
    other.read_exact(&mut heard).map_err(told)?;
    if heard != *b"\x82\x05hello" { Err(format!("heard {heard:?}")) } else { Ok(()) }
}
