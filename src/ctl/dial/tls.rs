//! TLS as a client speaks it: the system's roots, or any certificate if that is asked for; how long a certificate lasts;
//! and a certificate of one's own, for routers that ask for one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Outcome, Stream, wrong};

/// How TLS is spoken to one deployment.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// `None` where any certificate will do.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

/// A certificate of one's own, with its key.
pub(super) struct Identity(CertifiedKey);

impl Identity {
    /// Reads it from PEM files.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let problem = |what, file: &Path, why| format!("client {what} {}: {why}", file.display());
        let unsound = |error: pem::Error| match error {
            pem::Error::Io(error) => error.to_string(),
            pem::Error::NoItemsFound => "there is none in it; expected PEM".into(),
            error => format!("not sound PEM ({error})"),
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|error| problem("certificate", certificate, unsound(error)))?;
        if chain.is_empty() {
            return Err(problem("certificate", certificate, unsound(pem::Error::NoItemsFound)));
        }
        let own = PrivateKeyDer::from_pem_file(key).map_err(|error| problem("key", key, unsound(error)))?;
        let certified = CertifiedKey::from_der(chain, own, &ring::default_provider());
        certified.map(Self).map_err(|error| problem("key", key, format!("{error}; give the one of the certificate")))
    }
}

impl Tls {
    /// Reads the system's roots, unless any certificate will do.
    pub(super) fn new(host: &str, insecure: bool, own: Option<Identity>) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host}: not a name for TLS"))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = if insecure { None } else { Some(system_roots(&provider)?) };
        let accept: Arc<dyn ServerCertVerifier> = match &verifier {
            Some(verifier) => verifier.clone(),
            None => Arc::new(AnyCertificate(provider.clone())),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(accept);
        let mut config = match own {
            Some(Identity(own)) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, verifier })
    }

    /// Does the handshake; tells the version, and for how many days the certificate is still good, if it is checked.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Outcome<(Stream, Option<u64>)> {
        let stream = self.connector.connect(self.name.clone(), stream).await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            let mend = match cause {
                Some(rustls::Error::InvalidCertificate(_)) => "; --insecure accepts any certificate",
                _ => "",
            };
            wrong(format!("{error}{mend}"))
        })?;
        let (_, session) = stream.get_ref();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let days = match (&self.verifier, session.peer_certificates()) {
            (Some(verifier), Some([own, chain @ ..])) => Some(self.days(verifier, own, chain)),
            _ => None,
        };
        let detail = match days {
            Some(days) => format!("{version}, certificate good for {days} more days"),
            None => format!("{version}, certificate not checked"),
        };
        Ok(((Box::new(stream), days), detail))
    }

    /// Finds out how many days from now the whole chain is still good, by asking for later and later days.
    fn days(&self, verifier: &WebPkiServerVerifier, own: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> u64 {
        let is_good = |days: u64| {
            let then = UnixTime::now().as_secs() + days * 24 * 3600;
            let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
            verifier.verify_server_cert(own, chain, &self.name, &[], then).is_ok()
        };
        let (mut good, mut bad) = (0, LONGEST);
        while good + 1 < bad {
            let middle = (good + bad) / 2;
            if is_good(middle) { good = middle } else { bad = middle }
        }
        good
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn system_roots(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    // One odd certificate among the system's is no reason to trust none of them.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().map_err(|error| {
        format!("no certificate authorities on this system ({error}); install ca-certificates, or use --insecure")
    })
}

/// Accepts any certificate whose owner signs with its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

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

/// Days after which no more is looked for; a certificate of one's own authority may last a century.
const LONGEST: u64 = 36_525;
