use std::fs::Permissions;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

/// A machine in a folder: `run/ws-router`, `run/user`, `xdg` and `tmp`, of which only the last is there.
struct Machine {
    folder: TempDir,
    locator: SocketLocator,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("tmp")).unwrap();
        let locator = SocketLocator {
            uid: geteuid().as_raw(),
            system: at("run/ws-router"),
            binds_system: false,
            runtime: None,
            users: at("run/user"),
            temporary: at("tmp"),
        };
        Self { folder, locator }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.replace("UID", &self.locator.uid.to_string()))
    }

    fn directory(&self, path: &str, mode: u32) -> PathBuf {
        fs::create_dir_all(self.at(path)).unwrap();
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
        self.at(path)
    }

    /// The path at which both programs meet.
    fn meets(&self) -> PathBuf {
        let bound = self.locator.to_bind().unwrap();
        let _daemon = UnixListener::bind(&bound).unwrap();
        assert_eq!(self.locator.to_connect().unwrap(), bound);
        assert!(self.locator.candidates().contains(&bound), "{:?}", self.locator.candidates());
        fs::remove_file(&bound).unwrap();
        bound
    }

    /// The error that both programs report, without the folder.
    fn refused(&self) -> String {
        let error = self.locator.to_bind().unwrap_err().to_string();
        assert_eq!(self.locator.to_connect().unwrap_err().to_string(), error);
        assert_eq!(self.locator.candidates(), [self.at("run/ws-router/admin.sock")]);
        let own = format!("ws-router-{}", self.locator.uid);
        error.replace(&*self.folder.path().to_string_lossy(), "").replace(&own, "ws-router-UID")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_runtime_directory_of_the_environment_comes_first() {
    let mut machine = Machine::new();
    machine.directory("run/user/UID", 0o700);
    machine.locator.runtime = Some(machine.directory("xdg", 0o700));
    assert_eq!(machine.meets(), machine.at("xdg/ws-router/admin.sock"));
    assert_eq!(mode(&machine.at("xdg/ws-router")), 0o700);
}

#[test]
fn without_it_the_systems_runtime_directory_of_the_user_is_taken() {
    let machine = Machine::new();
    machine.directory("run/user/UID", 0o700);
    assert_eq!(machine.meets(), machine.at("run/user/UID/ws-router/admin.sock"));
}

#[test]
fn a_runtime_directory_that_is_missing_or_another_users_is_passed_over() {
    let mut machine = Machine::new();
    machine.locator.runtime = Some(machine.at("missing"));
    assert_eq!(machine.meets(), machine.at("tmp/ws-router-UID/admin.sock"));
    // Everything here belongs to this user; to the next one all of it is another's.
    machine.locator.runtime = Some(machine.directory("xdg", 0o777));
    machine.locator.uid += 1;
    machine.directory("run/user/UID", 0o777);
    let runtime: Vec<_> = machine.locator.runtime_directories().collect();
    assert!(runtime.is_empty(), "{runtime:?}");
}

#[test]
fn a_relative_path_or_an_empty_one_is_no_runtime_directory() {
    assert_eq!(absolute(Some("run".into())), None);
    assert_eq!(absolute(Some("".into())), None);
    assert_eq!(absolute(Some("/run".into())), Some("/run".into()));
}

#[test]
fn without_a_runtime_directory_it_is_a_private_one_in_tmp() {
    let machine = Machine::new();
    // Before there is a daemon, the other program names the same path.
    assert_eq!(machine.locator.to_connect().unwrap(), machine.at("tmp/ws-router-UID/admin.sock"));
    assert_eq!(machine.meets(), machine.at("tmp/ws-router-UID/admin.sock"));
    assert_eq!(mode(&machine.at("tmp/ws-router-UID")), 0o700);
    // And again, now that the directory is there.
    assert_eq!(machine.meets(), machine.at("tmp/ws-router-UID/admin.sock"));
}

#[test]
fn a_symbolic_link_in_tmp_is_refused() {
    let machine = Machine::new();
    let target = machine.directory("own", 0o700);
    symlink(&target, machine.at("tmp/ws-router-UID")).unwrap();
    let text = "/tmp/ws-router-UID: is a symbolic link or not a directory; remove it, set XDG_RUNTIME_DIR";
    assert_eq!(machine.refused(), text);
    assert_eq!(fs::read_dir(target).unwrap().count(), 0);
}

#[test]
fn a_directory_of_another_user_in_tmp_is_refused() {
    let mut machine = Machine::new();
    let owner = machine.locator.uid;
    machine.locator.uid += 1;
    machine.directory("tmp/ws-router-UID", 0o700);
    let text = machine.locator.to_bind().unwrap_err().to_string();
    assert!(
        text.ends_with(&format!("belongs to another user (uid {owner}); remove it, set XDG_RUNTIME_DIR")),
        "{text}"
    );
    machine.refused();
}

#[test]
fn a_directory_in_tmp_that_is_open_to_others_is_refused() {
    let machine = Machine::new();
    machine.directory("tmp/ws-router-UID", 0o750);
    let text = "/tmp/ws-router-UID: is open to other users (mode 0750); run chmod 700, set XDG_RUNTIME_DIR";
    assert_eq!(machine.refused(), text);
}

#[test]
fn without_any_directory_the_error_says_so() {
    let machine = Machine::new();
    fs::remove_dir(machine.at("tmp")).unwrap();
    let error = machine.locator.to_bind().unwrap_err();
    assert!(matches!(error, DirectoryError::NoRuntimeDirectory { .. }), "{error}");
}

#[test]
fn a_daemon_in_tmp_is_found_by_a_user_with_a_runtime_directory() {
    let mut machine = Machine::new();
    let bound = machine.locator.to_bind().unwrap();
    let _daemon = UnixListener::bind(&bound).unwrap();
    machine.locator.runtime = Some(machine.directory("xdg", 0o700));
    assert_eq!(machine.locator.to_connect().unwrap(), bound);
}

#[test]
fn directories_of_other_users_in_tmp_do_not_matter_with_a_runtime_directory() {
    let mut machine = Machine::new();
    machine.directory("tmp/ws-router-UID", 0o777);
    machine.locator.runtime = Some(machine.directory("xdg", 0o700));
    assert_eq!(machine.meets(), machine.at("xdg/ws-router/admin.sock"));
}

#[test]
fn the_system_socket_is_bound_by_users_who_may_and_used_by_users_whom_it_admits() {
    let mut machine = Machine::new();
    machine.locator.binds_system = true;
    let system = machine.meets();
    assert_eq!(system, machine.at("run/ws-router/admin.sock"));
    let _daemon = UnixListener::bind(&system).unwrap();
    machine.locator.binds_system = false;
    assert_eq!(machine.locator.to_connect().unwrap(), system);
}
