//! Findings about a router: problems of its configuration, its files or its machine, with their fixes.
//!
//! `ws-router --check`, the log of a start, `ws-routerctl status` and `ws-routerctl doctor` all report the same findings
//! in the same words.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Something that an administrator should know or change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// The area in which it was found.
    pub area: Area,
    /// Description of the problem, in one line.
    pub text: String,
    /// Fix, in one line; empty if nothing needs to be done.
    pub fix: String,
}

/// Severity of a finding, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Severity {
    /// Devices are refused, or soon will be, or a secret is exposed.
    Error,
    /// The router works, but not in every case, or not for long.
    Warning,
    /// A setting that may be intended, or a fact that could not be checked.
    Notice,
}

/// The area of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Area {
    /// The configuration file.
    Configuration,
    /// Access to the router.
    Access,
    /// Files that the configuration names: keys, certificates, tokens.
    Files,
    /// Validity of certificates.
    Certificates,
    /// Descriptors and connections.
    Descriptors,
    /// Memory.
    Memory,
    /// Proxies in front of the router.
    Proxies,
    /// Rejected connections and refused requests.
    Rejections,
    /// The machine's clock.
    Clock,
    /// Units of the service manager.
    Units,
    /// The daemon itself, and its admin socket.
    Daemon,
}

impl Severity {
    /// Returns its name, as shown in front of a finding.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl Area {
    /// Returns its name, the same in text and in JSON.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl Finding {
    /// Creates a finding of the highest severity.
    pub fn error(area: Area, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, area, text: text.into(), fix: fix.into() }
    }

    /// Creates a finding of medium severity.
    pub fn warning(area: Area, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, area, text: text.into(), fix: fix.into() }
    }

    /// Creates a finding of the lowest severity.
    pub fn notice(area: Area, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, area, text: text.into(), fix: fix.into() }
    }
}

/// Shows a finding in one line, without its severity: `files: /etc/x.key: others can read it; chmod 0600 /etc/x.key`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.area.label(), self.text)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// Sorts findings, the worst first; equally bad ones stay in their order.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| finding.severity);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_comes_first_and_each_has_its_fix() {
        let mut findings = [
            Finding::notice(Area::Clock, "not checked", ""),
            Finding::error(Area::Files, "/k: others can read it", "chmod 0600 /k"),
            Finding::warning(Area::Memory, "nearly full", "raise limits.memory"),
        ];
        sort(&mut findings);
        let shown = findings.each_ref().map(|finding| format!("{}: {finding}", finding.severity.label()));
        assert_eq!(
            shown,
            [
                "error: files: /k: others can read it; chmod 0600 /k",
                "warning: memory: nearly full; raise limits.memory",
                "notice: clock: not checked",
            ]
        );
    }

    #[test]
    fn json_has_the_names_that_text_has() {
        let finding = Finding::error(Area::Certificates, "t", "f");
        let json = serde_json::to_string(&finding).unwrap();
        assert_eq!(json, r#"{"severity":"error","area":"certificates","text":"t","fix":"f"}"#);
        assert_eq!((finding.severity.label(), finding.area.label()), ("error", "certificates"));
    }
}
