//! `POST /send` (ws-router-protocol(7)): a message to the members of a registration from a client that is none.

use std::time::Duration;

use bytesize::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ws_router_core::close::CloseReason;
use ws_router_server::config::{Config, RateLimit};
use ws_router_server::metrics::{Refusal, SendResult};

use crate::support::device::{Device, Received};
use crate::support::{Answer, Server, exchange, read_head, until};

const TEXT: &str = "Content-Type: text/plain\r\n";

async fn server() -> Server {
    server_with(|_| {}).await
}

async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    Server::start(config).await
}

/// Registers a hostclient registration with every key.
async fn registered(server: &Server) -> String {
    server.register("key=k&host_key=h&reg_type=hostclient&client_key=c&receive_key=r").await
}

async fn join(server: &Server, query: &str) -> Device<TcpStream> {
    Device::join(server.connect().await, &format!("/connect?{query}")).await
}

async fn send(server: &Server, query: &str, body: &str) -> Answer {
    server.request("POST", &format!("/send?{query}"), TEXT, body).await
}

/// Asserts that a message was sent to so many members.
fn assert_sent(answer: &Answer, receivers: usize) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.body, format!("{{\"receivers\":{receivers}}}"));
}

/// Sends the head of a request, whose body may follow.
async fn begin(server: &Server, query: &str, headers: &str) -> TcpStream {
    let mut stream = server.connect().await;
    let head = format!("POST /send?{query} HTTP/1.1\r\nHost: localhost\r\n{TEXT}{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_message_reaches_those_who_receive_from_its_role() {
    let server = server().await;
    let id = registered(&server).await;
    let mut host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let mut listener = join(&server, &format!("id={id}&receive_key=r&sock_type=client")).await;
    assert_sent(&send(&server, &format!("id={id}&key=k&sock_type=host"), "to the clients").await, 2);
    client.expect("to the clients").await;
    listener.expect("to the clients").await;
    for query in ["key=k&sock_type=client", "client_key=c", "client_key=c&sock_type=client/"] {
        assert_sent(&send(&server, &format!("id={id}&{query}"), query).await, 1);
        host.expect(query).await;
    }
    let lobby = server.register("key=k&host_key=h&reg_type=lobby").await;
    let mut peers =
        [join(&server, &format!("id={lobby}&key=k")).await, join(&server, &format!("id={lobby}&key=k")).await];
    for query in ["key=k", "key=k&sock_type=nonsense", "key=k&unknown=1"] {
        assert_sent(&send(&server, &format!("id={lobby}&{query}"), "to all").await, 2);
        peers[0].expect("to all").await;
        peers[1].expect("to all").await;
    }
    assert_eq!(server.metrics.sends(SendResult::Sent), 7);
    let traffic = server.router.traffic_of(&server.router.find(&lobby).unwrap().registration).await.tally;
    assert_eq!((traffic.messages_in, traffic.bytes_in, traffic.messages_out), (3, 18, 6));
}

#[tokio::test]
async fn the_type_of_the_body_decides_between_text_and_binary() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let mut peer = join(&server, &format!("id={id}&key=k")).await;
    for (media_type, is_text) in [
        (Some("text/plain"), true),
        (Some("text/csv; charset=utf-8"), true),
        (Some("application/json"), true),
        (Some("application/cloudevents+json; charset=UTF-8"), true),
        (Some("application/x-www-form-urlencoded"), true),
        (Some("application/octet-stream"), false),
        (Some("image/png"), false),
        (None, false),
    ] {
        let header = media_type.map_or(String::new(), |media_type| format!("Content-Type: {media_type}\r\n"));
        let target = format!("/send?id={id}&key=k");
        assert_sent(&server.request("POST", &target, &header, "key=körper").await, 1);
        let expected =
            if is_text { Received::Text("key=körper".into()) } else { Received::Binary("key=körper".into()) };
        assert_eq!(peer.receive().await, expected, "{media_type:?}");
    }
    let invalid = |media_type: &str| {
        let head = format!("POST /send?id={id}&key=k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{media_type}");
        [head.as_bytes(), b"Content-Length: 2\r\n\r\n\xff\xfe"].concat()
    };
    let answer = server.raw(&invalid("Content-Type: application/json\r\n")).await;
    assert_eq!((answer.status, &*answer.body), (400, "the body is not UTF-8, which its type requires"));
    assert_sent(&server.raw(&invalid("")).await, 1);
    assert_eq!(peer.receive().await, Received::Binary(vec![0xff, 0xfe]));
    assert_sent(&send(&server, &format!("id={id}&key=k"), "").await, 1);
    peer.expect("").await;
}

#[tokio::test]
async fn what_is_wrong_is_answered_with_one_line_that_says_what_to_fix() {
    let server = server().await;
    let id = registered(&server).await;
    let _host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    for (query, status) in [
        (format!("id={id}&key=wrong&sock_type=host"), 403),
        (format!("id={id}&client_key=k"), 403),
        (format!("id={id}&client_key=c&sock_type=host"), 403),
        (format!("id={id}&receive_key=r&sock_type=client"), 403),
        (format!("id={id}&receive_key=r"), 403),
        (format!("id={id}&key=k"), 400),
        (format!("id={id}&key=k&sock_type=peer"), 400),
        (format!("id={id}&client_key=c&sock_type=peer"), 400),
        (format!("id={id}&key=k&sock_type=host&sock_type=host"), 400),
        (format!("id={id}&key=k&client_key=c"), 400),
        (format!("id={id}&sock_type=host"), 400),
        (format!("id={id}&key=&sock_type=host"), 400),
        ("key=k&sock_type=host".into(), 400),
        ("id=unknown-id&key=k&sock_type=host".into(), 404),
    ] {
        let answer = send(&server, &query, "hello").await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(!answer.body.is_empty() && answer.body.lines().count() == 1, "{answer:?}");
    }
    let paired = server.register("key=k&host_key=h&reg_type=paired&client_key=c").await;
    for (query, status) in [("key=k&sock_type=client", 400), ("client_key=c", 400), ("key=wrong", 403)] {
        assert_eq!(send(&server, &format!("id={paired}&{query}"), "hello").await.status, status, "{query}");
    }
    // The parameters are in the query only, since the body is the message.
    assert_eq!(server.post("/send", &format!("id={id}&client_key=c")).await.status, 400);
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let answer = server.request(method, &format!("/send?id={id}&client_key=c"), "", "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST, OPTIONS")), "{method}");
    }
}

#[tokio::test]
async fn a_page_may_send_after_a_preflight_and_read_the_answer() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let headers = "Origin: https://page.example\r\nAccess-Control-Request-Method: POST\r\n\
        Access-Control-Request-Headers: content-type\r\n";
    let answer = server.request("OPTIONS", "/send", headers, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("POST, OPTIONS")));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type"));
    let answer = send(&server, &format!("id={id}&key=k"), "hello").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (503, Some("*")));
}

#[tokio::test]
async fn a_webhook_that_finds_nobody_delivers_again_until_a_receiver_is_there() {
    let server = server().await;
    let id = registered(&server).await;
    let _client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let deliver = async || send(&server, &format!("id={id}&client_key=c"), "event 1").await;
    for attempt in 1..=2 {
        let answer = deliver().await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
        assert_eq!(server.metrics.sends(SendResult::NoReceiver), attempt);
        assert_eq!(server.metrics.refusals(Refusal::NoReceiver), attempt);
    }
    let mut host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    assert_sent(&deliver().await, 1);
    host.expect("event 1").await;
    host.raw(&crate::support::device::frame(0x88, &1000u16.to_be_bytes())).await;
    assert!(matches!(host.receive().await, Received::Close(1000, _)));
    assert_eq!(deliver().await.status, 503);
}

#[tokio::test]
async fn with_the_term_wait_a_message_for_nobody_waits_for_the_next_receiver() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=hostclient&client_key=c&receive_key=r&wait=60").await;
    for text in ["one", "two"] {
        let answer = send(&server, &format!("id={id}&client_key=c"), text).await;
        assert_eq!((answer.status, &*answer.body), (202, "{\"receivers\":0}"), "{answer:?}");
    }
    assert_eq!(server.metrics.sends(SendResult::Waiting), 2);
    let mut host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    assert_sent(&send(&server, &format!("id={id}&client_key=c"), "three").await, 1);
    for text in ["one", "two", "three"] {
        host.expect(text).await;
    }
    // One that only receives gets it at once, and the next other client, too.
    let mut listener = join(&server, &format!("id={id}&receive_key=r&sock_type=client")).await;
    assert_sent(&send(&server, &format!("id={id}&key=k&sock_type=host"), "four").await, 1);
    listener.expect("four").await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    client.expect("four").await;
}

#[tokio::test]
async fn a_message_that_finds_too_much_waiting_waits_for_its_answer() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=hostclient&client_key=c&wait=60").await;
    let query = format!("id={id}&key=k&sock_type=host");
    for number in 0..2 {
        assert_eq!(send(&server, &query, &large(number)).await.status, 202);
    }
    let mut waits = begin(&server, &query, "Content-Length: 4\r\n").await;
    waits.write_all(b"last").await.unwrap();
    until("the third waits", || waiting(&server) == 1).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    client.expect(&large(0)).await;
    client.expect(&large(1)).await;
    client.expect("last").await;
    assert_eq!(read_head(&mut waits).await.status, 200);
}

#[tokio::test]
async fn sending_keeps_no_registration_alive() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let peer = join(&server, &format!("id={id}&key=k")).await;
    assert_sent(&send(&server, &format!("id={id}&key=k"), "hello").await, 1);
    drop(peer);
    until("the registration ends", || server.router.find(&id).is_none()).await;
    assert_eq!(send(&server, &format!("id={id}&key=k"), "hello").await.status, 404);
}

#[tokio::test]
async fn messages_keep_their_order_among_each_other_and_with_those_of_members() {
    let server = server().await;
    let id = registered(&server).await;
    let mut host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let mut other = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    for number in 0..50 {
        host.say(&format!("host {number}")).await;
        // Once one client has it, it is on its way to all.
        client.expect(&format!("host {number}")).await;
        assert_sent(&send(&server, &format!("id={id}&key=k&sock_type=host"), &format!("sent {number}")).await, 2);
        client.expect(&format!("sent {number}")).await;
    }
    for number in 0..50 {
        other.expect(&format!("host {number}")).await;
        other.expect(&format!("sent {number}")).await;
    }
}

/// Returns a message of 200 KiB that starts with its number.
fn large(number: usize) -> String {
    format!("{number}{}", "x".repeat(200 << 10))
}

/// Returns the number of messages that wait for slow receivers.
fn waiting(server: &Server) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.waiting_sends.value()).sum()
}

/// Sends messages to a client that doesn't read until one isn't answered; returns the number of the others, and the
/// connection that waits.
async fn fill(server: &Server, id: &str) -> (usize, TcpStream) {
    for number in 0.. {
        let query = format!("id={id}&key=k&sock_type=host");
        let body = large(number);
        let headers = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
        let mut stream = begin(server, &query, &headers).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        until("it is sent or waits", || server.metrics.sends(SendResult::Sent) > number as u64 || waiting(server) > 0)
            .await;
        if waiting(server) > 0 {
            return (number, stream);
        }
        assert_eq!(read_head(&mut stream).await.status, 200);
    }
    unreachable!()
}

#[tokio::test]
async fn the_answer_waits_while_every_receiver_is_behind_and_comes_when_one_reads_again() {
    let server = server().await;
    let id = registered(&server).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let (sent, mut waiting) = fill(&server, &id).await;
    // Another one waits behind it.
    let mut second = begin(&server, &format!("id={id}&key=k&sock_type=host"), "Content-Length: 4\r\n").await;
    second.write_all(b"last").await.unwrap();
    for number in 0..=sent {
        assert_eq!(client.receive().await, Received::Text(large(number)));
    }
    client.expect("last").await;
    assert_eq!(read_head(&mut waiting).await.status, 200);
    assert_eq!(read_head(&mut second).await.status, 200);
}

#[tokio::test]
async fn a_message_whose_receivers_stay_behind_is_answered_with_503_and_never_sent() {
    let server = server_with(|config| config.http.request_timeout = Duration::from_millis(700)).await;
    let id = registered(&server).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let (sent, waiting) = fill(&server, &id).await;
    let answer = exchange(waiting, b"").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    assert!(answer.body.contains("nothing was sent"));
    assert_eq!(server.metrics.sends(SendResult::TooSlow), 1);
    assert_eq!(server.metrics.refusals(Refusal::SlowReceivers), 1);
    for number in 0..sent {
        assert_eq!(client.receive().await, Received::Text(large(number)));
    }
    assert_sent(&send(&server, &format!("id={id}&key=k&sock_type=host"), "next").await, 1);
    client.expect("next").await;
}

#[tokio::test]
async fn a_message_that_waits_is_answered_with_404_when_its_registration_ends() {
    let server = server().await;
    let id = registered(&server).await;
    let _client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let (_, waiting) = fill(&server, &id).await;
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    assert_eq!(exchange(waiting, b"").await.status, 404);
}

#[tokio::test]
async fn the_key_and_the_length_are_checked_before_the_body_is_read() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let _peer = join(&server, &format!("id={id}&key=k")).await;
    // None of these bodies is ever sent.
    for (key, headers, status) in [
        ("wrong", "Content-Length: 100\r\n", 403),
        ("wrong", "Transfer-Encoding: chunked\r\n", 403),
        ("wrong", "Content-Length: 99999999999\r\n", 403),
        ("k", "Content-Length: 262145\r\n", 413),
        ("k", "Content-Length: 262145\r\nExpect: 100-continue\r\n", 413),
        ("k", "Content-Length: 262144\r\nExpect: 100-continue\r\n", 100),
    ] {
        let mut stream = begin(&server, &format!("id={id}&key={key}"), headers).await;
        assert_eq!(read_head(&mut stream).await.status, status, "{key} {headers}");
    }
}

#[tokio::test]
async fn a_message_may_be_as_large_as_max_send_with_and_without_an_announced_length() {
    let server = server_with(|config| config.http.max_send = ByteSize::kib(1)).await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let mut peer = join(&server, &format!("id={id}&key=k")).await;
    let query = format!("id={id}&key=k");
    let (most, more) = ("x".repeat(1024), "x".repeat(1025));
    assert_sent(&send(&server, &query, &most).await, 1);
    peer.expect(&most).await;
    assert_eq!(send(&server, &query, &more).await.status, 413);
    let chunked = |body: &str| {
        let (first, second) = body.split_at(700);
        let head = format!("POST /send?{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{TEXT}");
        format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        )
    };
    assert_sent(&server.raw(chunked(&most).as_bytes()).await, 1);
    peer.expect(&most).await;
    assert_eq!(server.raw(chunked(&more).as_bytes()).await.status, 413);
    assert_eq!(server.metrics.refusals(Refusal::TooLarge), 2);
    // No message is larger than members may send.
    server.reconfigure(|config| {
        config.http.max_send = ByteSize::kib(64);
        config.websocket.max_message = ByteSize::kib(1);
    });
    assert_eq!(send(&server, &query, &more).await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let server = server_with(|config| config.http.request_timeout = Duration::from_millis(200)).await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let _peer = join(&server, &format!("id={id}&key=k")).await;
    let mut stream = begin(&server, &format!("id={id}&key=k"), "Content-Length: 10\r\n").await;
    assert_eq!(read_head(&mut stream).await.status, 408);
}

/// Makes a request as the client of a trusted proxy.
async fn send_from(server: &Server, client: &str, query: &str) -> Answer {
    let headers = format!("{TEXT}X-Forwarded-For: {client}\r\n");
    server.request("POST", &format!("/send?{query}"), &headers, "hello").await
}

fn trust_this_machine(config: &mut Config) {
    config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
}

#[tokio::test]
async fn a_network_that_sends_too_often_is_told_when_to_send_again() {
    let server = server_with(|config| {
        trust_this_machine(config);
        config.limits.send_rate = RateLimit(Some("1/h burst 2".parse().unwrap()));
    })
    .await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let _peer = join(&server, &format!("id={id}&key=k")).await;
    let query = format!("id={id}&key=k");
    assert_sent(&send_from(&server, "192.0.2.1", &query).await, 1);
    assert_sent(&send_from(&server, "192.0.2.1", &query).await, 1);
    let answer = send_from(&server, "192.0.2.1", &query).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000, "{answer:?}");
    assert_eq!(server.metrics.refusals(Refusal::TooOften), 1);
    assert_sent(&send_from(&server, "192.0.2.2", &query).await, 1);
}

#[tokio::test]
async fn wrong_keys_are_guesses_and_roles_that_a_key_does_not_admit_are_not() {
    let server =
        server_with(|config| config.limits.wrong_key_rate = RateLimit(Some("1/h burst 3".parse().unwrap()))).await;
    let id = registered(&server).await;
    let _host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    for _ in 0..5 {
        assert_eq!(send(&server, &format!("id={id}&client_key=c&sock_type=host"), "hello").await.status, 403);
        assert_eq!(send(&server, &format!("id={id}&receive_key=r"), "hello").await.status, 403);
    }
    assert_sent(&send(&server, &format!("id={id}&client_key=c"), "hello").await, 1);
    for _ in 0..3 {
        assert_eq!(send(&server, &format!("id={id}&client_key=guess"), "hello").await.status, 403);
    }
    let answer = send(&server, &format!("id={id}&client_key=c"), "hello").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_network_holds_at_most_its_share_of_the_memory_for_messages() {
    let server = server_with(|config| {
        trust_this_machine(config);
        config.limits.memory = Some(ByteSize::mib(16));
    })
    .await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let _peer = join(&server, &format!("id={id}&key=k")).await;
    let query = format!("id={id}&key=k");
    let announce = async |client: &str| {
        let headers = format!("Content-Length: 262144\r\nExpect: 100-continue\r\nX-Forwarded-For: {client}\r\n");
        let mut stream = begin(&server, &query, &headers).await;
        (read_head(&mut stream).await.status, stream)
    };
    let mut held = Vec::new();
    // An eighth of the memory is 2 MiB, and half of that four messages.
    for expected in [100, 100, 100, 100, 503] {
        let (status, stream) = announce("192.0.2.1").await;
        assert_eq!(status, expected);
        held.push(stream);
    }
    assert_eq!(announce("192.0.2.2").await.0, 100);
    assert_eq!(server.metrics.out_of_memory.value(), 1);
    // What is held counts for the memory of all, and is free again when the requests end.
    assert!(server.router.memory().used() > 4 * 262_144);
    drop(held);
    until("the memory is free", || server.metrics.send_bytes.value() == 0).await;
    assert_sent(&send_from(&server, "192.0.2.1", &query).await, 1);
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_message_waits_disturbs_nobody() {
    let server = server().await;
    let id = registered(&server).await;
    let mut client = join(&server, &format!("id={id}&client_key=c&sock_type=client")).await;
    let (sent, waiting) = fill(&server, &id).await;
    drop(waiting);
    for number in 0..sent {
        assert_eq!(client.receive().await, Received::Text(large(number)));
    }
    assert_sent(&send(&server, &format!("id={id}&key=k&sock_type=host"), "next").await, 1);
    loop {
        // It may have been sent before its client was known to be gone.
        match client.receive().await {
            Received::Text(text) if text == "next" => break,
            received => assert_eq!(received, Received::Text(large(sent))),
        }
    }
}

#[tokio::test]
async fn several_requests_on_one_connection_are_sent_in_order() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    let mut peer = join(&server, &format!("id={id}&key=k")).await;
    let mut stream = server.connect().await;
    for number in 0..10 {
        let body = format!("message {number}");
        let head =
            format!("POST /send?id={id}&key=k HTTP/1.1\r\nHost: a\r\n{TEXT}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 200);
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"{\"receivers\":1}");
        peer.expect(&body).await;
    }
}

#[tokio::test]
async fn nothing_waits_any_more_while_the_router_is_drained_or_stops() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby&wait=60").await;
    let query = format!("id={id}&key=k");
    assert_eq!(send(&server, &query, "waits").await.status, 202);
    server.router.drain(Duration::from_secs(3600));
    for _ in 0..2 {
        let answer = send(&server, &query, "would be discarded").await;
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{answer:?}");
    }
    assert_eq!(server.metrics.sends(SendResult::NoReceiver), 2);
    server.router.undo_drain();
    assert_eq!(send(&server, &query, "waits as well").await.status, 202);
    let mut peer = join(&server, &query).await;
    peer.expect("waits").await;
    peer.expect("waits as well").await;
    let other = server.register("key=k&host_key=h&reg_type=lobby&wait=60").await;
    drop(server.router.shutdown(CloseReason::Stopping, Duration::ZERO));
    assert_eq!(send(&server, &format!("id={other}&key=k"), "would be discarded").await.status, 503);
}
