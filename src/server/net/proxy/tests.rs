use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family, len[0], len[1]], rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

fn client_at(text: &str) -> Result<Parsed, Malformed> {
    Ok(Parsed::Client(text.parse().unwrap()))
}

#[test]
fn version_1_headers_are_parsed() {
    let v4 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
    assert_eq!(parse(v4), client_at("192.0.2.1:56324"));
    let v6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n";
    assert_eq!(parse(v6), client_at("[2001:db8::1]:56324"));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Parsed::NoAddress));
    assert_eq!(parse(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), Ok(Parsed::NoAddress));
}

#[test]
fn version_2_headers_are_parsed_without_additional_fields() {
    assert_eq!(parse(&v2(0x21, 0x11, &V4)), client_at("192.0.2.1:56324"));
    assert_eq!(parse(&v2(0x21, 0x11, &[&V4[..], &[3, 0, 1, 9]].concat())), client_at("192.0.2.1:56324"));
    let mut v6 = [0; 36];
    (v6[0], v6[15], v6[31], v6[33]) = (0x20, 1, 2, 80);
    assert_eq!(parse(&v2(0x21, 0x21, &v6)), client_at("[2000::1]:80"));
}

#[test]
fn headers_without_an_ip_address_are_accepted() {
    assert_eq!(parse(&v2(0x20, 0x00, &[])), Ok(Parsed::NoAddress));
    assert_eq!(parse(&v2(0x20, 0x11, &V4)), Ok(Parsed::NoAddress));
    assert_eq!(parse(&v2(0x21, 0x00, b"whatever")), Ok(Parsed::NoAddress));
    assert_eq!(parse(&v2(0x21, 0x31, &[0; 216])), Ok(Parsed::NoAddress));
}

#[test]
fn invalid_headers_are_rejected() {
    for text in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXX",
        b"\r\n\r\n\0\r\nQUIX",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +5 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 host 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.1 56324 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 56324 443\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY \xff\xff\xff\xff\xff\xff\xff\r\n",
    ] {
        assert_eq!(parse(text), Err(Malformed), "{:?}", String::from_utf8_lossy(text));
    }
    assert_eq!(parse(&[b"PROXY ".to_vec(), vec![b'x'; 101]].concat()), Err(Malformed));
    assert_eq!(parse(&v2(0x11, 0x11, &V4)), Err(Malformed));
    assert_eq!(parse(&v2(0x22, 0x11, &V4)), Err(Malformed));
    assert_eq!(parse(&v2(0x21, 0x12, &V4)), Err(Malformed));
    assert_eq!(parse(&v2(0x21, 0x11, &V4[..11])), Err(Malformed));
    assert_eq!(parse(&v2(0x21, 0x21, &V4)), Err(Malformed));
    assert_eq!(parse(&v2(0x21, 0x11, &[0; V2_MAX_REST_LEN + 1])[..V2_FIXED_LEN]), Err(Malformed));
}

#[tokio::test]
async fn bytes_after_the_header_are_not_read() {
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), v2(0x21, 0x11, &V4)] {
        let mut stream = &[header, b"GET /".to_vec()].concat()[..];
        assert!(read_header(&mut stream).await.unwrap().is_some());
        assert_eq!(stream, b"GET /");
    }
    assert_eq!(read_header(&mut &b"PROXY TCP4 192"[..]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

proptest! {
    /// For every prefix of a header, only bytes of the header are requested; the whole header gives the expected result.
    #[test]
    fn no_byte_after_the_header_is_requested(port: u16, ip: [u8; 4], kind in 0..3, added in 0..40_usize) {
        let address = SocketAddr::from((ip, port));
        let header = if kind == 0 {
            format!("PROXY UNKNOWN{}\r\n", " ".repeat(added)).into_bytes()
        } else if kind == 1 {
            format!("PROXY TCP4 {} 10.0.0.1 {port} 1\r\n", address.ip()).into_bytes()
        } else {
            let mut rest = V4;
            rest[..4].copy_from_slice(&ip);
            rest[8..10].copy_from_slice(&port.to_be_bytes());
            v2(0x21, 0x11, &[&rest[..], &vec![7; added]].concat())
        };
        for cut in 0..header.len() {
            match parse(&header[..cut]) {
                Ok(Parsed::Incomplete(more)) => prop_assert!(more > 0 && cut + more <= header.len()),
                other => prop_assert!(false, "{other:?} at {cut}"),
            }
        }
        let whole = if kind == 0 { Parsed::NoAddress } else { Parsed::Client(address) };
        prop_assert_eq!(parse(&header), Ok(whole));
    }

    #[test]
    fn no_input_panics(begin in 0..3_usize, bytes: Vec<u8>) {
        let begin = [&b""[..], V1_PREFIX, &V2_SIGNATURE][begin];
        let _ = parse(&[begin, &bytes].concat());
    }
}
