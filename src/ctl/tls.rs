//! TLS client: the system's certificate authorities, or any certificate if that is asked for; the days until a
//! certificate expires; and client certificates.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Reason for which TLS can't be set up.
#[derive(Debug, Error)]
pub(super) enum TlsSetupError {
    #[error("client {what} {}: there is none in it; expected PEM", .path.display())]
    Empty { what: &'static str, path: PathBuf },
    #[error("client {what} {}", .path.display())]
    Pem { what: &'static str, path: PathBuf, source: pem::Error },
    #[error("client key {}: {source}; use the key of the certificate", .path.display())]
    Key { path: PathBuf, source: rustls::Error },
    #[error("{host}: not a name for TLS")]
    ServerName { host: String, source: InvalidDnsNameError },
    #[error("no certificate authorities on this system ({0}); install ca-certificates, or use --insecure")]
    NoAuthorities(#[source] VerifierBuilderError),
    #[error("TLS")]
    Config(#[from] rustls::Error),
}

/// TLS client of one deployment.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// `None` if any certificate is accepted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

/// A completed handshake.
pub(super) struct Session {
    pub(super) stream: TlsStream<TcpStream>,
    /// Days until the certificate expires, if it is verified.
    pub(super) days: Option<u64>,
}

/// A client certificate with its key.
pub(super) struct Identity(CertifiedKey);

impl Identity {
    /// Reads a certificate and its key from PEM files.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, TlsSetupError> {
        let problem = |what, path: &Path, source| match source {
            pem::Error::NoItemsFound => TlsSetupError::Empty { what, path: path.to_owned() },
            source => TlsSetupError::Pem { what, path: path.to_owned(), source },
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|source| problem("certificate", certificate, source))?;
        if chain.is_empty() {
            return Err(TlsSetupError::Empty { what: "certificate", path: certificate.to_owned() });
        }
        let own = PrivateKeyDer::from_pem_file(key).map_err(|source| problem("key", key, source))?;
        let certified = CertifiedKey::from_der(chain, own, &ring::default_provider());
        certified.map(Self).map_err(|source| TlsSetupError::Key { path: key.to_owned(), source })
    }
}

impl Tls {
    /// Creates a client that trusts the system's authorities, or any certificate if `insecure`.
    pub(super) fn new(host: &str, insecure: bool, own: Option<Identity>) -> Result<Self, TlsSetupError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|source| TlsSetupError::ServerName { host: host.to_owned(), source })?;
        let provider = Arc::new(ring::default_provider());
        let verifier = if insecure { None } else { Some(system_roots(&provider)?) };
        let accept: Arc<dyn ServerCertVerifier> = match &verifier {
            Some(verifier) => verifier.clone(),
            None => Arc::new(AnyCertificate(provider.clone())),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(accept);
        let mut config = match own {
            Some(Identity(own)) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, verifier })
    }

    /// Performs the handshake.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<Session> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let (_, session) = stream.get_ref();
        let days = match (&self.verifier, session.peer_certificates()) {
            (Some(verifier), Some([own, chain @ ..])) => Some(self.days(verifier, own, chain)),
            _ => None,
        };
        Ok(Session { stream, days })
    }

    /// Finds the number of days for which the whole chain is still valid, by verifying it at later times.
    fn days(&self, verifier: &WebPkiServerVerifier, own: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> u64 {
        let is_good = |days: u64| {
            let then = UnixTime::now().as_secs() + days * 24 * 3600;
            let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
            verifier.verify_server_cert(own, chain, &self.name, &[], then).is_ok()
        };
        let (mut good, mut bad) = (0, MAX_DAYS);
        while good + 1 < bad {
            let middle = (good + bad) / 2;
            if is_good(middle) { good = middle } else { bad = middle }
        }
        good
    }
}

impl Session {
    /// Describes the session: the protocol's version and the certificate.
    pub(super) fn describe(&self) -> String {
        let (_, session) = self.stream.get_ref();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        match self.days {
            Some(days) => format!("{version}, certificate expires in {days} days"),
            None => format!("{version}, certificate not verified"),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn system_roots(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    // One unusable certificate among the system's doesn't make the others unusable.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(TlsSetupError::NoAuthorities)
}

/// Verifier that accepts any certificate whose owner has its key.
#[derive(Debug)]
pub struct AnyCertificate(pub Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _own: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Upper bound of the search for the day of expiry: a century.
const MAX_DAYS: u64 = 36_525;
