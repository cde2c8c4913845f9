//! Where a deployment is, read from its URL.

use http::Uri;

/// A deployment's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether TLS comes first.
    pub(super) tls: bool,
    /// The name or address to connect to; an IPv6 address without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// Host and port as they stand in a request.
    pub(super) authority: String,
    /// What comes before the routes: empty, or `/` and a path without a slash at the end.
    pub(super) prefix: String,
}

impl Target {
    /// Takes a URL apart that has a scheme and a host; without a port it is the scheme's.
    pub(super) fn new(url: &Uri) -> Self {
        let tls = matches!(url.scheme_str(), Some("https" | "wss"));
        let named = url.host().unwrap_or_default();
        let host = named.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(named);
        Self {
            tls,
            host: host.into(),
            port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: url.authority().map(ToString::to_string).unwrap_or_default(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_scheme_and_the_prefix_loses_its_slash() {
        let target = |url: &str| Target::new(&url.parse().unwrap());
        let plain = target("http://relay.example/sub/dir/");
        assert_eq!((plain.tls, plain.port, plain.prefix.as_str()), (false, 80, "/sub/dir"));
        let tls = target("https://[::1]:8741");
        assert_eq!((tls.tls, tls.host.as_str(), tls.port, tls.prefix.as_str()), (true, "::1", 8741, ""));
        assert_eq!(tls.authority, "[::1]:8741");
        assert_eq!((target("wss://relay.example").tls, target("wss://relay.example").port), (true, 443));
    }
}
