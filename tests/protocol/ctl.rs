//! The control program, with an admin socket and a router in the test's process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command as Program, Output, Stdio};

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::task::spawn_blocking;
use ws_router_admin_api as wire;
use ws_router_core::secret::Token;
use ws_router_server::admin::{Command, ReloadReport};
use ws_router_server::config::{Allow, Config, Listener, Operation, Problems, Rule, Tls};

use crate::support::admin::Admin;
use crate::support::{plain, until};

pub(crate) fn program(arguments: &[impl AsRef<OsStr>]) -> Program {
    let mut program = Program::new(env!("CARGO_BIN_EXE_ws-routerctl"));
    program.args(arguments).stdin(Stdio::null());
    program
}

/// Runs the program to its end, while the router runs in this process.
pub(crate) async fn run(mut program: Program) -> (i32, String, String) {
    let Output { status, stdout, stderr } = spawn_blocking(move || program.output().unwrap()).await.unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs a command on an admin socket.
pub(crate) async fn ask(socket: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut program = program(arguments);
    program.arg("--socket").arg(socket);
    run(program).await
}

async fn check(url: &str, options: &[&str]) -> (i32, String, String) {
    run(program(&[&["check", url], options].concat())).await
}

/// Returns an address without a listener, which stays free as long as the socket is kept.
fn unused_address() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}

#[tokio::test]
async fn registrations_are_listed_as_a_table_and_as_json() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register("key=a&host_key=b&reg_type=hostclient&id_req=my-device").await;
    let (status, table, errors) = ask(&admin.socket, &["list"]).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "KIND", "MEMBERS", "AGE", "EXPIRES", "IN", "RECEIVED", "DELIVERED", "OUTBOX"]);
    assert_eq!(lines[1][..3], ["my-device", "hostclient", "0"]);
    let (_, json, _) = ask(&admin.socket, &["list", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["id"], "my-device");
}

#[tokio::test]
async fn a_registration_is_shown_with_its_members() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register("key=a&host_key=b&reg_type=lobby&id_req=my-device").await;
    let member = admin.server.websocket("/connect?id=my-device&key=a").await.unwrap();
    let address = member.get_ref().local_addr().unwrap().to_string();
    let (status, shown, _) = ask(&admin.socket, &["show", "my-device"]).await;
    assert_eq!(status, 0);
    let fields: Vec<Vec<&str>> = shown.lines().take(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(fields, [["Registration:", "my-device"], ["Kind:", "lobby"]]);
    assert!(shown.contains(&address), "{shown}");
    let words: Vec<&str> = shown.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "UNSENT").unwrap();
    assert_eq!(words[at..at + 3], ["UNSENT", "ROUND", "TRIP"]);
    let ["0", "B", rtt, "0"] = words[words.len() - 4..] else { panic!("{shown}") };
    assert!(rtt.ends_with("ms"), "{shown}");
    let (status, shown, errors) = ask(&admin.socket, &["show", "other-device"]).await;
    assert_eq!((status, shown.as_str()), (1, ""));
    assert_eq!(errors, "ws-routerctl: no such registration: other-device\n");
}

#[tokio::test]
async fn an_unknown_id_is_reported_and_the_others_are_removed() {
    let admin = Admin::start(Config::default()).await;
    for id in ["device-one", "device-two"] {
        admin.server.register(&format!("key=a&host_key=b&reg_type=lobby&id_req={id}")).await;
    }
    let (status, out, errors) = ask(&admin.socket, &["remove", "device-one", "no-device", "short", "device-two"]).await;
    assert_eq!((status, out.as_str()), (1, "removed device-one\nremoved device-two\n"));
    assert_eq!(errors, "ws-routerctl: no such registration: no-device\nws-routerctl: no such registration: short\n");
    assert_eq!(admin.server.router.registrations(), 0);
    let (status, _, errors) = ask(&admin.socket, &["disconnect", "7"]).await;
    assert_eq!((status, errors.as_str()), (1, "ws-routerctl: no such connection: 7\n"));
}

#[tokio::test]
async fn an_id_that_begins_with_a_hyphen_is_listed_so_that_it_can_be_pasted() {
    let admin = Admin::start(Config::default()).await;
    for id in ["-device-1", "--json-x2", "device-3"] {
        admin.server.register(&format!("key=a&host_key=b&reg_type=lobby&id_req={id}")).await;
    }
    let (_, table, _) = ask(&admin.socket, &["list"]).await;
    let listed: Vec<&str> = table.lines().skip(1).map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(listed, ["-- -device-1", "-- --json-x2", "device-3"]);
    let socket = admin.socket.to_str().unwrap();
    let pasted: Vec<&str> = ["--socket", socket, "show"].into_iter().chain(listed[0].split(' ')).collect();
    let (status, shown, errors) = run(program(&pasted)).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(shown.contains("-device-1"), "{shown}");
    let pasted = listed[..2].iter().flat_map(|id| id.split(' ')).chain(["no-device"]);
    let pasted: Vec<&str> = ["--socket", socket, "remove"].into_iter().chain(pasted).collect();
    let (status, out, errors) = run(program(&pasted)).await;
    assert_eq!((status, out.as_str()), (1, "removed -device-1\nremoved --json-x2\n"));
    assert_eq!(errors, "ws-routerctl: no such registration: no-device\n");
    let (status, shown, _) = run(program(&["--socket", socket, "why", "--", "-device-1"])).await;
    assert_eq!(status, 0);
    let by = format!("removed by an administrator (unix:uid={},pid=", nix::unistd::geteuid());
    assert!(shown.lines().next().unwrap().contains(&by), "{shown}");
}

#[tokio::test]
async fn a_list_is_sorted_and_shows_only_busy_registrations_if_asked_to() {
    let admin = Admin::start(Config::default()).await;
    for id in ["device-b", "device-c", "device-a"] {
        admin.server.register(&format!("key=a&host_key=b&reg_type=lobby&id_req={id}")).await;
    }
    let _member = admin.server.websocket("/connect?id=device-c&key=a").await.unwrap();
    for (options, ids) in [
        (&["list"][..], &["device-b", "device-c", "device-a"][..]),
        (&["list", "--sort", "id"], &["device-a", "device-b", "device-c"]),
        (&["list", "--sort", "members"], &["device-c", "device-a", "device-b"]),
        (&["list", "--busy"], &["device-c"]),
    ] {
        let (_, table, _) = ask(&admin.socket, options).await;
        let listed: Vec<&str> = table.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(listed, ids, "{options:?}");
        let (_, json, _) = ask(&admin.socket, &[options, &["--json"]].concat()).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        let listed: Vec<&str> = json.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(listed, ids, "{options:?}");
    }
}

#[tokio::test]
async fn a_check_takes_a_scheme_in_capitals_and_resolves_localhost_by_itself() {
    let admin = Admin::start(Config::default()).await;
    let (status, out, _) = check(&format!("WS://relay.LocalHost:{}", admin.server.http.port()), &[]).await;
    assert_eq!(status, 0, "{out}");
}

#[tokio::test]
async fn the_status_and_the_versions_are_those_of_the_running_daemon() {
    let admin = Admin::start(Config::default()).await;
    let (status, text, _) = ask(&admin.socket, &["status"]).await;
    assert_eq!(status, 0);
    let first: Vec<_> = text.lines().next().unwrap().split_whitespace().take(4).collect();
    assert_eq!(first, ["Version:", "ws-router", concat!(env!("CARGO_PKG_VERSION"), ","), "process"]);
    assert!(text.contains("in service\n") && text.contains("\nConnections rejected:  none\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colors without a terminal: {text}");
    let (_, json, _) = ask(&admin.socket, &["--json", "version"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ws-router"], &json["ws-routerctl"]), (&env!("CARGO_PKG_VERSION").into(), &json["ws-router"]));
    let (status, text, _) = ask(Path::new("/nowhere/admin.sock"), &["version"]).await;
    assert_eq!((status, text.ends_with("ws-router not running\n")), (0, true));
}

#[tokio::test]
async fn without_a_daemon_there_is_one_clear_line_and_69() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("admin.sock");
    let abandoned = folder.path().join("abandoned.sock");
    drop(std::os::unix::net::UnixListener::bind(&abandoned).unwrap());
    for socket in [absent, abandoned] {
        let (status, out, errors) = ask(&socket, &["list"]).await;
        assert_eq!((status, out.as_str()), (69, ""));
        let shown = format!("ws-routerctl: no daemon at {}; start ws-router, ", socket.display());
        assert!(errors.starts_with(&shown) && errors.lines().count() == 1, "{errors}");
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense_exit_with_64() {
    for arguments in [&["frobnicate"][..], &["show"], &["remove"], &["disconnect", "x"], &["check", "x"], &[]] {
        let (status, out, errors) = run(program(arguments)).await;
        assert_eq!((status, out.as_str(), errors.is_empty()), (64, "", false), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_closed_standard_output_ends_the_program_quietly() {
    let admin = Admin::start(Config::default()).await;
    let mut program = program(&["list", "--socket"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    program.arg(&admin.socket).stdout(writer);
    assert_eq!(run(program).await, (0, String::new(), String::new()));
}

#[tokio::test]
async fn a_reload_reports_what_changed_and_a_rejected_one_exits_with_78() {
    let mut admin = Admin::start(Config::default()).await;
    let (report, _) = tokio::join!(ask(&admin.socket, &["reload"]), async {
        let Some(Command::Reload(asked)) = admin.life.recv().await else { panic!("no reload") };
        let report = ReloadReport { changed: vec!["log.level".into()], need_restart: vec!["relay.threads".into()] };
        asked.send(Ok(report)).unwrap();
    });
    assert_eq!(report, (0, "changed: log.level\nneeds a restart: relay.threads\n".into(), String::new()));
    let (refused, _) = tokio::join!(ask(&admin.socket, &["reload"]), async {
        let Some(Command::Reload(asked)) = admin.life.recv().await else { panic!("no reload") };
        asked.send(Err(Problems(vec!["a.toml:1:1: this".into(), "a.toml:2:1: that".into()]))).unwrap();
    });
    assert_eq!((refused.0, refused.1.as_str()), (78, ""));
    assert!(refused.2.ends_with("remains in use\na.toml:1:1: this\na.toml:2:1: that\n"), "{}", refused.2);
}

#[tokio::test]
async fn events_are_printed_until_the_daemon_stops() {
    let admin = Admin::start(Config::default()).await;
    let mut program = program(&["events", "--follow", "--socket"]);
    let mut child = program.arg(&admin.socket).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Events before the program follows them aren't kept for it, so new ones are made until the first line arrives.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let first = spawn_blocking(move || lines.next().unwrap().unwrap());
    let registering = async {
        loop {
            admin.server.register("key=a&host_key=b&reg_type=lobby").await;
        }
    };
    let first = tokio::select! {
        first = first => first.unwrap(),
        () = registering => unreachable!(),
        () = tokio::time::sleep(std::time::Duration::from_secs(20)) => {
            child.kill().unwrap();
            panic!("no event was printed");
        }
    };
    assert!(first.contains("Z registered registration=") && first.ends_with(" kind=lobby"), "{first}");
    admin.stop.cancel();
    let status = spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    // The test has closed its end of the output, so both statuses are right.
    assert!(matches!(status.code(), Some(0 | 69)), "{status}");
}

#[tokio::test]
async fn a_check_proves_all_kinds_and_leaves_nothing_behind() {
    let mut config = Config::default();
    config.http.path_prefix = "/relay".into();
    let admin = Admin::start(config).await;
    let (status, out, errors) = check(&format!("http://{}/relay/", admin.server.http), &[]).await;
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 31);
    assert!(out.contains(r#"{"clients":1,"hosts":1}"#) && out.contains(r#"{"peers":2}"#), "{out}");
    assert!(out.contains(r#"{"hosts":1,"pairs":1,"waiting":0}"#), "{out}");
    assert_eq!(out.matches("4000 registration removed").count(), 7);
    assert!(out.lines().last().unwrap().starts_with("passed: 31 steps in "), "{out}");
    assert_eq!(admin.server.router.registrations(), 0);
}

#[tokio::test]
async fn a_check_passes_where_the_rules_allow_no_members() {
    let rule = Rule { allow: Allow::NONE.and(Operation::Members), ..Rule::default() };
    let elsewhere = Rule { networks: ["192.0.2.0/24".parse().unwrap()].into_iter().collect(), ..rule };
    let admin = Admin::start(Config { access: vec![Rule::default(), elsewhere], ..Config::default() }).await;
    let (status, out, _) = check(&format!("http://{}", admin.server.http), &[]).await;
    assert_eq!((status, out.matches("not allowed by the access rules").count()), (0, 3), "{out}");
}

#[tokio::test]
async fn a_created_token_and_its_line_admit_a_check() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, secret) = (folder.path().join("tokens"), folder.path().join("secret"));
    let (status, line, shown) = run(program(&["token", "probe@here"])).await;
    assert_eq!(status, 0);
    assert!(line.starts_with("probe@here:") && line.ends_with('\n'), "{line}");
    let token = shown.strip_prefix("token: ").unwrap();
    assert!(!line.contains(token.trim()));
    std::fs::write(&tokens, line).unwrap();
    std::fs::write(&secret, token).unwrap();
    let rule = Rule { tokens: Some(tokens), ..Rule::default() };
    let admin = Admin::start(Config { access: vec![rule], ..Config::default() }).await;
    let url = format!("http://{}", admin.server.http);
    let (status, out, _) = check(&url, &[]).await;
    assert_eq!(status, 1);
    assert!(out.contains("401 Unauthorized: a token is required"), "{out}");
    let (status, out, _) = check(&url, &["--token-file", secret.to_str().unwrap()]).await;
    assert_eq!(status, 0, "{out}");
    let (status, _, errors) = check(&url, &["--token-file", folder.path().join("none").to_str().unwrap()]).await;
    assert_eq!(status, 70);
    assert!(errors.contains("token file ") && errors.contains("No such file"), "{errors}");
}

#[tokio::test]
async fn a_token_for_programs_is_one_document() {
    let (status, out, shown) = run(program(&["--json", "token", "phone"])).await;
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, shown.as_str(), &made["name"]), (0, "", &"phone".into()));
    let token = Token::new(made["token"].as_str().unwrap().into());
    assert_eq!(made["line"], format!("phone:{}", token.hash()));
    assert_eq!(run(program(&["token", "a:b"])).await.0, 64);
}

#[tokio::test]
async fn a_failed_check_exits_with_1_and_an_unreachable_one_with_69() {
    let admin = Admin::start(Config::default()).await;
    admin.server.router.drain(std::time::Duration::ZERO);
    let url = format!("http://{}", admin.server.http);
    let (status, out, _) = check(&url, &["--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["passed"], &report["steps"][1]["step"]), (1, &false.into(), &"health".into()));
    let (url, _nobody) = unused_address();
    let (status, out, errors) = check(&url, &[]).await;
    assert_eq!(status, 69);
    assert!(out.starts_with("FAILED  connect"), "{out}");
    assert!(errors.contains("Connection refused"), "{errors}");
}

#[tokio::test]
async fn a_check_trusts_the_systems_authorities_or_with_insecure_any_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let certificate = file("certificate.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let listeners = vec![Listener { tls: Some(Tls::new(&certificate, key)), ..plain() }];
    let admin = Admin::start(Config { listeners, ..Config::default() }).await;
    let url = format!("https://localhost:{}", admin.server.https.unwrap().port());

    let (status, out, _) = check(&url, &["--insecure"]).await;
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("TLSv1_3, certificate not verified"), "{out}");

    let with_authority = |file: &Path| {
        let mut program = program(&["check", &url]);
        program.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        program
    };
    let (status, out, _) = run(with_authority(&certificate)).await;
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("certificate expires in "), "{out}");

    let other = rcgen::generate_simple_self_signed(vec!["elsewhere".into()]).unwrap();
    let (status, out, _) = run(with_authority(&file("other.pem", other.cert.pem()))).await;
    assert_eq!(status, 1);
    assert!(out.contains("invalid peer certificate") && out.contains("--insecure accepts any"), "{out}");
}

#[tokio::test]
async fn why_reports_how_a_registration_ended() {
    let admin = Admin::start(Config::default()).await;
    admin.server.register("key=a&host_key=b&reg_type=lobby&id_req=my-device").await;
    drop(admin.server.websocket("/connect?id=my-device&key=a").await.unwrap());
    until("it has ended", || admin.server.router.registrations() == 0).await;
    let (status, shown, errors) = ask(&admin.socket, &["why", "my-device"]).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "my-device: ended 0s ago: peer left, its connection broke; it was the last member");
    assert!(
        lines[2].ends_with("Z  registered as lobby") && lines[5].ends_with("ended, its last member had left"),
        "{shown}"
    );
    let (_, json, _) = ask(&admin.socket, &["why", "my-device", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["events"][2]["reason"], "lost");
    let (status, _, errors) = ask(&admin.socket, &["why", "other-device"]).await;
    assert_eq!((status, errors.as_str()), (1, "ws-routerctl: no history of other-device\n"));
}

#[tokio::test]
async fn why_names_the_administrator_who_disconnected_a_member() {
    let admin = Admin::start(Config::default()).await;
    let id = admin.server.register("key=a&host_key=b&reg_type=lobby").await;
    let mut device = admin.server.websocket(&format!("/connect?id={id}&key=a")).await.unwrap();
    let registration = admin.server.router.find(&id).unwrap().registration;
    let number = admin.server.router.members(&registration).await[0].id;
    let disconnecting = program(&["--socket", admin.socket.to_str().unwrap(), "disconnect", &number.to_string()]);
    assert_eq!(run(disconnecting).await.0, 0);
    while futures_util::StreamExt::next(&mut device).await.is_some_and(|message| message.is_ok()) {}
    until("it has ended", || admin.server.router.registrations() == 0).await;
    let (_, shown, _) = ask(&admin.socket, &["why", &id]).await;
    let by = format!("closed by an administrator (unix:uid={},pid=", nix::unistd::geteuid());
    let named = shown.lines().filter(|line| line.contains("peer") && line.contains(&by)).count();
    assert_eq!(named, 2, "in the summary and in the event: {shown}");
}

/// Checks a router as a monitoring system does; its certificate expires in so many days.
async fn probe_with_certificate(days: i64, options: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    // An hour more than whole days, so that the test can be slow.
    let end = end + days * 24 * 3600 + 3600;
    made.not_after = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(end as u64);
    std::fs::write(&certificate, made.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let listeners = vec![Listener { tls: Some(Tls::new(&certificate, key)), ..plain() }];
    let admin = Admin::start(Config { listeners, ..Config::default() }).await;
    let url = format!("https://localhost:{}", admin.server.https.unwrap().port());
    let mut program = program(&[&["check", &url, "--monitor"], options].concat());
    program.env("SSL_CERT_FILE", &certificate).env_remove("SSL_CERT_DIR");
    run(program).await
}

#[tokio::test]
async fn a_probe_reports_and_rates_the_days_until_the_certificate_expires() {
    let (status, line, errors) = probe_with_certificate(60, &[]).await;
    assert_eq!((status, errors.as_str(), line.lines().count()), (0, "", 1), "{line}");
    assert!(line.starts_with("WS-ROUTER OK - 32 steps in ") && line.contains("expires in 60 days | rtt="), "{line}");
    assert!(line.ends_with(" days=60;14:;3:;0\n"), "{line}");
    let (status, line, _) = probe_with_certificate(10, &[]).await;
    assert_eq!((status, line.starts_with("WS-ROUTER WARNING - ")), (1, true), "{line}");
    let (status, line, _) = probe_with_certificate(2, &[]).await;
    assert_eq!((status, line.starts_with("WS-ROUTER CRITICAL - ")), (2, true), "{line}");
    let (status, line, _) = probe_with_certificate(2, &["--warning", "days=2", "--critical", "days=1"]).await;
    assert_eq!(status, 0, "{line}");
    let (status, line, _) = probe_with_certificate(-2, &[]).await;
    assert_eq!(status, 2);
    assert!(line.starts_with("WS-ROUTER CRITICAL - tls handshake: invalid peer certificate"), "{line}");
}

#[tokio::test]
async fn a_probe_rates_the_latency_and_reports_what_fails() {
    let admin = Admin::start(Config::default()).await;
    let url = format!("http://{}", admin.server.http);
    let (status, line, _) = check(&url, &["--monitor", "--warning", "rtt=1ns"]).await;
    assert_eq!((status, line.starts_with("WS-ROUTER WARNING - 31 steps in ")), (1, true), "{line}");
    let (status, line, _) = check(&url, &["--monitor", "--critical", "rtt=1ns"]).await;
    assert_eq!((status, line.starts_with("WS-ROUTER CRITICAL - ")), (2, true), "{line}");
    let (status, line, _) = check(&url, &["--monitor", "--token-file", "/nowhere"]).await;
    assert_eq!((status, line.starts_with("WS-ROUTER UNKNOWN - token file /nowhere: ")), (3, true), "{line}");
    let (_, json, _) = check(&url, &["--monitor", "--json"]).await;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["passed"], &report["certificate_days"]), (&true.into(), &Value::Null));
    let (url, _nobody) = unused_address();
    let (status, line, errors) = check(&url, &["--monitor"]).await;
    assert_eq!((status, errors.as_str()), (2, ""));
    assert!(line.starts_with("WS-ROUTER CRITICAL - connect: ") && line.contains("refused"), "{line}");
}

/// Plays the lifecycle: starts a drain, and reports its phases.
async fn drained(admin: &mut Admin, course: Vec<wire::Drain>) -> tokio::task::JoinHandle<()> {
    let (mut life, drain) = (std::mem::replace(&mut admin.life, tokio::sync::mpsc::channel(1).1), admin.drain.clone());
    tokio::spawn(async move {
        let Some(Command::Drain(_, answer)) = life.recv().await else { panic!("no drain") };
        answer.send(course[0]).unwrap();
        for step in course {
            drain.send_replace(step);
            tokio::task::yield_now().await;
        }
    })
}

#[tokio::test]
async fn a_drain_is_followed_to_its_end() {
    let mut admin = Admin::start(Config::default()).await;
    let draining = wire::Drain { state: wire::DrainPhase::Draining, members_before: 2, ..wire::Drain::default() };
    let done = wire::Drain { state: wire::DrainPhase::Drained, ..draining };
    let life = drained(&mut admin, vec![draining, done]).await;
    let (status, text, errors) = ask(&admin.socket, &["drain", "--over", "5s"]).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(text, "closing 2 members within 5s\ndrained, the daemon exits\n");
    life.await.unwrap();
}

#[tokio::test]
async fn a_drain_that_is_undone_is_reported() {
    let mut admin = Admin::start(Config::default()).await;
    let draining = wire::Drain { state: wire::DrainPhase::Draining, ..wire::Drain::default() };
    let life = drained(&mut admin, vec![draining, wire::Drain::default()]).await;
    let (status, text, errors) = ask(&admin.socket, &["drain", "--json"]).await;
    assert_eq!((status, errors.as_str()), (69, "ws-routerctl: the daemon was put back into service\n"));
    assert!(
        text.ends_with(
            "\"state\":\"serving\",\"over_ms\":0,\"left_ms\":0,\"members_before\":0,\"members\":0,\"stays\":false}\n"
        ),
        "{text}"
    );
    life.await.unwrap();
}
