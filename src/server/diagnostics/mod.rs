//! Findings about a router that an administrator should know: risky or conflicting settings, files with wrong permissions,
//! certificates about to expire, limits that don't fit the machine, rejected devices.
//!
//! `--check`, the log of a start and the admin interface's status (for `ws-routerctl status` and `doctor`) all use this
//! module. It changes nothing, and reports [`Finding`]s, the worst first.

mod capacity;
mod files;
mod running;
mod service;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ws_router_admin_api::ListenAddress;
use ws_router_admin_api::finding::{self, Area, Finding};

pub use capacity::Capacity;
pub use service::{CREDENTIALS, RightsError, Service};

use crate::config::{Config, KernelTls};
use crate::net::Certificates;
use crate::server::Server;

/// An address that devices connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The address: that of the socket where it is open, or else the configured one.
    pub address: ListenAddress,
    /// Whether connections are encrypted.
    pub is_encrypted: bool,
}

impl Listening {
    /// Returns the addresses that a configuration names.
    pub fn configured(config: &Config) -> Vec<Self> {
        let listeners = config.effective_listeners().into_iter();
        listeners.map(|one| Self { is_encrypted: one.tls.is_some(), address: one.address }).collect()
    }

    /// Returns whether devices on other machines can reach it.
    fn is_public(&self) -> bool {
        match &self.address {
            ListenAddress::Inet(address) => !address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => false,
            // The address is in the socket unit.
            ListenAddress::Inherited(_) => true,
        }
    }
}

/// Reports findings about a valid configuration: access at the addresses in `listening`, files, capacity, and its
/// certificates, which the caller has loaded. `service` is the account and sandbox in which the service manager runs the
/// daemon, if that isn't this process.
pub fn of_configuration(
    config: &Config,
    listening: &[Listening],
    certificates: &[Arc<Certificates>],
    capacity: Capacity,
    service: Option<&Service>,
) -> Vec<Finding> {
    let mut findings: Vec<_> = posture(config, listening).into_iter().collect();
    findings.extend(files::check(config, service));
    findings.extend(expiries(certificates));
    findings.extend(certificates.iter().find_map(|loaded| kernel_tls(loaded)));
    findings.extend(capacity.findings(config));
    finding::sort(&mut findings);
    findings
}

/// Reports findings about a running router and its configuration. Reads files and counts descriptors, so it may take
/// milliseconds.
pub fn of_server(server: &Server, listening: &[Listening], certificates: &[Arc<Certificates>]) -> Vec<Finding> {
    let mut findings = running::check(server);
    findings.extend(of_configuration(&server.config(), listening, certificates, Capacity::of_process(), None));
    finding::sort(&mut findings);
    findings
}

/// Returns a line about unrestricted access to the router and unencrypted connections, if there are any.
fn posture(config: &Config, listening: &[Listening]) -> Option<Finding> {
    let public: Vec<_> = listening.iter().filter(|one| one.is_public()).collect();
    // A proxy in front may encrypt.
    let is_plain = |one: &&&Listening| !one.is_encrypted && config.http.trusted_proxies.is_empty();
    let plain: Vec<_> = public.iter().filter(is_plain).copied().collect();
    let shown =
        |listening: &[&Listening]| listening.iter().map(|one| one.address.to_string()).collect::<Vec<_>>().join(", ");
    let (is_open, is_plain) = (config.access.is_empty() && !public.is_empty(), !plain.is_empty());
    let (text, fix) = match (is_open, is_plain) {
        (true, true) => (
            format!("every device that reaches {} can register, and nothing is encrypted", shown(&public)),
            "add [[access]] rules and tls, or listen on a loopback address behind a proxy",
        ),
        (true, false) => (format!("every device that reaches {} can register", shown(&public)), "add [[access]] rules"),
        (false, true) => (
            format!("keys, tokens and messages are not encrypted on {}", shown(&plain)),
            "add tls, or listen on a loopback address behind a proxy",
        ),
        (false, false) => return None,
    };
    Some(Finding::notice(Area::Access, text, fix))
}

/// Reports that the kernel can't take a listener's connections.
fn kernel_tls(certificates: &Certificates) -> Option<Finding> {
    match certificates.files().kernel {
        _ if certificates.uses_kernel() => None,
        KernelTls::Off => None,
        KernelTls::Auto => Some(Finding::notice(
            Area::Daemon,
            "a restart closes connections with TLS, since the kernel has no tls module",
            "modprobe tls, then reload",
        )),
        KernelTls::Required => Some(Finding::error(
            Area::Daemon,
            "tls.kernel is \"required\", and the kernel has no tls module",
            "modprobe tls, or write \"auto\"",
        )),
    }
}

/// Reports certificates that have expired or soon will.
fn expiries(certificates: &[Arc<Certificates>]) -> Vec<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let mut findings: Vec<_> = certificates
        .iter()
        .filter_map(|loaded| expiry(&loaded.files().certificate.display().to_string(), loaded.expires()? - now))
        .collect();
    findings.dedup();
    findings
}

/// Returns the finding for a certificate that expires in the given number of seconds.
fn expiry(file: &str, left: i64) -> Option<Finding> {
    let days = left / DAY;
    let fix = "renew it; a running router reads the new file by itself";
    if left <= 0 {
        Some(Finding::error(Area::Certificates, format!("{file}: has expired"), fix))
    } else if days < CRITICAL_DAYS {
        Some(Finding::error(Area::Certificates, format!("{file}: expires within {} days", days + 1), fix))
    } else if days < WARNING_DAYS {
        Some(Finding::warning(Area::Certificates, format!("{file}: expires in {days} days"), fix))
    } else {
        None
    }
}

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
/// Days left below which a renewal is overdue: certbot and lego renew 30 days before the expiry.
const WARNING_DAYS: i64 = 14;
/// Days left below which an administrator must act.
const CRITICAL_DAYS: i64 = 3;

#[cfg(test)]
mod tests;
