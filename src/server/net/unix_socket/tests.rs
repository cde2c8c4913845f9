use std::os::unix::net::{UnixListener, UnixStream};

use nix::unistd::getegid;
use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    (folder, path)
}

fn permissions(mode: &str) -> SocketPermissions {
    SocketPermissions { mode: mode.parse().unwrap(), group: None }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_file_has_its_mode_and_is_removed_with_its_guard() {
    let (_folder, path) = folder();
    for wanted in ["0660", "0600", "0666"] {
        let (_socket, file) = bind_unix(&path, &permissions(wanted), 1).unwrap();
        assert_eq!(mode(&path), u32::from_str_radix(wanted, 8).unwrap());
        assert!(UnixStream::connect(&path).is_ok());
        drop(file);
        assert!(!path.exists());
    }
}

#[test]
fn the_file_is_given_to_its_group() {
    let (_folder, path) = folder();
    // Root may give it to any group, an ordinary user only to one of its own.
    let gid = if nix::unistd::geteuid().is_root() { Gid::from_raw(1) } else { getegid() };
    let group = Group::from_gid(gid).unwrap().unwrap();
    let permissions = SocketPermissions { group: group.name.parse().ok(), ..permissions("0660") };
    let (_socket, _file) = bind_unix(&path, &permissions, 1).unwrap();
    assert_eq!((fs::metadata(&path).unwrap().gid(), mode(&path)), (gid.as_raw(), 0o660));
}

#[test]
fn a_socket_that_is_taken_over_gets_the_configured_permissions() {
    let (_folder, path) = folder();
    let (socket, file) = bind_unix(&path, &permissions("0600"), 1).unwrap();
    // The old process exits without running a destructor.
    std::mem::forget(file);
    let (_socket, file) = rebind_unix(socket, &path, &permissions("0660"), 1).unwrap();
    assert_eq!(mode(&path), 0o660);
    drop(file);
    assert!(!path.exists());
}

#[test]
fn a_socket_whose_file_is_gone_is_bound_anew() {
    let (_folder, path) = folder();
    let (socket, file) = bind_unix(&path, &permissions("0600"), 1).unwrap();
    drop(file);
    let (_socket, _file) = rebind_unix(socket, &path, &permissions("0660"), 1).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_file_that_another_process_has_put_there_stays() {
    let (_folder, path) = folder();
    let (_socket, file) = bind_unix(&path, &permissions("0660"), 1).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(file);
    assert!(path.exists());
}

#[test]
fn a_path_that_a_process_answers_on_is_in_use() {
    let (_folder, path) = folder();
    let first = bind_unix(&path, &permissions("0660"), 1).unwrap();
    assert!(matches!(bind_unix(&path, &permissions("0660"), 1), Err(UnixSocketError::InUse)));
    std::mem::forget(first.1);
    drop(first.0);
    assert!(path.exists());
    assert!(bind_unix(&path, &permissions("0660"), 1).is_ok());
}
