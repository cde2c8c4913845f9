//! Findings about a running router: limits nearly reached, rejected devices, misconfigured proxies.

use std::time::Duration;

use humantime::format_duration;
use ws_router_admin_api::DrainPhase;
use ws_router_admin_api::finding::{Area, Finding};

use crate::metrics::{FrontendMetrics, Refusal, Rejection};
use crate::server::Server;
use crate::sys::{self, DescriptorUsage};

/// Reports the state of a router; counts descriptors, which may take milliseconds.
pub(super) fn check(server: &Server) -> Vec<Finding> {
    let metrics = server.metrics();
    let mut findings = Vec::new();
    if metrics.config_stale.value() > 0 {
        findings.push(Finding::error(
            Area::Configuration,
            "the file has a mistake, and the settings from before the restart are in use",
            "fix what ws-router --check reports, then reload",
        ));
    }
    if server.drain_phase() != DrainPhase::Serving {
        findings.push(Finding::notice(Area::Daemon, "no device is admitted: drained", "ws-routerctl drain --undo"));
    }
    findings.extend(memory(server.memory().used(), server.memory().limit()));
    findings.extend(descriptors(&sys::descriptor_usage()));
    findings.extend(Rejection::ALL.iter().filter_map(|why| rejections(metrics, *why)));
    findings.extend(Refusal::ALL.iter().filter_map(|why| refusals(metrics, *why)));
    findings.extend(counters(metrics));
    findings
}

fn memory(used: u64, limit: u64) -> Option<Finding> {
    let percent = used.saturating_mul(100) / limit.max(1);
    let text = format!("peers make the router hold {percent} % of limits.memory");
    let fix = "raise limits.memory, or lower websocket.outbox";
    match percent {
        90.. => Some(Finding::error(Area::Memory, text, fix)),
        75.. => Some(Finding::warning(Area::Memory, text, fix)),
        _ => None,
    }
}

fn descriptors(usage: &DescriptorUsage) -> Option<Finding> {
    let percent = usage.open.saturating_mul(100) / usage.limit.max(1);
    (percent >= 80).then(|| {
        let text = format!("{} of {} descriptors are open", usage.open, usage.limit);
        Finding::warning(Area::Descriptors, text, "raise LimitNOFILE= of the service unit")
    })
}

/// Reports rejected connections, if the last one was recent.
fn rejections(metrics: &FrontendMetrics, why: Rejection) -> Option<Finding> {
    let text = recent(metrics.rejections(why), metrics.last_rejection(why)?, "connection", "rejected", why.label())?;
    let fix = match why {
        Rejection::Limit => "raise limits.connections or limits.pending, or find out who opens so many",
        Rejection::Rate => "raise limits.connection-rate, if these are many devices behind one address",
        Rejection::Share | Rejection::Evicted => "find out who opens so many, or raise limits.pending",
        Rejection::PerAddress => "raise limits.connections-per-address, if these are many devices behind one address",
    };
    Some(Finding::warning(Area::Rejections, text, fix))
}

/// Reports refused requests, if the last one was recent and an administrator can do something about it.
fn refusals(metrics: &FrontendMetrics, why: Refusal) -> Option<Finding> {
    let fix = match why {
        Refusal::Full => "raise the limit that the log names",
        Refusal::TooOften => {
            "raise limits.register-rate, limits.send-rate or limits.wrong-key-rate, if these aren't guesses"
        }
        Refusal::TooLarge => "raise http.max-head, http.max-body or http.max-send, if these are proper requests",
        Refusal::Access => "check the [[access]] rules and the devices' tokens; ws-routerctl events shows each refusal",
        Refusal::Host => "add the name that devices use to http.hosts",
        Refusal::NoUpgrade => "check that the proxy in front passes Upgrade and Connection on",
        Refusal::Malformed
        | Refusal::NoReceiver
        | Refusal::SlowReceivers
        | Refusal::WrongKey
        | Refusal::Unknown
        | Refusal::Method
        | Refusal::Taken
        | Refusal::Timeout => return None,
    };
    let text = recent(metrics.refusals(why), metrics.last_refusal(why)?, "request", "refused", why.label())?;
    Some(Finding::notice(Area::Rejections, text, fix))
}

/// Reports events that should never happen, regardless of their time.
fn counters(metrics: &FrontendMetrics) -> Vec<Finding> {
    let all = [
        (
            &metrics.proxy_failures,
            Area::Proxies,
            "connections had no valid PROXY header",
            "have the proxy send one, and list it in http.trusted-proxies",
        ),
        (
            &metrics.untrusted_forwarded,
            Area::Proxies,
            "requests had a forwarding header from a peer that is no trusted proxy",
            "add the proxy's address to http.trusted-proxies, if it is one; until then all devices behind it share its limits",
        ),
        (
            &metrics.auth_request_failures,
            Area::Access,
            "requests were refused because the external authorizer did not answer",
            "check the program that the rule's ask names",
        ),
        (
            &metrics.accept_errors,
            Area::Descriptors,
            "connections could not be accepted",
            "see the log; raise LimitNOFILE= if descriptors ran out",
        ),
    ];
    let happened = all.into_iter().filter(|(counter, ..)| counter.value() > 0);
    happened
        .map(|(counter, area, what, fix)| {
            Finding::warning(area, format!("{} {what} since the start", counter.value()), fix)
        })
        .collect()
}

/// Describes how often something has happened, and how long ago the last time was; `None` if that is too long.
fn recent(count: u64, ago: Duration, noun: &str, verb: &str, reason: &str) -> Option<String> {
    (ago < RECENT).then(|| {
        let (plural, ago) = (if count == 1 { "" } else { "s" }, format_duration(ago));
        format!("{count} {noun}{plural} {verb} since the start ({reason}), the last one {ago} ago")
    })
}

/// Time for which a rejection is reported.
const RECENT: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use ws_router_admin_api::finding::Severity;

    use super::*;

    #[test]
    fn a_rejection_is_reported_with_the_limit_to_raise_and_an_old_one_is_not() {
        let metrics = FrontendMetrics::default();
        assert_eq!(rejections(&metrics, Rejection::Limit), None);
        metrics.rejected(Rejection::Limit);
        let finding = rejections(&metrics, Rejection::Limit).unwrap();
        assert!(finding.text.starts_with("1 connection rejected since the start (limit), the last one "), "{finding}");
        assert!(finding.fix.contains("limits.pending"));
        assert_eq!(recent(2, RECENT, "connection", "rejected", "rate"), None);
        metrics.refused(Refusal::WrongKey);
        assert_eq!(refusals(&metrics, Refusal::WrongKey), None);
    }

    #[test]
    fn memory_and_descriptors_are_reported_before_they_run_out() {
        assert_eq!(memory(74, 100), None);
        assert_eq!(memory(75, 100).unwrap().severity, Severity::Warning);
        assert_eq!(memory(90, 100).unwrap().severity, Severity::Error);
        assert_eq!(descriptors(&DescriptorUsage { open: 79, limit: 100 }), None);
        assert!(descriptors(&DescriptorUsage { open: 80, limit: 100 }).is_some());
    }
}
