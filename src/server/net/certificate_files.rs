//! Files of certificates, keys, authorities and revocation lists.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::{self, PemError};
use crate::files::{self, Accept, ReadError};

/// A certificate, key, authority or revocation list can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{role} {}{}: {problem}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct CertificateError {
    role: &'static str,
    path: PathBuf,
    line: Option<usize>,
    #[source]
    problem: Box<CertificateProblem>,
}

/// Problem of a file. The text of the error contains the fix.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// The file doesn't exist.
    #[error("no such file; correct the path in the configuration")]
    NotFound,
    /// The file can't be read.
    #[error("{0}")]
    Read(#[source] ReadError),
    /// The file isn't PEM.
    #[error("{0}")]
    Pem(#[source] PemError),
    /// The file contains a block of an unexpected kind.
    #[error("BEGIN {0} is not expected here; remove it, or convert it with openssl")]
    Block(String),
    /// The content of a block is damaged.
    #[error("not an X.509 certificate; copy the file again")]
    NotX509,
    /// The file has no block of the expected kind.
    #[error("no {what} in it; expected PEM with a BEGIN {label} line")]
    Empty {
        /// Name of the expected kind.
        what: &'static str,
        /// Label of its PEM blocks.
        label: &'static str,
    },
    /// The file has several keys.
    #[error("a second private key; keep one of them")]
    SecondKey,
    /// The key needs a passphrase.
    #[error("encrypted with a passphrase; decrypt it with `openssl pkey`")]
    Encrypted,
    /// TLS doesn't use keys of this kind.
    #[error("not a kind of key that TLS uses; give an RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519 key")]
    KeyKind,
    /// The key belongs to another certificate.
    #[error(
        "doesn't fit the first certificate in {}; give the key that the certificate was made for, and the server's own certificate first",
        .0.display()
    )]
    KeyMismatch(PathBuf),
    /// The certificate can't be used for TLS.
    #[error("{0}; give an X.509 version 3 certificate")]
    Certificate(#[source] rustls::Error),
    /// The certificate isn't one of an authority.
    #[error("{0}; give the certificates of authorities, X.509 version 3")]
    Authority(#[source] rustls::Error),
    /// The revocation list can't be used.
    #[error("{0}; give version 2 lists, for which openssl.cnf needs crl_extensions")]
    RevocationList(#[source] rustls::Error),
    /// The authorities can't be used together.
    #[error("{0}")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// rustls can't be configured.
    #[error("{0}")]
    Tls(#[source] rustls::Error),
}

impl CertificateError {
    pub(super) fn new(role: &'static str, path: &Path, problem: CertificateProblem) -> Self {
        Self { role, path: path.to_owned(), line: None, problem: Box::new(problem) }
    }

    fn at(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

/// Reads a chain of certificates; `role` is the configuration key that names the file. Blocks with a label of `ignored`
/// may stand beside them.
pub(super) fn read_chain(
    role: &'static str,
    path: &Path,
    accept: Accept,
    ignored: &[&str],
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let numbered =
        read_objects::<CertificateDer<'static>>(role, path, accept, ("certificate", "CERTIFICATE"), ignored)?;
    let is_x509 =
        |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty());
    if let Some((line, _)) = numbered.iter().find(|(_, certificate)| !is_x509(certificate)) {
        return Err(CertificateError::new(role, path, CertificateProblem::NotX509).at(*line));
    }
    Ok(numbered.into_iter().map(|(_, certificate)| certificate).collect())
}

/// Reads the objects of a PEM file, at least one, with their lines; `kind` is their kind in words and their label.
pub(super) fn read_objects<T: PemObject>(
    role: &'static str,
    path: &Path,
    accept: Accept,
    kind: (&'static str, &'static str),
    ignored: &[&str],
) -> Result<Vec<(usize, T)>, CertificateError> {
    let (what, label) = kind;
    let problem = |problem| CertificateError::new(role, path, problem);
    let damaged = |error: PemError| problem(CertificateProblem::Pem(error)).at(error.line);
    let bytes = read_file(role, path, accept)?;
    let mut objects = Vec::new();
    for block in pem::blocks(&bytes).map_err(damaged)? {
        if block.label == label {
            objects.push((block.line, block.decode().map_err(damaged)?));
        } else if !ignored.contains(&block.label) {
            return Err(problem(CertificateProblem::Block(block.label.to_owned())).at(block.line));
        }
    }
    if objects.is_empty() { Err(problem(CertificateProblem::Empty { what, label })) } else { Ok(objects) }
}

/// Reads a private key.
pub(super) fn read_key(path: &Path, accept: Accept) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let problem = |problem| CertificateError::new("key", path, problem);
    let damaged = |error: PemError| problem(CertificateProblem::Pem(error)).at(error.line);
    let bytes = read_file("key", path, accept)?;
    let mut key = None;
    for block in pem::blocks(&bytes).map_err(damaged)? {
        if block.is_encrypted() {
            return Err(problem(CertificateProblem::Encrypted).at(block.line));
        }
        match block.label {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if key.is_some() => {
                return Err(problem(CertificateProblem::SecondKey).at(block.line));
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => key = Some(block.decode().map_err(damaged)?),
            "CERTIFICATE" | "EC PARAMETERS" | "DH PARAMETERS" => {}
            other => return Err(problem(CertificateProblem::Block(other.to_owned())).at(block.line)),
        }
    }
    key.ok_or_else(|| problem(CertificateProblem::Empty { what: "private key", label: "PRIVATE KEY" }))
}

fn read_file(role: &'static str, path: &Path, accept: Accept) -> Result<Vec<u8>, CertificateError> {
    files::read(path, accept).map_err(|error| {
        let problem = match error {
            ReadError::NotFound => CertificateProblem::NotFound,
            error => CertificateProblem::Read(error),
        };
        CertificateError::new(role, path, problem)
    })
}

/// Blocks that are ignored in a certificate file, which may contain a chain and its key.
pub(super) const KEY_LABELS: [&str; 6] =
    ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PARAMETERS", "DH PARAMETERS"];
