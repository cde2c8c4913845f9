//! Messages that wait for a receiver (ws-router-protocol(7), Messages that wait).

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use ws_router_core::close::CloseReason;
use ws_router_core::shard::{DiscardReason, WaitingTotals};
use ws_router_server::config::Config;

use crate::support::device::{Device, Received, frame};
use crate::support::{Server, until};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const PAIR: &str = "key=k&host_key=h&reg_type=hostclient";

async fn server() -> Server {
    Server::start(Config::default()).await
}

async fn join(server: &Server, id: &str, query: &str) -> Device<TcpStream> {
    Device::join(server.connect().await, &format!("/connect?id={id}&{query}")).await
}

async fn leave(mut device: Device<TcpStream>) {
    device.raw(&frame(0x88, &1000u16.to_be_bytes())).await;
    assert!(matches!(device.receive().await, Received::Close(1000, _)));
}

async fn waiting(server: &Server, id: &str) -> WaitingTotals {
    match server.router.find(id) {
        Some(summary) => server.router.traffic_of(&summary.registration).await.waiting,
        None => WaitingTotals::default(),
    }
}

/// Waits until so many messages wait in a registration.
async fn until_waiting(server: &Server, id: &str, messages: u64) {
    let begun = Instant::now();
    while waiting(server, id).await.messages != messages {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", waiting(server, id).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn discarded(server: &Server, reason: DiscardReason) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.waiting_discarded(reason)).sum()
}

#[tokio::test]
async fn what_is_said_before_the_other_side_is_there_arrives() {
    let server = server().await;
    for (kind, sender, receiver) in [
        (PAIR, "key=k&sock_type=client", "key=k&sock_type=host"),
        (PAIR, "key=k&sock_type=host", "client_key=c&sock_type=client"),
        (LOBBY, "key=k", "key=k"),
    ] {
        let client_key = if kind == PAIR { "&client_key=c" } else { "" };
        let id = server.register(&format!("{kind}&wait=60{client_key}")).await;
        let mut early = join(&server, &id, sender).await;
        for text in ["one", "two", "three"] {
            early.say(text).await;
        }
        until_waiting(&server, &id, 3).await;
        let mut late = join(&server, &id, receiver).await;
        early.say("four").await;
        for text in ["one", "two", "three", "four"] {
            late.expect(text).await;
        }
        late.say("hello").await;
        early.expect("hello").await;
        assert_eq!(waiting(&server, &id).await, WaitingTotals::default());
        leave(early).await;
        leave(late).await;
        until("the registration ends", || server.router.find(&id).is_none()).await;
    }
}

#[tokio::test]
async fn a_device_may_send_and_leave_and_the_registration_waits_with_its_message() {
    let server = server().await;
    let id = server.register(&format!("{PAIR}&wait=60")).await;
    let mut phone = join(&server, &id, "key=k&sock_type=client").await;
    phone.say("lamp on").await;
    leave(phone).await;
    until("it has left", || server.router.member_count() == 0).await;
    let kept = server.router.find(&id).unwrap();
    assert_eq!((kept.seats, kept.expires), (0, None));
    let mut program = join(&server, &id, "key=k&sock_type=host").await;
    program.expect("lamp on").await;
    leave(program).await;
    until("the registration ends", || server.router.find(&id).is_none()).await;
}

#[tokio::test]
async fn a_registration_without_members_ends_after_its_last_message_has_expired() {
    let server = server().await;
    let id = server.register(&format!("{PAIR}&wait=1")).await;
    let other = server.register(&format!("{PAIR}&wait=60")).await;
    for id in [&id, &other] {
        let mut phone = join(&server, id, "key=k&sock_type=client").await;
        phone.say("lamp on").await;
        leave(phone).await;
    }
    until("both have left", || server.router.member_count() == 0).await;
    until("its message has expired", || server.router.find(&id).is_none()).await;
    assert_eq!(discarded(&server, DiscardReason::Expired), 1);
    assert!(server.router.find(&other).is_some());
}

#[tokio::test]
async fn an_emptied_registration_lingers_from_when_its_last_message_is_gone() {
    let mut config = Config::default();
    config.registration.linger = Duration::from_secs(300);
    let server = Server::start(config).await;
    let id = server.register(&format!("{PAIR}&wait=1")).await;
    let mut phone = join(&server, &id, "key=k&sock_type=client").await;
    phone.say("lamp on").await;
    leave(phone).await;
    until("it has left", || server.router.member_count() == 0).await;
    assert_eq!(server.router.find(&id).unwrap().expires, None);
    until("its message has expired", || server.router.find(&id).unwrap().expires.is_some()).await;
}

#[tokio::test]
async fn removals_discard_what_waits() {
    let server = server().await;
    let (removed, forced) =
        (server.register(&format!("{LOBBY}&wait=60")).await, server.register(&format!("{LOBBY}&wait=60")).await);
    let mut present = join(&server, &removed, "key=k").await;
    present.say("nobody hears this").await;
    let mut absent = join(&server, &forced, "key=k").await;
    absent.say("nor this").await;
    leave(absent).await;
    until_waiting(&server, &removed, 1).await;
    until_waiting(&server, &forced, 1).await;
    assert_eq!(server.get(&format!("/remove?id={removed}&key=k&host_key=h")).await.status, 200);
    present.expect_close(CloseReason::Removed).await;
    let forced = server.router.find(&forced).unwrap().registration;
    let by = ws_router_admin_api::peer::Peer::Unix { uid: 0, pid: 1 };
    assert!(server.router.force_remove(&forced.id, by).await);
    until("both are discarded", || discarded(&server, DiscardReason::Ended) == 2).await;
    let waits = || server.router.thread_totals().iter().map(|thread| thread.waiting_bytes.value()).sum::<u64>();
    until("nothing waits", || waits() == 0).await;
    assert!(server.router.find(forced.id.as_str()).is_none());
}

#[tokio::test]
async fn the_end_of_a_drain_discards_what_waits() {
    let server = server().await;
    let id = server.register(&format!("{LOBBY}&wait=60")).await;
    let mut device = join(&server, &id, "key=k").await;
    device.say("nobody hears this").await;
    until_waiting(&server, &id, 1).await;
    leave(device).await;
    until("it has left", || server.router.member_count() == 0).await;
    server.router.drain(Duration::ZERO);
    until("the drain ends", || server.router.advance_drain()).await;
    until("it is discarded", || discarded(&server, DiscardReason::Ended) == 1).await;
    until("the registration ends", || server.router.find(&id).is_none()).await;
}

#[tokio::test]
async fn what_waits_is_given_up_first_when_memory_is_short() {
    let mut config = Config::default();
    config.limits.memory = Some(bytesize::ByteSize::mib(8));
    let server = Server::start(config).await;
    let mut devices = Vec::new();
    let bystander = server.register(LOBBY).await;
    let mut bystanders = [join(&server, &bystander, "key=k").await, join(&server, &bystander, "key=k").await];
    let discarded = || discarded(&server, DiscardReason::Memory);
    for _ in 0..60 {
        // As many as there is room for; then newcomers are rejected until something is given up.
        let answer = server.get(&format!("/register?{LOBBY}&wait=60")).await;
        if answer.status != 200 || discarded() > 0 {
            break;
        }
        let mut device = join(&server, &answer.body, "key=k").await;
        device.say(&"x".repeat(250_000)).await;
        devices.push(device);
        let waits = || server.router.thread_totals().iter().map(|thread| thread.waiting_messages.value()).sum::<u64>();
        until("it waits", || waits() == devices.len() as u64 || discarded() > 0).await;
    }
    until("something is discarded", || discarded() > 0).await;
    bystanders[0].say("still here").await;
    bystanders[1].expect("still here").await;
    assert_eq!(server.router.member_count(), devices.len() as u64 + 2);
}

#[tokio::test]
async fn a_member_with_the_receive_key_does_not_take_over_what_waits() {
    let server = server().await;
    let id = server.register(&format!("{LOBBY}&receive_key=r&wait=60")).await;
    let mut talker = join(&server, &id, "key=k").await;
    talker.say("one").await;
    until_waiting(&server, &id, 1).await;
    let mut listener = join(&server, &id, "receive_key=r").await;
    talker.say("two").await;
    listener.expect("two").await;
    until_waiting(&server, &id, 2).await;
    let mut peer = join(&server, &id, "key=k").await;
    for text in ["one", "two"] {
        peer.expect(text).await;
    }
    talker.say("three").await;
    peer.expect("three").await;
    listener.expect("three").await;
}

#[tokio::test]
async fn a_sender_is_paced_while_nobody_is_there_and_nothing_is_lost() {
    let server = server().await;
    let id = server.register(&format!("{PAIR}&wait=60")).await;
    let mut host = join(&server, &id, "key=k&sock_type=host").await;
    let count = 4000;
    let sends = tokio::spawn(async move {
        for number in 0..count {
            host.say(&format!("{number:>16000}")).await;
        }
        host
    });
    let bytes = || server.router.thread_totals().iter().map(|thread| thread.waiting_bytes.value()).sum::<u64>();
    until("the host is paused", || bytes() > 256 << 10).await;
    let mut client = join(&server, &id, "key=k&sock_type=client").await;
    assert!(bytes() < 2 << 20);
    for number in 0..count {
        client.expect(&format!("{number:>16000}")).await;
    }
    sends.await.unwrap();
}

#[tokio::test]
async fn the_term_is_compared_shown_and_limited() {
    let mut config = Config::default();
    config.registration.max_wait = Duration::from_secs(90);
    let server = Server::start(config).await;
    let register = async |query: &str| server.get(&format!("/register?{LOBBY}{query}")).await;
    assert_eq!(register("&id_req=living-room&wait=90").await.body, "living-room");
    assert_eq!(register("&id_req=living-room&wait=90").await.body, "living-room");
    for other in ["", "&wait=89"] {
        assert_ne!(register(&format!("&id_req=living-room{other}")).await.body, "living-room", "{other}");
    }
    for bad in ["0", "91", "1m", "-1", "%2B5", "99999999999999999999"] {
        let answer = register(&format!("&wait={bad}")).await;
        assert_eq!((answer.status, answer.body.trim_end()), (400, "wait must be 1 to 90"), "{bad}");
    }
    assert_eq!(register("&wait=").await.status, 400);
    assert_eq!(register("&wait=5&wait=6").await.status, 400);
    assert_eq!(server.router.find("living-room").unwrap().registration.wait(), Some(Duration::from_secs(90)));
    server.reconfigure(|config| config.registration.max_wait = Duration::ZERO);
    let answer = register("&wait=5").await;
    assert_eq!((answer.status, answer.body.trim_end()), (400, "wait is turned off on this router; leave it out"));
    assert_eq!(register("").await.status, 200);
}
