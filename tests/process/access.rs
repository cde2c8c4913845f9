//! The access rules of the real program: whoever they don't let in is told so and counted, and those who are in go on.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;
use ws_router_core::secret::Token;

use super::client::{Member, connect, connect_unix, register};
use super::harness::{Router, Setup};
use super::scene::{Answer, Guests, counted, get, upgrade};

const REGISTER: &str = "/register?key=key&host_key=key&reg_type=lobby";

/// A router with a Unix listener for guests, whom the last rule lets in, and a TCP listener for strangers.
struct House {
    router: Router,
    unix: PathBuf,
    tcp: SocketAddr,
    id: String,
    guests: Guests<UnixStream>,
}

impl House {
    /// Opens it with these rules for strangers.
    fn open(setup: Setup, rules: &str) -> Self {
        let unix = setup.folder.path().join("http.sock");
        let guests = format!("[[listener]]\naddress = \"unix:{}\"\n", unix.display());
        let config = format!("{guests}{rules}[[access]]\nname = \"guests\"\nnetworks = [\"unix\"]\n");
        let mut router = setup.config(&config).start().ready();
        let tcp = router.tcp_address();
        let id = register(connect_unix(&unix), "key");
        let guests = Guests::join(|| connect_unix(&unix), &id, "key");
        Self { router, unix, tcp, id, guests }
    }

    fn on_loopback(rules: &str) -> Self {
        Self::open(Setup::on_loopback(), rules)
    }

    /// What a stranger is answered who wants to register, to join the guests and to remove their registration.
    fn strangers(&self, headers: &str) -> [Answer; 3] {
        let id = &self.id;
        [
            get(connect(self.tcp), REGISTER, headers),
            upgrade(connect(self.tcp), &format!("/connect?id={id}&key=key"), headers).0,
            get(connect(self.tcp), &format!("/remove?id={id}&key=key&host_key=key"), headers),
        ]
    }

    /// A stranger isn't let in whatever he wants, with this status; that is counted, and the guests go on.
    #[track_caller]
    fn keeps_out(&mut self, headers: &str, status: u16) {
        let before = self.refusals("access");
        let answers = self.strangers(headers);
        assert!(answers.iter().all(|answer| answer.status == status), "{headers}: {answers:?}");
        let asked_for_token = answers.iter().all(|answer| answer.header("www-authenticate").is_some());
        assert_eq!(asked_for_token, status == 401, "{answers:?}");
        assert_eq!(self.refusals("access"), before + 3);
        self.guests.talk();
    }

    fn refusals(&self, reason: &str) -> u64 {
        self.router.admin("/v1/status")["refusals"][reason].as_u64().unwrap()
    }
}

#[test]
fn whoever_comes_from_elsewhere_than_the_rules_say_stays_out() {
    let mut house = House::on_loopback("[[access]]\nnetworks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n");
    house.keeps_out("", 403);
    // Nobody is a proxy here.
    for lie in ["X-Forwarded-For: 192.0.2.7\r\n", "Forwarded: for=192.0.2.7\r\n", "X-Real-IP: 192.0.2.7\r\n"] {
        house.keeps_out(lie, 403);
    }
    // What is inside isn't told to those outside.
    let unknown = upgrade(connect(house.tcp), "/connect?id=no-such-id&key=key", "").0;
    assert_eq!(unknown.status, 403);
}

#[test]
fn whoever_shows_no_token_or_a_wrong_one_stays_out() {
    let setup = Setup::on_loopback();
    let (token, path) = (Token::from_bits([1; 32]), setup.folder.path().join("tokens"));
    fs::write(&path, format!("phone:{}\n", token.hash())).unwrap();
    let mut house = House::open(setup, &format!("[[access]]\ntokens = {path:?}\n"));
    let (good, hash) = (token.reveal(), token.hash().to_string());
    let near = format!("{}0", &good[..good.len() - 1]);
    let shown = [&near[..], &good[1..], &hash, "phone", "", &"x".repeat(8000)];
    house.keeps_out("", 401);
    for wrong in shown.into_iter().filter(|wrong| *wrong != good) {
        house.keeps_out(&format!("Authorization: Bearer {wrong}\r\n"), 401);
    }
    house.keeps_out(&format!("Authorization: Basic {good}\r\n"), 401);
    let right = format!("Authorization: Bearer {good}\r\n");
    assert_eq!(get(connect(house.tcp), REGISTER, &right).status, 200);

    fs::write(&path, "# withdrawn\n").unwrap();
    house.router.signal(Signal::SIGHUP);
    house.router.logged(&["\"reloaded\"", "tokens "]);
    house.keeps_out(&right, 401);
}

#[test]
fn another_user_of_the_machine_than_the_rules_say_stays_out() {
    let own = nix::unistd::getuid();
    let rules = format!("[[access]]\nusers = [{own}]\nallow = \"connect\"\n[[access]]\nusers = [4000000000]\n");
    let setup = Setup::on_loopback();
    let unix = setup.folder.path().join("users.sock");
    let config = format!("[[listener]]\naddress = \"unix:{}\"\n{rules}", unix.display());
    let near = "[[access]]\nnetworks = [\"127.0.0.0/8\"]\n";
    let mut router = setup.config(&config).config(near).start().ready();
    let tcp = router.tcp_address();
    let id = register(connect(tcp), "key");
    let mut guests = Guests::join(|| connect(tcp), &id, "key");
    for path in [REGISTER, &format!("/remove?id={id}&key=key&host_key=key")] {
        assert_eq!(get(connect_unix(&unix), path, "").status, 403, "{path}");
    }
    counted(&router, "refusals", "access", 2);
    let (let_in, _member) = upgrade(connect_unix(&unix), &format!("/connect?id={id}&key=key"), "");
    assert_eq!(let_in.status, 101, "its own user may do what its rule says");
    guests.talk();
}

#[test]
fn a_web_page_of_another_origin_stays_out() {
    let mut house = House::on_loopback("[[access]]\norigins = [\"https://example.com\"]\n");
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
        house.keeps_out(&format!("Origin: {origin}\r\n"), 403);
    }
    assert_eq!(get(connect(house.tcp), REGISTER, "Origin: https://example.com\r\n").status, 200);
}

#[test]
fn the_bounds_of_a_rule_hold_and_over_a_restart_too() {
    let rule = "name = \"few\"\nnetworks = [\"127.0.0.0/8\"]\nregistrations = 1\nmembers = 2\n";
    let rates = "messages = \"10/s burst 5\"\nbytes = \"10KiB/s burst 1KiB\"\n";
    let mut house = House::on_loopback(&format!("[[access]]\n{rule}{rates}"));
    let id = register(connect(house.tcp), "key");
    let join = || Member::join(connect(house.tcp), &id, "key");
    let (mut one, mut other) = (join(), join());
    for renewed in [false, true] {
        if renewed {
            house.router.replace();
        }
        let full = house.refusals("full");
        let more = [
            get(connect(house.tcp), REGISTER, ""),
            upgrade(connect(house.tcp), &format!("/connect?id={id}&key=key"), "").0,
        ];
        for refused in &more {
            assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
        }
        assert_eq!(house.refusals("full"), full + 2);
        let throttled = house.router.admin("/v1/status")["relay"]["reads_throttled"].as_u64().unwrap();
        for number in 0..15 {
            one.say(&number.to_string());
        }
        one.say(&"x".repeat(4096));
        house.guests.talk();
        for number in 0..15 {
            assert_eq!(other.receive(), number.to_string(), "it is slowed and loses nothing");
        }
        assert_eq!(other.receive().len(), 4096);
        assert!(house.router.admin("/v1/status")["relay"]["reads_throttled"].as_u64().unwrap() > throttled);
    }
    drop((one, other));
    while get(connect(house.tcp), REGISTER, "").status != 200 {}
    assert_eq!(get(connect_unix(&house.unix), REGISTER, "").status, 200, "who came by another rule has its own bounds");
}

/// The program that is asked, on a Unix socket; it answers as it is told to.
struct Oracle {
    path: PathBuf,
    says: Arc<Mutex<Says>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Says {
    This(&'static str),
    Nothing,
    Over,
}

impl Oracle {
    fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let says = Arc::new(Mutex::new(Says::This("204 No Content")));
        let told = Arc::clone(&says);
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let says = *told.lock().unwrap();
                match says {
                    Says::This(status) => {
                        read_question(&mut stream);
                        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    }
                    Says::Nothing => held.push(stream),
                    Says::Over => return,
                }
            }
        });
        Self { path: path.to_owned(), says, thread: Some(thread) }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.says(Says::Over);
        // In a test that has failed, the folder may be gone, and nothing wakes the thread.
        if UnixStream::connect(&self.path).is_ok() {
            let _ = self.thread.take().unwrap().join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn read_question(stream: &mut UnixStream) {
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
fn as_long_as_who_is_asked_does_not_say_yes_nobody_gets_in() {
    let setup = Setup::on_loopback();
    let place = setup.folder.path().join("oracle.sock");
    let oracle = Oracle::start(&place);
    let rule = format!("ask = \"unix:{}:/allow\"\nask-timeout = \"20s\"\n", place.display());
    let mut house = House::open(setup, &format!("[[access]]\nnetworks = [\"127.0.0.0/8\"]\n{rule}"));
    let open = || get(connect(house.tcp), REGISTER, "").status;
    assert_eq!(open(), 200);
    for (says, status) in [
        ("403 Forbidden", 403),
        ("401 Unauthorized", 401),
        ("302 Found", 503),
        ("404 Not Found", 503),
        ("500 Internal Server Error", 503),
        ("and this is no HTTP", 503),
    ] {
        oracle.says(Says::This(says));
        house.keeps_out("Authorization: Bearer something\r\n", status);
    }
    house.router.logged(&["gave no decision", "302"]);

    let file = house.router.setup.file();
    let patient = fs::read_to_string(&file).unwrap();
    fs::write(&file, patient.replace("\"20s\"", "\"50ms\"")).unwrap();
    house.router.signal(Signal::SIGHUP);
    house.router.logged(&["\"reloaded\"", "access"]);
    oracle.says(Says::Nothing);
    house.keeps_out("", 503);
    assert_eq!(get(connect(house.tcp), REGISTER, "").header("retry-after"), Some("5"));
    drop(oracle);
    house.keeps_out("", 503);

    let _again = Oracle::start(&place);
    // An answer may take longer than so little time on a machine that is busy.
    fs::write(&file, patient).unwrap();
    house.router.signal(Signal::SIGHUP);
    house.router.logged(&["\"reloaded\"", "access"]);
    assert_eq!(get(connect(house.tcp), REGISTER, "").status, 200);
    house.guests.talk();
}
