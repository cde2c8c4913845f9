//! What a reload would change: which keys differ, and which of them only a restart can put into force.

use super::keys::{KEYS, LISTENER, Reload};
use super::{Config, ListenAddress, Listener};

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
    /// A listener is known by its address: its certificate and key can change while it stands, but neither where it
    /// stands nor whether it speaks TLS. The order of listeners says nothing.
    pub fn differences(&self, new: &Self) -> Differences {
        let mut differences = Differences::default();
        compare_listeners(&self.effective_listeners(), &new.effective_listeners(), &mut differences);
        for key in KEYS.iter().filter(|key| (key.show)(self) != (key.show)(new)) {
            differences.add(key.full_name(), key.reload);
        }
        differences
    }
}

fn compare_listeners(old: &[Listener], new: &[Listener], differences: &mut Differences) {
    let at = |listeners: &[Listener], address: &ListenAddress| {
        listeners.iter().find(|listener| listener.address == *address).cloned()
    };
    let gone = old.iter().any(|listener| at(new, &listener.address).is_none());
    if gone || old.len() != new.len() {
        differences.add(format!("{LISTENER}.address"), Reload::Restart);
    }
    for (before, after) in old.iter().filter_map(|before| Some((before, at(new, &before.address)?))) {
        match (&before.tls, &after.tls) {
            (Some(before), Some(after)) => {
                if before.certificate != after.certificate {
                    differences.add(format!("{LISTENER}.tls.certificate"), Reload::Live);
                }
                if before.key != after.key {
                    differences.add(format!("{LISTENER}.tls.key"), Reload::Live);
                }
            }
            (None, None) => {}
            _ => differences.add(format!("{LISTENER}.tls"), Reload::Restart),
        }
    }
}
