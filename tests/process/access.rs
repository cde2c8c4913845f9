//! The access rules of the real program: rejected requests are answered and counted, and members inside are not disturbed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use socket2::SockRef;
use ws_router_core::secret::Token;
use ws_router_server::log::messages;

use super::carried::until;
use super::client::{Member, connect, connect_unix, register};
use super::harness::{PATIENCE, Router, Setup};
use super::scene::{Answer, LobbyPair, get, upgrade, wait_for_count};

const REGISTER: &str = "/register?key=key&host_key=key&reg_type=lobby";

/// A router with a Unix listener, to which the last rule admits everyone, and a TCP listener, to which the test's rules
/// apply.
struct GuardedRouter {
    router: Router,
    unix: PathBuf,
    tcp: SocketAddr,
    /// Registration of `pair`.
    id: String,
    /// Members that joined through the Unix listener.
    pair: LobbyPair<UnixStream>,
}

impl GuardedRouter {
    fn start(setup: Setup, rules: &str) -> Self {
        let unix = setup.folder.path().join("http.sock");
        let listener = format!("[[listener]]\naddress = \"unix:{}\"\n", unix.display());
        let config = format!("{listener}{rules}[[access]]\nname = \"local\"\nnetworks = [\"unix\"]\n");
        let mut router = setup.config(&config).start().ready();
        let tcp = router.tcp_address();
        let id = register(connect_unix(&unix), "key");
        let pair = LobbyPair::join(|| connect_unix(&unix), &id, "key");
        Self { router, unix, tcp, id, pair }
    }

    fn on_loopback(rules: &str) -> Self {
        Self::start(Setup::on_loopback(), rules)
    }

    /// Requests on the TCP listener to register, to join the pair and to remove its registration; returns the responses.
    fn request_all(&self, headers: &str) -> [Answer; 3] {
        let id = &self.id;
        [
            get(connect(self.tcp), REGISTER, headers),
            upgrade(connect(self.tcp), &format!("/connect?id={id}&key=key"), headers).0,
            get(connect(self.tcp), &format!("/remove?id={id}&key=key&host_key=key"), headers),
        ]
    }

    /// Asserts that each request is rejected with this status and counted, and that the pair still exchanges messages.
    #[track_caller]
    fn assert_rejected(&mut self, headers: &str, status: u16) {
        let before = self.refusals("access");
        let answers = self.request_all(headers);
        assert!(answers.iter().all(|answer| answer.status == status), "{headers}: {answers:?}");
        let offers_authentication = answers.iter().all(|answer| answer.header("www-authenticate").is_some());
        assert_eq!(offers_authentication, status == 401, "{answers:?}");
        assert_eq!(self.refusals("access"), before + 3);
        self.pair.exchange();
    }

    fn refusals(&self, reason: &str) -> u64 {
        self.router.admin("/v1/status")["refusals"][reason].as_u64().unwrap()
    }
}

#[test]
fn a_client_of_another_network_than_the_rules_name_is_refused() {
    let mut guarded = GuardedRouter::on_loopback("[[access]]\nnetworks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n");
    guarded.assert_rejected("", 403);
    // No proxy is trusted here.
    for lie in ["X-Forwarded-For: 192.0.2.7\r\n", "Forwarded: for=192.0.2.7\r\n", "X-Real-IP: 192.0.2.7\r\n"] {
        guarded.assert_rejected(lie, 403);
    }
    // The response doesn't reveal whether a registration exists.
    let unknown = upgrade(connect(guarded.tcp), "/connect?id=no-such-id&key=key", "").0;
    assert_eq!(unknown.status, 403);
}

#[test]
fn a_request_without_a_token_or_with_a_wrong_one_is_refused() {
    let setup = Setup::on_loopback();
    let (token, path) = (Token::from_bits([1; 32]), setup.folder.path().join("tokens"));
    fs::write(&path, format!("phone:{}\n", token.hash())).unwrap();
    let mut guarded = GuardedRouter::start(setup, &format!("[[access]]\ntokens = {path:?}\n"));
    let (good, hash) = (token.reveal(), token.hash().to_string());
    let near = format!("{}0", &good[..good.len() - 1]);
    let shown = [&near[..], &good[1..], &hash, "phone", "", &"x".repeat(8000)];
    guarded.assert_rejected("", 401);
    for wrong in shown.into_iter().filter(|wrong| *wrong != good) {
        guarded.assert_rejected(&format!("Authorization: Bearer {wrong}\r\n"), 401);
    }
    guarded.assert_rejected(&format!("Authorization: Basic {good}\r\n"), 401);
    let right = format!("Authorization: Bearer {good}\r\n");
    assert_eq!(get(connect(guarded.tcp), REGISTER, &right).status, 200);

    fs::write(&path, "# withdrawn\n").unwrap();
    guarded.router.signal(Signal::SIGHUP);
    guarded.router.logged(&[messages::RELOADED, "tokens "]);
    guarded.assert_rejected(&right, 401);
}

#[test]
fn a_user_of_the_machine_that_the_rules_do_not_name_is_refused() {
    let own = nix::unistd::getuid();
    let rules = format!("[[access]]\nusers = [{own}]\nallow = \"connect\"\n[[access]]\nusers = [4000000000]\n");
    let setup = Setup::on_loopback();
    let unix = setup.folder.path().join("users.sock");
    let config = format!("[[listener]]\naddress = \"unix:{}\"\n{rules}", unix.display());
    let near = "[[access]]\nnetworks = [\"127.0.0.0/8\"]\n";
    let mut router = setup.config(&config).config(near).start().ready();
    let tcp = router.tcp_address();
    let id = register(connect(tcp), "key");
    let mut pair = LobbyPair::join(|| connect(tcp), &id, "key");
    for path in [REGISTER, &format!("/remove?id={id}&key=key&host_key=key")] {
        assert_eq!(get(connect_unix(&unix), path, "").status, 403, "{path}");
    }
    wait_for_count(&router, "refusals", "access", 2);
    let (answer, _member) = upgrade(connect_unix(&unix), &format!("/connect?id={id}&key=key"), "");
    assert_eq!(answer.status, 101, "the rule for this user allows it to connect");
    pair.exchange();
}

#[test]
fn a_web_page_of_another_origin_is_refused() {
    let mut guarded = GuardedRouter::on_loopback("[[access]]\norigins = [\"https://example.com\"]\n");
    for origin in [
        "https://example.org",
        "http://example.com",
        "https://example.com:444",
        "https://example.com.evil.example",
        "https://example.com/",
        "null",
        "*",
        "",
        "https://example.com\r\nOrigin: https://example.com",
    ] {
        guarded.assert_rejected(&format!("Origin: {origin}\r\n"), 403);
    }
    assert_eq!(get(connect(guarded.tcp), REGISTER, "Origin: https://example.com\r\n").status, 200);
}

#[test]
fn the_limits_of_a_rule_hold_and_survive_a_restart() {
    let rule = "name = \"few\"\nnetworks = [\"127.0.0.0/8\"]\nregistrations = 1\nmembers = 2\n";
    let rates = "messages = \"10/s burst 5\"\nbytes = \"10KiB/s burst 1KiB\"\n";
    let mut guarded = GuardedRouter::on_loopback(&format!("[[access]]\n{rule}{rates}"));
    let id = register(connect(guarded.tcp), "key");
    let join = || Member::join(connect(guarded.tcp), &id, "key");
    let (mut one, mut other) = (join(), join());
    for is_restarted in [false, true] {
        if is_restarted {
            guarded.router.replace();
        }
        let full = guarded.refusals("full");
        let more = [
            get(connect(guarded.tcp), REGISTER, ""),
            upgrade(connect(guarded.tcp), &format!("/connect?id={id}&key=key"), "").0,
        ];
        for refused in &more {
            assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
        }
        assert_eq!(guarded.refusals("full"), full + 2);
        let throttled = guarded.router.admin("/v1/status")["relay"]["reads_throttled"].as_u64().unwrap();
        for number in 0..15 {
            one.send_text(&number.to_string());
        }
        one.send_text(&"x".repeat(4096));
        guarded.pair.exchange();
        for number in 0..15 {
            assert_eq!(other.receive(), number.to_string(), "a throttled member's message is missing");
        }
        assert_eq!(other.receive().len(), 4096);
        assert!(guarded.router.admin("/v1/status")["relay"]["reads_throttled"].as_u64().unwrap() > throttled);
    }
    drop((one, other));
    until("the rule has room again", || get(connect(guarded.tcp), REGISTER, "").status == 200);
    assert_eq!(get(connect_unix(&guarded.unix), REGISTER, "").status, 200, "another rule has its own limits");
}

/// External authorizer on a Unix socket.
struct Authorizer {
    listener: UnixListener,
    path: PathBuf,
    reply: Arc<Mutex<Reply>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Reply of the authorizer to each request.
#[derive(Clone, Copy)]
enum Reply {
    /// A response with this status line.
    Status(&'static str),
    /// No response, on a connection that stays open.
    Silence,
}

impl Authorizer {
    /// Starts one that allows everything.
    fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let reply = Arc::new(Mutex::new(Reply::Status("204 No Content")));
        let (incoming, next_reply) = (listener.try_clone().unwrap(), Arc::clone(&reply));
        let thread = thread::spawn(move || {
            let mut unanswered = Vec::new();
            for mut stream in incoming.incoming().map_while(Result::ok) {
                let reply = *next_reply.lock().unwrap();
                match reply {
                    Reply::Status(status) => {
                        read_request(&mut stream);
                        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    }
                    Reply::Silence => unanswered.push(stream),
                }
            }
        });
        Self { listener, path: path.to_owned(), reply, thread: Some(thread) }
    }

    fn set_reply(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }
}

impl Drop for Authorizer {
    /// Ends the thread, also where a failed test has removed the folder with the socket: accept fails after a shutdown.
    fn drop(&mut self) {
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        let _ = fs::remove_file(&self.path);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Reads a request with its body.
fn read_request(stream: &mut UnixStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut read, mut some) = (Vec::new(), [0; 1024]);
    loop {
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return;
            }
        }
        match stream.read(&mut some).unwrap() {
            0 => return,
            bytes => read.extend(&some[..bytes]),
        }
    }
}

#[test]
fn a_request_that_the_external_authorizer_does_not_allow_is_refused() {
    let setup = Setup::on_loopback();
    let path = setup.folder.path().join("authorizer.sock");
    let authorizer = Authorizer::start(&path);
    let rule = format!("ask = \"unix:{}:/allow\"\nask-timeout = \"20s\"\n", path.display());
    let mut guarded = GuardedRouter::start(setup, &format!("[[access]]\nnetworks = [\"127.0.0.0/8\"]\n{rule}"));
    assert_eq!(get(connect(guarded.tcp), REGISTER, "").status, 200);
    for (reply, status) in [
        ("403 Forbidden", 403),
        ("401 Unauthorized", 401),
        ("302 Found", 503),
        ("404 Not Found", 503),
        ("500 Internal Server Error", 503),
        ("and this is no HTTP", 503),
    ] {
        authorizer.set_reply(Reply::Status(reply));
        guarded.assert_rejected("Authorization: Bearer something\r\n", status);
    }
    guarded.router.logged(&["external authorizer", "302"]);

    let file = guarded.router.setup.file();
    let patient = fs::read_to_string(&file).unwrap();
    fs::write(&file, patient.replace("\"20s\"", "\"50ms\"")).unwrap();
    guarded.router.signal(Signal::SIGHUP);
    guarded.router.logged(&[messages::RELOADED, "access"]);
    authorizer.set_reply(Reply::Silence);
    guarded.assert_rejected("", 503);
    assert_eq!(get(connect(guarded.tcp), REGISTER, "").header("retry-after"), Some("5"));
    drop(authorizer);
    guarded.assert_rejected("", 503);

    let _authorizer = Authorizer::start(&path);
    // On a busy machine the answer may take longer than 50 ms.
    fs::write(&file, patient).unwrap();
    guarded.router.signal(Signal::SIGHUP);
    guarded.router.logged(&[messages::RELOADED, "access"]);
    assert_eq!(get(connect(guarded.tcp), REGISTER, "").status, 200);
    guarded.pair.exchange();
}
