use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command};

use nix::sys::signal::Signal;
use serde_json::{Map, Value};
use ws_router_core::secret::Token;
use ws_router_server::log::messages;

use super::client::{Member, ask, connect, exchange, register};
use super::harness::{PATIENCE, Setup};

const KEY: &str = "sesame-open-4711";

#[test]
fn no_log_of_any_level_holds_a_key_or_a_query_string() {
    let mut router = Setup::on_loopback().log("format = \"json\"\nlevel = \"trace\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), KEY);
    let mut one = Member::join(connect(address), &id, KEY);
    let mut other = Member::join(connect(address), &id, KEY);
    one.send_text("a private message");
    assert_eq!(other.receive(), "a private message");
    let wrong = format!("wrong-{KEY}");
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}&host_key={wrong}")).0, 403);
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}")).0, 400);
    assert_eq!(ask(connect(address), &format!("/nowhere?key={KEY}")).0, 404);
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}&host_key={KEY}")).0, 200);
    assert_eq!(one.closed().0, 4000);
    let end = router.stopped();
    assert!(end.log.len() > 5, "{:#?}", end.log);
    for line in &end.log {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for secret in [KEY, "host_key", "reg_type", "a private message"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn text_has_no_color_where_standard_error_is_not_a_terminal() {
    let end = Setup::on_loopback().log("format = \"text\"\n").start().ready().stopped();
    assert!(end.log.iter().any(|line| line.contains("INFO listening listener=\"127.0.0.1:")), "{:#?}", end.log);
    assert!(!end.log.iter().any(|line| line.contains('\u{1b}')), "{:#?}", end.log);
}

/// Process that is killed at the end of its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Returns a command that starts a program in a mount namespace of its own, where `/run` can be another folder.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}

/// Returns whether an entry in the journal's native protocol has this field: name, length in eight bytes, value.
fn holds(entry: &[u8], name: &str, value: &str) -> bool {
    let field = [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value.as_bytes(), b"\n"].concat();
    entry.windows(field.len()).any(|window| window == field)
}

/// A router that logs to a journal of the test's.
struct Journaled {
    journal: UnixDatagram,
    stderr: PathBuf,
    _router: Running,
    _setup: Setup,
}

impl Journaled {
    /// Starts the router; `None` if that is impossible here, which is printed.
    fn start(setup: Setup) -> Option<Self> {
        if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
            println!("skipped: no mount namespace can be made here");
            return None;
        }
        let setup = setup.log("");
        setup.write_config();
        let run = setup.folder.path().join("run");
        fs::create_dir_all(run.join("systemd/journal")).unwrap();
        let journal = UnixDatagram::bind(run.join("systemd/journal/socket")).unwrap();
        journal.set_read_timeout(Some(PATIENCE)).unwrap();
        let stderr = setup.folder.path().join("stderr");
        let script = "mount --bind \"$1\" /run && exec 2>\"$2\" && \
            JOURNAL_STREAM=$(stat -Lc %d:%i \"$2\") exec \"$0\" --config \"$3\"";
        let mut command = unshare();
        command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_ws-router")]).args([&run, &stderr, &setup.file()]);
        let router = Running(command.spawn().unwrap());
        Some(Self { journal, stderr, _router: router, _setup: setup })
    }

    /// Waits for the next entry with a message id, and returns its fields as `journalctl -o json` prints them.
    fn wait_for(&self, message_id: &str) -> Map<String, Value> {
        let mut entry = vec![0; 65_536];
        loop {
            let len = self.journal.recv(&mut entry).unwrap();
            if holds(&entry[..len], "MESSAGE_ID", message_id) {
                return fields(&entry[..len]);
            }
        }
    }
}

/// Parses an entry in the journal's native protocol.
fn fields(mut entry: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (name, rest) = (&entry[..end], &entry[end + 1..]);
        let (len, rest) = rest.split_first_chunk::<8>().unwrap();
        let (value, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.insert(text(name), text(value).into());
        entry = &rest[1..];
    }
    fields
}

#[test]
fn usage_by_token_is_added_up_from_the_journal() {
    let (folder, token) = (tempfile::tempdir().unwrap(), Token::from_bits([7; 32]));
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, format!("phone:{}\n", token.hash())).unwrap();
    let rules =
        format!("[[access]]\nname = \"devices\"\ntokens = \"{}\"\n[[access]]\nname = \"local\"\n", tokens.display());
    let Some(router) = Journaled::start(Setup::on_loopback().config(&rules)) else { return };
    let listening = router.wait_for(messages::LISTENING);
    let address = listening["WSROUTER_LISTENER"].as_str().unwrap().parse().unwrap();
    router.wait_for(messages::READY);
    let id = register(connect(address), KEY);
    let _host = Member::join(connect(address), &id, KEY);
    let (with_token, mut entries) = (format!("{KEY}&token={}", token.reveal()), Vec::new());
    for (key, text) in [(with_token.as_str(), "hello"), (KEY, "welcome"), (&with_token, "hello again")] {
        let mut member = Member::join(connect(address), &id, key);
        member.send_text(text);
        drop(member);
        entries.push(router.wait_for(messages::LEFT));
    }
    let names = [&entries[0]["WSROUTER_RULE"], &entries[0]["WSROUTER_TOKEN_NAME"], &entries[1]["WSROUTER_RULE"]];
    assert_eq!(names, ["devices", "phone", "local"]);
    assert_eq!((entries[1].get("WSROUTER_TOKEN_NAME"), &entries[1]["WSROUTER_BYTES_IN"]), (None, &"7".into()));
    for (key, text) in [(&*with_token, "sent"), (KEY, "sent too"), (&with_token, "")] {
        let head = format!("POST /send?id={id}&key={key} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", text.len());
        assert_eq!(exchange(connect(address), &format!("{head}Connection: close\r\n\r\n{text}")).0, 200);
    }
    // The end of the registration doesn't leave them out.
    let remove = format!("/remove?id={id}&key={KEY}&host_key={KEY}&token={}", token.reveal());
    assert_eq!(ask(connect(address), &remove).0, 200);
    entries.extend([router.wait_for(messages::SENT), router.wait_for(messages::SENT)]);
    let sent = &entries[3];
    assert_eq!(sent["WSROUTER_REGISTRATION"], *id);
    assert_eq!([&sent["WSROUTER_MESSAGES_IN"], &sent["WSROUTER_BYTES_IN"]], ["2", "4"]);
    let recorded: String = entries.iter().map(|entry| format!("{}\n", Value::from(entry.clone()))).collect();
    assert!(!recorded.contains(token.reveal()));
    let input = folder.path().join("journal.json");
    fs::write(&input, recorded).unwrap();
    let mut jq = Command::new("jq");
    jq.args(["-nrf", "packaging/examples/journal/usage-by-token.jq"]).stdin(fs::File::open(input).unwrap());
    let Ok(output) = jq.output() else {
        println!("skipped: there is no jq here");
        return;
    };
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[1..], [["devices", "phone", "2", "4", "20", "0", "0"], ["local", "-", "1", "2", "15", "0", "0"]]);
}

#[test]
fn messages_go_to_a_connected_journal_with_their_fields() {
    let Some(router) = Journaled::start(Setup::on_loopback()) else { return };
    let (mut entry, mut has_listener) = (vec![0; 65_536], false);
    loop {
        let len = router.journal.recv(&mut entry).unwrap();
        let has = |name: &str, value: &str| holds(&entry[..len], name, value);
        has_listener |= has("WSROUTER_TLS", "false") && has("MESSAGE_ID", messages::LISTENING);
        if has("MESSAGE_ID", messages::READY) {
            assert!(has("PRIORITY", "6") && has("SYSLOG_IDENTIFIER", "ws-router"));
            assert!(has("WSROUTER_VERSION", env!("CARGO_PKG_VERSION")));
            assert!(has("MESSAGE", concat!("ready version=", env!("CARGO_PKG_VERSION"))));
            break;
        }
    }
    assert!(has_listener);
    assert_eq!(fs::read_to_string(&router.stderr).unwrap(), "", "messages were written to standard error, too");
}

#[test]
fn the_events_of_a_registration_are_logged_with_its_id() {
    let mut router = Setup::on_loopback().log("format = \"json\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), KEY);
    drop(Member::join(connect(address), &id, KEY));
    let of_this = format!("\"registration\":\"{id}\"");
    for message in [messages::REGISTERED, messages::JOINED, messages::LEFT, messages::ENDED] {
        router.logged(&[message, &of_this]);
    }
    router.stopped();
}

#[test]
fn the_terms_of_a_registration_are_logged_without_its_keys() {
    let mut router = Setup::on_loopback().log("format = \"json\"\n").start().ready();
    let address = router.address();
    let terms = format!("client_key={KEY}-2&max_members=5&expires_in=60&subprotocol=mqtt");
    let path = format!("/register?key={KEY}&host_key={KEY}&reg_type=hostclient&{terms}");
    assert_eq!(ask(connect(address), &path).0, 200);
    let logged = ["\"client_key\":true", "\"max_members\":5", "\"ends_in_ms\":60000", "\"subprotocol\":\"mqtt\""];
    router.logged(&[&[messages::REGISTERED], &logged[..]].concat());
    let log = router.stopped().log;
    assert!(!log.iter().any(|line| line.contains("receive_key") || line.contains(KEY)), "{log:#?}");
}

#[test]
fn every_departure_is_logged_before_the_daemon_stops() {
    let mut router = Setup::on_loopback().log("format = \"json\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), KEY);
    let members: Vec<_> = (0..100).map(|_| Member::join(connect(address), &id, KEY)).collect();
    router.signal(Signal::SIGTERM);
    members.into_iter().for_each(|member| assert_eq!(member.closed().0, 1001));
    let end = router.ended();
    let left = end.log.iter().filter(|line| line.contains(messages::LEFT) && line.contains("\"stopping\""));
    assert_eq!(left.count(), 100, "{:#?}", end.log);
}
