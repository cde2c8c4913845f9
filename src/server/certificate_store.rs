//! The certificates in use, with their keys, client CAs and revocation lists. Listeners with the same files share an
//! entry, and the entry is reloaded when a file changes.
//!
//! If a changed file can't be used, the entry remains as it was. This is logged once for each new error, and not at
//! every check of the files.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{Listener, Tls};
use crate::files::Accept;
use crate::log::messages;
use crate::net::{self, CertificateError};

/// All certificates in use, identified by their files.
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
    /// Loads a certificate with its key, client CA and revocation list; returns the existing entry if these files have
    /// already been loaded.
    pub fn load(&mut self, files: &Tls) -> Result<Arc<net::Certificates>, CertificateError> {
        if let Some(entry) = self.0.iter().find(|entry| entry.files == *files) {
            return Ok(Arc::clone(&entry.certificates));
        }
        let certificates = net::Certificates::load(files, Accept::Any)?;
        self.0.push(Entry { files: files.clone(), certificates: Arc::clone(&certificates), last_error: None });
        Ok(certificates)
    }

    /// Returns the certificates of all entries.
    pub fn in_use(&self) -> Vec<Arc<net::Certificates>> {
        self.0.iter().map(|entry| Arc::clone(&entry.certificates)).collect()
    }

    /// Replaces certificates by those that were read from their files again. Returns the path of the certificate file of
    /// each entry that has changed, even if only its key, client CA or revocation list is different.
    pub fn replace(&mut self, fresh: Vec<FreshCertificate>) -> Vec<String> {
        let mut changed = Vec::new();
        for FreshCertificate { certificates, files } in fresh {
            let entry = self.0.iter_mut().find(|entry| Arc::ptr_eq(&entry.certificates, &certificates));
            changed.extend(entry.and_then(|entry| entry.replace(files)));
        }
        changed
    }
}

/// Result of reading the files of an entry again.
#[derive(Debug)]
pub struct FreshCertificate {
    certificates: Arc<net::Certificates>,
    files: Result<net::FreshCertificates, CertificateError>,
}

impl FreshCertificate {
    /// Reads the files of an entry again. Blocks during file system access.
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
                    tracing::error!(message_id = messages::CERTIFICATE_UNUSABLE, %error, "certificate can't be reloaded; the previous one remains in use");
                    self.last_error = text;
                }
                None
            }
        }
    }
}

/// Returns the problems of the certificates that listeners name, sorted and without duplicates.
pub fn certificate_problems<'a>(listeners: impl IntoIterator<Item = &'a Listener>, accept: Accept) -> Vec<String> {
    let files: HashSet<_> = listeners.into_iter().filter_map(|listener| listener.tls.as_ref()).collect();
    let problems = files.into_iter().flat_map(|files| net::Certificates::problems(files, accept));
    let mut problems: Vec<_> = problems.map(|error| error.to_string()).collect();
    problems.sort();
    // Listeners may share a file.
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests;
