use super::*;

const LIMIT: usize = 32;

fn network(number: u8) -> Option<Network> {
    Some(Network::of([192, 0, 2, number].into()))
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A pool, with a clock of the test's own.
#[derive(Default)]
struct World {
    state: State,
    now: Duration,
    evicted: Vec<Arc<Slot>>,
}

impl World {
    fn admit(&mut self, network: Option<Network>) -> Result<Arc<Slot>, Rejection> {
        self.state.admit(network, LIMIT, self.now, &mut self.evicted).map(|(_, slot)| slot)
    }

    /// Admits connections in a phase until one is rejected.
    fn fill(&mut self, network: Option<Network>, phase: Phase) -> usize {
        let mut count = 0;
        while count < LIMIT
            && let Ok(slot) = self.admit(network)
        {
            slot.set(phase, self.now);
            count += 1;
        }
        count
    }
}

#[test]
fn a_network_holds_at_most_half_of_what_others_leave_free() {
    let mut world = World::default();
    assert_eq!(world.fill(network(1), Phase::Requested), 16);
    assert_eq!(world.admit(network(1)).unwrap_err(), Rejection::Share);
    assert_eq!(world.fill(network(2), Phase::Requested), 8);
    assert_eq!(world.fill(network(3), Phase::Requested), 4);
    assert!(world.evicted.is_empty());
}

#[test]
fn each_network_may_hold_one_connection() {
    let mut world = World::default();
    for number in 0..LIMIT as u8 {
        world.admit(network(number)).unwrap();
    }
    assert!(world.evicted.is_empty());
}

#[test]
fn peers_without_a_network_have_no_share() {
    let mut world = World::default();
    assert_eq!(world.fill(None, Phase::Requested), LIMIT);
    assert_eq!(world.admit(None).unwrap_err(), Rejection::Limit);
    assert_eq!(world.admit(network(1)).unwrap_err(), Rejection::Limit);
}

#[test]
fn a_network_at_its_share_replaces_its_own_connections_that_wait_too_long() {
    for (phase, patience) in [(Phase::Silent, PATIENCE), (Phase::Opening, OPENING_PATIENCE), (Phase::Idle, PATIENCE)] {
        let mut world = World::default();
        assert_eq!(world.fill(network(1), phase), 16);
        world.now += patience - Duration::from_millis(1);
        assert_eq!(world.admit(network(1)).unwrap_err(), Rejection::Share, "{phase:?}");
        world.now += Duration::from_millis(1);
        assert_eq!(world.fill(network(1), Phase::Requested), 16);
        assert_eq!(world.evicted.len(), 16, "{phase:?}");
    }
}

#[test]
fn a_full_pool_evicts_the_oldest_of_the_network_that_holds_most() {
    for (phase, patience) in
        [(Phase::Silent, Duration::ZERO), (Phase::Opening, OPENING_PATIENCE), (Phase::Idle, PATIENCE)]
    {
        let mut world = World::default();
        let largest: Vec<_> = (0..10).map(|_| world.admit(network(1)).unwrap()).collect();
        (2..24).for_each(|number| world.admit(network(number)).unwrap().set(Phase::Requested, world.now));
        largest.iter().for_each(|slot| slot.set(phase, world.now));
        world.now += patience;
        world.admit(network(100)).unwrap();
        assert!(Arc::ptr_eq(&world.evicted[0], &largest[0]), "{phase:?}");
        assert!(world.state.total <= LIMIT && world.evicted.len() <= 10);
    }
}

#[test]
fn a_request_in_progress_is_never_evicted() {
    let mut world = World::default();
    for number in 0..LIMIT as u8 {
        world.admit(network(number)).unwrap().set(Phase::Requested, world.now);
    }
    world.now += seconds(3600);
    assert_eq!(world.admit(network(100)).unwrap_err(), Rejection::Limit);
    assert!(world.evicted.is_empty());
}

#[test]
fn above_three_quarters_the_silent_and_the_idle_are_closed_after_a_second() {
    for phase in [Phase::Silent, Phase::Idle] {
        let mut world = World::default();
        let first: Vec<_> = (0..24).map(|number| world.admit(network(number)).unwrap()).collect();
        first.iter().for_each(|slot| slot.set(phase, world.now));
        world.admit(network(100)).unwrap();
        assert!(world.evicted.is_empty());
        world.now += PATIENCE;
        world.admit(network(101)).unwrap();
        assert!(world.evicted.len() >= SCANNED_NETWORKS, "{phase:?}: {}", world.evicted.len());
    }
}

#[test]
fn below_three_quarters_nothing_is_closed() {
    let mut world = World::default();
    (0..23).for_each(|number| drop(world.admit(network(number)).unwrap()));
    world.now += seconds(3600);
    world.admit(network(100)).unwrap();
    assert!(world.evicted.is_empty());
}

#[test]
fn a_slot_moves_to_the_network_that_a_header_names_and_is_released_once() {
    let metrics = Arc::new(FrontendMetrics::default());
    let pool = Arc::new(PendingPool::new(Arc::clone(&metrics)));
    let admitted = |number| {
        let mut guard = pool.admit(None, 4).unwrap();
        guard.assign(network(number), 4).map(|()| guard)
    };
    let (first, second) = (admitted(1).unwrap(), admitted(1).unwrap());
    assert_eq!(admitted(1).unwrap_err(), Rejection::Share);
    let other = admitted(2).unwrap();
    assert_eq!((metrics.pending.value(), pool.lock().held(network(1))), (3, 2));
    drop((first, second, other));
    let state = pool.lock();
    assert_eq!((metrics.pending.value(), state.total, state.networks.len(), state.by_size.len()), (0, 0, 0, 0));
}

#[test]
fn an_evicted_connection_is_notified_and_its_guard_releases_nothing() {
    let metrics = Arc::new(FrontendMetrics::default());
    let pool = Arc::new(PendingPool::new(Arc::clone(&metrics)));
    let first = pool.admit(None, 1).unwrap();
    let second = pool.admit(None, 1).unwrap();
    assert!(first.slot.evicted.is_cancelled() && !second.slot.evicted.is_cancelled());
    assert_eq!((metrics.pending.value(), metrics.rejections(Rejection::Evicted)), (1, 1));
    drop(first);
    assert_eq!(metrics.pending.value(), 1);
    drop(second);
    assert_eq!(metrics.pending.value(), 0);
}
