use ws_router_core::kind::Kind;
use ws_router_core::secret::{Key, KeyHasher};

use super::*;
use crate::registry::{Request, Rules};

/// Registrations with so many members each.
fn occupied(seats: &[u64]) -> Vec<(Arc<Registration>, u64)> {
    let rules = Rules {
        auto_remove: true,
        linger: Duration::ZERO,
        unclaimed_timeout: Duration::from_secs(60),
        max_registrations: 100,
        max_members: 100,
        quotas: Default::default(),
    };
    let registry = Registry::new(KeyHasher::new([7; 32]), rules, Events::new());
    let key = || Key::new("k".into());
    for _ in seats {
        let request = Request {
            kind: Kind::Lobby,
            key: key(),
            host_key: key(),
            wanted: None,
            reject_taken: false,
            rule: None,
            terms: Default::default(),
        };
        registry.register(&request, Instant::now()).unwrap();
    }
    registry.list().into_iter().map(|one| one.registration).zip(seats.iter().copied()).collect()
}

/// How many registrations are closed in each second.
fn course(plan: &mut Plan, begun: Instant, seconds: u64) -> Vec<usize> {
    (0..=seconds).map(|second| plan.due(begun + Duration::from_secs(second)).len()).collect()
}

#[test]
fn registrations_are_closed_evenly_over_the_time() {
    let begun = Instant::now();
    let mut plan = Plan::new(occupied(&[2; 10]), 20, Duration::from_secs(5), begun);
    assert_eq!(course(&mut plan, begun, 5), [1, 2, 2, 2, 2, 1]);
}

#[test]
fn a_large_registration_takes_the_time_of_its_members() {
    let begun = Instant::now();
    let mut plan = Plan::new(occupied(&[6, 1, 1, 2]), 10, Duration::from_secs(10), begun);
    assert_eq!(course(&mut plan, begun, 10), [1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]);
}

#[test]
fn without_time_all_are_closed_at_once() {
    let now = Instant::now();
    let mut plan = Plan::new(occupied(&[1; 3]), 3, Duration::ZERO, now);
    assert_eq!(plan.due(now).len(), 3);
    assert!(plan.is_over(now));
}

#[test]
fn a_new_process_continues_the_drain_in_the_same_time() {
    let begun = Instant::now();
    // Half of it is over, and half of the members are gone.
    let mut plan = Plan::new(occupied(&[1; 5]), 10, Duration::from_secs(10), begun);
    assert_eq!(plan.due(begun + Duration::from_secs(4)).len(), 0);
    assert_eq!(plan.due(begun + Duration::from_secs(5)).len(), 1);
    assert_eq!(plan.due(begun + Duration::from_secs(10)).len(), 4);
}
