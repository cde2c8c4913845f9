//! The begin of a connection through a proxy: the parser asks for no byte that isn't the header's, reads what a proxy
//! writes, and refuses early.

use std::net::{IpAddr, SocketAddr};

use ws_router_server::net::proxy::{Malformed, Parsed, parse};

pub fn run(bytes: &[u8]) {
    if let Some(len) = read(bytes) {
        assert!(len <= 16 + 4096, "{len} bytes were asked for");
        // A prefix never knows more than the whole, and never asks for more.
        for at in 0..len {
            match parse(&bytes[..at]) {
                Ok(Parsed::Incomplete(more)) => {
                    assert!(more > 0 && at + more <= len, "{more} more after {at} of {len}")
                }
                other => panic!("{other:?} after {at} bytes of {len}"),
            }
        }
        let behind = [&bytes[..len], b"\x16"].concat();
        assert_eq!(parse(&behind), Err(Malformed), "what belongs to the connection is swallowed");
    }
    written(bytes);
}

/// Reads as the router does; returns the header's length if there is one.
fn read(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match parse(bytes.get(..at)?) {
            Ok(Parsed::Incomplete(more)) => at += more,
            Ok(Parsed::NoAddress | Parsed::Client(_)) => return Some(at),
            Err(Malformed) => return None,
        }
    }
}

/// Headers as a proxy writes them.
fn written(bytes: &[u8]) {
    let Some((address, rest)) = bytes.split_first_chunk::<16>() else { return };
    let Some((port, more)) = rest.split_first_chunk::<2>() else { return };
    let port = u16::from_be_bytes(*port);
    let (four, six) = (IpAddr::from(*address.first_chunk::<4>().unwrap()), IpAddr::from(*address));
    for (family, ip) in [("TCP4", four), ("TCP6", six)] {
        let line = format!("PROXY {family} {ip} {ip} {port} 443\r\n");
        assert_eq!(parse(line.as_bytes()), Ok(Parsed::Client(SocketAddr::new(ip, port))), "{line}");
        assert_eq!(read(line.as_bytes()), Some(line.len()));
    }
    for (family, octets) in [(0x11, &address[..4]), (0x21, &address[..])] {
        let more = &more[..more.len().min(4000)];
        let body = [octets, octets, &port.to_be_bytes(), &[1, 187], more].concat();
        let head = [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &(body.len() as u16).to_be_bytes()].concat();
        let header = [head, body].concat();
        let ip = if octets.len() == 4 { four } else { six };
        assert_eq!(parse(&header), Ok(Parsed::Client(SocketAddr::new(ip, port))));
        assert_eq!(read(&header), Some(header.len()));
    }
}
