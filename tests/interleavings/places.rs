//! The places of connections that aren't websockets yet.

use shuttle::thread;

use super::metrics::FrontendMetrics;
use super::permit::PendingGuard;
use super::sync::{Arc, AtomicU64, Ordering};

pub(super) const ALL: &[(&str, fn())] = &[
    ("never_more_than_the_limit_are_on_their_way_and_every_place_is_given_back", the_limit_holds),
    ("numbers_are_never_given_twice", numbers),
];

fn the_limit_holds() {
    let (metrics, held) = (Arc::new(FrontendMetrics::default()), Arc::new(AtomicU64::new(0)));
    let come = || {
        let (metrics, held) = (Arc::clone(&metrics), Arc::clone(&held));
        thread::spawn(move || {
            for _ in 0..2 {
                let Some(guard) = PendingGuard::take(&metrics, 2) else { continue };
                assert!(held.fetch_add(1, Ordering::SeqCst) < 2, "three are on their way");
                held.fetch_sub(1, Ordering::SeqCst);
                drop(guard);
            }
        })
    };
    for thread in [come(), come(), come()] {
        thread.join().unwrap();
    }
    assert_eq!(metrics.pending.value(), 0);
    assert!(PendingGuard::take(&metrics, 1).is_some());
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
