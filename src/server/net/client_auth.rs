//! Those who sign clients' certificates, and which of these they have taken back.
//!
//! Without authorities clients are asked for no certificate. With lists of what is revoked (CRLs) a certificate is good
//! only if the list of each authority above it is there and doesn't name it: where a list is missing nothing is known, and
//! then nobody is let in by such a certificate. A list whose time is over holds all the same, since it names no fewer
//! than an old one.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificates::{CertificateError, read_chain, read_pem};
use crate::config;
use crate::peer::ClientIdentity;

/// What clients' certificates are judged by; empty if they are asked for none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientAuth {
    certificates: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientAuth {
    /// Reads the files that a listener names.
    pub(super) fn read(files: &config::Tls) -> Result<Self, CertificateError> {
        let certificates = files.client_ca.as_deref().map(|path| read_chain("client-ca", path)).transpose()?;
        let lists = files.client_crl.as_deref();
        let lists = lists.map(|path| read_pem("client-crl", path, "list", "BEGIN X509 CRL")).transpose()?;
        Ok(Self { certificates: certificates.unwrap_or_default(), revoked: lists.unwrap_or_default() })
    }

    /// Returns the problems of both files, if a listener names them.
    pub(super) fn problems(files: &config::Tls) -> Vec<CertificateError> {
        let certificates = files.client_ca.as_deref().map(|path| read_chain("client-ca", path));
        let lists = files.client_crl.as_deref();
        let lists = lists
            .map(|path| read_pem::<CertificateRevocationListDer<'_>>("client-crl", path, "list", "BEGIN X509 CRL"));
        let problem = certificates.and_then(Result::err).into_iter();
        problem.chain(lists.and_then(Result::err)).collect()
    }

    /// Makes what looks at clients' certificates; who shows none is not refused by it.
    pub(super) fn verifier(&self, files: &config::Tls) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let Some(path) = &files.client_ca else { return Ok(Arc::new(NoClientAuth)) };
        let problem = |what: String| CertificateError(format!("client-ca {}: {what}", path.display()));
        let mut roots = RootCertStore::empty();
        for authority in &self.certificates {
            roots
                .add(authority.clone())
                .map_err(|error| problem(format!("{error}; give the certificates of authorities, X.509 version 3")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .allow_unauthenticated();
        // Nothing is looked up in no lists; with one, all that it doesn't cover is unknown and refused.
        let verifier = verifier.with_crls(self.revoked.iter().cloned()).build();
        verifier.map_err(|error| match (error, &files.client_crl) {
            (VerifierBuilderError::InvalidCrl(error), Some(path)) => CertificateError(format!(
                "client-crl {}: {}; give lists of version 2, for which openssl.cnf needs crl_extensions",
                path.display(),
                rustls::Error::from(error)
            )),
            (error, _) => problem(error.to_string()),
        })
    }
}

/// Reads the subject's common name, and the alternative names: DNS, e-mail and URI.
pub(super) fn client_identity(certificate: &CertificateDer<'_>) -> ClientIdentity {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return ClientIdentity::default() };
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_owned).collect();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        }));
    }
    ClientIdentity { names }
}
