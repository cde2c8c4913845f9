//! Reload of the configuration and the certificates while devices stay connected.
//!
//! All files are read and checked before the first change, so that a mistake in any of them leaves the running settings
//! unchanged. Keys that need a restart are compared with the configuration at the start, and reported at each reload until
//! the restart.
//!
//! The files are read on a separate thread, and the reload fails after [`files::TIMEOUT`]: a file system that doesn't
//! respond must not keep the daemon from stopping. No other reload starts while such a thread is still blocked.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::access::Access;
use crate::admin::ReloadReport;
use crate::certificate_store::{CertificateStore, FreshCertificate};
use crate::check;
use crate::config::{Config, Problems, Source};
use crate::files::{self, Accept};
use crate::log;
use crate::log::messages;
use crate::net;
use crate::server::Server;
use crate::sys;

/// The parts of the daemon that a reload reads and changes.
#[derive(Debug)]
pub struct Reloader {
    /// Origin of the configuration.
    pub source: Source,
    /// The log's level.
    pub log: log::Control,
    /// The certificates in use.
    pub certificates: CertificateStore,
    /// The router.
    pub server: Arc<Server>,
    /// Thread of a reload that has failed by timeout, if it is still blocked by a file.
    pub stuck: Option<JoinHandle<FreshFiles>>,
}

/// Files that are being read.
#[derive(Debug)]
pub struct Reading {
    task: JoinHandle<FreshFiles>,
    deadline: Instant,
}

impl Reading {
    /// Waits until the files are read; `None` once the time for that is over. Cancel safe.
    pub async fn finished(&mut self) -> Option<FreshFiles> {
        match timeout_at(self.deadline, &mut self.task).await {
            Ok(Ok(files)) => Some(files),
            Ok(Err(error)) => Some(FreshFiles::All(Box::new(Err(Problems(vec![format!("internal error: {error}")]))))),
            Err(_) => None,
        }
    }
}

/// Files that were read, and their purpose.
#[derive(Debug)]
pub enum FreshFiles {
    /// All files of the configuration, for a reload.
    All(Box<Result<AllFiles, Problems>>),
    /// The files of the certificates that have changed.
    Certificates(Vec<FreshCertificate>),
}

/// The configuration, and the files that it names.
pub type AllFiles = (Config, Access, Vec<FreshCertificate>);

impl Reloader {
    /// Starts to read all files.
    pub fn read_all(&mut self) -> Result<Reading, Problems> {
        let (source, server) = (self.source.clone(), Arc::clone(&self.server));
        let certificates = self.certificates.in_use();
        self.start(move || FreshFiles::All(Box::new(read_all(&source, &server, certificates))))
    }

    /// Starts to read the certificates whose files have changed.
    pub fn read_changed_certificates(&mut self) -> Result<Reading, Problems> {
        let certificates = self.certificates.in_use();
        self.start(move || {
            let changed = certificates.into_iter().filter(|certificates| certificates.are_stale());
            FreshFiles::Certificates(changed.map(FreshCertificate::read).collect())
        })
    }

    /// Applies files that were read for a reload. Returns the changes, or all problems.
    pub fn apply(&mut self, read: Result<AllFiles, Problems>) -> Result<ReloadReport, Problems> {
        let result = read.map(|(config, access, certificates)| {
            self.log.set_level(config.log.level);
            sys::set_debuggable(config.service.debuggable);
            let mut report = self.server.apply(config, access);
            let changed = self.certificates.replace(certificates);
            report.changed.extend(changed.iter().map(|file| format!("certificate {file}")));
            report
        });
        match &result {
            Ok(report) => {
                let (changed, need_restart) = (report.changed.join(", "), report.need_restart.join(", "));
                tracing::info!(message_id = messages::RELOADED, changed, "reloaded");
                self.server.metrics().config_stale.set(0);
                if !report.need_restart.is_empty() {
                    tracing::warn!(
                        message_id = messages::RESTART_NEEDED,
                        keys = need_restart,
                        "some changes take effect only with a restart"
                    );
                }
            }
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(
                        message_id = messages::RELOAD_REFUSED,
                        error = problem,
                        "reload refused; the previous settings remain in use"
                    );
                }
                self.server.metrics().failed_reloads.increment();
            }
        }
        result
    }

    /// Gives up files that can't be read in time.
    pub fn give_up(&mut self, reading: Reading) -> Problems {
        self.stuck = Some(reading.task);
        Problems(vec![NO_ANSWER.into()])
    }

    fn start(&mut self, read: impl FnOnce() -> FreshFiles + Send + 'static) -> Result<Reading, Problems> {
        if self.stuck.as_ref().is_some_and(|stuck| !stuck.is_finished()) {
            return Err(Problems(vec![NO_ANSWER.into()]));
        }
        self.stuck = None;
        let deadline = Instant::now() + files::TIMEOUT;
        Ok(Reading { task: tokio::task::spawn_blocking(read), deadline })
    }
}

fn read_all(source: &Source, server: &Server, certificates: Vec<Arc<net::Certificates>>) -> Result<AllFiles, Problems> {
    let (config, access) = check::read(source, Accept::RegularOnly)?;
    let config = check::keep_access_closed(source, &server.config(), config)?;
    Ok((config, access, certificates.into_iter().map(FreshCertificate::read).collect()))
}

const NO_ANSWER: &str = "the files can't be read: a file system has not answered for 5 s";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reading_files_times_out_even_if_it_is_awaited_several_times() {
        let deadline = Instant::now() + files::TIMEOUT;
        let mut reading = Reading { task: tokio::spawn(std::future::pending()), deadline };
        for _ in 0..10 {
            let _ = tokio::time::timeout(files::TIMEOUT / 20, reading.finished()).await;
        }
        assert!(reading.finished().await.is_none());
        assert_eq!(Instant::now(), deadline);
    }
}
