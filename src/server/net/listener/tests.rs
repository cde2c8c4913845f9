use std::os::fd::OwnedFd;

use super::*;

fn unix(path: &Path) -> ListenAddress {
    ListenAddress::Unix(path.to_owned())
}

#[tokio::test]
async fn an_unspecified_ipv6_address_takes_ipv4_too() {
    let listener =
        Listener::bind(&ListenAddress::Inet("[::]:0".parse().unwrap()), &SocketPermissions::default(), None).unwrap();
    let port = listener.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let connected = std::net::TcpStream::connect(("127.0.0.1", port));
    assert!(connected.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_reported_with_the_fix() {
    let first =
        Listener::bind(&ListenAddress::Inet("127.0.0.1:0".parse().unwrap()), &SocketPermissions::default(), None)
            .unwrap();
    let again = ListenAddress::Inet(first.address().parse().unwrap());
    let error = Listener::bind(&again, &SocketPermissions::default(), None).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("listen {}: another program listens there; stop it or choose another port", first.address())
    );
}

#[tokio::test]
async fn a_socket_file_is_replaced_only_if_nobody_answers_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let mut first = Listener::bind(&unix(&path), &SocketPermissions::default(), None).unwrap();
    assert_eq!(first.address(), format!("unix:{}", path.display()));
    let refused = Listener::bind(&unix(&path), &SocketPermissions::default(), None).unwrap_err().to_string();
    assert!(refused.contains("another program listens there"), "{refused}");
    std::mem::forget(first.take_file());
    drop(first);
    assert!(path.exists());
    assert!(Listener::bind(&unix(&path), &SocketPermissions::default(), None).is_ok());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let error = Listener::bind(&unix(&path), &SocketPermissions::default(), None).unwrap_err().to_string();
    assert!(error.contains("a file that is not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/sock");
    let error = Listener::bind(&unix(&path), &SocketPermissions::default(), None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen unix:{}: no such directory", path.display())), "{error}");
}

#[tokio::test]
async fn an_inherited_listener_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let tcp: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    assert!(Listener::inherited(tcp, "http", None).unwrap().address().starts_with("127.0.0.1:"));
    let path = folder.path().join("sock");
    let unix: OwnedFd = std::os::unix::net::UnixListener::bind(&path).unwrap().into();
    assert_eq!(Listener::inherited(unix, "http", None).unwrap().address(), format!("unix:{}", path.display()));
}

#[tokio::test]
async fn another_kind_of_descriptor_is_refused_by_name() {
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let udp: OwnedFd = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
    let connected: OwnedFd = std::os::unix::net::UnixStream::pair().unwrap().0.into();
    for (descriptor, what) in [(file, "not a socket"), (udp, "not a stream socket"), (connected, "doesn't listen")] {
        let error = Listener::inherited(descriptor, "https", None).unwrap_err().to_string();
        assert!(error.starts_with("descriptor https: ") && error.contains(what), "{error}");
    }
}
