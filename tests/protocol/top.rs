//! `ws-routerctl top` on a terminal of its own, with a router in the test's process: what it shows, what its keys do, and
//! that the terminal is restored.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use ws_router_server::config::Config;

use crate::support::admin::Admin;
use crate::support::until;

/// Terminal with the running program.
struct Terminal {
    program: Child,
    keyboard: File,
    /// Program's end of the terminal, with the mode in which it was left.
    line: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was written.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts the program on a terminal of 80×24.
    fn start(socket: &Path, variables: &[(&str, &str)]) -> Self {
        let (ours, line) = pair();
        let program = program(socket, &line).envs(variables.iter().copied()).spawn().unwrap();
        let mut output = ours;
        let keyboard = output.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (seen, all) = (Arc::clone(&screen), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut piece) {
                seen.lock().unwrap().process(&piece[..len]);
                all.lock().unwrap().extend_from_slice(&piece[..len]);
            }
        });
        Self { program, keyboard, line, screen, written }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until all of these are shown.
    async fn shows(&self, texts: &[&str]) {
        let all_there = || texts.iter().all(|text| self.text().contains(text));
        let waiting = until("the screen shows it", all_there);
        if tokio::time::timeout(std::time::Duration::from_secs(9), waiting).await.is_err() {
            panic!("{texts:?} are not all on the screen:\n{}", self.text());
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.keyboard, size(columns, rows)).unwrap();
    }

    /// Waits until the program ends, and asserts that the terminal is restored.
    async fn end(mut self) -> (ExitStatus, String) {
        let (status, terminal) = spawn_blocking(move || (self.program.wait().unwrap(), self)).await.unwrap();
        let is_back = || !terminal.screen.lock().unwrap().screen().alternate_screen();
        until("the terminal is restored", is_back).await;
        assert!(!terminal.screen.lock().unwrap().screen().hide_cursor(), "the cursor is hidden");
        let modes = tcgetattr(&terminal.line).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        (status, terminal.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After a test that failed; otherwise it has ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Opens a terminal of 80×24; returns the user's and the program's end.
fn pair() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let line = File::options().read(true).write(true).open(path).unwrap();
    tcsetwinsize(&line, size(80, 24)).unwrap();
    (File::from(ours), line)
}

/// The program on that end.
fn program(socket: &Path, line: &File) -> Command {
    let end = || Stdio::from(line.try_clone().unwrap());
    let mut program = Command::new("setsid");
    program.args(["--ctty", env!("CARGO_BIN_EXE_ws-routerctl"), "top", "-d", "100ms", "--socket"]).arg(socket);
    program.env_remove("NO_COLOR").envs([("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")]);
    program.stdin(end()).stdout(end()).stderr(end());
    program
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

type Member = WebSocketStream<TcpStream>;

/// Makes a hostclient registration in which a host sends to a client, and an empty lobby.
async fn busy(admin: &Admin) -> (Member, Member) {
    admin.server.register("key=a&host_key=b&reg_type=hostclient&id_req=living-room").await;
    admin.server.register("key=a&host_key=b&reg_type=lobby&id_req=kitchen-tablet").await;
    let join = async |role: &str| {
        let target = format!("/connect?id=living-room&key=a&sock_type={role}");
        admin.server.websocket(&target).await.unwrap()
    };
    let (mut host, mut client) = (join("host").await, join("client").await);
    host.send(Message::text("hello")).await.unwrap();
    client.next().await.unwrap().unwrap();
    (host, client)
}

async fn close_code(member: &mut Member) -> u16 {
    loop {
        match member.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_user_navigates_disconnects_a_member_removes_a_registration_and_quits() {
    let admin = Admin::start(Config::default()).await;
    let (mut host, mut client) = busy(&admin).await;
    let mut terminal = Terminal::start(&admin.socket, &[]);
    terminal.shows(&["in service", "registrations 2", "members 2", "Registrations 1-2 of 2", "kitchen-tablet"]).await;
    // Messages sent while the program runs are shown as a rate.
    let talk = async {
        loop {
            host.send(Message::text("hello")).await.unwrap();
            client.next().await.unwrap().unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = talk => {}
        () = terminal.shows(&["> living-room"]) => {}
    }
    // This order doesn't change when the rates do.
    terminal.press("m");
    terminal.shows(&["by members, most first", "> living-room"]).await;
    terminal.press("\r");
    let (host_at, client_at) = (host.get_ref().local_addr().unwrap(), client.get_ref().local_addr().unwrap());
    let members = [&*format!("host   {host_at}"), &format!("client {client_at}"), "RTT", "ms", "Members 1-2 of 2"];
    terminal.shows(&members).await;
    terminal.press("jd");
    terminal.shows(&[&format!("from {client_at} (close code 4002)? y/n")]).await;
    terminal.press("y");
    assert_eq!(close_code(&mut client).await, 4002);
    terminal.shows(&["disconnected client", "Members 1-1 of 1"]).await;
    terminal.press("x");
    terminal.shows(&["remove living-room and close its member (close code 4001)? y/n"]).await;
    terminal.press("n");
    terminal.shows(&["q quit  ? help  Esc back"]).await;
    terminal.press("xy");
    assert_eq!(close_code(&mut host).await, 4001);
    terminal.shows(&["removed living-room", "living-room has ended"]).await;
    // A lone escape, which doesn't start the sequence of another key.
    terminal.press("\x1b");
    terminal.shows(&["Registrations 1-1 of 1", "> kitchen-tablet"]).await;
    terminal.press("q");
    let (status, left) = terminal.end().await;
    assert_eq!((status.code(), left.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn the_clients_and_pairs_of_a_paired_registration_are_shown() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register("key=a&host_key=b&reg_type=paired&id_req=living-room").await;
    let join = async |query: &str| admin.server.websocket(&format!("/connect?id=living-room&{query}")).await.unwrap();
    let mut host = join("key=a&sock_type=host").await;
    let _clients = (join("key=a&sock_type=client").await, join("key=a&sock_type=client&hello=second").await);
    let announced = host.next().await.unwrap().unwrap().into_text().unwrap();
    let number = &announced[13..45];
    let _end = join(&format!("accept={number}")).await;
    let mut terminal = Terminal::start(&admin.socket, &[]);
    terminal.resize(120, 30);
    terminal.shows(&["waiting clients 1", "PAIRS  QUEUE", "     1      1"]).await;
    terminal.press("c");
    terminal.shows(&["by queue, most first"]).await;
    terminal.press("\r");
    terminal
        .shows(&[
            "living-room: paired, ",
            " 1 pair, ",
            "waiting: 1 client for a host to accept",
            "PAIR ",
            " listens ",
            " waits ",
        ])
        .await;
    terminal.press("q");
    assert_eq!(terminal.end().await.0.code(), Some(0));
}

#[tokio::test]
async fn another_size_is_drawn_at_once_and_the_help_is_a_key_away() {
    let admin = Admin::start(Config::default()).await;
    let _members = busy(&admin).await;
    let mut terminal = Terminal::start(&admin.socket, &[]);
    terminal.shows(&["OUTBOX", "buffered"]).await;
    terminal.resize(40, 10);
    until("the table is narrow", || {
        let text = terminal.text();
        text.contains("kitchen-tablet") && text.contains("BYTES/S") && !text.contains("OUTBOX")
    })
    .await;
    terminal.resize(120, 30);
    terminal.shows(&["OUTBOX", "OUT B/S", "hostclient"]).await;
    terminal.press("?");
    terminal.shows(&["Sort registrations by", "p round trip"]).await;
    terminal.press("q/kit\r");
    terminal.shows(&["Registrations 1-1 of 1 with \"kit\" (of 2)"]).await;
    terminal.press("\x03");
    assert_eq!(terminal.end().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_signal_ends_it_and_the_terminal_is_restored() {
    let admin = Admin::start(Config::default()).await;
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        let terminal = Terminal::start(&admin.socket, &[]);
        terminal.shows(&["No registrations"]).await;
        rustix::process::kill_process(rustix::process::Pid::from_child(&terminal.program), signal).unwrap();
        assert_eq!(terminal.end().await.0.signal(), Some(signal.as_raw()));
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_on_a_blocked_terminal() {
    let admin = Admin::start(Config::default()).await;
    let (_ours, line) = pair();
    let mut full = line.try_clone().unwrap();
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::NONBLOCK).unwrap();
    while full.write(&[b'x'; 1024]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).unwrap();
    let mut program = program(&admin.socket, &line).spawn().unwrap();
    // Now its first write blocks.
    until("it takes the terminal", || !tcgetattr(&line).unwrap().local_modes.contains(LocalModes::ICANON)).await;
    let pid = rustix::process::Pid::from_child(&program);
    let mut ended = None;
    until("it ends", || {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        ended = program.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.unwrap().signal(), Some(15));
}

#[tokio::test]
async fn a_lost_daemon_is_reported_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listen = || tokio::net::UnixListener::bind(&socket).unwrap();
    let admin = Admin::start_on(Config::default(), listen()).await;
    let mut terminal = Terminal::start(&socket, &[]);
    terminal.shows(&["No registrations"]).await;
    admin.stop.cancel();
    admin.serving.await.unwrap();
    terminal.shows(&["AWAY", "no answer from the daemon for", "no daemon at", "retrying"]).await;
    std::fs::remove_file(&socket).unwrap();
    let admin = Admin::start_on(Config::default(), listen()).await;
    admin.server.register("key=a&host_key=b&reg_type=lobby&id_req=living-room").await;
    terminal.shows(&["in service", "the daemon is back after", "living-room"]).await;
    terminal.press("q");
    assert_eq!(terminal.end().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_daemon_that_hangs_delays_no_key() {
    let admin = Admin::start(Config::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let (socket, behind) = (folder.path().join("front.sock"), admin.socket.clone());
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    // Passes requests on until it hangs; from then on it accepts requests and answers none.
    let hangs = Arc::new(AtomicBool::new(false));
    let (does_hang, asked) = (Arc::clone(&hangs), Arc::new(AtomicBool::new(false)));
    let was_asked = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if does_hang.load(Ordering::SeqCst) {
                was_asked.store(true, Ordering::SeqCst);
                held.push(stream);
            } else {
                let mut real = tokio::net::UnixStream::connect(&behind).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut real).await });
            }
        }
    });
    admin.server.register("key=a&host_key=b&reg_type=lobby&id_req=living-room").await;
    let mut terminal = Terminal::start(&socket, &[]);
    terminal.shows(&["> living-room"]).await;
    hangs.store(true, Ordering::SeqCst);
    until("it has an unanswered request", || asked.load(Ordering::SeqCst)).await;
    terminal.shows(&["as of ", "s ago"]).await;
    terminal.press("?");
    terminal.shows(&["Sort registrations by"]).await;
    terminal.press("?\r");
    terminal.shows(&["requesting its members"]).await;
    terminal.press("q");
    assert_eq!(terminal.end().await.0.code(), Some(0));
}

#[tokio::test]
async fn without_color_no_color_is_written() {
    let admin = Admin::start(Config::default()).await;
    let _members = busy(&admin).await;
    let mut colors = Vec::new();
    for variables in [&[][..], &[("NO_COLOR", "1")]] {
        let mut terminal = Terminal::start(&admin.socket, variables);
        terminal.shows(&["living-room"]).await;
        terminal.press("x");
        terminal.shows(&["? y/n"]).await;
        terminal.press("nq");
        let written = Arc::clone(&terminal.written);
        terminal.end().await;
        colors.push(has_color(&String::from_utf8_lossy(&written.lock().unwrap())));
    }
    assert_eq!(colors, [true, false]);
}

/// Returns whether a color is set: a sequence that ends in `m` with a number from 30 to 49 or 90 to 107, except those
/// that reset it.
fn has_color(written: &str) -> bool {
    let sequences = written.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then(|| &rest[..end])
    });
    let mut numbers =
        sequences.flat_map(|sequence| sequence.split(';')).filter_map(|number| number.parse::<u16>().ok());
    numbers.any(|number| matches!(number, 30..=38 | 40..=48 | 58 | 90..=107))
}

#[tokio::test]
async fn without_a_terminal_it_names_the_alternative() {
    let admin = Admin::start(Config::default()).await;
    let run = |arguments: &'static [&str], term: &'static str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
        program.args(arguments).arg("--socket").arg(&admin.socket).env("TERM", term).stdin(Stdio::null());
        spawn_blocking(move || program.output().unwrap())
    };
    for (arguments, fix) in
        [(&["top"][..], "needs a terminal on standard input and output; "), (&["top", "--json"], "has no --json; ")]
    {
        let output = run(arguments, "xterm").await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), errors.lines().count()), (Some(64), 0, 1), "{errors}");
        assert!(errors.contains(fix) && errors.contains("ws-routerctl list --json"), "{errors}");
        assert!(errors.contains("events --follow") && errors.contains("GET /metrics"), "{errors}");
    }
}

#[tokio::test]
async fn without_a_daemon_there_is_one_clear_line_and_the_terminal_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(&folder.path().join("admin.sock"), &[]);
    let written = Arc::clone(&terminal.written);
    terminal.shows(&["ws-routerctl: no daemon at", "start ws-router"]).await;
    let (status, _) = terminal.end().await;
    assert_eq!(status.code(), Some(69));
    assert!(!String::from_utf8_lossy(&written.lock().unwrap()).contains("\x1b["));
}
