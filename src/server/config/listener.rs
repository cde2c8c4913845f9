//! Reads the `[[listener]]` tables and reports listeners that conflict with each other or with other settings.
//!
//! Unlike other sections, a listener is not read key by key, since its keys depend on each other: the address is
//! required, and `tls` needs both a certificate and a key. Paths of certificates and keys may start with
//! `${CREDENTIALS_DIRECTORY}`, the folder of files that the service manager passes to the daemon alone. Relative paths
//! are relative to the folder of the main file.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use ws_router_admin_api::ListenAddress;

use super::keys::{KERNEL, LISTENER, LISTENER_KEYS, PROXY_PROTOCOL, TLS, TLS_KEYS, each_table, unknown_keys};
use super::permissions::{self, GROUP, MODE};
use super::reader::{Found, Position, Surroundings};
use super::value::{Setting, ValueError, type_error};
use super::{Config, KernelTls, Listener, Tls};

/// A listener with the position of its address.
pub(super) type PlacedListener = (Position, Listener);

/// Reads the listeners of a file and appends them to `listeners`.
pub(super) fn read_all(
    value: &Spanned<DeValue<'_>>,
    around: &Surroundings<'_>,
    found: &mut Found,
    listeners: &mut Vec<PlacedListener>,
) {
    each_table(LISTENER, value, found, |at, keys, found| listeners.extend(read(at, keys, around, found)));
}

/// Reports listeners with the same address as another listener, an admin socket or the metrics, and listeners that
/// expect PROXY headers although no proxy is trusted.
pub(super) fn report_conflicts(listeners: &[PlacedListener], config: &Config, found: &mut Found) {
    let (admin, metrics) = (config.admin.socket.as_deref(), config.metrics.listen.as_ref());
    let read_only = config.admin.read_only_socket.0.as_deref();
    let mut earlier = EarlierAddresses::default();
    for (at, listener) in listeners {
        let here = &listener.address;
        if found.is_full() {
            return;
        }
        if let Some((first, other)) = earlier.insert(here, *at) {
            let line = found.seen_from(first, *at);
            let problem =
                format!("listener.address: {here} conflicts with {other} in {line}; remove or change one of them");
            found.semantic_error_at(*at, problem);
        }
        if metrics.is_some_and(|metrics| metrics.conflicts_with(here)) {
            let problem = format!("listener.address: {here} conflicts with metrics.listen; change one of them");
            found.semantic_error_at(*at, problem);
        }
        if listener.proxy_protocol && config.http.trusted_proxies.is_empty() {
            let problem = "listener.proxy-protocol: no proxy is trusted; name the proxies in http.trusted-proxies";
            found.semantic_error_at(*at, problem.into());
        }
        for (key, socket) in [("admin.socket", admin), ("admin.read-only-socket", read_only)] {
            if matches!((here, socket), (ListenAddress::Unix(path), Some(socket)) if path == socket) {
                let problem = format!("listener.address: {here} is the admin socket ({key}); change one of them");
                found.semantic_error_at(*at, problem);
            }
        }
    }
}

/// Addresses of the listeners checked so far, indexed so that each new address is compared with at most four others.
#[derive(Default)]
struct EarlierAddresses<'a> {
    exact: HashMap<&'a ListenAddress, Position>,
    /// For each port and address family, the first specific address and the first unspecified address.
    ports: HashMap<u16, Vec<(Position, &'a ListenAddress)>>,
}

impl<'a> EarlierAddresses<'a> {
    /// Adds an address. Returns an earlier one with which it conflicts.
    fn insert(&mut self, address: &'a ListenAddress, at: Position) -> Option<(Position, &'a ListenAddress)> {
        let ListenAddress::Inet(socket) = address else {
            let first = *self.exact.entry(address).or_insert(at);
            return (first != at).then_some((first, address));
        };
        if socket.port() == 0 {
            return None;
        }
        if let Some(first) = self.exact.get(address) {
            return Some((*first, address));
        }
        self.exact.insert(address, at);
        let others = self.ports.entry(socket.port()).or_default();
        let conflict = others.iter().find(|(_, other)| other.conflicts_with(address)).copied();
        // Equal addresses were found above. Two different ones conflict only if one is unspecified, so the others need
        // not be kept: for each port and family, one specific address and the unspecified one represent them all.
        let is_new = |(_, other): &(Position, &ListenAddress)| match other {
            ListenAddress::Inet(other) => {
                other.is_ipv4() != socket.is_ipv4() || other.ip().is_unspecified() != socket.ip().is_unspecified()
            }
            _ => true,
        };
        if others.iter().all(is_new) {
            others.push((at, address));
        }
        conflict
    }
}

fn read(start: usize, keys: &DeTable<'_>, around: &Surroundings<'_>, found: &mut Found) -> Option<PlacedListener> {
    unknown_keys(LISTENER, &LISTENER_KEYS, keys, found);
    let tls = keys.get(TLS).map(|value| (value.span().start, read_tls(value, around, found)));
    let Some(value) = keys.get("address") else {
        found.semantic_error(start, "listener: address is missing; add, for example, address = \"[::]:8741\"".into());
        return None;
    };
    let offset = value.span().start;
    let read = String::read(value.get_ref()).and_then(|text| Ok(text.parse()?));
    let address: ListenAddress = match read {
        Ok(address) => address,
        Err(problem) => {
            found.semantic_error(offset, format!("listener.address: {problem}"));
            return None;
        }
    };
    match (&address, &tls) {
        (ListenAddress::Inherited(name), Some((offset, _))) if name == "http" => {
            let text = "listener.tls: systemd:http is the name of the plain socket; write systemd:https, or remove tls";
            found.semantic_error(*offset, text.into());
        }
        (ListenAddress::Inherited(name), None) if name == "https" => {
            let text = "listener.address: systemd:https uses TLS; add tls = { certificate = \"…\", key = \"…\" }";
            found.semantic_error(offset, text.into());
        }
        _ => {}
    }
    let proxy_protocol = keys.get(PROXY_PROTOCOL).is_some_and(|value| {
        let problem =
            |problem| found.semantic_error(value.span().start, format!("listener.{PROXY_PROTOCOL}: {problem}"));
        bool::read(value.get_ref()).map_err(problem).unwrap_or_default()
    });
    if let Some((offset, Some(Tls { kernel: KernelTls::Required, .. }))) = &tls
        && matches!(address, ListenAddress::Unix(_))
    {
        let text = "listener.tls.kernel: \"required\" is not possible on a Unix socket; write \"auto\"";
        found.semantic_error(*offset, text.into());
    }
    let permissions = permissions::read(LISTENER, keys, found);
    for name in [MODE, GROUP] {
        if let Some(value) = keys.get(name) {
            let at = found.position(value.span().start);
            permissions::check_use(LISTENER, name, &address, at, found);
        }
    }
    Some((found.position(offset), Listener { address, tls: tls.and_then(|(_, tls)| tls), proxy_protocol, permissions }))
}

fn read_tls(value: &Spanned<DeValue<'_>>, around: &Surroundings<'_>, found: &mut Found) -> Option<Tls> {
    let start = value.span().start;
    let DeValue::Table(keys) = value.get_ref() else {
        let fix = "write { certificate = \"/path/cert.pem\", key = \"/path/key.pem\" }";
        found.semantic_error(start, format!("listener.tls: {}", type_error(value.get_ref(), "a table", fix)));
        return None;
    };
    unknown_keys("listener.tls", &TLS_KEYS, keys, found);
    let [certificate, key, client_ca, client_crl] = ["certificate", "key", "client-ca", "client-crl"].map(|name| {
        let value = keys.get(name)?;
        let path = String::read(value.get_ref()).and_then(|text| Ok(around.file(&text, "a PEM file")?));
        let path = path.inspect(|path| found.named_file(value.span().start, path));
        path.map_err(|problem: ValueError| {
            found.semantic_error(value.span().start, format!("listener.tls.{name}: {problem}"))
        })
        .ok()
    });
    for name in ["certificate", "key"].into_iter().filter(|name| !keys.contains_key(*name)) {
        found.semantic_error(start, format!("listener.tls: {name} is missing; add {name} = \"/path/{name}.pem\""));
    }
    if let Some(list) = keys.get("client-crl").filter(|_| !keys.contains_key("client-ca")) {
        let text = "listener.tls.client-crl: has no effect without client-ca; add it, or remove this key";
        found.semantic_error(list.span().start, text.into());
    }
    let kernel = keys.get(KERNEL).map(|value| {
        let problem = |problem| found.semantic_error(value.span().start, format!("listener.tls.{KERNEL}: {problem}"));
        KernelTls::read(value.get_ref()).map_err(problem).unwrap_or_default()
    });
    Some(Tls { certificate: certificate?, key: key?, client_ca, client_crl, kernel: kernel.unwrap_or_default() })
}
