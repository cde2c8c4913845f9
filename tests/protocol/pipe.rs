//! `ws-routerctl pipe`: two of the real program, or one and a plain websocket, through a router in the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio_tungstenite::tungstenite::Message;
use ws_router_core::close::CloseReason;
use ws_router_server::config::Config;

use crate::support::{Server, until};

/// Running `ws-routerctl pipe`.
struct End {
    child: Child,
    stdin: Option<ChildStdin>,
}

/// Result of a pipe that has ended.
struct Ended {
    status: Option<i32>,
    output: Vec<u8>,
    errors: String,
}

impl End {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        Self::command(server, arguments, |command| command.env("WS_ROUTER_KEY", KEY))
    }

    fn command(server: &Server, arguments: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
        command.arg("pipe").args(arguments).arg(format!("http://{}", server.http));
        command.env_remove("WS_ROUTER_KEY").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = change(&mut command).spawn().unwrap();
        Self { stdin: child.stdin.take(), child }
    }

    /// Starts the end that makes the registration "some-pipe", and waits for it.
    async fn host(server: &Server, options: &[&str]) -> Self {
        let end = Self::start(server, &[&["--host", "--id", ID], options].concat());
        until("the host joins", || joined(server) == 1).await;
        end
    }

    fn client(server: &Server, options: &[&str]) -> Self {
        Self::start(server, &[&["--id", ID], options].concat())
    }

    /// Writes to its standard input and closes it.
    fn say(&mut self, bytes: &[u8]) {
        let mut stdin = self.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        thread::spawn(move || stdin.write_all(&bytes));
    }

    async fn ended(mut self) -> Ended {
        self.stdin = None;
        let output = spawn_blocking(move || self.child.wait_with_output().unwrap()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        Ended { status: output.status.code(), output: output.stdout, errors }
    }
}

const ID: &str = "some-pipe";
const KEY: &str = "the key of both";
const QUICK: [&str; 2] = ["--timeout", "2s"];

/// Returns the number of members; a seat alone isn't one yet.
fn joined(server: &Server) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.members.value()).sum()
}

/// Returns bytes of a length that no buffer size divides, and that never repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn much_data_passes_unchanged_and_both_ends_confirm_it() {
    let server = Server::start(Config::default()).await;
    let data = noise((100 << 20) + 3);
    let mut host = End::host(&server, &[]).await;
    host.say(&data);
    let client = End::client(&server, &[]);
    let (sent, received) = tokio::join!(host.ended(), client.ended());
    assert_eq!((sent.status, received.status), (Some(0), Some(0)), "{}{}", sent.errors, received.errors);
    assert_eq!(received.output.len(), data.len());
    assert!(received.output == data && sent.output.is_empty());
    assert_eq!(sent.errors, "sent 100.0 MiB, received 0 B, everything arrived\n");
    assert_eq!(received.errors, "sent 0 B, received 100.0 MiB, everything arrived\n");
    until("the registration ends", || server.router.registrations() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_send_at_once_and_each_ends_by_itself() {
    let server = Server::start(Config::default()).await;
    let (question, answer) = (noise(3 << 20), noise(5 << 20));
    let mut host = End::host(&server, &[]).await;
    let mut client = End::client(&server, &[]);
    host.say(&question);
    client.say(&answer);
    let (host, client) = tokio::join!(host.ended(), client.ended());
    assert_eq!((host.status, client.status), (Some(0), Some(0)), "{}{}", host.errors, client.errors);
    assert!(host.output == answer && client.output == question);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_end_registers_and_prints_the_command_for_the_other() {
    let server = Server::start(Config::default()).await;
    let mut first = End::command(&server, &[], |command| command);
    first.say(b"hello\n");
    let mut errors = BufReader::new(first.child.stderr.take().unwrap());
    let (invitation, errors) = spawn_blocking(move || {
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        assert_eq!(line, "at the other end, run:\n");
        line.clear();
        errors.read_line(&mut line).unwrap();
        (line, errors)
    })
    .await
    .unwrap();
    let words: Vec<&str> = invitation.split_whitespace().collect();
    let ["WS_ROUTER_KEY", key] = words[0].split('=').collect::<Vec<_>>()[..] else { panic!("{invitation}") };
    assert_eq!(words[1..4], ["ws-routerctl", "pipe", "--id"]);
    let second = End::command(&server, &words[3..5], |command| command.env("WS_ROUTER_KEY", key));
    let (first, second) = tokio::join!(first.ended(), second.ended());
    assert_eq!((first.status, second.status, second.output.as_slice()), (Some(0), Some(0), &b"hello\n"[..]));
    drop(errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_receiver_is_noticed() {
    let server = Server::start(Config::default()).await;
    let mut host = End::host(&server, &QUICK).await;
    let mut stdin = host.stdin.take().unwrap();
    let mut client = End::client(&server, &[]);
    stdin.write_all(b"x").unwrap();
    let mut arrived = [0];
    client.child.stdout.take().unwrap().read_exact(&mut arrived).unwrap();
    client.child.kill().unwrap();
    client.child.wait().unwrap();
    drop(stdin);
    let host = host.ended().await;
    assert_eq!(host.status, Some(1));
    assert_eq!(host.errors, "ws-routerctl: the other end is gone: nothing received for 2s\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_whose_output_is_closed_fails_and_reports_it_to_the_other() {
    let server = Server::start(Config::default()).await;
    let mut host = End::host(&server, &[]).await;
    host.say(&noise(1 << 20));
    let mut client = End::client(&server, &[]);
    drop(client.child.stdout.take());
    let (host, client) = tokio::join!(host.ended(), client.ended());
    assert_eq!((host.status, client.status), (Some(1), Some(1)));
    assert_eq!(client.errors, "ws-routerctl: standard output: Broken pipe (os error 32)\n");
    let errors = "ws-routerctl: the other end failed: standard output: Broken pipe (os error 32)\n";
    assert_eq!(host.errors, errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_registration_ends_both_with_its_code() {
    let server = Server::start(Config::default()).await;
    // The registration exists already, and the two ends don't have its host key.
    server.register("key=the+key+of+both&host_key=b&reg_type=hostclient&id_req=some-pipe").await;
    let mut host = End::host(&server, &[]).await;
    let mut client = End::client(&server, &[]);
    until("both are there", || joined(&server) == 2).await;
    // As long as their inputs are open, nothing else ends them.
    let inputs = (host.stdin.take(), client.stdin.take());
    assert_eq!(server.get("/remove?id=some-pipe&key=the+key+of+both&host_key=b").await.status, 200);
    let (host, client) = tokio::join!(host.ended(), client.ended());
    let errors = format!("ws-routerctl: the router closed the connection: 4000 {}\n", CloseReason::Removed.text());
    for end in [host, client] {
        assert_eq!((end.status, &end.errors), (Some(1), &errors));
    }
    drop(inputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_end_is_one_too_many() {
    let server = Server::start(Config::default()).await;
    let mut host = End::host(&server, &[]).await;
    let mut client = End::client(&server, &[]);
    until("the second is there", || joined(&server) == 2).await;
    let mut third = End::client(&server, &[]);
    // As long as their inputs are open, nothing else ends them, and the host sends no confirmation to the third.
    let inputs = [&mut host, &mut client, &mut third].map(|end| end.stdin.take());
    let host = host.ended().await;
    assert_eq!(host.status, Some(1));
    assert_eq!(host.errors, "ws-routerctl: another member joined; a pipe has two ends\n");
    let (client, third) = tokio::join!(client.ended(), third.ended());
    assert_eq!((client.status, third.status), (Some(1), Some(1)));
    drop(inputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_sees_the_bare_data_as_binary_messages() {
    let server = Server::start(Config::default()).await;
    let mut host = End::host(&server, &QUICK).await;
    let mut other = server.websocket("/connect?id=some-pipe&key=the+key+of+both&sock_type=client").await.unwrap();
    host.say(b"data");
    // Any message shows that the other end is there.
    other.send(Message::text("hello")).await.unwrap();
    let data = loop {
        match other.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => break bytes,
            // The host may have noticed the join, or not.
            message => assert!(message.to_text().unwrap().contains("\"hello\""), "{message:?}"),
        }
    };
    assert_eq!(&data[..], b"data");
    let end: Value = serde_json::from_str(other.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!((&end["ws-router-pipe"], &end["bytes"]), (&"end".into(), &4.into()));
    let host = host.ended().await;
    assert_eq!((host.status, host.output.as_slice()), (Some(1), &b"hello"[..]));
    assert!(host.errors.contains("hasn't confirmed for 2s that everything arrived; try --plain"), "{}", host.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_end_sends_only_data_and_a_close_frame() {
    let server = Server::start(Config::default()).await;
    server.register("key=the+key+of+both&host_key=b&reg_type=lobby&id_req=some-pipe").await;
    let mut other = server.websocket("/connect?id=some-pipe&key=the+key+of+both").await.unwrap();
    let mut end = End::client(&server, &["--plain"]);
    until("it joins", || joined(&server) == 2).await;
    end.say(b"data");
    let first = other.next().await.unwrap().unwrap();
    assert_eq!(first, Message::binary(&b"data"[..]));
    let end = end.ended().await;
    let errors = "sent 4 B, received 0 B, not confirmed by the other end\n";
    assert_eq!((end.status, end.errors.as_str()), (Some(0), errors));
    // The end leaves after its data.
    until("it leaves", || joined(&server) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_end_without_input_takes_everything_until_the_registration_is_removed() {
    let server = Server::start(Config::default()).await;
    server.register("key=the+key+of+both&host_key=b&reg_type=lobby&id_req=some-pipe").await;
    let mut other = server.websocket("/connect?id=some-pipe&key=the+key+of+both").await.unwrap();
    let mut end = End::client(&server, &["--plain", "-n", "--json"]);
    until("it joins", || joined(&server) == 2).await;
    other.send(Message::text("one ")).await.unwrap();
    other.send(Message::binary(&b"two"[..])).await.unwrap();
    let mut came = [0; 7];
    let mut stdout = end.child.stdout.take().unwrap();
    spawn_blocking(move || stdout.read_exact(&mut came).map(|()| assert_eq!(&came, b"one two")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.get("/remove?id=some-pipe&key=the+key+of+both&host_key=b").await.status, 200);
    let end = end.ended().await;
    let errors: Value = serde_json::from_str(&end.errors).unwrap();
    assert_eq!((end.status, &errors["received"]["bytes"], &errors["confirmed"]), (Some(0), &7.into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_is_explained() {
    let server = Server::start(Config::default()).await;
    let without_key = End::command(&server, &["--id", ID], |command| command).ended().await;
    assert_eq!(without_key.status, Some(64));
    assert_eq!(without_key.errors, "ws-routerctl: no key; set WS_ROUTER_KEY, or use --key-file\n");
    let unknown = End::client(&server, &[]).ended().await;
    assert_eq!(unknown.status, Some(1));
    assert!(unknown.errors.starts_with("ws-routerctl: 404 Not Found: "), "{}", unknown.errors);
    server.register("key=other&host_key=b&reg_type=hostclient&id_req=some-pipe").await;
    let taken = End::start(&server, &["--host", "--id", ID]).ended().await;
    assert_eq!(taken.status, Some(1));
    assert!(taken.errors.starts_with("ws-routerctl: 403 Forbidden: "), "{}", taken.errors);
    assert!(!taken.errors.contains(KEY));
    assert_eq!(server.router.list().len(), 1);
    server.stop().await;
    assert_eq!(End::client(&server, &[]).ended().await.status, Some(69));
}
