//! Authorities that sign client certificates, the certificates that they have revoked, and the names in a certificate.
//!
//! Without authorities clients are asked for no certificate. With revocation lists (CRLs) a certificate is accepted only
//! if there is a list of each authority above it and none names it: without a list its state is unknown, and it is
//! rejected. A list remains in use after its next update is due, since it names no fewer certificates than an older one.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::certificate_files::{CertificateError, CertificateProblem, read_chain, read_objects};
use crate::config;
use crate::files::Accept;
use crate::peer::ClientIdentity;

/// Authorities and revocation lists of a listener; empty if clients are asked for no certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientAuth {
    authorities: Vec<CertificateDer<'static>>,
    revocation_lists: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientAuth {
    /// Reads the files that a listener names.
    pub(super) fn read(files: &config::Tls, accept: Accept) -> Result<Self, CertificateError> {
        Ok(Self { authorities: read_authorities(files, accept)?, revocation_lists: read_lists(files, accept)? })
    }

    /// Returns the problems of both files, if a listener names them.
    pub(super) fn problems(files: &config::Tls, accept: Accept) -> impl Iterator<Item = CertificateError> {
        read_authorities(files, accept).err().into_iter().chain(read_lists(files, accept).err())
    }

    /// Creates the verifier of client certificates. It admits clients without one.
    pub(super) fn verifier(&self, files: &config::Tls) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
        let Some(path) = &files.client_ca else { return Ok(Arc::new(NoClientAuth)) };
        let problem = |problem| CertificateError::new("client-ca", path, problem);
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| problem(CertificateProblem::Authority(error)))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .allow_unauthenticated();
        // Without lists nothing is checked; with one, everything that it doesn't cover is unknown and rejected.
        let verifier = verifier.with_crls(self.revocation_lists.iter().cloned()).build();
        verifier.map(|verifier| verifier as Arc<dyn ClientCertVerifier>).map_err(|error| {
            match (error, &files.client_crl) {
                (VerifierBuilderError::InvalidCrl(error), Some(path)) => {
                    CertificateError::new("client-crl", path, CertificateProblem::RevocationList(error.into()))
                }
                (error, _) => problem(CertificateProblem::Verifier(error)),
            }
        })
    }
}

fn read_authorities(files: &config::Tls, accept: Accept) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let Some(path) = &files.client_ca else { return Ok(Vec::new()) };
    read_chain("client-ca", path, accept, &[])
}

fn read_lists(
    files: &config::Tls,
    accept: Accept,
) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let Some(path) = &files.client_crl else { return Ok(Vec::new()) };
    let lists = read_objects("client-crl", path, accept, ("list", "X509 CRL"), &[])?;
    Ok(lists.into_iter().map(|(_, list)| list).collect())
}

/// Returns the names in a verified certificate: the subject's common name, and alternative names (DNS, e-mail and URI).
/// A name that can't be parsed is left out, since every name may grant access.
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
