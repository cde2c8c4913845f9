use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::unistd::{Group, getegid};

use super::client::{ask, connect, connect_unix, register};
use super::harness::Setup;

#[test]
fn the_socket_is_for_its_owner_and_group_and_is_removed_at_exit() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    let router = setup.start().ready();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
    assert_eq!(router.stopped().status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn the_umask_does_not_affect_unix_listeners() {
    for umask in ["0000", "0027", "0077", "0777"] {
        let setup = Setup::on_loopback().prelude(&format!("umask {umask};"));
        let file = |name: &str| setup.folder.path().join(name);
        let (admin, proxy, metrics) = (setup.admin(), file("http.sock"), file("metrics.sock"));
        let listeners = format!(
            "[[listener]]\naddress = \"unix:{}\"\nmode = \"0666\"\ngroup = \"{}\"\n[metrics]\nlisten = \"unix:{}\"\n",
            proxy.display(),
            own_group(),
            metrics.display()
        );
        let router = setup.config(&listeners).start().ready();
        for (path, mode) in [(&admin, 0o660), (&proxy, 0o666), (&metrics, 0o660)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{} {umask}", path.display());
        }
        assert_eq!(ask(connect_unix(&proxy), "/healthz").0, 200);
        assert_eq!(router.stopped().status.code(), Some(0));
        assert!(!admin.exists() && !proxy.exists() && !metrics.exists());
    }
}

fn own_group() -> String {
    Group::from_gid(getegid()).unwrap().unwrap().name
}

/// Sends a request on an admin socket, and returns the status and the body of the response.
fn request(path: &Path, request: &str) -> (u16, String) {
    let mut stream = connect_unix(path);
    write!(stream, "{request} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn the_read_only_socket_answers_questions_and_changes_nothing() {
    let setup = Setup::new();
    let (path, full) = (setup.folder.path().join("read-only.sock"), setup.admin());
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let config = format!("read-only-socket = {path:?}\nread-only-mode = \"0666\"\n{listener}");
    let mut router = setup.config(&config).start().ready();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let id = register(connect(router.address()), "key");
    let registration = format!("/v1/registrations/{id}");
    for path_of_get in ["/v1/status", "/v1/registrations", &registration, "/metrics"] {
        assert_eq!(request(&path, &format!("GET {path_of_get}")).0, 200);
    }
    let remove = format!("DELETE {registration}");
    for change in
        [&remove, "POST /v1/reload", "POST /v1/upgrade", "POST /v1/drain", "DELETE /v1/drain", "POST /v1/adopt"]
    {
        let (status, body) = request(&path, change);
        assert!(status == 403 && body.contains("read-only"), "{change}: {status} {body}");
    }
    assert_eq!(request(&path, "PUT /v1/status").0, 405);
    assert_eq!(request(&full, &remove).0, 200);
    router.restart();
    assert_eq!(request(&path, "GET /v1/status").0, 200);
    assert_eq!(request(&path, "POST /v1/reload").0, 403);
    assert_eq!(router.stopped().status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_stale_listener_file_is_replaced_and_one_in_use_is_not() {
    let setup = Setup::on_loopback();
    let path = setup.folder.path().join("http.sock");
    let listener = format!("[[listener]]\naddress = \"unix:{}\"\n", path.display());
    drop(UnixListener::bind(&path).unwrap());
    let _router = setup.config(&listener).start().ready();
    assert_eq!(ask(connect_unix(&path), "/healthz").0, 200);
    let second = Setup::on_loopback().config(&listener).start().ended();
    second.assert_exit(69, &["another program listens there", path.to_str().unwrap()]);
    assert_eq!(ask(connect_unix(&path), "/healthz").0, 200);
}

#[test]
fn the_socket_of_a_daemon_that_died_is_replaced() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    drop(UnixListener::bind(&path).unwrap());
    let _router = setup.start().ready();
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
}

#[test]
fn a_second_daemon_on_the_same_socket_exits_with_69_and_the_first_continues() {
    let first = Setup::on_loopback();
    let path = first.admin();
    let _first = first.start().ready();
    let second = Setup::new();
    let file = second.folder.path().join("same.toml");
    let text = format!("[admin]\nsocket = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n", path.display());
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let end = second.argument("--config").argument(file).start_on(std::process::Stdio::null()).ended();
    end.assert_exit(69, &["another program listens there", path.to_str().unwrap()]);
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
}

#[test]
fn a_file_that_is_not_a_socket_is_not_replaced() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    fs::write(&path, "content").unwrap();
    setup.start().ended().assert_exit(69, &["admin.sock", "a file that is not a socket"]);
}
