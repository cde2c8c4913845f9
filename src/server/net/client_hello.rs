//! The server name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), for the log.
//!
//! A client that puts a port or brackets into the name (`example.com:443`, `[::1]`) is rejected by rustls with an alert,
//! and the error of rustls doesn't contain the name.

/// Returns the server name as it was sent, if the bytes contain it.
pub(super) fn server_name(bytes: &[u8]) -> Option<String> {
    let mut rest = Reader(bytes);
    // Record: type (handshake), version, length. Handshake message: type (ClientHello), length. Version and random.
    let (record, message) = (rest.take(5)?, rest.take(4)?);
    if record.first() != Some(&22) || message.first() != Some(&1) {
        return None;
    }
    rest.take(34)?;
    // Session id, cipher suites, compression methods.
    rest.vector(1)?;
    rest.vector(2)?;
    rest.vector(1)?;
    // The list of extensions may be cut off.
    rest.take(2)?;
    loop {
        let (kind, mut content) = (rest.take(2)?, Reader(rest.vector(2)?));
        if kind == SERVER_NAME {
            let mut names = Reader(content.vector(2)?);
            let is_host_name = names.take(1)? == [0];
            return is_host_name.then(|| names.vector(2).map(|name| String::from_utf8_lossy(name).into_owned()))?;
        }
    }
}

/// Bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a vector and the length in front of it, which has `length_bytes` bytes.
    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(length_bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}

/// Type of the extension that contains the server name.
const SERVER_NAME: [u8; 2] = [0, 0];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn hello(name: &'static str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn valid_and_invalid_server_names_are_found() {
        assert_eq!(server_name(&hello("example.com")).as_deref(), Some("example.com"));
        let mut wrong = hello("example.com-443");
        let at = wrong.windows(4).position(|window| window == b"-443").unwrap();
        wrong[at] = b':';
        assert_eq!(server_name(&wrong).as_deref(), Some("example.com:443"));
        assert_eq!(server_name(&hello("192.0.2.1")), None);
    }

    #[test]
    fn truncated_and_other_bytes_have_no_server_name() {
        let hello = hello("example.com");
        let whole = (0..=hello.len()).filter(|len| server_name(&hello[..*len]).is_some()).min().unwrap();
        assert!(hello[..whole].ends_with(b"example.com"));
        assert_eq!(server_name(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\nand so on, for more than a header"), None);
    }
}
