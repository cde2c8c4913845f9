//! Headers that tell of proxies: what a trusted proxy appends decides, whatever a client wrote before it.

use std::net::SocketAddr;
use std::path::Path;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ws_router_server::config::{self, parse};
use ws_router_server::http::forwarded::client;
use ws_router_server::peer::Peer;

pub fn run(bytes: &[u8]) {
    let Ok(said) = HeaderValue::from_bytes(bytes) else { return };
    let proxy = Peer::inet(SocketAddr::from(([10, 1, 2, 3], 4000)));
    for (setting, name, appended) in HOPS {
        let rules = rules(setting);
        let name = HeaderName::from_static(name);
        let truth = Peer::inet(SocketAddr::from(([203, 0, 113, 7], 0)));
        let truth = if appended.contains("2001:db8::7") { IPV6.parse().map(Peer::inet).unwrap() } else { truth };
        let mut lines = HeaderMap::new();
        lines.append(name.clone(), said.clone());
        // From a stranger, nothing is believed; from a proxy alone, anything but a panic is right.
        let stranger = Peer::inet(SocketAddr::from(([198, 51, 100, 1], 5)));
        assert_eq!(client(stranger, &lines, &rules), stranger);
        let _ = client(proxy, &lines, &rules);
        // A proxy that adds a line of its own, and one that goes on with the client's.
        lines.append(name.clone(), HeaderValue::from_static(appended));
        assert_eq!(client(proxy, &lines, &rules), truth);
        let joined = [bytes, b", ", appended.as_bytes()].concat();
        let mut line = HeaderMap::new();
        line.append(name, HeaderValue::from_bytes(&joined).unwrap());
        // A line that isn't text is believed in nothing; then the proxy is who it is.
        let is_text = line.values().all(|value| value.to_str().is_ok());
        assert_eq!(client(proxy, &line, &rules), if is_text { truth } else { proxy });
    }
}

fn rules(forwarded_header: &str) -> config::Http {
    let text = format!("[http]\ntrusted-proxies = [\"10.0.0.0/8\"]\nforwarded-header = \"{forwarded_header}\"\n");
    parse(&text, Path::new("/made-up.toml")).unwrap().http
}

/// The setting, the header's name, and what a proxy appends for a client.
const HOPS: [(&str, &str, &str); 5] = [
    ("x-forwarded-for", "x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-for", "x-forwarded-for", "203.0.113.7, 10.9.9.9"),
    ("forwarded", FORWARDED_NAME, "for=203.0.113.7;proto=https"),
    ("forwarded", FORWARDED_NAME, "for=203.0.113.7, for=\"10.9.9.9:1234\""),
    ("forwarded", FORWARDED_NAME, "for=\"[2001:db8::7]\""),
];
const FORWARDED_NAME: &str = "forwarded";
const IPV6: &str = "[2001:db8::7]:0";
