//! The views of operators on the terms of registrations, and on who was admitted by which rule and token: the commands of
//! ws-routerctl(1), the admin interface and the events.

use std::path::PathBuf;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use ws_router_core::secret::Token;
use ws_router_server::config::{Config, Rule};

use super::ctl::ask;
use crate::support::admin::Admin;
use crate::support::until;

const PAIR: &str = "key=sesame-key&host_key=sesame-host&reg_type=hostclient&id_req=my-device";

/// Returns the value of a field that `show` prints.
fn field<'a>(shown: &'a str, name: &str) -> Option<&'a str> {
    shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Returns the cells under a heading, which are aligned to the left. Columns are separated by two spaces.
fn column(table: &str, heading: &str) -> Vec<String> {
    let mut lines = table.lines().skip_while(|line| !line.contains(heading));
    let headings = lines.next().unwrap_or_else(|| panic!("no {heading}: {table}"));
    let at = headings.find(heading).unwrap();
    lines.map(|line| line.get(at..).unwrap_or_default().split("  ").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_terms_of_a_registration_are_listed_and_shown_without_its_keys() {
    let admin = Admin::start(Config::default()).await;
    let terms = "client_key=sesame-client&receive_key=sesame-receive&max_members=5&expires_in=3600&subprotocol=mqtt";
    admin.server.register(&format!("{PAIR}&{terms}")).await;
    admin.server.register("key=k&host_key=h&reg_type=lobby&id_req=other-device").await;
    let (_, listed, _) = ask(&admin.socket, &["list"]).await;
    let of_both = column(&listed, "TERMS");
    let words = of_both[0].strip_suffix(", subprotocol mqtt").unwrap();
    assert!(words.starts_with("client_key, receive_key, at most 5 members, ends in 59m "), "{words}");
    assert_eq!(of_both[1], "");
    let (_, shown, _) = ask(&admin.socket, &["show", "my-device"]).await;
    let keys = "client_key (admits clients only), receive_key (admits members that only receive)";
    assert_eq!(field(&shown, "Further keys"), Some(keys));
    assert_eq!(field(&shown, "Members"), Some("0 of at most 5"));
    assert_eq!(field(&shown, "Subprotocol"), Some("mqtt, for members that offer it"));
    let ends = field(&shown, "Ends in").unwrap();
    assert!(ends.starts_with("59m ") && ends.ends_with("s, whether or not it has members"), "{ends}");
    let (_, json, _) = ask(&admin.socket, &["show", "my-device", "--json"]).await;
    let detail: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&detail["client_key"], &detail["receive_key"]), (&true.into(), &true.into()));
    assert_eq!((&detail["max_members"], &detail["subprotocol"]), (&5.into(), &"mqtt".into()));
    assert!((3_500_000..=3_600_000).contains(&detail["ends_in_ms"].as_u64().unwrap()));
    for text in [listed, shown, json] {
        assert!(!text.contains("sesame"), "{text}");
    }
}

#[tokio::test]
async fn the_event_of_a_registration_has_its_terms_and_why_shows_them() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(&format!("{PAIR}&client_key=sesame-client&max_members=5&expires_in=3600")).await;
    let history = admin.document("GET", "/v1/registrations/my-device/history").await;
    let mut event = history["events"][0].clone();
    event["at_ms"] = 0.into();
    let expected = json!({ "at_ms": 0, "event": "registered", "registration": "my-device", "kind": "hostclient",
        "client_key": true, "max_members": 5, "ends_in_ms": 3_600_000 });
    assert_eq!(event, expected);
    let (_, shown, _) = ask(&admin.socket, &["why", "my-device"]).await;
    assert!(shown.contains("registered as hostclient, client_key, at most 5 members, ends in 1h\n"), "{shown}");
    admin.server.register("key=k&host_key=h&reg_type=lobby&id_req=other-device").await;
    let history = admin.document("GET", "/v1/registrations/other-device/history").await;
    assert_eq!(history["events"][0].as_object().unwrap().len(), 4, "no terms: {history}");
}

#[tokio::test]
async fn messages_that_wait_are_shown_with_whom_they_wait_for_and_for_how_long() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(&format!("{PAIR}&wait=60")).await;
    admin.server.register("key=k&host_key=h&reg_type=lobby&id_req=other-device&wait=60").await;
    let shown = async |id: &str| ask(&admin.socket, &["show", id]).await.1;
    assert_eq!(field(&shown("my-device").await, "Messages wait"), Some("1m for a receiver that is absent"));
    assert_eq!(field(&shown("my-device").await, "Waiting"), None);
    let (_, listed, _) = ask(&admin.socket, &["list"]).await;
    assert_eq!(column(&listed, "TERMS"), ["messages wait 1m", "messages wait 1m"]);
    assert!(!listed.contains("WAITING"), "{listed}");
    let mut client = admin.server.websocket("/connect?id=my-device&key=sesame-key&sock_type=client").await.unwrap();
    let mut peer = admin.server.websocket("/connect?id=other-device&key=k").await.unwrap();
    for sender in [&mut client, &mut peer] {
        sender.send(Message::binary(vec![7; 12 << 10])).await.unwrap();
        // The router answers the ping after it has handled the message.
        sender.send(Message::Ping("".into())).await.unwrap();
        sender.next().await.unwrap().unwrap();
    }
    for (id, receiver) in [("my-device", "a host"), ("other-device", "a peer")] {
        let shown = shown(id).await;
        let waiting = field(&shown, "Waiting").unwrap();
        let left = waiting.strip_prefix(&format!("12.0 KiB for {receiver}, ")).unwrap_or_else(|| panic!("{waiting}"));
        let seconds = left.strip_suffix("s left (1 message)").unwrap_or_else(|| panic!("{waiting}"));
        assert!(seconds.parse::<u64>().unwrap() < 60, "{waiting}");
    }
    let (_, listed, _) = ask(&admin.socket, &["list"]).await;
    assert!(column(&listed, "WAITING")[0].starts_with("12.0 KiB for a host, "), "{listed}");
    let (_, status, _) = ask(&admin.socket, &["status"]).await;
    assert_eq!(field(&status, "Waiting for receivers"), Some("2 messages, 24.0 KiB"));
    let detail = admin.document("GET", "/v1/registrations/my-device").await;
    assert_eq!((&detail["wait_ms"], &detail["waiting_messages"]), (&60_000.into(), &1.into()));
    assert_eq!((&detail["waiting_for"], &detail["waiting_bytes"]), (&json!(["host"]), &((12 << 10) + 4).into()));
    let history = admin.document("GET", "/v1/registrations/my-device/history").await;
    assert_eq!(history["events"][0]["wait_ms"], 60_000);
}

#[tokio::test]
async fn a_registration_without_terms_is_shown_without_lines_about_them() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(PAIR).await;
    let (_, listed, _) = ask(&admin.socket, &["list"]).await;
    assert!(!listed.contains("TERMS"), "{listed}");
    let (_, shown, _) = ask(&admin.socket, &["show", "my-device"]).await;
    let names: Vec<_> = shown.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["Registration", "Kind", "Created", "Expires in", "Members"]);
    assert_eq!(field(&shown, "Members"), Some("0"));
}

#[tokio::test]
async fn a_member_that_may_only_receive_is_shown_as_one() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(&format!("{PAIR}&receive_key=r")).await;
    let targets =
        ["key=sesame-key&sock_type=host", "key=sesame-key&sock_type=client", "receive_key=r&sock_type=client"];
    let mut members = Vec::new();
    for target in targets {
        members.push(admin.server.websocket(&format!("/connect?id=my-device&{target}")).await.unwrap());
    }
    let (_, shown, _) = ask(&admin.socket, &["show", "my-device"]).await;
    assert_eq!(column(&shown, "ROLE"), ["host", "client", "client (receives only)"]);
    let detail = admin.document("GET", "/v1/registrations/my-device").await;
    let only = [0, 1, 2].map(|at| detail["members"][at]["receives_only"].as_bool().unwrap());
    assert_eq!(only, [false, false, true]);
}

#[tokio::test]
async fn the_status_counts_streams_of_members() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(PAIR).await;
    let (_, status, _) = ask(&admin.socket, &["status"]).await;
    assert_eq!(field(&status, "Connections"), Some("0"));
    let mut watcher = admin.server.connect().await;
    let request = "GET /members?id=my-device&key=sesame-key HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    watcher.write_all(request.as_bytes()).await.unwrap();
    let mut received = String::new();
    while !received.contains("data:") {
        let mut buffer = [0; 1024];
        let read = watcher.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{received}");
        received += str::from_utf8(&buffer[..read]).unwrap();
    }
    let (_, status, _) = ask(&admin.socket, &["status"]).await;
    assert_eq!(field(&status, "Connections"), Some("1, 1 that watch /members"));
    assert_eq!(admin.document("GET", "/v1/status").await["watchers"], 1);
}

/// A router whose rule `devices` admits the token `phone`, and whose rule `local` admits everyone else.
struct Ruled {
    admin: Admin,
    token: Token,
    _folder: tempfile::TempDir,
}

impl Ruled {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (token, path) = (Token::from_bits([1; 32]), folder.path().join("tokens"));
        std::fs::write(&path, format!("phone:{}\n", token.hash())).unwrap();
        let named = |name: &str, tokens: Option<PathBuf>| Rule { name: Some(name.into()), tokens, ..Rule::default() };
        let access = vec![named("devices", Some(path)), named("local", None)];
        let admin = Admin::start(Config { access, ..Config::default() }).await;
        admin.server.register("key=k&host_key=h&reg_type=lobby&id_req=my-device").await;
        Self { admin, token, _folder: folder }
    }

    async fn join(&self, with_token: bool) -> WebSocketStream<TcpStream> {
        let token = if with_token { format!("&token={}", self.token.reveal()) } else { String::new() };
        self.admin.server.websocket(&format!("/connect?id=my-device&key=k{token}")).await.unwrap()
    }
}

#[tokio::test]
async fn members_are_shown_with_the_rule_and_the_token_that_admitted_them() {
    let ruled = Ruled::start().await;
    let _members = (ruled.join(true).await, ruled.join(false).await);
    let (_, shown, _) = ask(&ruled.admin.socket, &["show", "my-device"]).await;
    assert_eq!(column(&shown, "RULE"), ["devices", "local"]);
    assert_eq!(column(&shown, "TOKEN"), ["phone", "-"]);
    let detail = ruled.admin.document("GET", "/v1/registrations/my-device").await;
    let [first, second] = [0, 1].map(|at| (&detail["members"][at]["rule"], &detail["members"][at]["token_name"]));
    assert_eq!(first, (&"devices".into(), &"phone".into()));
    assert_eq!(second, (&"local".into(), &Value::Null));
    assert!(!shown.contains(ruled.token.reveal()));
}

#[tokio::test]
async fn sends_are_one_event_of_each_token_before_the_end_of_their_registration() {
    let ruled = Ruled::start().await;
    let (server, token) = (&ruled.admin.server, ruled.token.reveal());
    let send = async |token: &str, body: &str| {
        server.request("POST", &format!("/send?id=my-device&key=k{token}"), "", body).await.status
    };
    let with_token = format!("&token={token}");
    assert_eq!(send(&with_token, "nobody is there").await, 503);
    let _member = ruled.join(false).await;
    for (token, body) in [(&*with_token, "hello"), ("", "by another"), (&with_token, "again")] {
        assert_eq!(send(token, body).await, 200);
    }
    let sent = async || {
        let history = ruled.admin.document("GET", "/v1/registrations/my-device/history").await;
        let mut events = history["events"].as_array().unwrap().clone();
        events.retain(|event| event["event"] == "sent" || event["event"] == "ended");
        events.iter_mut().for_each(|event| event["at_ms"] = 0.into());
        events
    };
    assert!(sent().await.is_empty(), "no event for each message");
    assert_eq!(server.get("/remove?id=my-device&key=k&host_key=h").await.status, 200);
    let of = |messages: u64, bytes: u64| json!({ "at_ms": 0, "event": "sent", "registration": "my-device", "messages_in": messages, "bytes_in": bytes });
    let (mut phone, mut local) = (of(2, 10), of(1, 10));
    (phone["rule"], phone["token_name"]) = ("devices".into(), "phone".into());
    local["rule"] = "local".into();
    let ended = json!({ "at_ms": 0, "event": "ended", "registration": "my-device", "reason": "removed" });
    assert_eq!(sent().await, [phone, local, ended]);
    let (_, shown, _) = ask(&ruled.admin.socket, &["why", "my-device"]).await;
    let line = "2 messages, 10 B sent without joining (POST /send), admitted by rule devices and token phone\n";
    assert!(shown.contains(line) && !shown.contains(token), "{shown}");
}

#[tokio::test]
async fn without_access_rules_members_are_shown_without_them() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register(PAIR).await;
    let _host = admin.server.websocket("/connect?id=my-device&key=sesame-key&sock_type=host").await.unwrap();
    let (_, shown, _) = ask(&admin.socket, &["show", "my-device"]).await;
    assert!(!shown.contains("RULE") && !shown.contains("TOKEN"), "{shown}");
    let detail = admin.document("GET", "/v1/registrations/my-device").await;
    assert_eq!(detail["members"][0].get("rule"), None);
}

#[tokio::test]
async fn the_events_of_a_member_have_its_rule_its_token_and_its_bytes() {
    let ruled = Ruled::start().await;
    let (mut phone, mut other) = (ruled.join(true).await, ruled.join(false).await);
    phone.send(Message::text("hello")).await.unwrap();
    assert_eq!(other.next().await.unwrap().unwrap(), Message::text("hello"));
    phone.close(None).await.unwrap();
    let router = &ruled.admin.server.router;
    until("the phone has left", || router.find("my-device").is_some_and(|summary| summary.seats == 1)).await;
    let history = ruled.admin.document("GET", "/v1/registrations/my-device/history").await;
    let events = history["events"].as_array().unwrap();
    let of = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    for event in [of("joined"), of("left")] {
        assert_eq!((&event["rule"], &event["token_name"]), (&"devices".into(), &"phone".into()), "{event}");
    }
    let counts = ["messages_in", "bytes_in", "messages_out", "bytes_out"].map(|name| of("left")[name].as_u64());
    assert_eq!(counts, [Some(1), Some(5), Some(0), Some(0)]);
    let (_, shown, _) = ask(&ruled.admin.socket, &["why", "my-device"]).await;
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[3].ends_with(", admitted by rule devices and token phone"), "{shown}");
    assert!(lines[4].ends_with(", admitted by rule local"), "{shown}");
    assert!(lines[5].ends_with("(1 message, 5 B in; 0 messages, 0 B out)"), "{shown}");
    assert!(!history.to_string().contains(ruled.token.reveal()));
}
