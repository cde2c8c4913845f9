//! Takes a changed configuration and changed certificates into force while devices stay connected.
//!
//! All or nothing: everything is read and checked before the first change, so that a mistake anywhere leaves the
//! running settings as they are. What only a restart can change is named, and measured against the configuration of
//! the start, so that it is named again until the restart comes.

use std::sync::Arc;

use tokio::sync::watch;
use ws_router_admin_api::event::What;

use super::certificates::Certificates;
use super::room;
use super::settings::{self, Source};
use crate::access::Access;
use crate::admin::ReloadReport;
use crate::config::{self, Config, Problems};
use crate::directory::{Directory, Quota, Rules};
use crate::events::Events;
use crate::log;
use crate::metrics::Front;
use crate::relay::Relay;

/// What a reload works with.
#[derive(Debug)]
pub(super) struct Reload {
    /// Where the configuration is read.
    pub(super) source: Source,
    /// The configuration of the start.
    pub(super) started: Arc<Config>,
    /// Where everybody looks for the one in force.
    pub(super) publish: watch::Sender<Arc<Config>>,
    /// Where the front looks for the rules of access.
    pub(super) access: watch::Sender<Arc<Access>>,
    /// The log's level.
    pub(super) log: log::Control,
    /// The certificates in use.
    pub(super) certificates: Certificates,
    /// Which lives by rules that may change.
    pub(super) directory: Arc<Directory>,
    /// Which has limits and times that may change.
    pub(super) relay: Relay,
    /// Where reloads are counted.
    pub(super) front: Arc<Front>,
    /// Where they are told.
    pub(super) events: Events,
}

impl Reload {
    /// Reads everything again; tells what changed, or everything that is wrong.
    pub(super) fn run(&mut self) -> Result<ReloadReport, Problems> {
        let result = self.read().map(|next| self.apply(next));
        match &result {
            Ok(report) => {
                let (changed, need_restart) = (report.changed.join(", "), report.need_restart.join(", "));
                tracing::info!(changed, "reloaded");
                if !report.need_restart.is_empty() {
                    tracing::warn!(keys = need_restart, "some changes take effect only with a restart");
                }
                self.front.reloads.up();
                self.events.tell(What::Reloaded);
            }
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(error = problem, "not reloaded, the settings before stay in force");
                }
                self.front.failed_reloads.up();
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
        let mut changed = self.publish.borrow().differences(&next).live;
        let need_restart = self.started.differences(&next).need_restart;
        self.log.set_level(next.log.level);
        self.directory.set_rules(rules(&next));
        self.relay.reconfigure(&next.websocket, next.relay.busy_poll);
        self.relay.budget().set_limit(room::memory(&next.limits));
        self.publish.send_replace(Arc::new(next));
        let before = self.access.send_replace(Arc::new(access));
        let files = self.access.borrow().changed_files(&before);
        changed.extend(files.iter().map(|file| format!("tokens {}", file.display())));
        changed.extend(self.certificates.reload().iter().map(|file| format!("certificate {file}")));
        ReloadReport { changed, need_restart }
    }
}

/// Picks the directory's rules from a configuration.
pub(super) fn rules(config: &Config) -> Rules {
    Rules {
        auto_remove: config.registration.auto_remove,
        linger: config.registration.linger,
        unclaimed_timeout: config.registration.unclaimed_timeout,
        max_registrations: config.limits.registrations,
        max_members: config.limits.members,
        quotas: config.access.iter().enumerate().filter_map(|(index, rule)| quota(index, rule)).collect(),
    }
}

/// Tells what a rule bounds, if it does.
fn quota(index: usize, rule: &config::Rule) -> Option<(Arc<str>, Quota)> {
    let quota = Quota { registrations: rule.registrations, members: rule.members };
    (quota != Quota::default()).then(|| (rule.title(index).into(), quota))
}
