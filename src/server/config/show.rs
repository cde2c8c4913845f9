//! The configuration in the syntax of its file, for `--print-config` and the hand-over, and the comparison of two
//! configurations for a reload.

use std::fmt::Write;

use ws_router_admin_api::ListenAddress;

use super::keys::{ACCESS, KERNEL, KEYS, LISTENER, PROXY_PROTOCOL, Reload};
use super::permissions::{GROUP, MODE};
use super::value::{Setting, quoted};
use super::{Config, Listener, SocketPermissions, Tls, access};

/// Keys in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// Keys that a reload applies.
    pub live: Vec<String>,
    /// Keys that need a restart.
    pub need_restart: Vec<String>,
}

impl Differences {
    /// Returns whether the configurations are the same.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.need_restart.is_empty()
    }

    fn add(&mut self, key: String, reload: Reload) {
        let keys = match reload {
            Reload::Live => &mut self.live,
            Reload::Restart => &mut self.need_restart,
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
}

impl Config {
    /// Returns the configuration as a file with all keys.
    pub fn to_toml(&self) -> String {
        self.to_annotated_toml(|_, _| None)
    }

    /// Returns the configuration as a file with all keys, each with a comment that `origin` returns for it. The table of an
    /// array is identified by its index.
    pub(super) fn to_annotated_toml(&self, origin: impl Fn(&str, usize) -> Option<String>) -> String {
        let comment = |key: &str, index| origin(key, index).map_or_else(String::new, |text| format!(" # {text}"));
        let mut file = String::new();
        // Above all sections, since a key below a section's header would belong to the section.
        if self.open_access {
            file += &format!("{ACCESS} = []{}\n", comment(ACCESS, 0));
        }
        if self.listeners.is_empty() {
            let Listener { address, .. } = Listener::default();
            file += &format!("# none is set, so plain HTTP is served on {address}\n{LISTENER} = []\n");
        }
        let listeners = self.listeners.iter().enumerate();
        let listeners: Vec<_> =
            listeners.map(|(index, listener)| show_listener(listener, &comment(LISTENER, index))).collect();
        file += &listeners.join("\n");
        let mut section = LISTENER;
        for key in KEYS.iter().filter(|key| key.applies(self)) {
            if key.section != section {
                section = key.section;
                file += &format!("\n[{section}]\n");
            }
            file += &format!("{} = {}{}\n", key.name, (key.show)(self), comment(&key.full_name(), 0));
        }
        if self.access.is_empty() && !self.open_access {
            file += &format!("\n# no [[{ACCESS}]] rule is set, so everybody may register and connect\n");
        }
        for (index, rule) in self.access.iter().enumerate() {
            // Writing to a string never fails.
            let _ = write!(file, "\n{}", access::show(rule, &comment(ACCESS, index)));
        }
        file
    }

    /// Returns the keys in which `new` differs, and whether a reload applies them.
    ///
    /// A listener is identified by its address. Every change of a listener needs a restart, but their order doesn't matter.
    /// Only the paths of certificate and key files are compared, not their contents.
    pub fn differences(&self, new: &Self) -> Differences {
        let mut differences = Differences::default();
        compare_listeners(&self.effective_listeners(), &new.effective_listeners(), &mut differences);
        for key in KEYS.iter().filter(|key| (key.show)(self) != (key.show)(new)) {
            differences.add(key.full_name(), key.reload);
        }
        if self.access != new.access {
            differences.add(ACCESS.into(), Reload::Live);
        }
        differences
    }
}

fn show_listener(listener: &Listener, comment: &str) -> String {
    let mut table = format!("[[{LISTENER}]]{comment}\naddress = {}\n", quoted(&listener.address));
    if let Some(tls) = &listener.tls {
        let (certificate, key) = (quoted(tls.certificate.display()), quoted(tls.key.display()));
        let clients = [("client-ca", &tls.client_ca), ("client-crl", &tls.client_crl)].into_iter();
        let clients =
            clients.filter_map(|(name, path)| Some(format!(", {name} = {}", quoted(path.as_ref()?.display()))));
        let (clients, kernel): (String, _) = (clients.collect(), tls.kernel.show());
        table += &format!("tls = {{ certificate = {certificate}, key = {key}{clients}, {KERNEL} = {kernel} }}\n");
    }
    table += &format!("{PROXY_PROTOCOL} = {}\n", listener.proxy_protocol);
    if matches!(listener.address, ListenAddress::Unix(_)) {
        let SocketPermissions { mode, group } = &listener.permissions;
        table += &format!("{MODE} = {}\n{GROUP} = {}\n", mode.show(), group.show());
    }
    table
}

fn compare_listeners(old: &[Listener], new: &[Listener], differences: &mut Differences) {
    let mut new = new.to_vec();
    let mut take = |fits: &dyn Fn(&Listener) -> bool| new.iter().position(fits).map(|index| new.swap_remove(index));
    // Unchanged listeners first, since several may have the same address with port 0.
    let changed: Vec<_> = old.iter().filter(|before| take(&|after| after == *before).is_none()).collect();
    for before in changed {
        let after = take(&|after| after.address == before.address);
        if after.as_ref().is_some_and(|after| after.proxy_protocol != before.proxy_protocol) {
            differences.add(format!("{LISTENER}.{PROXY_PROTOCOL}"), Reload::Restart);
        }
        if let Some(after) = &after {
            compare_permissions(&before.permissions, &after.permissions, differences);
        }
        match (&before.tls, after) {
            (_, None) => differences.add(format!("{LISTENER}.address"), Reload::Restart),
            (Some(before), Some(Listener { tls: Some(after), .. })) => compare_files(before, &after, differences),
            (None, Some(Listener { tls: None, .. })) => {}
            _ => differences.add(format!("{LISTENER}.tls"), Reload::Restart),
        }
    }
    if !new.is_empty() {
        differences.add(format!("{LISTENER}.address"), Reload::Restart);
    }
}

fn compare_permissions(before: &SocketPermissions, after: &SocketPermissions, differences: &mut Differences) {
    if before.mode != after.mode {
        differences.add(format!("{LISTENER}.{MODE}"), Reload::Restart);
    }
    if before.group != after.group {
        differences.add(format!("{LISTENER}.{GROUP}"), Reload::Restart);
    }
}

fn compare_files(before: &Tls, after: &Tls, differences: &mut Differences) {
    let changed = [
        ("certificate", before.certificate != after.certificate),
        ("key", before.key != after.key),
        ("client-ca", before.client_ca != after.client_ca),
        ("client-crl", before.client_crl != after.client_crl),
        (KERNEL, before.kernel != after.kernel),
    ];
    for (name, _) in changed.into_iter().filter(|(_, is_changed)| *is_changed) {
        differences.add(format!("{LISTENER}.tls.{name}"), Reload::Restart);
    }
}
