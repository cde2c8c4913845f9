use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ws_router_core::secret::Token;
use ws_router_server::log::messages;

use super::client::{Member, ask, connect, register};
use super::harness::{Setup, certificate};

/// Replaces a part of the configuration file.
fn rewrite(setup: &Setup, from: &str, to: &str) {
    let text = fs::read_to_string(setup.file()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(setup.file(), text.replace(from, to)).unwrap();
}

#[test]
fn hup_applies_new_settings_and_members_stay() {
    let mut router = Setup::on_loopback().config("[http]\npublic-stats = false\n").start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    assert_eq!(ask(connect(address), "/stats").0, 404);
    rewrite(&router.setup, "public-stats = false", "public-stats = true");
    router.signal(Signal::SIGHUP);
    assert!(router.notified("RELOADING=1").contains("MONOTONIC_USEC="));
    router.notified("READY=1");
    assert_eq!(ask(connect(address), "/stats").0, 200);
    router.logged(&[messages::RELOADED, "http.public-stats"]);
    one.send_text("still here");
    assert_eq!(other.receive(), "still here");
}

#[test]
fn a_revoked_token_is_rejected_after_a_reload_and_its_members_stay() {
    let setup = Setup::on_loopback();
    let (token, path) = (Token::from_bits([1; 32]), setup.folder.path().join("tokens"));
    fs::write(&path, format!("phone:{}\n", token.hash())).unwrap();
    let rules = format!("[[access]]\nallow = \"register\"\ntokens = {path:?}\n[[access]]\nallow = \"connect\"\n");
    let mut router = setup.config(&rules).start().ready();
    let address = router.address();
    let register = format!("/register?key=key&host_key=host&reg_type=lobby&token={}", token.reveal());
    let (status, id) = ask(connect(address), &register);
    assert_eq!(status, 200);
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    fs::write(&path, "bad line\n").unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::RELOAD_REFUSED, "tokens:1:"]);
    assert_eq!(ask(connect(address), &register).0, 200);
    fs::write(&path, "# empty\n").unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::RELOADED, "tokens "]);
    assert_eq!(ask(connect(address), &register).0, 401);
    one.send_text("still here");
    assert_eq!(other.receive(), "still here");
}

#[test]
fn an_invalid_file_changes_nothing_and_all_its_problems_are_logged() {
    let mut router = Setup::on_loopback().config("[http]\npublic-stats = false\n").start().ready();
    let address = router.address();
    rewrite(&router.setup, "public-stats = false", "public-stats = true\nconsol = 1\n[relay]\nthreads = \"many\"");
    router.signal(Signal::SIGHUP);
    router.notified("RELOADING=1");
    router.notified("READY=1");
    assert_eq!(ask(connect(address), "/stats").0, 404);
    router.logged(&[messages::RELOAD_REFUSED, "consol"]);
    router.logged(&[messages::RELOAD_REFUSED, "threads"]);
}

/// Runs `ws-routerctl reload --or-signal`, and returns its exit status and its standard error.
fn reload_or_signal(socket: &Path, process: u32) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
    command.arg("--socket").arg(socket).args(["reload", "--or-signal", &process.to_string()]);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reload_by_the_service_manager_fails_with_the_problems() {
    let mut router = Setup::on_loopback().config("[http]\npublic-stats = false\n").start().ready();
    let (address, admin) = (router.address(), router.setup.admin());
    assert_eq!(reload_or_signal(&admin, router.pid()), (Some(0), String::new()));
    rewrite(&router.setup, "public-stats = false", "public-stats = true\nconsol = 1");
    let (status, stderr) = reload_or_signal(&admin, router.pid());
    assert!(status == Some(78) && stderr.contains("consol"), "{status:?}: {stderr}");
    assert_eq!(ask(connect(address), "/stats").0, 404);
}

#[test]
fn a_daemon_that_does_not_answer_on_the_admin_socket_receives_a_signal() {
    let mut router = Setup::on_loopback().config("[http]\npublic-stats = false\n").start().ready();
    let other = Setup::on_loopback().start().ready();
    let missing = router.setup.folder.path().join("missing.sock");
    for (socket, reason) in [(missing, "no daemon at "), (other.setup.admin(), "answers on")] {
        let (status, stderr) = reload_or_signal(&socket, router.pid());
        assert!(status == Some(0) && stderr.contains(reason) && stderr.contains("is unknown"), "{status:?}: {stderr}");
        router.logged(&[messages::RELOADED]);
    }
}

#[test]
fn a_signal_to_a_process_that_has_ended_is_69() {
    let mut router = Setup::on_loopback().start().ready();
    let (process, missing) = (router.pid(), router.setup.folder.path().join("missing.sock"));
    router.kill();
    let (status, stderr) = reload_or_signal(&missing, process);
    assert!(status == Some(69) && stderr.contains(&format!("signal to process {process}: ")), "{status:?}: {stderr}");
}

#[test]
fn a_setting_that_needs_a_restart_is_named() {
    let mut router = Setup::on_loopback().config("[relay]\nthreads = 1\n").start().ready();
    rewrite(&router.setup, "threads = 1", "threads = 2");
    for _ in 0..2 {
        router.signal(Signal::SIGHUP);
        router.logged(&[messages::RESTART_NEEDED, "relay.threads"]);
    }
}

#[test]
fn a_reload_changes_the_log_level() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    rewrite(&router.setup, "format = \"json\"", "format = \"json\"\nlevel = \"error\"");
    router.signal(Signal::SIGHUP);
    router.notified("READY=1");
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    let end = router.stopped();
    assert_eq!(end.status.code(), Some(0));
    assert!(!end.log.iter().any(|line| line.contains(messages::STOPPING)), "{:#?}", end.log);
}

#[test]
fn an_invalid_certificate_changes_nothing_and_a_valid_one_is_used() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "own");
    let mut router = setup.tls("own.crt", "own.key").start().ready();
    fs::write(router.setup.folder.path().join("own.crt"), "garbage").unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&["own.crt"]);
    router.notified("READY=1");
    certificate(router.setup.folder.path(), "own");
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::CERTIFICATE_RELOADED, "own.crt"]);
}

#[test]
fn a_renewed_certificate_is_used_without_a_reload() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "own");
    let mut router = setup.tls("own.crt", "own.key").start().ready();
    certificate(router.setup.folder.path(), "own");
    router.logged(&[messages::CERTIFICATE_RELOADED, "own.crt"]);
}

#[test]
fn a_reload_of_an_emptied_file_keeps_the_access_rules_unless_it_says_so() {
    let setup = Setup::on_loopback();
    let rules = "[[access]]\nallow = \"connect\"\n";
    let mut router = setup.config(rules).start().ready();
    let (address, file) = (router.address(), router.setup.file());
    let register = || ask(connect(address), "/register?key=key&host_key=host&reg_type=lobby").0;
    assert_eq!(register(), 403);
    let good = fs::read_to_string(&file).unwrap();
    let truncated = good.split("[[access]]").next().unwrap();
    for text in ["", truncated] {
        fs::write(&file, text).unwrap();
        router.signal(Signal::SIGHUP);
        router.logged(&[messages::RELOAD_REFUSED, "no access rule is left of 1 in use"]);
        assert_eq!(register(), 403);
    }
    fs::write(&file, format!("access = []\n{truncated}")).unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::RELOADED, "access"]);
    assert_eq!(register(), 200);
}

/// Puts a FIFO that nobody writes to in the place of a file.
fn block(path: &Path) {
    fs::remove_file(path).unwrap();
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

#[test]
fn a_file_that_blocks_is_refused_and_signals_are_handled_as_before() {
    let setup = Setup::on_loopback();
    let folder = setup.folder.path().to_owned();
    certificate(&folder, "server");
    let (tokens, token) = (folder.join("tokens"), Token::from_bits([1; 32]));
    fs::write(&tokens, format!("phone:{}\n", token.hash())).unwrap();
    let setup = setup.tls("server.crt", "server.key");
    let setup = setup.config(&format!("[[access]]\nnetworks = [\"127.0.0.0/8\"]\n[[access]]\ntokens = {tokens:?}\n"));
    let mut router = setup.start().ready();
    let address = router.tcp_address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    for path in [&router.setup.file(), &folder.join("server.crt"), &folder.join("server.key"), &tokens] {
        let text = fs::read(path).unwrap();
        block(path);
        router.signal(Signal::SIGHUP);
        router.notified("RELOADING=1");
        router.notified("READY=1");
        let name = path.file_name().unwrap().to_str().unwrap();
        router.logged(&[messages::RELOAD_REFUSED, name, "not a regular file"]);
        fs::remove_file(path).unwrap();
        fs::write(path, text).unwrap();
        router.signal(Signal::SIGHUP);
        router.logged(&[messages::RELOADED]);
    }
    router.replace();
    one.send_text("still here");
    assert_eq!(other.receive(), "still here");
    block(&folder.join("server.crt"));
    router.signal(Signal::SIGHUP);
    router.stopped().assert_exit(0, &["\"stopped\""]);
}
