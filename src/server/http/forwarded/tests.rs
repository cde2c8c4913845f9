use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::peer::Range;

fn rules(trusted: &[&str], forwarded_header: ForwardedHeader) -> config::Http {
    let trusted_proxies = trusted.iter().map(|text| text.parse::<Range>().unwrap()).collect();
    config::Http { trusted_proxies, forwarded_header, ..config::Http::default() }
}

/// Returns the client of a request from `peer` with these lines, where loopback and 10.0.0.0/8 are trusted.
fn client_of(peer: &str, name: &'static str, lines: &[&str]) -> String {
    let kind = if name == "forwarded" { ForwardedHeader::Forwarded } else { ForwardedHeader::XForwardedFor };
    let rules = rules(&["127.0.0.1", "10.0.0.0/8", "unix"], kind);
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    client(Peer::Inet(peer.parse().unwrap()), &headers, &rules).to_string()
}

const PROXY: &str = "127.0.0.1:9";

#[test]
fn only_a_trusted_proxys_header_counts() {
    for (name, line) in [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1;proto=https")] {
        assert_eq!(client_of(PROXY, name, &[line]), "192.0.2.1");
        assert_eq!(client_of("192.0.2.9:9", name, &[line]), "192.0.2.9:9");
        assert_eq!(client_of(PROXY, name, &[]), PROXY);
    }
}

#[test]
fn only_the_configured_header_counts() {
    let headers: HeaderMap = [(X_FORWARDED_FOR, "192.0.2.1"), (FORWARDED, "for=192.0.2.2")]
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let proxy = Peer::Inet(PROXY.parse().unwrap());
    let client_of = |kind| client(proxy, &headers, &rules(&["127.0.0.1"], kind)).to_string();
    assert_eq!(client_of(ForwardedHeader::XForwardedFor), "192.0.2.1");
    assert_eq!(client_of(ForwardedHeader::Forwarded), "192.0.2.2");
}

#[test]
fn the_last_address_that_is_not_trusted_is_the_client() {
    let xff = |lines: &[&str]| client_of(PROXY, "x-forwarded-for", lines);
    assert_eq!(xff(&["198.51.100.7, 192.0.2.1, 10.0.0.5"]), "192.0.2.1");
    assert_eq!(xff(&["198.51.100.7", "192.0.2.1", "10.0.0.5,10.0.0.6"]), "192.0.2.1");
    assert_eq!(xff(&["10.0.0.4, 10.0.0.5"]), "10.0.0.4");
    assert_eq!(xff(&["192.0.2.1, unix:, 10.0.0.5"]), "192.0.2.1");
}

#[test]
fn an_entry_without_an_address_ends_the_search() {
    for garbage in ["unknown", "_hidden", "localhost", "1.2.3", "192.0.2.1:99999", "[::1"] {
        assert_eq!(client_of(PROXY, "x-forwarded-for", &[&format!("192.0.2.1, {garbage}, 10.0.0.5")]), "10.0.0.5");
        assert_eq!(client_of(PROXY, "x-forwarded-for", &["192.0.2.1", garbage]), PROXY, "{garbage}");
        let line = format!("for=192.0.2.1, for={garbage}, for=10.0.0.5");
        assert_eq!(client_of(PROXY, "forwarded", &[&line]), "10.0.0.5");
    }
    assert_eq!(client_of(PROXY, "forwarded", &["for=192.0.2.1, proto=https"]), PROXY);
    assert_eq!(client_of(PROXY, "x-forwarded-for", &["192.0.2.1", "ä"]), PROXY);
}

#[test]
fn empty_entries_are_skipped() {
    for line in ["192.0.2.1,", "192.0.2.1, , 10.0.0.5", ",192.0.2.1,,\t,", "192.0.2.1\t,\t10.0.0.5 "] {
        assert_eq!(client_of(PROXY, "x-forwarded-for", &[line]), "192.0.2.1", "{line:?}");
        assert_eq!(client_of(PROXY, "x-forwarded-for", &[line, ""]), "192.0.2.1", "{line:?}");
    }
    for line in ["for=192.0.2.1,", "for=192.0.2.1, , for=10.0.0.5", ", for=192.0.2.1 ,"] {
        assert_eq!(client_of(PROXY, "forwarded", &[line, ""]), "192.0.2.1", "{line:?}");
    }
}

#[test]
fn a_missing_header_of_a_proxy_and_a_header_of_an_untrusted_peer_are_noticed() {
    let rules = rules(&["127.0.0.1"], ForwardedHeader::XForwardedFor);
    let (proxy, other) = (Peer::Inet(PROXY.parse().unwrap()), Peer::Inet("192.0.2.9:9".parse().unwrap()));
    let with = |name: HeaderName, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
    for (headers, missing, untrusted) in [
        (HeaderMap::new(), true, false),
        (with(X_FORWARDED_FOR, "192.0.2.1"), false, true),
        (with(X_FORWARDED_FOR, " , "), true, true),
        (with(FORWARDED, "for=192.0.2.1"), true, true),
    ] {
        assert_eq!(is_missing(&proxy, &headers, &rules), missing, "{headers:?}");
        assert_eq!(is_untrusted(&other, &headers, &rules), untrusted, "{headers:?}");
        assert!(!is_missing(&other, &headers, &rules) && !is_untrusted(&proxy, &headers, &rules));
    }
}

#[test]
fn addresses_come_in_many_forms() {
    for (text, shown) in [
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
        ("192.0.2.1:4711", "192.0.2.1:4711"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(client_of(PROXY, "x-forwarded-for", &[text]), shown);
        assert_eq!(client_of(PROXY, "forwarded", &[&format!("proto=https; For=\"{text}\";by=_x")]), shown);
    }
    assert_eq!(client_of(PROXY, "forwarded", &["by=\"a,b;for=198.51.100.1\\\"\";for=192.0.2.1"]), "192.0.2.1");
    assert_eq!(client_of(PROXY, "forwarded", &["for=\"192.0.2.1"]), PROXY);
}

#[test]
fn a_proxy_on_a_unix_socket_is_trusted_if_configured() {
    let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"))]);
    let peer = Peer::Unix { uid: 33, pid: 7 };
    let client_of = |trusted: &[&str]| client(peer, &headers, &rules(trusted, ForwardedHeader::XForwardedFor));
    assert_eq!(client_of(&["unix"]).to_string(), "192.0.2.1");
    assert_eq!(client_of(&["0.0.0.0/0", "::/0"]), peer);
}

proptest! {
    /// Whatever a client writes, the address that a trusted proxy appends counts.
    #[test]
    fn a_client_cannot_choose_its_address(talk in "[ -~]{0,40}") {
        prop_assert_eq!(client_of(PROXY, "x-forwarded-for", &[&talk, "192.0.2.1"]), "192.0.2.1");
        prop_assert_eq!(client_of(PROXY, "x-forwarded-for", &[&format!("{talk}, 192.0.2.1")]), "192.0.2.1");
        prop_assert_eq!(client_of(PROXY, "forwarded", &[&talk, "for=192.0.2.1"]), "192.0.2.1");
        prop_assert_eq!(client_of(PROXY, "forwarded", &[&format!("{talk}, for=192.0.2.1")]), "192.0.2.1");
        let quoted = format!("{talk}, for=\"[2001:db8::1]:5\";by=\"[::1]\"");
        prop_assert_eq!(client_of(PROXY, "forwarded", &[&quoted]), "[2001:db8::1]:5");
    }
}
