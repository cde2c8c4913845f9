//! Takes a changed configuration and changed certificates into force while devices stay connected.
//!
//! All or nothing: everything is read and checked before the first change, so that a mistake anywhere leaves the
//! running settings as they are. What only a restart can change is named, and measured against the configuration of
//! the start, so that it is named again until the restart comes.

use std::sync::Arc;

use super::certificates::Certificates;
use super::settings::{self, Source};
use crate::access::Access;
use crate::admin::ReloadReport;
use crate::config::{Config, Problems};
use crate::log;
use crate::server::Server;

/// What a reload reads and changes.
#[derive(Debug)]
pub(super) struct Reload {
    /// Where the configuration is read.
    pub(super) source: Source,
    /// The log's level.
    pub(super) log: log::Control,
    /// The certificates in use.
    pub(super) certificates: Certificates,
    /// The router.
    pub(super) server: Arc<Server>,
}

impl Reload {
    /// Reads everything again; tells what changed, or everything that is wrong.
    pub(super) fn run(&mut self) -> Result<ReloadReport, Problems> {
        let result = self.read().map(|next| self.apply(next));
        match &result {
            Ok(report) => {
                let (changed, need_restart) = (report.changed.join(", "), report.need_restart.join(", "));
                tracing::info!(changed, "reloaded");
                self.server.metrics().config_stale.set(0);
                if !report.need_restart.is_empty() {
                    tracing::warn!(keys = need_restart, "some changes take effect only with a restart");
                }
            }
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(error = problem, "not reloaded, the settings before stay in force");
                }
                self.server.metrics().failed_reloads.increment();
            }
        }
        result
    }

    /// Takes certificates into force whose files have changed.
    pub(super) fn refresh_certificates(&mut self) {
        self.certificates.refresh();
    }

    fn read(&self) -> Result<(Config, Access), Problems> {
        let next = self.source.read()?;
        let access = settings::read_files(&next)?;
        Ok((next, access))
    }

    fn apply(&mut self, (next, access): (Config, Access)) -> ReloadReport {
        self.log.set_level(next.log.level);
        let mut report = self.server.apply(next, access);
        report.changed.extend(self.certificates.reload().iter().map(|file| format!("certificate {file}")));
        report
    }
}
