//! Permissions of the files that a configuration names, and whether the service can see them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, geteuid};
use ws_router_admin_api::finding::{Area, Finding};

use super::Service;
use crate::config::Config;

/// Purpose of a file, which decides who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// A secret: its reader can pretend to be this router.
    PrivateKey,
    /// Not a secret, but a change of it can admit devices.
    Trust,
}

/// Reports files that others can read or change, and files that the service's sandbox hides from it.
pub(super) fn check(config: &Config, service: Option<&Service>) -> Vec<Finding> {
    let owner = service.map_or_else(geteuid, Service::user);
    let mut findings = Vec::new();
    for (key, path, content) in named(config) {
        if let Some(option) = service.and_then(|service| service.hides(path)) {
            findings.push(Finding::error(
                Area::Files,
                format!("{key}: {}: hidden from the service by {option}", path.display()),
                "move it to /etc/ws-router, or pass it as a systemd credential",
            ));
        }
        // What can't be read at all was reported with the configuration.
        if let Ok(file) = fs::metadata(path) {
            findings.extend(permissions(key, path, content, file.mode(), Uid::from_raw(file.uid()), owner));
        }
    }
    findings.dedup();
    findings
}

/// The files that a configuration names, each with its key.
fn named(config: &Config) -> impl Iterator<Item = (&'static str, &Path, Content)> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| {
        let others = [("client-ca", &tls.client_ca), ("client-crl", &tls.client_crl)];
        let others = others.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?, Content::Trust)));
        let own = [("key", &*tls.key, Content::PrivateKey), ("certificate", &*tls.certificate, Content::Trust)];
        own.into_iter().chain(others)
    });
    let tokens = config.access.iter().filter_map(|rule| Some(("tokens", rule.tokens.as_deref()?, Content::Trust)));
    tls.chain(tokens)
}

/// Judges a file by its mode and owner; `daemon` is the daemon's user.
fn permissions(key: &str, path: &Path, content: Content, mode: u32, owner: Uid, daemon: Uid) -> Option<Finding> {
    let shown = path.display();
    let exposed = content == Content::PrivateKey && mode & OTHERS_READ != 0;
    if exposed || mode & OTHERS_WRITE != 0 {
        let (what, bits) = match (exposed, mode & OTHERS_WRITE != 0) {
            (true, true) => ("read and change", "o-rw"),
            (true, false) => ("read", "o-r"),
            _ => ("change", "o-w"),
        };
        let text = format!("{key}: {shown}: every user on this machine can {what} it (mode {:04o})", mode & 0o7777);
        return Some(Finding::error(Area::Files, text, format!("chmod {bits} {shown}")));
    }
    if !owner.is_root() && owner != daemon {
        let text = format!("{key}: {shown}: belongs to user {owner}, which is neither root nor the daemon's user");
        return Some(Finding::warning(
            Area::Files,
            text,
            format!("chown root {shown}, or make sure that this is meant"),
        ));
    }
    None
}

/// Permission of all users to read (inode(7)).
const OTHERS_READ: u32 = 0o004;
/// Permission of all users to write.
const OTHERS_WRITE: u32 = 0o002;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_can_read_and_a_file_that_they_can_change_are_errors() {
        let (root, daemon, other) = (Uid::from_raw(0), Uid::from_raw(990), Uid::from_raw(1000));
        let judge = |content, mode, owner| {
            let found = permissions("key", Path::new("/k"), content, mode, owner, daemon);
            found.map(|finding| format!("{}: {finding}", finding.severity.label())).unwrap_or_default()
        };
        for fine in [
            judge(Content::PrivateKey, 0o100_600, daemon),
            judge(Content::PrivateKey, 0o100_640, root),
            judge(Content::Trust, 0o100_644, root),
        ] {
            assert_eq!(fine, "");
        }
        assert_eq!(
            judge(Content::PrivateKey, 0o100_644, root),
            "error: files: key: /k: every user on this machine can read it (mode 0644); chmod o-r /k"
        );
        assert_eq!(
            judge(Content::PrivateKey, 0o100_666, root),
            "error: files: key: /k: every user on this machine can read and change it (mode 0666); chmod o-rw /k"
        );
        assert!(judge(Content::Trust, 0o100_646, root).contains("can change it"));
        assert!(
            judge(Content::PrivateKey, 0o100_600, other).starts_with("warning: files: key: /k: belongs to user 1000")
        );
    }
}
