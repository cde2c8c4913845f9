//! The user and the sandbox in which the service manager runs the daemon.
//!
//! An administrator checks a configuration as root, which can read every file; the daemon may then fail to read its key.
//! So `--check` run by root first changes to the user and groups of the service, if its unit is installed.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{self, Gid, Group, Uid, User};

/// The service's account and its view of the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    name: String,
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
    hidden: Vec<(PathBuf, &'static str)>,
}

/// Folder of the credentials of the running service, which exists as long as it runs (systemd.exec(5)).
pub const CREDENTIALS: &str = "/run/credentials/ws-router.service";

/// Reason why the process can't change to the rights of an account.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// The account doesn't exist.
    #[error("there is no user {0:?}; create it, or name another with --as")]
    UnknownUser(String),
    /// The process isn't root.
    #[error("only root can check as another user; run it as that user instead")]
    NotRoot,
    /// The kernel refuses.
    #[error("the rights of user {user:?} can't be taken")]
    Kernel {
        /// The user.
        user: String,
        /// The kernel's error.
        #[source]
        source: nix::Error,
    },
}

impl Service {
    /// Finds how the installed unit runs the daemon; `None` where there is no such unit, or where it has no user of its
    /// own to check with.
    pub fn installed() -> Option<Self> {
        let shown = Command::new("systemctl")
            .args(["show", "--no-pager", UNIT, "--property"])
            .arg("LoadState,User,Group,SupplementaryGroups,ProtectHome,PrivateTmp,InaccessiblePaths")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let shown = Properties(String::from_utf8_lossy(&shown.stdout).into_owned());
        let name = Some(shown.get("User")).filter(|name| !name.is_empty() && shown.get("LoadState") == "loaded")?;
        let mut service = Self::account(name).ok()?;
        if let Ok(Some(group)) = Group::from_name(shown.get("Group")) {
            service.group = group.gid;
        }
        let supplementary = shown.get("SupplementaryGroups").split_whitespace();
        service.groups.extend(supplementary.filter_map(|name| Some(Group::from_name(name).ok()??.gid)));
        service.hidden = shown.hidden();
        Some(service)
    }

    /// Finds an account, without a sandbox.
    pub fn account(name: &str) -> Result<Self, RightsError> {
        let unknown = || RightsError::UnknownUser(name.to_owned());
        let user = User::from_name(name).ok().flatten().ok_or_else(unknown)?;
        let shown = CString::new(name).map_err(|_| unknown())?;
        let groups = unistd::getgrouplist(&shown, user.gid).map_err(|_| unknown())?;
        Ok(Self { name: name.to_owned(), user: user.uid, group: user.gid, groups, hidden: Vec::new() })
    }

    /// Returns the user id.
    pub fn user(&self) -> Uid {
        self.user
    }

    /// Returns the user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Permanently changes the rights of this process to those of the account.
    pub fn assume_rights(&self) -> Result<(), RightsError> {
        if !Uid::effective().is_root() {
            return if self.user == Uid::effective() { Ok(()) } else { Err(RightsError::NotRoot) };
        }
        unistd::setgroups(&self.groups)
            .and_then(|()| unistd::setgid(self.group))
            .and_then(|()| unistd::setuid(self.user))
            .map_err(|source| RightsError::Kernel { user: self.name.clone(), source })
    }

    /// Returns the unit's option that hides a path, if one does.
    pub(super) fn hides(&self, path: &Path) -> Option<&'static str> {
        self.hidden.iter().find(|(hidden, _)| path.starts_with(hidden)).map(|(_, option)| *option)
    }
}

/// Lines of `NAME=VALUE` (systemctl(1), show).
struct Properties(String);

impl Properties {
    fn get(&self, name: &str) -> &str {
        let mut values = self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().unwrap_or_default()
    }

    /// Returns the paths that the sandbox hides, each with the option that does (systemd.exec(5)).
    fn hidden(&self) -> Vec<(PathBuf, &'static str)> {
        let mut hidden = Vec::new();
        if matches!(self.get("ProtectHome"), "yes" | "tmpfs") {
            hidden.extend(["/home", "/root", "/run/user"].map(|path| (path.into(), "ProtectHome=")));
        }
        if matches!(self.get("PrivateTmp"), "yes" | "disconnected") {
            hidden.extend(["/tmp", "/var/tmp"].map(|path| (path.into(), "PrivateTmp=")));
        }
        let inaccessible = self.get("InaccessiblePaths").split_whitespace();
        hidden.extend(inaccessible.map(|path| (path.trim_start_matches(['-', '+']).into(), "InaccessiblePaths=")));
        hidden
    }
}

const UNIT: &str = "ws-router.service";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_says_what_its_sandbox_hides() {
        let properties = Properties("User=ws-router\nProtectHome=yes\nInaccessiblePaths=-/srv /var/lib\n".into());
        let service = Service {
            name: "ws-router".into(),
            user: Uid::from_raw(1),
            group: Gid::from_raw(1),
            groups: Vec::new(),
            hidden: properties.hidden(),
        };
        assert_eq!(properties.get("User"), "ws-router");
        assert_eq!(service.hides(Path::new("/home/me/key.pem")), Some("ProtectHome="));
        assert_eq!(service.hides(Path::new("/srv/key.pem")), Some("InaccessiblePaths="));
        assert_eq!(service.hides(Path::new("/etc/ws-router/key.pem")), None);
        assert_eq!(service.hides(Path::new("/tmp/key.pem")), None);
    }

    #[test]
    fn only_root_takes_the_rights_of_another_user() {
        assert!(matches!(Service::account("no-such-user"), Err(RightsError::UnknownUser(_))));
        let own = User::from_uid(Uid::effective()).unwrap().unwrap();
        let own = Service::account(&own.name).unwrap();
        assert_eq!(own.user(), Uid::effective());
        if !Uid::effective().is_root() {
            assert!(matches!(Service::account("root").unwrap().assume_rights(), Err(RightsError::NotRoot)));
            own.assume_rights().unwrap();
        }
    }
}
