//! The registry beside a relay thread: a join that races with a removal.
//!
//! The relay thread is minimal: it handles commands in order, checks the registration's end before it admits a member
//! (as `src/server/relay/thread.rs` does), and closes the members of one that has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use shuttle::thread;
use ws_router_core::ids::Serial;

use super::lives::{is_sound, key, registry, request};
use super::registry::{Registry, Seat};
use super::sync::{Arc, Mutex};

pub(super) const ALL: &[(&str, fn())] = &[
    ("a_join_that_races_with_a_removal_ends", removal),
    ("a_join_that_races_with_a_removal_and_a_new_registration_ends_or_is_in_the_new_one", removal_and_next_life),
    ("members_that_come_and_go_leave_nothing_behind", coming_and_going),
];

enum Command {
    Join(Seat),
    End(Serial),
    Leave,
}

#[derive(Default)]
struct Inbox(Mutex<VecDeque<Command>>);

impl Inbox {
    fn push(&self, command: Command) {
        self.0.lock().push_back(command);
    }
}

/// Handles some commands, and returns the members.
fn relay(inbox: Arc<Inbox>, commands: usize) -> thread::JoinHandle<Vec<Seat>> {
    thread::spawn(move || {
        let (mut members, mut done) = (Vec::<Seat>::new(), 0);
        while done < commands {
            let next = inbox.0.lock().pop_front();
            match next {
                None => {
                    thread::yield_now();
                    continue;
                }
                Some(Command::Join(mut seat)) => {
                    seat.activate();
                    if seat.registration.end().is_none() {
                        members.push(seat);
                    }
                }
                Some(Command::End(serial)) => members.retain(|seat| seat.registration.serial != serial),
                Some(Command::Leave) => drop(members.pop()),
            }
            done += 1;
        }
        members
    })
}

fn join(registry: &Arc<Registry>, inbox: &Inbox) -> bool {
    let seat = registry.seat("my-device", &key("k"), None);
    let is_in = seat.is_ok();
    // One that gets no seat still counts as a command, so that the relay knows when it is done.
    inbox.push(seat.map_or(Command::Leave, Command::Join));
    is_in
}

fn removal() {
    let (registry, inbox) = (registry(Duration::ZERO), Arc::new(Inbox::default()));
    registry.register(&request("k"), Instant::now()).unwrap();
    let relay = relay(Arc::clone(&inbox), 3);
    let joins: Vec<_> = (0..2)
        .map(|_| {
            let (registry, inbox) = (Arc::clone(&registry), Arc::clone(&inbox));
            thread::spawn(move || join(&registry, &inbox))
        })
        .collect();
    let ended = registry.remove("my-device", &key("k"), &key("h")).unwrap();
    inbox.push(Command::End(ended.serial));
    for join in joins {
        join.join().unwrap();
    }
    let members = relay.join().unwrap();
    assert!(members.is_empty(), "somebody is a member of what was removed");
    assert!(registry.is_empty());
}

fn removal_and_next_life() {
    let (registry, inbox) = (registry(Duration::ZERO), Arc::new(Inbox::default()));
    registry.register(&request("k"), Instant::now()).unwrap();
    let relay = relay(Arc::clone(&inbox), 2);
    let joining = {
        let (registry, inbox) = (Arc::clone(&registry), Arc::clone(&inbox));
        thread::spawn(move || join(&registry, &inbox))
    };
    let ended = registry.force_remove("my-device", ws_router_admin_api::peer::Peer::Unix { uid: 0, pid: 1 }).unwrap();
    registry.register(&request("k"), Instant::now()).unwrap();
    inbox.push(Command::End(ended.serial));
    joining.join().unwrap();
    let members = relay.join().unwrap();
    assert!(members.iter().all(|seat| seat.registration.end().is_none() && seat.registration.serial != ended.serial));
    is_sound(&registry, members.len());
}

fn coming_and_going() {
    let (registry, inbox) = (registry(Duration::ZERO), Arc::new(Inbox::default()));
    registry.register(&request("k"), Instant::now()).unwrap();
    let relay = relay(Arc::clone(&inbox), 4);
    let device = || {
        let (registry, inbox) = (Arc::clone(&registry), Arc::clone(&inbox));
        thread::spawn(move || {
            _ = registry.register(&request("k"), Instant::now());
            join(&registry, &inbox);
            inbox.push(Command::Leave);
        })
    };
    for device in [device(), device()] {
        device.join().unwrap();
    }
    let members = relay.join().unwrap();
    assert!(members.iter().all(|seat| seat.registration.end().is_none()));
    is_sound(&registry, members.len());
}
