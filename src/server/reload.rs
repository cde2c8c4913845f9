//! Reload of the configuration and the certificates while devices stay connected.
//!
//! All or nothing: everything is read and checked before the first change, so that a mistake anywhere leaves the running
//! settings as they are. Keys that need a restart are compared with the configuration of the start, and reported at each
//! reload until then.

use std::sync::Arc;

use crate::access::Access;
use crate::admin::ReloadReport;
use crate::certificate_store::CertificateStore;
use crate::check;
use crate::config::{Config, Problems, Source};
use crate::log;
use crate::log::messages;
use crate::server::Server;

/// What a reload reads and changes.
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
}

impl Reloader {
    /// Reads and applies everything; returns what changed, or all problems.
    pub fn run(&mut self) -> Result<ReloadReport, Problems> {
        let result = self.read().map(|(config, access)| self.apply(config, access));
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
                        "reload refused; the previous settings stay in force"
                    );
                }
                self.server.metrics().failed_reloads.increment();
            }
        }
        result
    }

    /// Reloads certificates whose files have changed.
    pub fn refresh_certificates(&mut self) {
        self.certificates.refresh();
    }

    fn read(&self) -> Result<(Config, Access), Problems> {
        let (config, access) = check::read(&self.source)?;
        Ok((check::keep_access_closed(&self.source, &self.server.config(), config)?, access))
    }

    fn apply(&mut self, config: Config, access: Access) -> ReloadReport {
        self.log.set_level(config.log.level);
        let mut report = self.server.apply(config, access);
        report.changed.extend(self.certificates.reload().iter().map(|file| format!("certificate {file}")));
        report
    }
}
