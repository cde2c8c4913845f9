//! The life of a registration over real sockets: members of every kind of listener, devices that reconnect, and ends that
//! every member notices at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::device::{Any, Device, Received, closes, frame, request};
use crate::support::tls::{Secured, client, ecdsa};
use crate::support::{Server, plain, read_head, until};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use ws_router_admin_api::ListenAddress;
use ws_router_core::close::CloseReason;
use ws_router_server::config::{Config, Listener};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const PAIR: &str = "key=k&host_key=h&reg_type=hostclient";

async fn server(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    Server::start(config).await
}

/// Returns the status of a join.
async fn status(server: &Server, target: &str) -> u16 {
    let mut stream = server.connect().await;
    stream.write_all(request(target).as_bytes()).await.unwrap();
    read_head(&mut stream).await.status
}

/// Starts a router with four kinds of listeners, and joins one lobby through each of them.
async fn members_by_every_listener() -> (Secured, tempfile::TempDir, String, Vec<Any>) {
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("plain.sock"), folder.path().join("tls.sock")];
    let secured = Secured::start_with(ecdsa, |config| {
        let tls = config.listeners[1].tls.clone();
        config.listeners.push(Listener::new(ListenAddress::Unix(paths[0].clone()), None));
        config.listeners.push(Listener::new(ListenAddress::Unix(paths[1].clone()), tls));
        config.listeners.push(plain());
    })
    .await;
    let id = secured.server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let connector = TlsConnector::from(Arc::new(client(&[&TLS13])));
    let name = ServerName::try_from("localhost").unwrap();
    let sealed = connector.connect(name, UnixStream::connect(&paths[1]).await.unwrap()).await.unwrap();
    let members = vec![
        Device::join(secured.server.connect().await, &target).await.boxed(),
        Device::join(secured.dial(client(&[&TLS12])).await.unwrap(), &target).await.boxed(),
        Device::join(UnixStream::connect(&paths[0]).await.unwrap(), &target).await.boxed(),
        Device::join(sealed, &target).await.boxed(),
    ];
    (secured, folder, id, members)
}

#[tokio::test]
async fn members_of_every_kind_of_listener_receive_each_others_messages() {
    let (secured, _folder, _, mut members) = members_by_every_listener().await;
    let message = vec![9; 300_000];
    for talker in 0..members.len() {
        members[talker].raw(&frame(0x82, &message)).await;
        for receiver in (0..members.len()).filter(|receiver| *receiver != talker) {
            assert!(members[receiver].receive().await == Received::Binary(message.clone()), "{receiver} of {talker}");
        }
    }
    assert_eq!(secured.server.metrics.connections.value(), 4);
}

#[tokio::test]
async fn a_removal_closes_every_member_at_once_without_waiting_for_it_to_send() {
    let (secured, _folder, id, mut members) = members_by_every_listener().await;
    let server = &secured.server;
    let other = server.register(LOBBY).await;
    let mut bystander = Device::join(server.connect().await, &format!("/connect?id={other}&key=k")).await;
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    assert_eq!(status(server, &format!("/connect?id={id}&key=k")).await, 404);
    for member in &mut members {
        member.expect_close(CloseReason::Removed).await;
    }
    until("they are counted", || closes(server, CloseReason::Removed) == 4).await;
    bystander.raw(&frame(0x89, b"still here?")).await;
    assert_eq!(bystander.receive().await, Received::Pong(b"still here?".to_vec()));
}

#[tokio::test]
async fn a_removed_id_is_free_and_its_old_members_receive_nothing_from_the_new_ones() {
    let server = server(|_| {}).await;
    let wanted = format!("{LOBBY}&id_req=living-room");
    assert_eq!(server.register(&wanted).await, "living-room");
    let target = "/connect?id=living-room&key=k";
    let mut old = Device::join(server.connect().await, target).await;
    assert_eq!(server.get("/remove?id=living-room&key=k&host_key=h").await.status, 200);
    assert_eq!(server.register(&wanted).await, "living-room");
    let mut one = Device::join(server.connect().await, target).await;
    let mut two = Device::join(server.connect().await, target).await;
    one.say("among us").await;
    two.expect("among us").await;
    old.expect_close(CloseReason::Removed).await;
    drop(old);
    two.say("still").await;
    one.expect("still").await;
    assert_eq!(server.router.find("living-room").unwrap().seats, 2);
}

#[tokio::test]
async fn a_registration_ends_with_its_last_member() {
    let server = server(|_| {}).await;
    let id = server.register(PAIR).await;
    let host = Device::join(server.connect().await, &format!("/connect?id={id}&key=k&sock_type=host")).await;
    let client = Device::join(server.connect().await, &format!("/connect?id={id}&key=k&sock_type=client")).await;
    drop(host);
    until("the host is gone", || server.router.find(&id).is_some_and(|found| found.seats == 1)).await;
    drop(client);
    until("the registration has ended", || server.router.find(&id).is_none()).await;
    assert_eq!(status(&server, &format!("/connect?id={id}&key=k&sock_type=host")).await, 404);
}

#[tokio::test]
async fn a_device_that_registers_again_before_its_old_connection_is_lost_finds_its_registration() {
    let server = server(|_| {}).await;
    let register = "key=k&host_key=h&reg_type=lobby&id_req=living-room";
    let target = "/connect?id=living-room&key=k";
    server.register(register).await;
    let old = Device::join(server.connect().await, target).await;
    assert_eq!(server.register(register).await, "living-room");
    drop(old);
    until("the old connection is gone", || server.router.find("living-room").unwrap().seats == 0).await;
    drop(Device::join(server.connect().await, target).await);
    until("the new one, too", || server.router.find("living-room").unwrap().seats == 0).await;
    server.router.sweep(Instant::now() + Duration::from_secs(598));
    assert!(server.router.find("living-room").is_some(), "it waits for registration.unclaimed-timeout");
    server.router.sweep(Instant::now() + Duration::from_secs(601));
    assert!(server.router.find("living-room").is_none());
}

/// The phone app loses its network, and reconnects at once with its id, without registering.
#[tokio::test]
async fn within_the_linger_time_both_clients_reconnect_with_the_old_id() {
    let server = server(|config| config.registration.linger = Duration::from_secs(60)).await;
    let id = server.register(PAIR).await;
    let targets = ["host", "client/"].map(|role| format!("/connect?id={id}&key=k&sock_type={role}"));
    for sends_close in [true, false, true] {
        let mut host = Device::join(server.connect().await, &targets[0]).await;
        let mut client = Device::join(server.connect().await, &targets[1]).await;
        client.say("question").await;
        host.expect("question").await;
        host.say("answer").await;
        client.expect("answer").await;
        for mut device in [host, client] {
            if sends_close {
                device.raw(&frame(0x88, &1000_u16.to_be_bytes())).await;
                device.expect_close(CloseReason::Left).await;
            }
        }
        until("both are gone", || server.router.find(&id).is_some_and(|found| found.seats == 0)).await;
    }
    server.router.sweep(Instant::now() + Duration::from_secs(59));
    drop(Device::join(server.connect().await, &targets[0]).await);
    until("it is gone again", || server.router.find(&id).is_some_and(|found| found.expires.is_some())).await;
    server.router.sweep(Instant::now() + Duration::from_secs(61));
    assert_eq!(status(&server, &targets[0]).await, 404);
}

#[tokio::test]
async fn a_device_with_the_right_key_is_never_rate_limited_on_loopback() {
    let server = server(|_| {}).await;
    for _ in 0..300 {
        assert_eq!(status(&server, "/connect?id=long-since-gone&key=k&sock_type=host").await, 404);
    }
    let id = server.register(LOBBY).await;
    assert_eq!(status(&server, &format!("/connect?id={id}&key=k")).await, 101);
}

#[tokio::test]
async fn a_join_during_a_removal_is_rejected_or_closed() {
    let server = server(|_| {}).await;
    for _ in 0..30 {
        let id = server.register(LOBBY).await;
        let target = format!("/connect?id={id}&key=k");
        let join = || async {
            let mut stream = server.connect().await;
            stream.write_all(request(&target).as_bytes()).await.unwrap();
            match read_head(&mut stream).await.status {
                101 => Device(stream).expect_close(CloseReason::Removed).await,
                status => assert_eq!(status, 404),
            }
        };
        let remove = async {
            tokio::task::yield_now().await;
            let path = format!("/remove?id={id}&key=k&host_key=h");
            assert_eq!(server.get(&path).await.status, 200);
        };
        tokio::join!(join(), join(), remove, join(), join());
    }
    until("every connection has ended", || server.metrics.connections.value() == 0).await;
    assert_eq!(server.router.registrations(), 0);
}
