//! What a reload would change: which keys differ, and which of them only a restart can put into force.

use super::keys::{ACCESS, KEYS, LISTENER, PROXY_PROTOCOL, Reload};
use super::permissions::{GROUP, MODE};
use super::{Config, Listener, SocketPermissions, Tls};

/// Keys in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// Those that a reload puts into force.
    pub live: Vec<String>,
    /// Those that only a restart can.
    pub need_restart: Vec<String>,
}

impl Differences {
    /// Tells whether the configurations say the same.
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
    /// Names the keys in which `new` differs, apart by whether a running daemon can take them over.
    ///
    /// A listener is known by its address, and all about it takes a restart. What is in its certificate's and key's
    /// files does not, but that is no difference of configurations. The order of listeners says nothing.
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

fn compare_listeners(old: &[Listener], new: &[Listener], differences: &mut Differences) {
    let mut new = new.to_vec();
    let mut take = |fits: &dyn Fn(&Listener) -> bool| new.iter().position(fits).map(|index| new.swap_remove(index));
    // Those that stay as they are go first: several may have the same address, on port 0.
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
    if before.certificate != after.certificate {
        differences.add(format!("{LISTENER}.tls.certificate"), Reload::Restart);
    }
    if before.key != after.key {
        differences.add(format!("{LISTENER}.tls.key"), Reload::Restart);
    }
    if before.client_ca != after.client_ca {
        differences.add(format!("{LISTENER}.tls.client-ca"), Reload::Restart);
    }
    if before.client_crl != after.client_crl {
        differences.add(format!("{LISTENER}.tls.client-crl"), Reload::Restart);
    }
}
