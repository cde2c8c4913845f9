use super::*;
use crate::config::Http;
use crate::peer::Range;

fn network(address: &str) -> Network {
    Network::of(address.parse().unwrap())
}

fn peer_of(address: &str) -> Peer {
    Peer::Inet(std::net::SocketAddr::new(address.parse().unwrap(), 1))
}

fn limit(text: &str) -> RateLimit {
    RateLimit(Some(text.parse::<Rate>().unwrap()))
}

#[test]
fn neighbors_in_an_ipv6_network_share_a_bucket_and_ipv4_addresses_do_not() {
    let (clients, limit) = (ClientLimits::default(), limit("1/h"));
    assert_eq!(clients.count_connection(network("2001:db8::1"), &limit), Ok(()));
    assert!(clients.count_connection(network("2001:db8::ffff:2"), &limit).is_err());
    assert_eq!(clients.count_connection(network("2001:db8:0:1::1"), &limit), Ok(()));
    assert_eq!(clients.count_connection(network("192.0.2.1"), &limit), Ok(()));
    assert_eq!(clients.count_connection(network("192.0.2.2"), &limit), Ok(()));
    assert!(clients.count_connection(network("::ffff:192.0.2.2"), &limit).is_err());
}

#[test]
fn connections_registrations_and_wrong_keys_have_separate_limits() {
    let (clients, limit, here) = (ClientLimits::default(), limit("1/h"), network("192.0.2.1"));
    assert_eq!(clients.count_connection(here, &limit), Ok(()));
    assert_eq!(clients.count_registration(here, &limit), Ok(()));
    assert_eq!(clients.check_key_attempts(&peer_of("192.0.2.1"), "my-device", &limit), Ok(()));
    assert!(clients.count_connection(here, &limit).is_err() && clients.count_registration(here, &limit).is_err());
}

#[test]
fn wrong_keys_delay_only_requests_for_the_same_registration_from_the_same_network() {
    let (clients, limit) = (ClientLimits::default(), limit("1/h burst 2"));
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    for _ in 0..2 {
        assert_eq!(clients.check_key_attempts(&peer_of(here), "my-device", &limit), Ok(()));
        clients.record_failed_key(&peer_of(here), "my-device", &limit);
    }
    assert!(clients.check_key_attempts(&peer_of(here), "my-device", &limit).is_err());
    assert_eq!(clients.check_key_attempts(&peer_of(here), "other-device", &limit), Ok(()));
    assert_eq!(clients.check_key_attempts(&peer_of(there), "my-device", &limit), Ok(()));
}

#[test]
fn without_a_limit_nothing_is_counted() {
    let (clients, here) = (ClientLimits::default(), network("192.0.2.1"));
    for _ in 0..10 {
        assert_eq!(clients.count_connection(here, &RateLimit(None)), Ok(()));
        clients.record_failed_key(&peer_of("192.0.2.1"), "my-device", &RateLimit(None));
    }
    assert_eq!(clients.check_key_attempts(&peer_of("192.0.2.1"), "my-device", &limit("1/h")), Ok(()));
}

#[test]
fn the_default_rates_admit_a_crowd_that_reconnects_at_once() {
    let (clients, limits, school) = (ClientLimits::default(), config::Limits::default(), network("192.0.2.1"));
    for _ in 0..30_000 {
        assert_eq!(clients.count_connection(school, &limits.connection_rate), Ok(()));
        assert_eq!(clients.count_registration(school, &limits.register_rate), Ok(()));
        assert_eq!(clients.count_connection(school, &limits.connection_rate), Ok(()));
    }
}

#[test]
fn processes_on_this_machine_and_trusted_proxies_have_no_network() {
    let trusted_proxies = ["10.0.0.0/8".parse::<Range>().unwrap()].into_iter().collect();
    let http = Http { trusted_proxies, ..Http::default() };
    let of = |address: &str| ClientLimits::network_of(&Peer::Inet(address.parse().unwrap()), &http);
    assert_eq!([of("127.0.0.1:1"), of("[::1]:1"), of("10.1.2.3:1")], [None; 3]);
    assert_eq!(of("192.0.2.1:1"), Some(network("192.0.2.1")));
    assert_eq!(ClientLimits::network_of(&Peer::Unix { uid: 0, pid: 1 }, &http), None);
}

#[test]
fn several_networks_leave_connections_free_for_others() {
    let clients = Arc::new(ClientLimits::default());
    let limits = config::Limits { connections: Some(100), ..config::Limits::default() };
    let mut slots = Vec::new();
    for number in 1..=3_u8 {
        let network = Network::of([192, 0, 2, number].into());
        while let Ok(slot) = clients.slot(network, |others| network_limit(&limits, others)) {
            slots.push(slot);
        }
    }
    let held = [1, 2, 3].map(|number| clients.open_connections(Network::of([192, 0, 2, number].into())));
    assert_eq!(held, [75, 18, 3]);
    assert!(clients.slot(network("192.0.2.4"), |others| network_limit(&limits, others)).is_ok());
}

#[test]
fn connections_are_counted_while_their_slots_are_held() {
    let (clients, here) = (Arc::new(ClientLimits::default()), network("192.0.2.1"));
    let first = clients.slot(here, |_| 2);
    let second = clients.slot(here, |_| 2);
    assert!(first.is_ok() && second.is_ok() && clients.slot(here, |_| 2).is_err());
    assert!(clients.slot(network("192.0.2.2"), |_| 2).is_ok());
    drop(first);
    assert_eq!(clients.open_connections(here), 1);
    assert!(clients.slot(here, |_| 2).is_ok());
    drop(second);
    assert_eq!(clients.open_connections(here), 0);
    assert!(clients.open.lock().by_network.is_empty());
}

const RATE: Rate = Rate::per_second(1, 2);

#[test]
fn eviction_bounds_the_table_and_keeps_the_emptiest_buckets() {
    let (mut table, now) = (RateTable::default(), Duration::from_secs(1));
    for greedy in 0..10_u32 {
        table.charge(greedy, &RATE, now);
        table.charge(greedy, &RATE, now);
    }
    for other in 10..(MAX_BUCKETS as u32 * 3) {
        assert_eq!(table.take(other, &RATE, now), Ok(()));
        assert!(table.0.len() <= MAX_BUCKETS);
    }
    for greedy in 0..10 {
        assert_eq!(table.take(greedy, &RATE, now), Err(Duration::from_secs(1)));
    }
}

#[test]
fn full_buckets_are_dropped_first() {
    let mut table = RateTable::default();
    for one in 0..MAX_BUCKETS as u32 {
        table.charge(one, &RATE, Duration::ZERO);
    }
    assert_eq!(table.take(u32::MAX, &RATE, Duration::from_secs(2)), Ok(()));
    assert_eq!(table.0.len(), 1);
}

#[test]
fn reading_the_time_to_wait_creates_no_bucket() {
    let table = RateTable::<u32>::default();
    assert_eq!(table.wait(&7, &RATE, Duration::ZERO), Duration::ZERO);
    assert!(table.0.is_empty());
}
