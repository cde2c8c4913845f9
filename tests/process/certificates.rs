//! Client certificates at the real program: without one, or with one that is foreign, expired, for another purpose or with
//! another name, a client is refused, and members inside are not disturbed.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::{connect, connect_unix, register};
use super::harness::{Setup, certificate};
use super::scene::{LobbyPair, wait_for_count};

/// Certificate authority of client certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Certificate chain with its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let (key, mut parameters) = (KeyPair::generate().unwrap(), CertificateParams::new(Vec::new()).unwrap());
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Signs a client certificate whose parameters `change` has adapted.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (key, mut parameters) = (KeyPair::generate().unwrap(), CertificateParams::new(Vec::new()).unwrap());
        parameters.distinguished_name.push(DnType::CommonName, "device-1");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        (vec![certificate.der().clone()], key)
    }
}

/// Registers with this certificate. Returns the status, or `None` if the handshake fails.
fn register_with(address: SocketAddr, roots: &RootCertStore, identity: Option<Identity>) -> Option<u16> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = versions.with_root_certificates(roots.clone());
    let config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, connect(address));
    let request =
        "GET /register?key=key&host_key=key&reg_type=lobby HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    if let Err(error) = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer)) {
        assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "neither a response nor an end");
    }
    String::from_utf8(answer).unwrap().split(' ').nth(1).map(|status| status.parse().unwrap())
}

#[test]
fn a_server_name_with_a_port_ends_in_an_alert_and_is_logged() {
    let setup = Setup::on_loopback().log("format = \"json\"\nlevel = \"debug\"\n");
    certificate(setup.folder.path(), "server");
    let mut router = setup.tls("server.crt", "server.key").start().ready();
    let (_plain, address) = (router.tcp_address(), router.tcp_address());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost-8443").unwrap();
    let (mut client, mut hello) = (ClientConnection::new(Arc::new(config), name).unwrap(), Vec::new());
    client.write_tls(&mut hello).unwrap();
    let at = hello.windows(5).position(|window| window == b"-8443").unwrap();
    hello[at] = b':';
    let (mut stream, mut answer) = (connect(address), Vec::new());
    stream.write_all(&hello).unwrap();
    stream.read_to_end(&mut answer).unwrap();
    // A record with an alert (RFC 8446 section 5.1).
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    router.logged(&["TLS handshake failed", "the client sent the server name", "localhost:8443"]);
    wait_for_count(&router, "frontend", "tls_failures", 1);
}

#[test]
fn only_a_valid_certificate_with_a_known_name_is_accepted() {
    let setup = Setup::on_loopback().config("[[access]]\nname = \"local\"\nnetworks = [\"unix\"]\n");
    let folder = setup.folder.path().to_owned();
    certificate(&folder, "server");
    let authority = Authority::new();
    std::fs::write(folder.join("clients.pem"), &authority.pem).unwrap();
    let unix = folder.join("http.sock");
    let config = format!(
        "[[access]]\nname = \"devices\"\nclient-certificates = [\"device-1\"]\n\
         [[listener]]\naddress = \"unix:{}\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ certificate = \"server.crt\", key = \"server.key\", client-ca = \"clients.pem\" }}\n",
        unix.display()
    );
    let mut router = setup.config(&config).start().ready();
    let (_plain, address) = (router.tcp_address(), router.tcp_address());
    let id = register(connect_unix(&unix), "key");
    let mut pair = LobbyPair::join(|| connect_unix(&unix), &id, "key");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("server.crt")).unwrap()).unwrap();

    assert_eq!(register_with(address, &roots, Some(authority.sign(|_| {}))), Some(200));
    let other = authority.sign(|parameters| parameters.distinguished_name.push(DnType::CommonName, "device-2"));
    assert_eq!(register_with(address, &roots, Some(other)), Some(403));
    assert_eq!(register_with(address, &roots, None), Some(403));
    wait_for_count(&router, "refusals", "access", 2);
    pair.exchange();

    let invalid = [
        Authority::new().sign(|_| {}),
        authority.sign(|parameters| {
            (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }),
        authority.sign(|parameters| parameters.not_before = date_time_ymd(2200, 1, 1)),
        authority.sign(|parameters| parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
    ];
    for (identity, failures) in invalid.into_iter().zip(1..) {
        assert_eq!(register_with(address, &roots, Some(identity)), None, "{failures}");
        wait_for_count(&router, "frontend", "tls_failures", failures);
        pair.exchange();
    }
    wait_for_count(&router, "refusals", "access", 2);
    assert_eq!(router.admin("/v1/status")["registrations"], 2);
}
