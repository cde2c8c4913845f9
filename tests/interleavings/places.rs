//! The slots of connections that aren't websockets yet.

use shuttle::thread;

use super::metrics::FrontendMetrics;
use super::peer::Network;
use super::pending::PendingPool;
use super::sync::Arc;

pub(super) const ALL: &[(&str, fn())] = &[
    ("every_slot_of_a_pending_connection_is_released_once", every_slot_is_released),
    ("numbers_are_never_given_twice", numbers),
];

fn every_slot_is_released() {
    let metrics = Arc::new(FrontendMetrics::default());
    let pool = Arc::new(PendingPool::new(Arc::clone(&metrics)));
    let come = |number| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            for _ in 0..2 {
                // Without a network at first, as behind a proxy; the third thread's connections evict others.
                let Ok(mut guard) = pool.admit(None, 2) else { continue };
                let _ = guard.assign(Some(Network::of([192, 0, 2, number].into())), 2);
                let activity = guard.activity();
                drop(activity.request());
            }
        })
    };
    for thread in [come(1), come(2), come(2)] {
        thread.join().unwrap();
    }
    assert_eq!(metrics.pending.value(), 0);
    let guards = [pool.admit(None, 2), pool.admit(None, 2)];
    assert!(guards.iter().all(Result::is_ok) && metrics.pending.value() == 2);
}

fn numbers() {
    let sequence = Arc::new(ws_router_core::ids::Sequence::after(0));
    let draw = || {
        let sequence = Arc::clone(&sequence);
        thread::spawn(move || [sequence.next(), sequence.next()])
    };
    let threads = [draw(), draw()];
    sequence.skip(100);
    let mut all: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    all.push(sequence.next());
    assert_eq!(sequence.last(), *all.iter().max().unwrap());
    assert!(*all.iter().max().unwrap() > 100);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5);
}
