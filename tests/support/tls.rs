//! A router with TLS, and clients that accept any certificate, as those in the field do.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ws_router_ctl::AnyCertificate;
use ws_router_server::config::{Config, Listener, Tls};
use ws_router_server::net::{CertificateError, Certificates};

use super::{Server, plain};

/// A router with a plain and a TLS listener, and the folder of its certificate.
pub struct Secured {
    pub server: Server,
    pub files: Tls,
    _folder: TempDir,
}

impl Secured {
    pub async fn start(make: impl FnOnce(&Tls)) -> Self {
        Self::start_with(make, |_| {}).await
    }

    pub async fn start_with(make: impl FnOnce(&Tls), change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Tls::new(folder.path().join("cert.pem"), folder.path().join("key.pem"));
        make(&files);
        let secured = Listener { tls: Some(files.clone()), ..plain() };
        let mut config = Config { listeners: vec![plain(), secured], ..Config::default() };
        change(&mut config);
        Self { server: Server::start(config).await, files, _folder: folder }
    }

    pub async fn dial(&self, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        dial(self.server.https.unwrap(), Arc::new(client)).await
    }
}

pub async fn dial(address: SocketAddr, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(client).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

pub fn ecdsa(files: &Tls) {
    generated(files, &rcgen::PKCS_ECDSA_P256_SHA256);
}

pub fn generated(files: &Tls, kind: &'static rcgen::SignatureAlgorithm) {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
}

/// Returns the configuration of a client that accepts any certificate, as those in the field do.
pub fn client(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    trusting(versions).with_no_client_auth()
}

/// Returns such a configuration before its client certificate is chosen.
pub fn trusting(versions: &[&'static SupportedProtocolVersion]) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
}

/// Certificate authority of client certificates.
pub struct Authority {
    pub issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(parameters, key), pem }
    }

    /// Signs a certificate with a serial number; returns it and its key as PEM.
    pub fn signs(&self, common: &str, alternative: &str, serial: u64) -> [String; 2] {
        self.signs_with(common, alternative, |parameters| parameters.serial_number = Some(serial.into()))
    }

    /// Signs a certificate after a change.
    pub fn signs_with(
        &self,
        common: &str,
        alternative: &str,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> [String; 2] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![alternative.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, common);
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        [parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem()]
    }

    /// Signs a revocation list that is valid until a year.
    pub fn revokes(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Signs a certificate, and returns a client that sends it.
    pub fn client(&self, common: &str, alternative: &str) -> ClientConfig {
        showing(&self.signs(common, alternative, 1))
    }
}

/// Returns a client that sends a certificate.
pub fn showing([certificate, key]: &[String; 2]) -> ClientConfig {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    trusting(&[&TLS12, &TLS13]).with_client_auth_cert(chain, key).unwrap()
}

/// Path of the revocation list beside a listener's certificate.
pub fn crl(files: &Tls) -> PathBuf {
    files.certificate.with_file_name("crl.pem")
}

/// Path of the client authorities beside a listener's certificate.
pub fn ca(files: &Tls) -> PathBuf {
    files.certificate.with_file_name("ca.pem")
}

/// Reads the files of a listener again and puts them into use, as a reload of the daemon does.
pub fn reload(certificates: &Certificates) -> Result<bool, CertificateError> {
    certificates.replace(certificates.read_again()?)
}
