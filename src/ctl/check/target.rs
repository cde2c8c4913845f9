//! Where a deployment is, read from the URL that was typed.

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
    /// Reads `http://HOST[:PORT][/PREFIX]`, or tells what is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let mend = "give http://HOST[:PORT][/PREFIX] or https://...";
        let uri: Uri = url.parse().map_err(|error| format!("this is no URL ({error}); {mend}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("this is no address of a router; {mend}")),
        };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.contains('@') || uri.query().is_some() {
            return Err(format!("no user name and no query belong here; {mend}"));
        }
        let named = uri.host().unwrap_or_default();
        let host = named.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(named);
        let port = match uri.port_u16() {
            Some(port) => port,
            // `http` takes any text after the colon.
            None if authority.len() > named.len() => return Err(format!("the port makes no sense; {mend}")),
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(format!("the host is missing; {mend}"));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host: host.into(), port, authority: authority.into(), prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_scheme_and_the_prefix_loses_its_slash() {
        let plain = Target::parse("http://relay.example/sub/dir/").unwrap();
        assert_eq!((plain.tls, plain.port, plain.prefix.as_str()), (false, 80, "/sub/dir"));
        let tls = Target::parse("https://[::1]:8741").unwrap();
        assert_eq!((tls.tls, tls.host.as_str(), tls.port, tls.prefix.as_str()), (true, "::1", 8741, ""));
        assert_eq!(tls.authority, "[::1]:8741");
        assert_eq!(Target::parse("https://relay.example").unwrap().port, 443);
    }

    #[test]
    fn what_is_no_router_is_told_with_the_mend() {
        for bad in
            ["relay.example", "ftp://x", "http://", "http://u@x/", "http://x/?key=1", "http://x:99999/", "", "/a"]
        {
            assert!(Target::parse(bad).unwrap_err().contains("http://HOST"), "{bad}");
        }
    }
}
