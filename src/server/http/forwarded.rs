//! Address of a client behind trusted proxies, from `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Only the header that `http.forwarded-header` names is read, and only from trusted peers: a client can write anything
//! into the other. Each proxy appends the address from which it received the request, so the list is read backwards,
//! past trusted proxies, to the first address that isn't trusted. Everything before that was written by the client. An
//! entry that isn't an address also ends the search. Empty entries are skipped, as RFC 9110 section 5.6.1 requires.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::config::{self, ForwardedHeader};
use crate::peer::{Peer, Peers};

/// Returns whether an untrusted peer sent a forwarding header, which is ignored.
pub(super) fn is_untrusted(peer: &Peer, headers: &HeaderMap, rules: &config::Http) -> bool {
    let is_forwarded = headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
    is_forwarded && !rules.trusted_proxies.contain(peer)
}

/// Returns whether a trusted proxy sent a request without the configured header, or with an empty one.
pub(super) fn is_missing(peer: &Peer, headers: &HeaderMap, rules: &config::Http) -> bool {
    let name = match rules.forwarded_header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => FORWARDED,
    };
    rules.trusted_proxies.contain(peer)
        && lines(headers, &name).all(|line| line.trim_matches([' ', '\t', ',']).is_empty())
}

/// Returns the client of a request that `peer` sent or forwarded.
pub fn client(peer: Peer, headers: &HeaderMap, rules: &config::Http) -> Peer {
    let trusted = &rules.trusted_proxies;
    if !trusted.contain(&peer) {
        return peer;
    }
    match rules.forwarded_header {
        ForwardedHeader::XForwardedFor => {
            last_untrusted(peer, lines(headers, &X_FORWARDED_FOR).flat_map(comma_separated), node, trusted)
        }
        ForwardedHeader::Forwarded => {
            last_untrusted(peer, lines(headers, &FORWARDED).flat_map(elements), for_node, trusted)
        }
    }
}

/// Hop of a request, as reported by a proxy.
enum Hop {
    Address(SocketAddr),
    /// A Unix socket.
    Unix,
}

/// Reads the entries backwards to the first address that isn't trusted. Without one, returns the last address read, or
/// `peer`.
fn last_untrusted<'a>(
    peer: Peer,
    entries: impl Iterator<Item = &'a str>,
    read: fn(&str) -> Option<Hop>,
    trusted: &Peers,
) -> Peer {
    let entries: Vec<&str> = entries.filter(|entry| !entry.trim().is_empty()).collect();
    let mut client = peer;
    for entry in entries.into_iter().rev() {
        match read(entry) {
            Some(Hop::Address(address)) => {
                client = Peer::inet(address);
                if !trusted.contain(&client) {
                    break;
                }
            }
            Some(Hop::Unix) if trusted.contain(&Peer::Unix { uid: 0, pid: 0 }) => {}
            _ => break,
        }
    }
    client
}

/// Returns the lines of a header in order. A line that isn't text is replaced by an entry that ends the search.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"))
}

fn comma_separated(line: &str) -> impl Iterator<Item = &str> {
    line.split(',')
}

/// Splits at the commas outside of quotes. If a quote isn't closed, splits at every comma; otherwise, a client could hide
/// the elements that proxies append.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut state = Quoting::Outside;
    line.chars().for_each(|character| _ = state.is_separator(character, ','));
    let is_closed = matches!(std::mem::replace(&mut state, Quoting::Outside), Quoting::Outside);
    line.split(move |character| if is_closed { state.is_separator(character, ',') } else { character == ',' })
}

/// Parses the `for` parameter of an element (RFC 7239 section 4).
fn for_node(element: &str) -> Option<Hop> {
    let mut state = Quoting::Outside;
    let mut pairs = element.split(move |character| state.is_separator(character, ';'));
    let value = pairs.find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    match value.strip_prefix('"') {
        Some(quoted) => node(quoted.strip_suffix('"')?),
        None => node(value),
    }
}

/// Parses an address with or without a port. An IPv6 address may lack its brackets, as in `X-Forwarded-For`.
fn node(text: &str) -> Option<Hop> {
    let text = text.trim();
    if text == "unix:" {
        return Some(Hop::Unix);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Hop::Address(SocketAddr::new(address, 0)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Hop::Address(address));
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<std::net::Ipv6Addr>().ok().map(|address| Hop::Address(SocketAddr::new(address.into(), 0)))
}

/// Position in a text with quoted strings (RFC 9110 section 5.6.4).
#[derive(Clone, Copy)]
enum Quoting {
    Outside,
    Inside,
    Escaped,
}

impl Quoting {
    /// Advances by a character; returns whether it is a separator.
    fn is_separator(&mut self, character: char, separator: char) -> bool {
        *self = match (*self, character) {
            (Self::Outside, '"') | (Self::Escaped, _) => Self::Inside,
            (Self::Inside, '"') => Self::Outside,
            (Self::Inside, '\\') => Self::Escaped,
            (state, _) => state,
        };
        matches!(self, Self::Outside) && character == separator
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests;
