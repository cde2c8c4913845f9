use std::fs::File;

use super::*;
use crate::systemd::Giver;

fn inherited(names: &[&str]) -> Vec<Inherited> {
    let descriptor = || File::open("/dev/null").unwrap().into();
    names
        .iter()
        .map(|name| Inherited { name: (*name).into(), descriptor: descriptor(), giver: Giver::Supervisor })
        .collect()
}

fn plain(address: &str) -> Listener {
    Listener::new(ListenAddress::Inet(address.parse().unwrap()), None)
}

fn tls(address: &str) -> Listener {
    let tls = Tls::new("/c.pem", "/k.pem");
    Listener { tls: Some(tls), ..plain(address) }
}

fn config(listeners: &[Listener]) -> Config {
    Config { listeners: listeners.to_vec(), ..Config::default() }
}

/// Shows where a plan listens, with `+` for TLS and `!` for PROXY headers.
fn shown(plan: &ListenPlan) -> Vec<String> {
    let shown = plan.devices.iter().map(|planned| {
        let endpoint = match &planned.endpoint {
            Endpoint::Bind(ListenAddress::Inet(address)) => address.to_string(),
            Endpoint::Bind(other) => format!("{other:?}"),
            Endpoint::Inherited(one) => one.name.clone(),
            Endpoint::Default => "default".into(),
        };
        let ListenerOptions { tls, proxy_protocol, permissions: _ } = &planned.options;
        format!("{endpoint}{}{}", if tls.is_some() { "+" } else { "" }, if *proxy_protocol { "!" } else { "" })
    });
    shown.collect()
}

const HERE: &str = "127.0.0.1:1";
const SAFE: &str = "127.0.0.1:2";

#[test]
fn without_anything_it_is_the_default() {
    assert_eq!(shown(&plan(vec![], &[], &config(&[])).unwrap()), ["default"]);
    assert_eq!(shown(&plan(inherited(&["admin"]), &[], &config(&[])).unwrap()), ["default"]);
}

#[test]
fn a_descriptor_has_the_options_of_the_listeners_that_it_replaces() {
    let behind = |listener| Listener { proxy_protocol: true, ..listener };
    let config = config(&[behind(plain(HERE)), tls(SAFE)]);
    assert_eq!(shown(&plan(vec![], &[], &config).unwrap()), ["127.0.0.1:1!", "127.0.0.1:2+"]);
    assert_eq!(shown(&plan(inherited(&["http", "https"]), &[], &config).unwrap()), ["http!", "https+"]);
}

#[test]
fn the_command_line_replaces_the_listeners_of_the_file() {
    let command_line = [plain("127.0.0.1:3").address];
    assert_eq!(shown(&plan(vec![], &command_line, &config(&[plain(HERE), tls(SAFE)])).unwrap()), ["127.0.0.1:3"]);
}

#[test]
fn an_inherited_descriptor_replaces_the_listeners_of_its_role() {
    let config = config(&[plain(HERE), tls(SAFE)]);
    let command_line = [plain("127.0.0.1:3").address];
    assert_eq!(shown(&plan(inherited(&["http"]), &[], &config).unwrap()), ["http", "127.0.0.1:2+"]);
    assert_eq!(shown(&plan(inherited(&["https"]), &[], &config).unwrap()), ["https+", "127.0.0.1:1"]);
    assert_eq!(shown(&plan(inherited(&["http", "https"]), &[], &config).unwrap()), ["http", "https+"]);
    assert_eq!(shown(&plan(inherited(&["http"]), &command_line, &config).unwrap()), ["http"]);
}

#[test]
fn an_admin_descriptor_is_no_listener_for_devices() {
    let plan = plan(inherited(&["http", "admin"]), &[], &config(&[])).unwrap();
    assert_eq!((shown(&plan), plan.admin.len()), (vec!["http".into()], 1));
}

#[test]
fn a_read_only_admin_descriptor_is_not_the_admin_socket() {
    let plan = plan(inherited(&["admin-read-only", "http"]), &[], &config(&[])).unwrap();
    assert_eq!((plan.admin.len(), plan.admin_read_only.len()), (0, 1));
}

#[test]
fn a_single_descriptor_without_a_name_is_http() {
    assert_eq!(shown(&plan(inherited(&["unknown"]), &[], &config(&[tls(SAFE)])).unwrap()), ["unknown", "127.0.0.1:2+"]);
    assert!(plan(inherited(&["unknown", "unknown"]), &[], &config(&[])).is_err());
}

#[test]
fn a_listener_gets_the_descriptors_that_it_names() {
    let named = Listener { address: ListenAddress::Inherited("front".into()), ..tls(HERE) };
    let config = config(&[named, plain(HERE)]);
    assert_eq!(shown(&plan(inherited(&["front"]), &[], &config).unwrap()), ["front+", "127.0.0.1:1"]);
    let error = format!("{:?}", plan(inherited(&["http"]), &[], &config).unwrap_err());
    assert!(error.contains("systemd:front") && error.contains("passed: http"), "{error}");
}

#[test]
fn an_unknown_name_is_refused_with_a_list_of_the_known_ones() {
    let error = format!("{:?}", plan(inherited(&["web"]), &[], &config(&[])).unwrap_err());
    assert!(
        error.contains("inherited descriptor web") && error.contains("http, https, admin, admin-read-only or metrics"),
        "{error}"
    );
}

#[test]
fn a_descriptor_for_monitoring_replaces_the_configured_listener() {
    let mut config = config(&[plain(HERE)]);
    assert!(plan(vec![], &[], &config).unwrap().metrics.is_empty());
    config.metrics.listen = Some(plain(SAFE).address);
    let key = |inherited, config: &Config| plan(inherited, &[], config).unwrap().metrics[0].key();
    assert_eq!(key(vec![], &config), "bound:127.0.0.1:2");
    assert_eq!(key(inherited(&["metrics", "http"]), &config), "inherited:metrics");
    config.metrics.listen = Some(ListenAddress::Inherited("numbers".into()));
    assert_eq!(key(inherited(&["numbers", "http"]), &config), "inherited:numbers");
}

#[test]
fn https_without_a_certificate_is_refused() {
    let error = format!("{:?}", plan(inherited(&["https"]), &[], &config(&[plain(HERE)])).unwrap_err());
    assert!(error.contains("certificate"), "{error}");
}
