//! The PROXY protocol, versions 1 and 2: the header in which a proxy names the client of a connection.
//!
//! On a listener with `proxy-protocol`, the header precedes TLS and HTTP on each connection. [`parse`] does no I/O, and
//! returns how many more bytes are certain to belong to the header, so that no byte after the header is read. HAProxy's
//! `doc/proxy-protocol.txt` specifies the format. The additional fields (TLVs) of version 2 are ignored.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Result of parsing the first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The header is incomplete. At least this many more bytes belong to it.
    Incomplete(usize),
    /// The header contains no IP address of a client: the proxy opened the connection for itself, such as for a health
    /// check (LOCAL), the protocol is unspecified (UNKNOWN, AF_UNSPEC), or the client has a Unix socket (AF_UNIX).
    NoAddress,
    /// Address of the client.
    Client(SocketAddr),
}

/// The bytes are not a PROXY header, or the header isn't valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid PROXY header")]
pub struct Malformed;

/// Parses the bytes received so far, which must not extend past the header: bytes after it are [`Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if bytes.is_empty() {
        return Ok(Parsed::Incomplete(V2_SIGNATURE.len()));
    }
    let len = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..len] == V2_SIGNATURE[..len] {
        return parse_v2(bytes);
    }
    let len = bytes.len().min(V1_PREFIX.len());
    if bytes[..len] == V1_PREFIX[..len] { parse_v1(bytes) } else { Err(Malformed) }
}

/// Reads a header and no byte after it. Returns `None` if the header contains no IP address of a client.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::with_capacity(V1_MAX_LEN);
    loop {
        match parse(&bytes) {
            Ok(Parsed::Incomplete(more)) => {
                let begin = bytes.len();
                bytes.resize(begin + more, 0);
                stream.read_exact(&mut bytes[begin..]).await?;
            }
            Ok(Parsed::NoAddress) => return Ok(None),
            Ok(Parsed::Client(address)) => return Ok(Some(address)),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Parses version 2: signature, version and command, family and protocol, length, addresses, additional fields.
fn parse_v2(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_LEN) else {
        return Ok(Parsed::Incomplete(V2_FIXED_LEN - bytes.len()));
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let family = fixed[13];
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > V2_MAX_REST_LEN || version != 2 {
        return Err(Malformed);
    }
    match len.checked_sub(rest.len()) {
        Some(0) => {}
        Some(more) => return Ok(Parsed::Incomplete(more)),
        None => return Err(Malformed),
    }
    // The command, and the address family with the transport protocol (section 2.2 of the specification).
    match (command, family) {
        (0, _) => Ok(Parsed::NoAddress),           // LOCAL: the rest is ignored
        (1, 0x00 | 0x31) => Ok(Parsed::NoAddress), // PROXY, AF_UNSPEC or AF_UNIX over SOCK_STREAM
        // PROXY, TCP over IPv4: two addresses of 4 bytes, two ports
        (1, 0x11) => match rest {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => client(Ipv4Addr::new(*a, *b, *c, *d), [*high, *low]),
            _ => Err(Malformed),
        },
        // PROXY, TCP over IPv6: two addresses of 16 bytes, two ports
        (1, 0x21) => match (rest.first_chunk::<16>(), rest.get(32..36)) {
            (Some(source), Some([high, low, _, _])) => client(Ipv6Addr::from(*source), [*high, *low]),
            _ => Err(Malformed),
        },
        _ => Err(Malformed),
    }
}

fn client(address: impl Into<std::net::IpAddr>, port: [u8; 2]) -> Result<Parsed, Malformed> {
    Ok(Parsed::Client(SocketAddr::new(address.into(), u16::from_be_bytes(port))))
}

/// Parses version 1, a line such as `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.
fn parse_v1(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let missing = if bytes.ends_with(b"\r") { 1 } else { V1_MIN_LEN.saturating_sub(bytes.len()).max(2) };
        let fits = bytes.len() + missing <= V1_MAX_LEN;
        return if fits { Ok(Parsed::Incomplete(missing)) } else { Err(Malformed) };
    };
    let line = bytes[..end].strip_suffix(b"\r").filter(|_| end + 1 == bytes.len()).ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Malformed)?;
    if family == "UNKNOWN" {
        return Ok(Parsed::NoAddress);
    }
    let [Some(source), Some(target), Some(port), Some(target_port), None] =
        [words.next(), words.next(), words.next(), words.next(), words.next()]
    else {
        return Err(Malformed);
    };
    let address = match family {
        "TCP4" => source_of::<Ipv4Addr>(source, target)?.into(),
        "TCP6" => source_of::<Ipv6Addr>(source, target)?.into(),
        _ => return Err(Malformed),
    };
    let (port, _) = (port_number(port)?, port_number(target_port)?);
    Ok(Parsed::Client(SocketAddr::new(address, port)))
}

/// Returns the source address; fails unless both addresses are valid.
fn source_of<T: std::str::FromStr>(source: &str, target: &str) -> Result<T, Malformed> {
    let _: T = target.parse().map_err(|_| Malformed)?;
    source.parse().map_err(|_| Malformed)
}

/// Parses a port. Unlike `u16::from_str`, it rejects a plus sign.
fn port_number(text: &str) -> Result<u16, Malformed> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

/// First bytes of a version 2 header.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of a version 2 header.
const V2_FIXED_LEN: usize = 16;
/// Maximum length of addresses and additional fields, which may include a client certificate. The format allows 64 KiB.
const V2_MAX_REST_LEN: usize = 4096;
/// First bytes of a version 1 header.
const V1_PREFIX: &[u8] = b"PROXY ";
/// Length of the shortest version 1 header, `PROXY UNKNOWN` and CR LF.
const V1_MIN_LEN: usize = 15;
/// Length of the longest version 1 header that the format allows.
const V1_MAX_LEN: usize = 107;

#[cfg(test)]
mod tests;
