use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use ws_router_admin_api::finding::{Area, Finding, Severity};

use super::harness::{End, Setup, certificate};

fn check(setup: Setup) -> End {
    setup.argument("--check").start().ended()
}

#[test]
fn a_check_of_a_valid_configuration_prints_ok() {
    let end = check(Setup::on_loopback());
    assert_eq!(end.status.code(), Some(0), "{:?}", end.log);
    let lines: Vec<_> = end.stdout.lines().collect();
    assert!(
        matches!(lines[..], [first, second, "ok"] if first.starts_with("connections: at most ")
        && second.starts_with("memory: at most ")),
        "{lines:?}"
    );
    assert_eq!(end.log, Vec::<String>::new());
}

#[test]
fn a_check_binds_nothing() {
    let setup = Setup::on_loopback();
    let admin = setup.admin();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listener = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
    assert_eq!(check(setup.config(&listener)).status.code(), Some(0));
    assert!(!admin.exists());
}

#[test]
fn a_check_reads_certificates() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "one");
    let end = check(setup.tls("one.crt", "missing.key"));
    assert_eq!(end.stdout, "");
    end.assert_exit(78, &["missing.key"]);
}

#[test]
fn a_check_reads_tokens_and_authorities_and_looks_up_users() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "one");
    let path = |name: &str| setup.folder.path().join(name).display().to_string();
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = {:?}, key = {:?}, client-ca = {:?} }}\n",
        path("one.crt"),
        path("one.key"),
        path("missing.ca"),
    );
    std::fs::write(path("tokens"), "phone:hunter2\n").unwrap();
    let rule = format!("[[access]]\nusers = [\"no-such-user\"]\ntokens = {:?}\n", path("tokens"));
    let end = check(setup.config(&format!("{listener}{rule}")));
    end.assert_exit(78, &["client-ca", "missing.ca", "no such file"]);
    end.assert_exit(78, &["ws-router.toml:8:1: access rule 1: user \"no-such-user\": no such user"]);
    end.assert_exit(78, &["ws-router.toml:10:10: ", "tokens:1:", "the hash is not 64 hex digits"]);
    assert!(end.log.iter().all(|line| !line.contains("hunter2")));
}

#[test]
fn a_check_reads_revocation_lists() {
    for (list, problem) in [(None, "no such file"), (Some("garbage"), "no list in it")] {
        let setup = Setup::new();
        certificate(setup.folder.path(), "one");
        if let Some(text) = list {
            std::fs::write(setup.folder.path().join("revoked.pem"), text).unwrap();
        }
        let tls = "certificate = \"one.crt\", key = \"one.key\", client-ca = \"one.crt\", client-crl = \"revoked.pem\"";
        let listener = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n");
        check(setup.config(&listener)).assert_exit(78, &["client-crl", "revoked.pem", problem]);
    }
}

#[test]
fn a_check_reports_all_problems() {
    let end = check(Setup::on_loopback().config("[websocket]\nmax-mesage = \"1MiB\"\n[relay]\nthreads = \"many\"\n"));
    end.assert_exit(78, &["max-mesage", "max-message"]);
    end.assert_exit(78, &["threads"]);
}

#[test]
fn the_printed_configuration_is_a_file_with_the_same_settings() {
    let end =
        Setup::on_loopback().config("[registration]\nlinger = \"3s\"\n").argument("--print-config").start().ended();
    assert_eq!(end.status.code(), Some(0));
    let again = Setup::new();
    std::fs::write(again.folder.path().join("again.toml"), &end.stdout).unwrap();
    let file = again.folder.path().join("again.toml").display().to_string();
    let second = again.argument("--print-config").argument("--config").argument(file).start_on(Stdio::null()).ended();
    assert!(end.stdout.contains("linger = \"3s\" # "), "{}", end.stdout);
    // The comments name other lines; the values are the same.
    let values = |text: &str| text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&second.stdout), values(&end.stdout));
}

#[test]
fn invalid_arguments_are_64() {
    Setup::new().argument("--lissen").start().ended().assert_exit(64, &["--lissen"]);
    Setup::new().argument("--inetd").start().ended().assert_exit(64, &["descriptor 0 is not a socket"]);
}

#[test]
fn help_and_version_are_0() {
    assert_eq!(Setup::new().argument("--help").start().ended().status.code(), Some(0));
    let end = Setup::new().argument("--version").start().ended();
    assert_eq!(end.stdout, format!("ws-router {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_check_reports_a_key_that_others_can_read_and_is_still_ok() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "one");
    let key = setup.folder.path().join("one.key");
    fs::set_permissions(&key, Permissions::from_mode(0o604)).unwrap();
    let end = check(setup.tls("one.crt", "one.key"));
    assert_eq!(end.status.code(), Some(0), "{:?}", end.log);
    assert!(end.stdout.ends_with("\nok\n"), "{}", end.stdout);
    let fix = format!("chmod o-r {}", key.display());
    let found = end.log.iter().find(|line| line.starts_with("error: files: key: ")).unwrap();
    assert!(found.ends_with(&fix), "{found}");
}

#[test]
fn findings_and_problems_of_a_check_are_json_for_programs() {
    let findings = |setup: Setup, status| {
        let end = setup.argument("--check").argument("--json").start().ended();
        assert_eq!(end.status.code(), Some(status), "{:?}", end.log);
        serde_json::from_str::<Vec<Finding>>(&end.stdout).unwrap()
    };
    let open = Setup::new().config("[[listener]]\naddress = \"[::]:0\"\n");
    let notices: Vec<_> = findings(open, 0).into_iter().map(|finding| (finding.severity, finding.area)).collect();
    assert_eq!(notices, [(Severity::Notice, Area::Access)]);
    let wrong = findings(Setup::on_loopback().config("[relay]\nthreads = \"many\"\n"), 78);
    assert!(wrong.iter().any(|finding| finding.area == Area::Configuration && finding.text.contains("threads")));
}

#[test]
fn a_check_with_the_rights_of_a_user_reads_what_that_user_can_read() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can check as another user");
        return;
    }
    let setup = Setup::new();
    certificate(setup.folder.path(), "one");
    fs::set_permissions(setup.folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(setup.folder.path().join("one.key"), Permissions::from_mode(0o600)).unwrap();
    let as_nobody = setup.tls("one.crt", "one.key").argument("--check").argument("--as").argument("nobody");
    as_nobody.start().ended().assert_exit(78, &["one.key", "permission denied"]);
    let unknown = Setup::on_loopback().argument("--check").argument("--as").argument("no-such-user");
    unknown.start().ended().assert_exit(64, &["no-such-user", "create it"]);
}

#[test]
fn credentials_of_a_service_that_does_not_run_are_reported_as_not_checked() {
    let tls = "certificate = \"${CREDENTIALS_DIRECTORY}/c.pem\", key = \"${CREDENTIALS_DIRECTORY}/k.pem\"";
    let setup = Setup::new().config(&format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n"));
    let end = check(setup);
    assert_eq!(end.status.code(), Some(0), "{:?}", end.log);
    assert!(end.stdout.contains("notice: files: credentials are not checkable here"), "{}", end.stdout);
}
