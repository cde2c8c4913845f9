use ws_router_admin_api::finding::Severity;

use super::*;
use crate::config::Tls;

fn posture_of(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    config.listeners = config.effective_listeners();
    change(&mut config);
    posture(&config, &Listening::configured(&config)).map(|finding| finding.text).unwrap_or_default()
}

#[test]
fn an_open_router_is_reported_in_one_line() {
    assert_eq!(posture_of(|_| {}), "every device that reaches [::]:8741 can register, and nothing is encrypted");
    let tls = |config: &mut Config| config.listeners[0].tls = Some(Tls::new("/c", "/k"));
    let rule = |config: &mut Config| config.access.push(crate::config::Rule::default());
    assert_eq!(posture_of(tls), "every device that reaches [::]:8741 can register");
    assert_eq!(posture_of(rule), "keys, tokens and messages are not encrypted on [::]:8741");
    assert_eq!(
        posture_of(|config| {
            tls(config);
            rule(config);
        }),
        ""
    );
}

#[test]
fn a_router_that_only_this_machine_reaches_is_not_open() {
    for address in ["127.0.0.1:8741", "[::1]:8741", "unix:/run/ws-router/public.sock"] {
        assert_eq!(posture_of(|config| config.listeners[0].address = address.parse().unwrap()), "", "{address}");
    }
    // The address is in the socket unit, so it may be public.
    assert_ne!(posture_of(|config| config.listeners[0].address = "systemd:http".parse().unwrap()), "");
}

#[test]
fn the_open_sockets_are_judged_and_not_the_configured_ones() {
    let mut config = Config::default();
    config.listeners = config.effective_listeners();
    let loopback = Listening { address: "127.0.0.1:8741".parse().unwrap(), is_encrypted: false };
    assert_eq!(posture(&config, &[loopback]), None);
}

#[test]
fn a_certificate_is_judged_by_the_days_that_it_has_left() {
    let judge = |left| expiry("/c", left).map(|finding| (finding.severity, finding.text));
    assert_eq!(judge(-1), Some((Severity::Error, "/c: has expired".into())));
    assert_eq!(judge(DAY / 2), Some((Severity::Error, "/c: expires within 1 days".into())));
    assert_eq!(judge(13 * DAY), Some((Severity::Warning, "/c: expires in 13 days".into())));
    assert_eq!(judge(14 * DAY), None);
}
