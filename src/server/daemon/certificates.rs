//! The certificates in use, each read once however many listeners share it, and replaced when their files change.
//!
//! A file that can't be used leaves the certificate in force that is there; that is logged once for each new mistake,
//! and not with every look at the file.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{Config, Tls};
use crate::net::{self, CertificateError};

/// All certificates in use.
#[derive(Debug, Default)]
pub(super) struct Certificates(Vec<InUse>);

#[derive(Debug)]
struct InUse {
    files: Tls,
    certificates: Arc<net::Certificates>,
    complaint: Option<String>,
}

impl Certificates {
    /// Reads a certificate, or finds it among those that were read already.
    pub(super) fn load(&mut self, files: &Tls) -> Result<Arc<net::Certificates>, CertificateError> {
        if let Some(known) = self.0.iter().find(|known| known.files == *files) {
            return Ok(Arc::clone(&known.certificates));
        }
        let certificates = net::Certificates::load(files)?;
        self.0.push(InUse { files: files.clone(), certificates: Arc::clone(&certificates), complaint: None });
        Ok(certificates)
    }

    /// Names all of them, for who wants to know when they end.
    pub(super) fn in_use(&self) -> Vec<Arc<net::Certificates>> {
        self.0.iter().map(|known| Arc::clone(&known.certificates)).collect()
    }

    /// Reads all files again; names those whose certificate is another one now.
    pub(super) fn reload(&mut self) -> Vec<String> {
        self.0.iter_mut().filter_map(InUse::reload).collect()
    }

    /// Reads those files again that look different from when they were read.
    pub(super) fn refresh(&mut self) {
        for stale in self.0.iter_mut().filter(|known| known.certificates.are_stale()) {
            stale.reload();
        }
    }
}

impl InUse {
    fn reload(&mut self) -> Option<String> {
        let file = self.files.certificate.display().to_string();
        match self.certificates.reload() {
            Ok(changed) => {
                self.complaint = None;
                if !changed {
                    return None;
                }
                tracing::info!(file, "certificate read again");
                Some(file)
            }
            Err(error) => {
                let complaint = Some(error.to_string());
                if self.complaint != complaint {
                    tracing::error!(%error, "the new certificate can't be used, the one before stays in force");
                    self.complaint = complaint;
                }
                None
            }
        }
    }
}

/// Tells what is wrong with the certificates that a configuration names.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let files: HashSet<_> = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).collect();
    let mut problems: Vec<_> = files
        .into_iter()
        .filter_map(|files| net::Certificates::load(files).err())
        .map(|error| error.to_string())
        .collect();
    problems.sort();
    problems
}

#[cfg(test)]
mod tests;
