//! `ws-routerctl expose` and `connect`: the real programs, with TCP services and a router in the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use ws_router_core::ids::RegistrationId;
use ws_router_server::config::Config;
use ws_router_server::peer::Peer;

use crate::ctl::{program, run};
use crate::support::Server;

const ID: &str = "my-home-4711";
const KEY: &str = "the key of both ends";

/// A running program that prints JSON lines.
struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut program: Command) -> Self {
        let mut child = program.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    async fn event(&mut self) -> Value {
        let mut lines = self.lines.take().unwrap();
        let (line, lines) = spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (line, lines)
        })
        .await
        .unwrap();
        self.lines = Some(lines);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A router, and the file with the key of both ends.
struct Relay {
    server: Server,
    key: NamedTempFile,
}

impl Relay {
    async fn new() -> Self {
        let mut key = NamedTempFile::new().unwrap();
        writeln!(key, "{KEY}").unwrap();
        Self { server: Server::start(Config::default()).await, key }
    }

    fn program(&self, command: &str, arguments: &[&str]) -> Command {
        let url = format!("http://{}", self.server.http);
        let key = self.key.path().to_str().unwrap();
        let mut program = program(&[&[command, "--id", ID, "--key-file", key], arguments, &[url.as_str()]].concat());
        program.env_remove("WS_ROUTER_KEY");
        program
    }

    /// Starts `expose`, and waits until it listens.
    async fn expose(&self, arguments: &[&str]) -> Running {
        let mut host = Running::start(self.program("expose", arguments));
        let event = host.event().await;
        assert_eq!((&event["event"], &event["id"]), (&"listening".into(), &ID.into()));
        host
    }

    /// Starts `connect`, with pipes.
    fn connect(&self, arguments: &[&str]) -> Ended {
        let mut program = self.program("connect", arguments);
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Ended { stdin: child.stdin.take(), stdout: child.stdout.take(), child }
    }
}

/// Running `connect`.
struct Ended {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    child: Child,
}

impl Ended {
    /// Sends bytes and the end of the input.
    fn say(&mut self, bytes: &[u8]) {
        let (mut stdin, bytes) = (self.stdin.take().unwrap(), bytes.to_vec());
        thread::spawn(move || stdin.write_all(&bytes));
    }

    /// Reads standard output to its end.
    async fn output(&mut self) -> Vec<u8> {
        let mut stdout = self.stdout.take().unwrap();
        spawn_blocking(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).unwrap();
            output
        })
        .await
        .unwrap()
    }

    async fn ended(self) -> (Option<i32>, String) {
        let Self { stdin, child, .. } = self;
        let output = spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        drop(stdin);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// A TCP service, which answers each connection with a greeting and what it has received, once that has ended.
async fn service(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = greeting.as_bytes().to_vec();
                if stream.read_to_end(&mut received).await.is_ok() {
                    let _ = stream.write_all(&received).await;
                }
            });
        }
    });
    address
}

/// Returns bytes of a length that no buffer size divides.
fn noise(len: u32) -> Vec<u8> {
    (0..len).flat_map(|at| blake3::hash(&at.to_le_bytes()).as_bytes()[..31].to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_output_reach_the_named_service_and_both_ends_confirm() {
    let relay = Relay::new().await;
    let (first, second) = (service("first ").await, service("second ").await);
    let mut host = relay.expose(&[&first.to_string(), &format!("other={second}")]).await;
    let data = noise(100_000);
    let mut client = relay.connect(&["other"]);
    client.say(&data);
    let output = client.output().await;
    assert!(output == [b"second ", &data[..]].concat());
    assert_eq!(client.ended().await, (Some(0), "sent 3.0 MiB, received 3.0 MiB, everything arrived\n".into()));
    let event = host.event().await;
    assert_eq!((&event["event"], &event["service"]), (&"connection".into(), &"other".into()));
    assert_eq!((&event["received"]["bytes"], &event["confirmed"]), (&data.len().into(), &true.into()));
    // Without a name it is the first one.
    let mut client = relay.connect(&[]);
    client.say(b"!");
    assert_eq!(client.output().await, b"first !");
    assert_eq!(client.ended().await.0, Some(0));
    assert_eq!(host.event().await["service"], first.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_direction_is_passed_on_while_the_other_goes_on() {
    let relay = Relay::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _host = relay.expose(&[&listener.local_addr().unwrap().to_string()]).await;
    let mut client = relay.connect(&[]);
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"all").await.unwrap();
    stream.shutdown().await.unwrap();
    // Standard output ends although the program still reads its input.
    assert_eq!(client.output().await, b"all");
    client.say(b"and back");
    let mut received = String::new();
    stream.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "and back");
    assert_eq!(client.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_to_a_local_port_are_served_at_once() {
    let relay = Relay::new().await;
    let target = service("").await;
    let _host = relay.expose(&[&format!("echo={target}")]).await;
    let mut client = Running::start(relay.program("connect", &["--listen", "0", "echo"]));
    let event = client.event().await;
    let address: SocketAddr = event["address"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());
    let mut streams = Vec::new();
    for number in 0..100u32 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&noise(number)).await.unwrap();
        streams.push(stream);
    }
    for (number, mut stream) in (0..).zip(streams) {
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received == noise(number), "{number}");
        let event = client.event().await;
        assert_eq!(event["confirmed"], true, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_service_and_one_that_refuses_are_rejected() {
    let relay = Relay::new().await;
    let refusing = tokio::net::TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = refusing.local_addr().unwrap();
    let mut host = relay.expose(&[&format!("ssh={target}")]).await;
    let rejected = "ws-routerctl: the router closed the connection: 4006";
    let (status, errors) = relay.connect(&["127.0.0.1:22"]).ended().await;
    assert_eq!((status, errors), (Some(1), format!("{rejected} no such service\n")));
    let event = host.event().await;
    assert_eq!((&event["service"], &event["error"]), (&"127.0.0.1:22".into(), &"rejected: no such service".into()));
    let (status, errors) = relay.connect(&["ssh"]).ended().await;
    assert_eq!((status, errors), (Some(1), format!("{rejected} the service is out of reach\n")));
    let event = host.event().await;
    assert!(event["error"].as_str().unwrap().ends_with("Connection refused (os error 111)"), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_the_limit_is_rejected() {
    let relay = Relay::new().await;
    let target = service("").await;
    let mut host = relay.expose(&["--connections", "1", &target.to_string()]).await;
    let listener = relay.connect(&[]);
    let mut first = listener;
    first.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    until_open(&relay).await;
    let (status, errors) = relay.connect(&[]).ended().await;
    assert_eq!(status, Some(1));
    assert!(errors.ends_with("4006 too many connections\n"), "{errors}");
    assert_eq!(host.event().await["error"], "rejected: too many connections; see --connections");
    drop(first.stdin.take());
    assert_eq!(first.output().await, b"x");
    assert_eq!(first.ended().await.0, Some(0));
}

/// Waits for a pair.
async fn until_open(relay: &Relay) {
    loop {
        let body = relay.server.get(&format!("/members?id={ID}&key=the+key+of+both+ends")).await.body;
        let members: Value = serde_json::from_str(&body).unwrap();
        if members["pairs"] == 1 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_client_that_is_killed_sees_a_reset_and_not_an_end() {
    let relay = Relay::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut host = relay.expose(&[&listener.local_addr().unwrap().to_string()]).await;
    let mut client = relay.connect(&[]);
    client.stdin.as_mut().unwrap().write_all(b"half").unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = [0; 4];
    stream.read_exact(&mut received).await.unwrap();
    client.child.kill().unwrap();
    client.child.wait().unwrap();
    let error = stream.read(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let event = host.event().await;
    assert_eq!(event["error"], "the router closed the connection: 4007 peer disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_resets_its_connection_fails_the_client() {
    let relay = Relay::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _host = relay.expose(&[&listener.local_addr().unwrap().to_string()]).await;
    let client = relay.connect(&[]);
    let (stream, _) = listener.accept().await.unwrap();
    stream.set_zero_linger().unwrap();
    drop(stream);
    let (status, errors) = client.ended().await;
    assert_eq!(status, Some(1));
    assert_eq!(errors, "ws-routerctl: the other end failed: the service: Connection reset by peer (os error 104)\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_comes_back_after_its_registration_was_removed() {
    let relay = Relay::new().await;
    let target = service("").await;
    let mut host = relay.expose(&[&target.to_string()]).await;
    let id = RegistrationId::parse(ID).unwrap();
    assert!(relay.server.router.force_remove(&id, Peer::Unix { uid: 0, pid: 1 }).await);
    let event = host.event().await;
    assert_eq!(event["event"], "lost");
    assert!(event["error"].as_str().unwrap().contains("4001"), "{event}");
    assert!((500..=1000).contains(&event["pause_ms"].as_u64().unwrap()), "{event}");
    assert_eq!(host.event().await["event"], "listening");
    let mut client = relay.connect(&[]);
    client.say(b"again");
    assert_eq!(client.output().await, b"again");
    assert_eq!(client.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_an_id_keeps_the_one_that_the_router_chose() {
    let server = Server::start(Config::default()).await;
    let mut expose = program(&["expose", "127.0.0.1:22", &format!("http://{}", server.http)]);
    expose.env("WS_ROUTER_KEY", KEY);
    let mut host = Running::start(expose);
    let listening = host.event().await;
    let id = RegistrationId::parse(listening["id"].as_str().unwrap()).unwrap();
    assert!(server.router.force_remove(&id, Peer::Unix { uid: 0, pid: 1 }).await);
    assert_eq!(host.event().await["event"], "lost");
    assert_eq!(host.event().await, listening);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_exits_if_its_id_is_anothers_and_never_shows_its_key() {
    let relay = Relay::new().await;
    relay.server.register(&format!("key=other&host_key=h&reg_type=paired&id_req={ID}")).await;
    let (status, output, errors) = run(relay.program("expose", &["127.0.0.1:22"])).await;
    assert_eq!((status, output.as_str()), (1, ""));
    assert_eq!(errors, format!("ws-routerctl: the id {ID} belongs to another registration\n"));
    let (status, _, errors) = run(relay.program("connect", &[])).await;
    assert_eq!(status, 1);
    assert!(errors.starts_with("ws-routerctl: 403 Forbidden: ") && !errors.contains(KEY), "{errors}");
    // The other registration is still there, and the host's own isn't.
    assert_eq!(relay.server.router.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_cannot_work_are_usage_errors() {
    let url = "http://127.0.0.1:1";
    let mut without_key = program(&["connect", "--id", ID, url]);
    without_key.env_remove("WS_ROUTER_KEY");
    let (status, _, errors) = run(without_key).await;
    assert_eq!((status, errors.as_str()), (64, "ws-routerctl: no key; set WS_ROUTER_KEY, or use --key-file\n"));
    let twice = program(&["expose", "a=127.0.0.1:1", "a=127.0.0.1:2", url]);
    let (status, _, errors) = run(twice).await;
    assert_eq!(status, 64);
    assert!(errors.contains("two services are named a"), "{errors}");
    let mut unreachable = program(&["connect", "--id", ID, url]);
    unreachable.env("WS_ROUTER_KEY", KEY);
    assert_eq!(run(unreachable).await.0, 69);
}
