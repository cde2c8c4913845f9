//! Shows a configuration as a file that says the same: for `--print-config`, and for whoever begins a file of theirs.

use ws_router_admin_api::ListenAddress;

use super::keys::{ACCESS, KEYS, LISTENER, PROXY_PROTOCOL};
use super::permissions::{GROUP, MODE};
use super::units::{Setting, quoted};
use super::{Config, Listener, SocketPermissions, access};

impl Config {
    /// Shows the configuration as a file that says the same, every key written out.
    pub fn to_toml(&self) -> String {
        let mut file = String::new();
        if self.listeners.is_empty() {
            let Listener { address, .. } = Listener::default();
            file = format!("# none is set, so plain HTTP is served on {address}\n{LISTENER} = []\n");
        }
        let listeners: Vec<String> = self.listeners.iter().map(show_listener).collect();
        file += &listeners.join("\n");
        let mut section = LISTENER;
        for key in KEYS.iter().filter(|key| key.applies(self)) {
            if key.section != section {
                section = key.section;
                file += &format!("\n[{section}]\n");
            }
            file += &format!("{} = {}\n", key.name, (key.show)(self));
        }
        if self.access.is_empty() {
            file += &format!("\n# no [[{ACCESS}]] rule is set, so everybody may register and connect\n");
        }
        file + &self.access.iter().map(|rule| format!("\n{}", access::show(rule))).collect::<String>()
    }
}

fn show_listener(listener: &Listener) -> String {
    let mut table = format!("[[{LISTENER}]]\naddress = {}\n", quoted(&listener.address));
    if let Some(tls) = &listener.tls {
        let (certificate, key) = (quoted(tls.certificate.display()), quoted(tls.key.display()));
        let clients = [("client-ca", &tls.client_ca), ("client-crl", &tls.client_crl)].into_iter();
        let clients =
            clients.filter_map(|(name, path)| Some(format!(", {name} = {}", quoted(path.as_ref()?.display()))));
        let clients: String = clients.collect();
        table += &format!("tls = {{ certificate = {certificate}, key = {key}{clients} }}\n");
    }
    table += &format!("{PROXY_PROTOCOL} = {}\n", listener.proxy_protocol);
    if matches!(listener.address, ListenAddress::Unix(_)) {
        let SocketPermissions { mode, group } = &listener.permissions;
        table += &format!("{MODE} = {}\n{GROUP} = {}\n", mode.show(), group.show());
    }
    table
}
