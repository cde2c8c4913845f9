//! Hostile clients: how each is answered and counted, while an innocent pair receives every message in order.
//!
//! `cargo bench --bench hostile` measures the cost of an attack and the latency of the pair; no time is asserted here.

use std::time::Duration;

use crate::support::descriptors::Descriptors;
use crate::support::device::{Device, Received, closes, frame, header};
use crate::support::{Answer, Server, read_head, until};
use bytesize::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use ws_router_core::close::CloseReason;
use ws_router_core::secret::Token;
use ws_router_server::config::{Config, RateLimit, Rule};
use ws_router_server::metrics::{Refusal, Rejection};

type Member = Device<TcpStream>;

/// Router with an innocent pair in a lobby of its own.
struct Scene {
    server: Server,
    pair: [Member; 2],
    /// Number of the next message of the pair.
    next: u32,
}

impl Scene {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let server = Server::start(config).await;
        let target = lobby(&server).await;
        let pair =
            [Device::join(server.connect().await, &target).await, Device::join(server.connect().await, &target).await];
        Self { server, pair, next: 0 }
    }

    /// Exchanges more messages of the pair; none is missing, doubled or out of order.
    async fn check_pair(&mut self) {
        let [one, other] = &mut self.pair;
        for number in self.next..self.next + 20 {
            one.say(&number.to_string()).await;
        }
        for number in self.next..self.next + 20 {
            other.expect(&number.to_string()).await;
            other.say(&format!("received {number}")).await;
        }
        for number in self.next..self.next + 20 {
            one.expect(&format!("received {number}")).await;
        }
        self.next += 20;
    }

    fn outbox_bytes(&self) -> u64 {
        self.server.router.thread_totals().iter().map(|thread| thread.outbox_bytes.value()).sum()
    }
}

/// Registers; returns the target of a join.
async fn lobby(server: &Server) -> String {
    let id = server.register("key=k&host_key=h&reg_type=lobby").await;
    format!("/connect?id={id}&key=k")
}

/// Sends a byte at a time until the router answers; returns the answer.
async fn drip(stream: TcpStream, bytes: impl IntoIterator<Item = u8>) -> Answer {
    let (mut reader, mut writer) = stream.into_split();
    let dripping = async {
        for byte in bytes {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut read = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = reader.read_to_end(&mut read) => {}
    }
    Answer::parse(&read)
}

#[tokio::test]
async fn a_head_that_arrives_byte_by_byte_is_answered_408_and_counted() {
    let mut scene = Scene::start(|config| config.http.request_timeout = Duration::from_millis(300)).await;
    let endless = || b"GET /healthz HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    let mut dripping = tokio::task::JoinSet::new();
    for _ in 0..30 {
        dripping.spawn(drip(scene.server.connect().await, endless()));
    }
    scene.check_pair().await;
    while let Some(answer) = dripping.join_next().await {
        assert_eq!(answer.unwrap().status, 408);
    }
    assert_eq!(scene.server.metrics.refusals(Refusal::Timeout), 30);
    until("their slots are free", || scene.server.metrics.pending.value() == 0).await;
    scene.check_pair().await;
}

#[tokio::test]
async fn a_frame_that_arrives_byte_by_byte_is_relayed_when_complete_and_delays_no_other_member() {
    let mut scene = Scene::start(|_| {}).await;
    let target = lobby(&scene.server).await;
    let mut dripping = Device::join(scene.server.connect().await, &target).await;
    let mut receiver = Device::join(scene.server.connect().await, &target).await;
    let message = frame(0x81, &[b'x'; 300]);
    for (at, byte) in message.iter().enumerate() {
        dripping.raw(&[*byte]).await;
        if at % 50 == 0 {
            scene.check_pair().await;
            receiver.raw(&frame(0x89, b"anything?")).await;
            assert_eq!(
                receiver.receive().await,
                Received::Pong(b"anything?".to_vec()),
                "an incomplete message isn't delivered"
            );
        }
    }
    receiver.expect(&"x".repeat(300)).await;
}

#[tokio::test]
async fn an_unfinished_close_frame_ends_the_connection_at_the_timeout() {
    let mut scene = Scene::start(|config| config.websocket.close_timeout = Duration::from_millis(200)).await;
    let before = scene.server.metrics.connections.value();
    let target = lobby(&scene.server).await;
    let mut rude = Device::join(scene.server.connect().await, &target).await;
    let mut silent = Device::join(scene.server.connect().await, &target).await;
    rude.raw(b"\xff").await;
    silent.raw(&frame(0x88, &1000u16.to_be_bytes())).await;
    assert!(matches!(rude.receive().await, Received::Close(1002, _)));
    assert!(matches!(silent.receive().await, Received::Close(1000, _)));
    scene.check_pair().await;
    let metrics = scene.server.metrics.clone();
    let mut more = rude.0;
    let talking = tokio::spawn(async move { while more.write_all(b"and another thing").await.is_ok() {} });
    until("both connections are gone", || metrics.connections.value() == before).await;
    talking.await.unwrap();
    until("both are counted", || {
        closes(&scene.server, CloseReason::Protocol) == 1 && closes(&scene.server, CloseReason::Left) == 1
    })
    .await;
    let overdue =
        || scene.server.router.thread_totals().iter().map(|thread| thread.close_timeouts.value()).sum::<u64>();
    // The router doesn't wait for a close frame of the member that sent one itself.
    until("the other member's close times out", || overdue() == 1).await;
    scene.check_pair().await;
}

#[tokio::test]
async fn fragments_without_an_end_are_too_big_at_the_limit() {
    let mut scene = Scene::start(|config| config.websocket.max_message = ByteSize::kib(64)).await;
    let target = lobby(&scene.server).await;
    let mut endless = Device::join(scene.server.connect().await, &target).await;
    endless.raw(&frame(0x02, b"x")).await;
    let more = frame(0x00, &[b'x'; 16]).repeat(1000);
    scene.check_pair().await;
    let mut sent = 0;
    while sent < 5 && endless.0.write_all(&more).await.is_ok() {
        sent += 1;
    }
    assert_eq!(endless.receive().await, Received::Close(1009, "message too big".into()));
    until("it is counted", || closes(&scene.server, CloseReason::TooBig) == 1).await;
    scene.check_pair().await;
}

#[tokio::test]
async fn unread_pongs_of_a_ping_flood_are_replaced_by_the_newest() {
    let mut scene = Scene::start(|_| {}).await;
    let target = lobby(&scene.server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut flooder = Device::join(socket.connect(scene.server.http).await.unwrap(), &target).await;
    let flood = frame(0x89, &[b'?'; 125]).repeat(1000);
    for _ in 0..100 {
        flooder.raw(&flood).await;
    }
    flooder.raw(&frame(0x89, b"last")).await;
    scene.check_pair().await;
    assert!(scene.outbox_bytes() < 64 << 10, "{} bytes are kept for it", scene.outbox_bytes());
    while flooder.receive().await != Received::Pong(b"last".to_vec()) {}
    scene.check_pair().await;
}

#[tokio::test]
async fn a_member_that_reads_nothing_of_a_message_flood_is_closed() {
    let mut scene = Scene::start(|config| config.websocket.outbox = ByteSize::kib(256)).await;
    let target = lobby(&scene.server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = Device::join(socket.connect(scene.server.http).await.unwrap(), &target).await;
    let mut receiver = Device::join(scene.server.connect().await, &target).await;
    let mut flooder = Device::join(scene.server.connect().await, &target).await;
    let counting = tokio::spawn(async move {
        let mut received = 0u64;
        while receiver.receive().await == Received::Binary(b"x".to_vec()) {
            received += 1;
        }
        received
    });
    let (flood, mut sent) = (frame(0x82, b"x").repeat(10_000), 0);
    while closes(&scene.server, CloseReason::TooSlow) == 0 {
        flooder.raw(&flood).await;
        sent += 10_000;
        assert!(sent < 10_000_000, "the member was never closed");
        scene.check_pair().await;
    }
    while matches!(stuck.receive().await, Received::Binary(_)) {}
    flooder.say("over").await;
    assert_eq!(counting.await.unwrap(), sent, "a member that reads receives everything");
    scene.check_pair().await;
}

#[tokio::test]
async fn false_lengths_are_rejected_or_cost_no_memory() {
    let Some(_descriptors) = Descriptors::at_least(2000) else { return };
    let mut scene = Scene::start(|_| {}).await;
    let target = lobby(&scene.server).await;
    let _stays = Device::join(scene.server.connect().await, &target).await;
    for lie in [u64::MAX, 1 << 62, (64 << 20) + 1] {
        let mut liar = Device::join(scene.server.connect().await, &target).await;
        liar.raw(&header(0x82, lie)).await;
        let code = if lie == u64::MAX { 1002 } else { 1009 };
        assert!(matches!(liar.receive().await, Received::Close(found, _) if found == code), "{lie}");
    }
    until("all are counted", || closes(&scene.server, CloseReason::TooBig) == 2).await;
    until("all are counted", || closes(&scene.server, CloseReason::Protocol) == 1).await;
    let before = resident();
    let mut liars = Vec::new();
    for _ in 0..300 {
        let mut liar = Device::join(scene.server.connect().await, &target).await;
        liar.raw(&[&header(0x82, 64 << 20)[..], b"a few bytes"].concat()).await;
        liars.push(liar);
    }
    scene.check_pair().await;
    assert!(resident() < before + (64 << 20), "{} bytes for 300 empty promises", resident() - before);
}

#[tokio::test]
async fn a_storm_of_wrong_keys_is_answered_403_and_then_429() {
    let mut scene = Scene::start(|config| {
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
        config.limits.wrong_key_rate = RateLimit(Some("1/h burst 50".parse().unwrap()));
    })
    .await;
    let target = lobby(&scene.server).await.replace("key=k", "key=guess");
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let mut stream = scene.server.connect().await;
        let request = crate::support::device::request(&target).replacen("\r\n", &format!("\r\n{STRANGER}"), 1);
        stream.write_all(request.as_bytes()).await.unwrap();
        *statuses.entry(read_head(&mut stream).await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, [(403, 50), (429, 150)].into());
    assert_eq!(scene.server.metrics.refusals(Refusal::WrongKey), 50);
    assert_eq!(scene.server.metrics.refusals(Refusal::TooOften), 150);
    scene.check_pair().await;
}

#[tokio::test]
async fn a_storm_of_guessed_tokens_is_answered_401_and_then_429() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("phone:{}\n", Token::from_bits([1; 32]).hash())).unwrap();
    let mut scene = Scene::start(|config| {
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
        config.limits.register_rate = RateLimit(Some("1/h burst 50".parse().unwrap()));
        let near = Rule { networks: ["127.0.0.1".parse().unwrap()].into_iter().collect(), ..Rule::default() };
        config.access = vec![near, Rule { tokens: Some(file), ..Rule::default() }];
    })
    .await;
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..200 {
        let headers = format!("{STRANGER}Authorization: Bearer {number:064x}\r\n");
        let answer = scene.server.request("GET", "/register?key=k&host_key=h&reg_type=lobby", &headers, "").await;
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, [(401, 50), (429, 150)].into());
    assert_eq!(scene.server.metrics.refusals(Refusal::Access), 50);
    assert_eq!(scene.server.metrics.refusals(Refusal::TooOften), 150);
    assert_eq!(scene.server.router.registrations(), 1);
    scene.check_pair().await;
}

#[tokio::test]
async fn a_storm_of_registrations_is_answered_429_and_at_the_limit_503() {
    let mut scene = Scene::start(|config| {
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
        config.limits.register_rate = RateLimit(Some("1/h burst 100".parse().unwrap()));
        config.limits.registrations = 60;
    })
    .await;
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let target = "/register?key=k&host_key=h&reg_type=lobby";
        let answer = scene.server.request("GET", target, STRANGER, "").await;
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    // One registration is the pair's.
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 429, 503]);
    assert_eq!(statuses[&200], 59);
    assert_eq!(scene.server.metrics.refusals(Refusal::TooOften), statuses[&429]);
    assert_eq!(scene.server.metrics.refusals(Refusal::Full), statuses[&503]);
    assert_eq!(scene.server.router.registrations(), 60);
    scene.check_pair().await;
}

#[tokio::test]
async fn silent_connections_stay_within_limits_pending() {
    let mut scene = Scene::start(|config| config.limits.pending = 20).await;
    let mut connections = Vec::new();
    for _ in 0..60 {
        connections.push(scene.server.connect().await);
    }
    let metrics = scene.server.metrics.clone();
    until("the oldest are evicted", || metrics.rejections(Rejection::Evicted) == 40).await;
    assert_eq!(metrics.pending.value(), 20);
    scene.check_pair().await;
    drop(connections);
    until("their slots are free", || metrics.pending.value() == 0).await;
    assert_eq!(scene.server.get("/healthz").await.status, 200);
}

/// Address of a client behind a proxy; for loopback itself only wrong keys are limited.
const STRANGER: &str = "X-Forwarded-For: 203.0.113.66\r\n";

/// Returns the resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
