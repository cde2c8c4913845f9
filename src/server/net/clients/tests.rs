use ws_router_core::rate::Rate;

use super::*;
use crate::config::Http;
use crate::peer::Range;

fn network(address: &str) -> Network {
    Network::of(address.parse().unwrap())
}

fn limit(text: &str) -> RateLimit {
    RateLimit(Some(text.parse::<Rate>().unwrap()))
}

#[test]
fn neighbours_in_an_ipv6_network_share_a_bucket_and_ipv4_addresses_do_not() {
    let (clients, limit) = (Clients::default(), limit("1/h"));
    assert_eq!(clients.connect(network("2001:db8::1"), &limit), Ok(()));
    assert!(clients.connect(network("2001:db8::ffff:2"), &limit).is_err());
    assert_eq!(clients.connect(network("2001:db8:0:1::1"), &limit), Ok(()));
    assert_eq!(clients.connect(network("192.0.2.1"), &limit), Ok(()));
    assert_eq!(clients.connect(network("192.0.2.2"), &limit), Ok(()));
    assert!(clients.connect(network("::ffff:192.0.2.2"), &limit).is_err());
}

#[test]
fn connecting_registering_and_guessing_are_counted_apart() {
    let (clients, limit, here) = (Clients::default(), limit("1/h"), network("192.0.2.1"));
    assert_eq!(clients.connect(here, &limit), Ok(()));
    assert_eq!(clients.register(here, &limit), Ok(()));
    assert_eq!(clients.may_try(here, "my-device", &limit), Ok(()));
    assert!(clients.connect(here, &limit).is_err() && clients.register(here, &limit).is_err());
}

#[test]
fn wrong_keys_hold_up_only_those_who_want_the_same_registration_from_the_same_network() {
    let (clients, limit) = (Clients::default(), limit("1/h burst 2"));
    let (here, there) = (network("192.0.2.1"), network("192.0.2.2"));
    for _ in 0..2 {
        assert_eq!(clients.may_try(here, "my-device", &limit), Ok(()));
        clients.tried_in_vain(here, "my-device", &limit);
    }
    assert!(clients.may_try(here, "my-device", &limit).is_err());
    assert_eq!(clients.may_try(here, "other-device", &limit), Ok(()));
    assert_eq!(clients.may_try(there, "my-device", &limit), Ok(()));
}

#[test]
fn what_is_unlimited_is_not_even_counted() {
    let (clients, here) = (Clients::default(), network("192.0.2.1"));
    for _ in 0..10 {
        assert_eq!(clients.connect(here, &RateLimit(None)), Ok(()));
        clients.tried_in_vain(here, "my-device", &RateLimit(None));
    }
    assert_eq!(clients.may_try(here, "my-device", &limit("1/h")), Ok(()));
}

#[test]
fn a_crowd_that_comes_back_at_once_is_let_in_by_the_defaults() {
    let (clients, limits, school) = (Clients::default(), config::Limits::default(), network("192.0.2.1"));
    for _ in 0..30_000 {
        assert_eq!(clients.connect(school, &limits.connection_rate), Ok(()));
        assert_eq!(clients.register(school, &limits.register_rate), Ok(()));
        assert_eq!(clients.connect(school, &limits.connection_rate), Ok(()));
    }
}

#[test]
fn processes_of_this_machine_and_proxies_are_no_clients() {
    let trusted_proxies = ["10.0.0.0/8".parse::<Range>().unwrap()].into_iter().collect();
    let http = Http { trusted_proxies, ..Http::default() };
    let of = |address: &str| Clients::network_of(&Peer::Inet(address.parse().unwrap()), &http);
    assert_eq!([of("127.0.0.1:1"), of("[::1]:1"), of("10.1.2.3:1")], [None; 3]);
    assert_eq!(of("192.0.2.1:1"), Some(network("192.0.2.1")));
    assert_eq!(Clients::network_of(&Peer::Unix { uid: 0, pid: 1 }, &http), None);
}

#[test]
fn places_are_counted_as_long_as_they_are_held() {
    let (clients, here) = (Arc::new(Clients::default()), network("192.0.2.1"));
    let first = clients.place(here, 2);
    let second = clients.place(here, 2);
    assert!(first.is_some() && second.is_some() && clients.place(here, 2).is_none());
    assert!(clients.place(network("192.0.2.2"), 2).is_some());
    drop(first);
    assert_eq!(clients.open(here), 1);
    assert!(clients.place(here, 2).is_some());
    drop(second);
    assert_eq!(clients.open(here), 0);
    assert!(lock(&clients.open).is_empty());
}
