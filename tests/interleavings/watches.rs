//! Watches of registrations while members join and leave and the registration ends.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shuttle::thread;
use ws_router_admin_api::event::EndReason;

use super::lives::{key, registry, request};
use super::registry::{MemberCounts, Registry, Watch};
use super::sync::Arc;

pub(super) const ALL: &[(&str, fn())] = &[
    ("a_watcher_is_woken_by_every_change_that_it_has_not_seen", every_change_wakes),
    ("a_watcher_that_goes_takes_no_change_from_another", watchers_come_and_go),
    ("a_watcher_learns_the_reason_of_the_end", the_end),
];

/// A watcher that reads the state whenever it is woken, as a stream of `/members` does.
struct Watcher {
    watch: Watch,
    seen: State,
}

type State = Result<MemberCounts, EndReason>;

impl Watcher {
    fn new(registry: &Arc<Registry>) -> Self {
        let registration = registry.find("my-device").unwrap().registration;
        let watch = registry.watch(registration);
        let seen = watch.state();
        Self { watch, seen }
    }

    fn look(&mut self) {
        if self.watch.changed().now_or_never().is_some() {
            self.seen = self.watch.state();
        }
    }

    /// Asserts that the last state that it was woken for is the current one, and that it sleeps now. Nothing may change
    /// meanwhile.
    fn is_up_to_date(&mut self) {
        self.look();
        let is_woken = self.watch.changed().now_or_never().is_some();
        assert!(!is_woken, "it is woken for nothing");
        assert_eq!(self.seen, self.watch.state(), "it has slept through a change");
    }
}

fn peers(peers: usize) -> State {
    Ok(MemberCounts::Lobby { peers })
}

fn registered() -> Arc<Registry> {
    // A long linger time, so that no leave ends it.
    let registry = registry(Duration::from_secs(300));
    registry.register(&request("k"), Instant::now()).unwrap();
    registry
}

/// Joins and, if it is to be, leaves again.
fn come(registry: &Arc<Registry>, and_go: bool) -> thread::JoinHandle<Option<super::registry::Seat>> {
    let registry = Arc::clone(registry);
    thread::spawn(move || {
        let mut seat = registry.seat("my-device", &key("k"), None).ok()?;
        seat.activate();
        (!and_go).then_some(seat)
    })
}

fn every_change_wakes() {
    let registry = registered();
    let members = [come(&registry, true), come(&registry, false)];
    let mut watcher = Watcher::new(&registry);
    watcher.look();
    let seats = members.map(|member| member.join().unwrap());
    watcher.is_up_to_date();
    // The second may have found no room beside the first.
    assert_eq!(watcher.seen, peers(seats.iter().flatten().count()));
    drop(seats);
    watcher.is_up_to_date();
    assert_eq!(watcher.seen, peers(0));
}

fn watchers_come_and_go() {
    let registry = registered();
    let first = Watcher::new(&registry);
    let leaver = thread::spawn(move || drop(first));
    let another = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || Watcher::new(&registry).look())
    };
    let member = come(&registry, false);
    let mut watcher = Watcher::new(&registry);
    watcher.look();
    for thread in [leaver, another] {
        thread.join().unwrap();
    }
    let seat = member.join().unwrap();
    watcher.is_up_to_date();
    assert_eq!(watcher.seen, peers(1));
    drop(seat);
    watcher.is_up_to_date();
    assert_eq!(watcher.seen, peers(0));
}

fn the_end() {
    let registry = registered();
    let mut watcher = Watcher::new(&registry);
    let remover = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.remove("my-device", &key("k"), &key("h")).is_ok())
    };
    let sweeper = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.sweep(Instant::now() + Duration::from_secs(1 << 20)))
    };
    // The same id may be registered anew, which is another registration.
    let again = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || _ = registry.register(&request("other"), Instant::now()))
    };
    watcher.look();
    let was_removed = remover.join().unwrap();
    sweeper.join().unwrap();
    again.join().unwrap();
    watcher.is_up_to_date();
    assert_eq!(watcher.seen, Err(if was_removed { EndReason::Removed } else { EndReason::Unclaimed }));
}
