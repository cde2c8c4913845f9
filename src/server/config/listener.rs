//! Reads the `[[listener]]` tables, and finds those that contradict each other.
//!
//! A listener is valid only as a whole (an address, and both halves of `tls` or neither), so it is put together here
//! and not key by key. Paths of certificates and keys may begin with `${CREDENTIALS_DIRECTORY}`, where the service
//! manager puts what only the daemon may read; others are taken from the folder of the configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use ws_router_admin_api::ListenAddress;

use super::keys::{LISTENER, LISTENER_KEYS, PROXY_PROTOCOL, TLS, TLS_KEYS};
use super::load::unknown_key;
use super::problems::{Found, place};
use super::units::{Setting, unexpected};
use super::{Config, Listener, Tls, permissions};

/// What a file's values may refer to.
pub(super) struct Surroundings<'a> {
    /// The file's folder, absolute.
    pub(super) folder: &'a Path,
    /// The process's environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A listener, and where its address stands in the file.
type Placed = (usize, Listener);

/// Reads all listeners.
pub(super) fn read_all(value: &Spanned<DeValue<'_>>, around: &Surroundings<'_>, found: &mut Found) -> Vec<Placed> {
    let mut listeners = Vec::new();
    let DeValue::Array(tables) = value.get_ref() else {
        let mend = "write [[listener]] with two brackets on each side, since there may be several";
        found.meaning(value.span().start, format!("{LISTENER}: {}", unexpected(value.get_ref(), "a list", mend)));
        return listeners;
    };
    for table in tables {
        match table.get_ref() {
            DeValue::Table(keys) => listeners.extend(read(table.span().start, keys, around, found)),
            other => {
                let mend = "write [[listener]] above its keys";
                found.meaning(table.span().start, format!("{LISTENER}: {}", unexpected(other, "a table", mend)));
            }
        }
    }
    listeners
}

/// Finds listeners that can't be: at the same time as each other, as the admin socket or as the metrics', or for proxies
/// that nobody trusts.
pub(super) fn contradictions(listeners: &[Placed], config: &Config, text: &str, found: &mut Found) {
    let (admin, metrics) = (config.admin.socket.as_deref(), config.metrics.listen.as_ref());
    for (index, (offset, listener)) in listeners.iter().enumerate() {
        let here = &listener.address;
        if let Some((first, other)) = listeners[..index].iter().find(|(_, other)| other.address.clashes(here)) {
            let line = place(text, *first).0;
            let taken = &other.address;
            found.meaning(
                *offset,
                format!("listener.address: {here} is taken by {taken} in line {line}; remove or change one of them"),
            );
        }
        if metrics.is_some_and(|metrics| metrics.clashes(here)) {
            found.meaning(*offset, format!("listener.address: {here} is taken by metrics.listen; change one of them"));
        }
        if listener.proxy_protocol && config.http.trusted_proxies.is_empty() {
            let text =
                "listener.proxy-protocol: nobody's header would be believed; name the proxies in http.trusted-proxies";
            found.meaning(*offset, text.into());
        }
        if matches!((here, admin), (ListenAddress::Unix(path), Some(admin)) if path == admin) {
            found.meaning(
                *offset,
                format!("listener.address: {here} is the admin socket (admin.socket); change one of them"),
            );
        }
    }
}

fn read(start: usize, keys: &DeTable<'_>, around: &Surroundings<'_>, found: &mut Found) -> Option<Placed> {
    unknown_keys(LISTENER, &LISTENER_KEYS, keys, found);
    let tls = keys.get(TLS).map(|value| (value.span().start, read_tls(value, around, found)));
    let Some(value) = keys.get("address") else {
        found.meaning(start, "listener: address is missing; add for instance address = \"[::]:8741\"".into());
        return None;
    };
    let offset = value.span().start;
    let read = String::read(value.get_ref()).and_then(|text| text.parse().map_err(|e| format!("{e}")));
    let address: ListenAddress = match read {
        Ok(address) => address,
        Err(problem) => {
            found.meaning(offset, format!("listener.address: {problem}"));
            return None;
        }
    };
    match (&address, &tls) {
        (ListenAddress::Inherited(name), Some((offset, _))) if name == "http" => {
            let text = "listener.tls: systemd:http is the plain socket's name; write systemd:https, or remove tls";
            found.meaning(*offset, text.into());
        }
        (ListenAddress::Inherited(name), None) if name == "https" => {
            let text = "listener.address: systemd:https speaks TLS; add tls = { certificate = \"…\", key = \"…\" }";
            found.meaning(offset, text.into());
        }
        _ => {}
    }
    let proxy_protocol = keys.get(PROXY_PROTOCOL).is_some_and(|value| {
        let problem = |problem| found.meaning(value.span().start, format!("listener.{PROXY_PROTOCOL}: {problem}"));
        bool::read(value.get_ref()).map_err(problem).unwrap_or_default()
    });
    let permissions = permissions::read(LISTENER, keys, found);
    permissions::misplaced(LISTENER, &address, keys, found);
    Some((offset, Listener { address, tls: tls.and_then(|(_, tls)| tls), proxy_protocol, permissions }))
}

fn read_tls(value: &Spanned<DeValue<'_>>, around: &Surroundings<'_>, found: &mut Found) -> Option<Tls> {
    let start = value.span().start;
    let DeValue::Table(keys) = value.get_ref() else {
        let mend = "write { certificate = \"/path/cert.pem\", key = \"/path/key.pem\" }";
        found.meaning(start, format!("listener.tls: {}", unexpected(value.get_ref(), "a table", mend)));
        return None;
    };
    unknown_keys("listener.tls", &TLS_KEYS, keys, found);
    let [certificate, key, client_ca, client_crl] = TLS_KEYS.map(|name| {
        let value = keys.get(name)?;
        let path = String::read(value.get_ref()).and_then(|text| around.file(&text, "a PEM file"));
        path.map_err(|problem| found.meaning(value.span().start, format!("listener.tls.{name}: {problem}"))).ok()
    });
    for name in ["certificate", "key"].into_iter().filter(|name| !keys.contains_key(*name)) {
        found.meaning(start, format!("listener.tls: {name} is missing; add {name} = \"/path/{name}.pem\""));
    }
    if let Some(list) = keys.get("client-crl").filter(|_| !keys.contains_key("client-ca")) {
        let text = "listener.tls.client-crl: clients are asked for no certificate; add client-ca, or remove this key";
        found.meaning(list.span().start, text.into());
    }
    Some(Tls { certificate: certificate?, key: key?, client_ca, client_crl })
}

/// Finds the keys of a table of its own that there aren't.
pub(super) fn unknown_keys(section: &str, known: &[&'static str], keys: &DeTable<'_>, found: &mut Found) {
    for (name, _) in keys.iter().filter(|(name, _)| !known.contains(&name.get_ref().as_ref())) {
        found.meaning(name.span().start, unknown_key(section, name.get_ref()));
    }
}

impl Surroundings<'_> {
    /// Takes the path of a file, such as "a PEM file".
    pub(super) fn file(&self, text: &str, what: &str) -> Result<PathBuf, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("{text:?} is no path; name {what}"));
        }
        let path = match text.strip_prefix(CREDENTIALS) {
            Some(rest) => {
                let mut path = (self.variable)("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).ok_or(
                    "CREDENTIALS_DIRECTORY is not set; give the service unit a LoadCredential=, or write the whole path",
                )?;
                path.push(rest);
                path
            }
            None => text.into(),
        };
        if path.to_string_lossy().contains("${") {
            return Err(format!("{text:?} has an unknown variable; only {CREDENTIALS} at the beginning is replaced"));
        }
        Ok(self.folder.join(path))
    }
}

const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}";
