//! The certificates in use, each loaded once even if several listeners share it, and reloaded when their files change.
//!
//! If a changed file can't be used, the previous certificate stays in force. That is logged once for each new error, and
//! not at every check of the file.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{Config, Tls};
use crate::files::Accept;
use crate::log::messages;
use crate::net::{self, CertificateError};

/// All certificates in use, by their files.
#[derive(Debug, Default)]
pub struct CertificateStore(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    files: Tls,
    certificates: Arc<net::Certificates>,
    /// The error of the last reload, if it failed.
    last_error: Option<String>,
}

impl CertificateStore {
    /// Loads a certificate, or returns it if it was loaded already.
    pub fn load(&mut self, files: &Tls) -> Result<Arc<net::Certificates>, CertificateError> {
        if let Some(known) = self.0.iter().find(|known| known.files == *files) {
            return Ok(Arc::clone(&known.certificates));
        }
        let certificates = net::Certificates::load(files, Accept::Any)?;
        self.0.push(Entry { files: files.clone(), certificates: Arc::clone(&certificates), last_error: None });
        Ok(certificates)
    }

    /// Returns all certificates.
    pub fn in_use(&self) -> Vec<Arc<net::Certificates>> {
        self.0.iter().map(|known| Arc::clone(&known.certificates)).collect()
    }

    /// Puts files into use that were read again; returns the names of those that changed.
    pub fn replace(&mut self, fresh: Vec<FreshCertificate>) -> Vec<String> {
        let mut changed = Vec::new();
        for FreshCertificate { certificates, files } in fresh {
            let known = self.0.iter_mut().find(|known| Arc::ptr_eq(&known.certificates, &certificates));
            changed.extend(known.and_then(|known| known.replace(files)));
        }
        changed
    }
}

/// Files of a certificate that were read again, or their problem.
#[derive(Debug)]
pub struct FreshCertificate {
    certificates: Arc<net::Certificates>,
    files: Result<net::FreshCertificates, CertificateError>,
}

impl FreshCertificate {
    /// Reads the files of a certificate again. May block as long as a file system does.
    pub fn read(certificates: Arc<net::Certificates>) -> Self {
        let files = certificates.read_again();
        Self { certificates, files }
    }
}

impl Entry {
    fn replace(&mut self, files: Result<net::FreshCertificates, CertificateError>) -> Option<String> {
        let file = self.files.certificate.display().to_string();
        match files.and_then(|files| self.certificates.replace(files)) {
            Ok(changed) => {
                self.last_error = None;
                if !changed {
                    return None;
                }
                tracing::info!(message_id = messages::CERTIFICATE_RELOADED, file, "certificate reloaded");
                Some(file)
            }
            Err(error) => {
                let text = Some(error.to_string());
                if self.last_error != text {
                    tracing::error!(message_id = messages::CERTIFICATE_UNUSABLE, %error, "certificate can't be reloaded; the previous one stays in force");
                    self.last_error = text;
                }
                None
            }
        }
    }
}

/// Returns the problems of the certificates that a configuration names.
pub fn problems(config: &Config, accept: Accept) -> Vec<String> {
    let files: HashSet<_> = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).collect();
    let problems = files.into_iter().flat_map(|files| net::Certificates::problems(files, accept));
    let mut problems: Vec<_> = problems.map(|error| error.to_string()).collect();
    problems.sort();
    // Listeners may share a file.
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests;
