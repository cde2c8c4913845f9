//! The PROXY protocol, versions 1 and 2: the header in which a proxy names the client of a connection.
//!
//! It precedes TLS and HTTP on each connection of a listener with `proxy-protocol`. [`parse`] is pure and returns how
//! many bytes it needs at least, so that no byte is read that belongs to what follows. The format is specified in
//! HAProxy's `doc/proxy-protocol.txt`; the additional fields (TLVs) of version 2 are ignored.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Result of parsing the first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The header is incomplete. At least this many more bytes belong to it.
    Incomplete(usize),
    /// The header names no client (LOCAL, UNKNOWN), as for a health check of the proxy itself.
    Local,
    /// Address of the client.
    Client(SocketAddr),
}

/// The error of bytes that are not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid PROXY header")]
pub struct Malformed;

/// Parses the bytes received so far.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if bytes.is_empty() {
        return Ok(Parsed::Incomplete(SIGNATURE.len()));
    }
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] == SIGNATURE[..known] {
        return parse_binary(bytes);
    }
    let known = bytes.len().min(TEXT.len());
    if bytes[..known] == TEXT[..known] { parse_text(bytes) } else { Err(Malformed) }
}

/// Reads a header and no byte after it; `None` if the header names no client.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::with_capacity(LONGEST_TEXT);
    loop {
        match parse(&bytes) {
            Ok(Parsed::Incomplete(more)) => {
                let begin = bytes.len();
                bytes.resize(begin + more, 0);
                stream.read_exact(&mut bytes[begin..]).await?;
            }
            Ok(Parsed::Local) => return Ok(None),
            Ok(Parsed::Client(address)) => return Ok(Some(address)),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Parses version 2: signature, version and command, family and protocol, length, addresses, additional fields.
fn parse_binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Ok(Parsed::Incomplete(HEAD - bytes.len())) };
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if len > LONGEST_BINARY || head[12] >> 4 != 2 {
        return Err(Malformed);
    }
    match len.checked_sub(rest.len()) {
        Some(0) => {}
        Some(more) => return Ok(Parsed::Incomplete(more)),
        None => return Err(Malformed),
    }
    match (head[12] & 0xf, head[13]) {
        // Whatever follows LOCAL is ignored (section 2.2 of the specification).
        (0, _) => Ok(Parsed::Local),
        (1, 0x00 | 0x31) => Ok(Parsed::Local),
        (1, 0x11) => match rest {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => client(Ipv4Addr::new(*a, *b, *c, *d), [*high, *low]),
            _ => Err(Malformed),
        },
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
fn parse_text(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let missing = if bytes.ends_with(b"\r") { 1 } else { SHORTEST_TEXT.saturating_sub(bytes.len()).max(2) };
        let fits = bytes.len() + missing <= LONGEST_TEXT;
        return if fits { Ok(Parsed::Incomplete(missing)) } else { Err(Malformed) };
    };
    let line = bytes[..end].strip_suffix(b"\r").filter(|_| end + 1 == bytes.len()).ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Malformed)?;
    if family == "UNKNOWN" {
        return Ok(Parsed::Local);
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

/// Parses a port, which consists of digits alone.
fn port_number(text: &str) -> Result<u16, Malformed> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

/// First bytes of a header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Length of the fixed part of a header of version 2.
const HEAD: usize = 16;
/// Limit for addresses and additional fields, which may include a client certificate; the format allows 64 KiB.
const LONGEST_BINARY: usize = 4096;
/// First bytes of a header of version 1.
const TEXT: &[u8] = b"PROXY ";
/// Length of `PROXY UNKNOWN` with its line end.
const SHORTEST_TEXT: usize = 15;
/// Length of the longest header of version 1 that the format allows.
const LONGEST_TEXT: usize = 107;

#[cfg(test)]
mod tests;
