//! The host that a request is for: one Host header in HTTP/1.1 (RFC 9112 section 3.2), and one of `http.hosts`.
//!
//! A browser determines a page's origin by the host's name. If an attacker's name resolves to the router's address (DNS
//! rebinding), requests of the attacker's page are same-origin, so that no Origin header shows them; only the name in Host
//! does. This attack needs a name, so IP addresses are always accepted in Host.

use std::net::IpAddr;

use http::header::{self, HeaderMap};
use http::{StatusCode, Uri, Version};

use super::responses::HttpError;
use crate::metrics::Refusal;

/// Checks that a request of HTTP/1.1 has one Host header, and none has two.
pub(super) fn check_header(version: Version, headers: &HeaderMap) -> Result<(), HttpError> {
    match headers.get_all(header::HOST).iter().count() {
        1 => Ok(()),
        0 if version < Version::HTTP_11 => Ok(()),
        0 => Err(HttpError::malformed("the Host header is missing; send it, or HTTP/1.0")),
        _ => Err(HttpError::malformed("the Host header is repeated; send it once")),
    }
}

/// Checks that a request is for one of the configured hosts.
pub(super) fn check_name(uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> Result<(), HttpError> {
    if hosts.is_empty() {
        return Ok(());
    }
    // A target with a host takes the place of the header (RFC 9112 section 3.2.2).
    let named = uri.authority().map(|authority| authority.as_str());
    let name = match named.or_else(|| headers.get(header::HOST).map(|value| value.to_str().unwrap_or_default())) {
        None => return Ok(()),
        Some(authority) => without_port(authority),
    };
    let is_known = |host: &String| host.eq_ignore_ascii_case(name);
    if is_address(name) || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(is_known) {
        return Ok(());
    }
    Err(HttpError::new(
        StatusCode::MISDIRECTED_REQUEST,
        Refusal::Host,
        "this router does not serve this host name; use another name, or add it to http.hosts",
    ))
}

/// Returns a host without its port, and without the dot that ends an absolute name.
fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn is_accepted(target: &str, host: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_static(host));
        }
        check_name(&target.parse().unwrap(), &headers, &["Relay.example.com".into(), "b".into()]).is_ok()
    }

    #[test]
    fn a_configured_name_is_accepted_with_any_port_and_case() {
        for host in
            ["relay.example.com", "RELAY.example.com:8741", "relay.example.com.", "relay.example.com.:80", "b", "b:"]
        {
            assert!(is_accepted("/", Some(host)), "{host}");
        }
    }

    #[test]
    fn addresses_localhost_and_a_missing_host_are_accepted() {
        for host in ["192.0.2.1", "192.0.2.1:8741", "[::1]", "[2001:db8::1]:443", "localhost", "LocalHost:8741"] {
            assert!(is_accepted("/", Some(host)), "{host}");
        }
        assert!(is_accepted("/", None));
    }

    #[test]
    fn other_names_are_rejected() {
        for host in ["evil.test", "x.relay.example.com", "relay.example.com.evil.test", "", ":80", "[b]", "b:x", "::1"]
        {
            assert!(!is_accepted("/", Some(host)), "{host}");
        }
    }

    #[test]
    fn the_host_of_an_absolute_target_takes_the_place_of_the_header() {
        assert!(is_accepted("http://b:80/healthz", Some("evil.test")));
        assert!(!is_accepted("http://evil.test/healthz", Some("b")));
    }

    #[test]
    fn http_11_needs_one_host_header_and_http_10_at_most_one() {
        let mut headers = HeaderMap::new();
        assert!(check_header(Version::HTTP_11, &headers).is_err());
        assert!(check_header(Version::HTTP_10, &headers).is_ok());
        headers.append(header::HOST, HeaderValue::from_static("a"));
        assert!(check_header(Version::HTTP_11, &headers).is_ok());
        headers.append(header::HOST, HeaderValue::from_static("a"));
        assert!(check_header(Version::HTTP_11, &headers).is_err());
        assert!(check_header(Version::HTTP_10, &headers).is_err());
    }
}
