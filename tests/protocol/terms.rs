//! The optional terms of a registration (ws-router-protocol(7), GET /register).

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use ws_router_core::close::CloseReason;
use ws_router_server::config::{Config, RateLimit};
use ws_router_server::metrics::Refusal;

use crate::support::device::{Device, request};
use crate::support::{Answer, Server, read_head, until};

const PAIR: &str = "/register?key=k&host_key=h&reg_type=hostclient";
const LOBBY: &str = "/register?key=k&host_key=h&reg_type=lobby";

async fn server() -> Server {
    Server::start(Config::default()).await
}

async fn registered(server: &Server, target: &str) -> String {
    let answer = server.get(target).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Makes a handshake, and returns the answer.
async fn join(server: &Server, query: &str) -> Answer {
    let mut stream = server.connect().await;
    stream.write_all(request(&format!("/connect?{query}")).as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

#[tokio::test]
async fn a_client_key_admits_clients_and_no_host() {
    let server = server().await;
    let id = registered(&server, &format!("{PAIR}&client_key=c")).await;
    let mut host = Device::join(server.connect().await, &format!("/connect?id={id}&key=k&sock_type=host")).await;
    let target = format!("/connect?id={id}&client_key=c&sock_type=client");
    let mut client = Device::join(server.connect().await, &target).await;
    client.say("hello").await;
    host.expect("hello").await;
    host.say("welcome").await;
    client.expect("welcome").await;
    for (query, status) in [
        ("client_key=c&sock_type=host", 403),
        ("client_key=k&sock_type=client", 403),
        ("key=c&sock_type=client", 403),
        ("key=k&client_key=c&sock_type=client", 400),
        ("client_key=&sock_type=client", 400),
        ("client_key=c", 400),
    ] {
        assert_eq!(join(&server, &format!("id={id}&{query}")).await.status, status, "{query}");
    }
    let remove = |query: &str| format!("/remove?id={id}&{query}");
    assert_eq!(server.get(&remove("client_key=c&host_key=h")).await.status, 400);
    assert_eq!(server.get(&remove("key=c&host_key=h")).await.status, 403);
    assert_eq!(server.get(&remove("key=k&host_key=h")).await.status, 200);
    host.expect_close(CloseReason::Removed).await;
    client.expect_close(CloseReason::Removed).await;
}

#[tokio::test]
async fn a_member_with_the_receive_key_receives_and_may_not_send() {
    let server = server().await;
    let lobby = registered(&server, &format!("{LOBBY}&receive_key=r")).await;
    let mut talker = Device::join(server.connect().await, &format!("/connect?id={lobby}&key=k")).await;
    let mut listener = Device::join(server.connect().await, &format!("/connect?id={lobby}&receive_key=r")).await;
    let mut other = Device::join(server.connect().await, &format!("/connect?id={lobby}&key=k")).await;
    talker.say("hello").await;
    listener.expect("hello").await;
    other.expect("hello").await;
    listener.say("may I?").await;
    listener.expect_close(CloseReason::NotPermitted).await;
    other.say("nothing came").await;
    talker.expect("nothing came").await;
    let pair = registered(&server, &format!("{PAIR}&receive_key=r&client_key=c")).await;
    let mut host = Device::join(server.connect().await, &format!("/connect?id={pair}&key=k&sock_type=host")).await;
    let target = format!("/connect?id={pair}&receive_key=r&sock_type=client");
    let mut listener = Device::join(server.connect().await, &target).await;
    host.say("to all").await;
    listener.expect("to all").await;
    for (query, status) in [
        ("receive_key=r&sock_type=host", 403),
        ("receive_key=c&sock_type=client", 403),
        ("client_key=r&sock_type=client", 403),
        ("key=r&sock_type=client", 403),
        ("receive_key=r&client_key=c&sock_type=client", 400),
        ("receive_key=r&key=k&sock_type=client", 400),
    ] {
        assert_eq!(join(&server, &format!("id={pair}&{query}")).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_right_key_in_a_role_that_it_does_not_admit_is_no_guess() {
    let mut config = Config::default();
    config.limits.wrong_key_rate = RateLimit(Some("1/h burst 3".parse().unwrap()));
    config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    let server = Server::start(config).await;
    let id = registered(&server, &format!("{PAIR}&client_key=c")).await;
    let _host = Device::join(server.connect().await, &format!("/connect?id={id}&key=k&sock_type=host")).await;
    let ask = async |query: &str| {
        let mut stream = server.connect().await;
        let request = request(&format!("/connect?id={id}&{query}"));
        let forwarded = request.replacen("\r\n", "\r\nX-Forwarded-For: 192.0.2.1\r\n", 1);
        stream.write_all(forwarded.as_bytes()).await.unwrap();
        read_head(&mut stream).await.status
    };
    for _ in 0..10 {
        assert_eq!(ask("client_key=c&sock_type=host").await, 403);
    }
    assert_eq!(ask("client_key=c&sock_type=client").await, 101);
    for _ in 0..3 {
        assert_eq!(ask("client_key=guess&sock_type=client").await, 403);
    }
    assert_eq!(ask("client_key=c&sock_type=client").await, 429);
    assert_eq!(server.metrics.refusals(Refusal::WrongKey), 13);
}

#[tokio::test]
async fn a_registration_admits_as_many_members_as_its_device_allows_with_a_seat_for_the_host() {
    let server = server().await;
    let lobby = registered(&server, &format!("{LOBBY}&max_members=1")).await;
    let _only = Device::join(server.connect().await, &format!("/connect?id={lobby}&key=k")).await;
    assert_eq!(join(&server, &format!("id={lobby}&key=k")).await.status, 503);
    let pair = registered(&server, &format!("{PAIR}&max_members=2")).await;
    let to = |role: &str| format!("/connect?id={pair}&key=k&sock_type={role}");
    let _client = Device::join(server.connect().await, &to("client")).await;
    assert_eq!(join(&server, &format!("id={pair}&key=k&sock_type=client")).await.status, 503);
    let _host = Device::join(server.connect().await, &to("host")).await;
    assert_eq!(join(&server, &format!("id={pair}&key=k&sock_type=host")).await.status, 503);
}

#[tokio::test]
async fn a_registration_ends_with_its_members_when_its_time_is_over() {
    let server = server().await;
    let id = registered(&server, &format!("{LOBBY}&expires_in=1&id_req=living-room")).await;
    let other = registered(&server, &format!("{LOBBY}&expires_in=3600")).await;
    let mut device = Device::join(server.connect().await, &format!("/connect?id={id}&key=k")).await;
    let is_gone = || {
        server.router.sweep(Instant::now());
        server.router.find(&id).is_none()
    };
    until("its time is over", is_gone).await;
    device.expect_close(CloseReason::Removed).await;
    assert!(server.router.find(&other).is_some());
    assert_eq!(join(&server, &format!("id={id}&key=k")).await.status, 404);
}

#[tokio::test]
async fn an_id_is_given_again_for_the_same_terms_only() {
    let server = server().await;
    let terms = ["", "&client_key=c", "&client_key=d", "&receive_key=c", "&client_key=c&max_members=3"];
    for first in terms {
        let id = registered(&server, &format!("{PAIR}&id_req=living-room{first}")).await;
        assert_eq!(id, "living-room");
        for second in terms {
            let again = registered(&server, &format!("{PAIR}&id_req=living-room{second}&expires_in=60")).await;
            assert_eq!(again == id, first == second, "{first} and {second}");
        }
        assert_eq!(server.get("/remove?id=living-room&key=k&host_key=h").await.status, 200);
    }
}

#[tokio::test]
async fn terms_that_are_malformed_or_out_of_range_are_rejected_with_what_to_fix() {
    let server = server().await;
    let members = Config::default().limits.members;
    for (target, text) in [
        (format!("{LOBBY}&client_key=c"), "client_key needs reg_type=hostclient or paired".to_owned()),
        (format!("{PAIR}&client_key=k"), "client_key must differ from key and host_key".into()),
        (format!("{PAIR}&client_key=h"), "client_key must differ from key and host_key".into()),
        (format!("{LOBBY}&receive_key=k"), "receive_key must differ from the other keys".into()),
        (format!("{PAIR}&receive_key=c&client_key=c"), "receive_key must differ from the other keys".into()),
        (format!("{PAIR}&max_members=1"), format!("max_members must be 2 to {members}")),
        (format!("{LOBBY}&max_members=0"), format!("max_members must be 1 to {members}")),
        (format!("{LOBBY}&max_members={}", members + 1), format!("max_members must be 1 to {members}")),
        (format!("{LOBBY}&max_members=%2B2"), format!("max_members must be 1 to {members}")),
        (format!("{LOBBY}&expires_in=0"), "expires_in must be 1 to 31536000".into()),
        (format!("{LOBBY}&expires_in=31536001"), "expires_in must be 1 to 31536000".into()),
        (format!("{LOBBY}&expires_in=1h"), "expires_in must be 1 to 31536000".into()),
        (format!("{LOBBY}&expires_in=99999999999999999999"), "expires_in must be 1 to 31536000".into()),
    ] {
        let answer = server.get(&target).await;
        assert_eq!((answer.status, answer.body.trim_end()), (400, text.as_str()), "{target}");
    }
    assert_eq!(server.get(&format!("{LOBBY}&expires_in=1&expires_in=2")).await.status, 400);
    assert_eq!(server.router.registrations(), 0);
}
