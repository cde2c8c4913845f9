//! `ws-routerctl join`: the real program as a device, through a router in the test's process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio_tungstenite::tungstenite::Message;
use ws_router_core::close::CloseReason;
use ws_router_server::config::Config;

use crate::ctl::program;
use crate::support::{Server, until};

/// Running `ws-routerctl join`.
struct Terminal {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Terminal {
    fn start(server: &Server, options: &[&str]) -> Self {
        let url = format!("http://{}", server.http);
        let mut program = program(&[&["join"], options, &[url.as_str()]].concat());
        program.env("WS_ROUTER_KEY", "k").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { stdin: child.stdin.take(), stdout, child }
    }

    fn say(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    async fn line(&mut self) -> String {
        let mut stdout = self.stdout.take().unwrap();
        let (line, stdout) = spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (line, stdout)
        })
        .await
        .unwrap();
        self.stdout = Some(stdout);
        line.trim_end().to_owned()
    }

    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn ended(mut self) -> (Option<i32>, String) {
        let output = spawn_blocking(move || {
            drop(self.stdin.take());
            self.child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby&id_req=living-room";

#[tokio::test(flavor = "multi_thread")]
async fn two_terminals_exchange_lines_and_each_leaves_at_the_end_of_its_input() {
    let server = Server::start(Config::default()).await;
    let id = server.register(LOBBY).await;
    let mut one = Terminal::start(&server, &["--id", &id]);
    let mut other = Terminal::start(&server, &["--id", &id]);
    until("both join", || joined(&server) == 2).await;
    one.say("hello\nwörld\n");
    assert_eq!((other.line().await, other.line().await), ("hello".into(), "wörld".into()));
    other.say("without an end");
    drop(other.stdin.take());
    assert_eq!(one.line().await, "without an end");
    let errors = format!("ws-routerctl: joined {id}\nws-routerctl: closed by this device\n");
    assert_eq!(other.ended().await, (Some(0), errors.clone()));
    assert_eq!(one.ended().await, (Some(0), errors));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_prints_who_closed_it_and_why() {
    let server = Server::start(Config::default()).await;
    let id = server.register(LOBBY).await;
    let terminal = Terminal::start(&server, &["--id", &id, "-n"]);
    until("it joins", || joined(&server) == 1).await;
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    let reason = CloseReason::Removed.text();
    let errors = format!("ws-routerctl: joined {id}\nws-routerctl: closed by the router: 4000 {reason}\n");
    assert_eq!(terminal.ended().await, (Some(1), errors));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_registration_is_joined_and_each_event_is_a_line_of_json() {
    let server = Server::start(Config::default()).await;
    let mut terminal = Terminal::start(&server, &["--register", "--kind", "hostclient", "--json"]);
    let joined = terminal.event().await;
    let id = joined["id"].as_str().unwrap().to_owned();
    assert_eq!(joined, json!({ "event": "joined", "id": id }));
    let mut other = server.websocket(&format!("/connect?id={id}&key=k&sock_type=client")).await.unwrap();
    terminal.say("to the client\n");
    assert_eq!(other.next().await.unwrap().unwrap(), Message::text("to the client"));
    other.send(Message::text("line\nfeed")).await.unwrap();
    other.send(Message::binary(&[0, 255][..])).await.unwrap();
    assert_eq!(terminal.event().await, json!({ "event": "text", "text": "line\nfeed" }));
    assert_eq!(terminal.event().await, json!({ "event": "binary", "bytes": 2, "hex": "00ff" }));
    drop(terminal.stdin.take());
    assert_eq!(terminal.event().await, json!({ "event": "closed", "by": "device" }));
    assert_eq!(terminal.ended().await, (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_cannot_join_says_why() {
    let server = Server::start(Config::default()).await;
    let (status, errors) = Terminal::start(&server, &["--id", "living-room"]).ended().await;
    assert_eq!(status, Some(1));
    assert!(errors.starts_with("ws-routerctl: 404 Not Found: "), "{errors}");
    let id = server.register("key=other&host_key=h&reg_type=lobby").await;
    let (status, errors) = Terminal::start(&server, &["--id", &id]).ended().await;
    assert_eq!(status, Some(1));
    assert!(errors.starts_with("ws-routerctl: 403 Forbidden: "), "{errors}");
}

/// Returns the number of members; a seat alone isn't one yet.
fn joined(server: &Server) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.members.value()).sum()
}
