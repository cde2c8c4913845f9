//! Client certificates: which clients a listener that requires them admits, and the control program as such a client.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::tls::{Authority, Secured, ca, crl, dial, ecdsa, reload, showing, trusting};
use crate::support::{exchange, read_head};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use ws_router_server::config::{ClientNames, Rule, Tls};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";

/// Starts a router whose TLS listener requests certificates of an authority.
async fn mutual(authority: &Authority, names: ClientNames) -> Secured {
    let make = |files: &Tls| {
        ecdsa(files);
        std::fs::write(ca(files), &authority.pem).unwrap();
    };
    Secured::start_with(make, |config| {
        let tls = config.listeners[1].tls.as_mut().unwrap();
        tls.client_ca = Some(ca(tls));
        config.access = vec![Rule { client_certificates: Some(names), ..Rule::default() }];
    })
    .await
}

/// Registers; returns the status, or `None` if the handshake fails.
async fn register(secured: &Secured, client: rustls::ClientConfig) -> Option<u16> {
    let request = format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let stream = dial(secured.server.https.unwrap(), Arc::new(client)).await.ok()?;
    // In TLS 1.3 the client learns only with the first answer that its certificate isn't accepted.
    Some(exchange(stream, request.as_bytes()).await.status).filter(|status| *status != 0)
}

#[tokio::test]
async fn only_a_client_with_a_certificate_of_the_authority_is_admitted() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Any).await;
    assert_eq!(register(&secured, authority.client("any", "any.example")).await, Some(200));
    let nameless = trusting(&[&TLS12, &TLS13]).with_no_client_auth();
    assert_eq!(register(&secured, nameless).await, Some(403));
    assert_eq!(secured.server.get(&format!("/register?{LOBBY}")).await.status, 403);
    assert_eq!(register(&secured, Authority::new().client("any", "any.example")).await, None);
}

#[tokio::test]
async fn a_certificate_is_known_by_its_common_name_and_its_alternative_names() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Of(vec!["device-1".into(), "phone.example".into()])).await;
    assert_eq!(register(&secured, authority.client("device-1", "other.example")).await, Some(200));
    assert_eq!(register(&secured, authority.client("other", "phone.example")).await, Some(200));
    assert_eq!(register(&secured, authority.client("device-2", "other.example")).await, Some(403));
}

#[tokio::test]
async fn new_authorities_apply_to_the_next_handshake_and_to_resumed_sessions() {
    let (old, new) = (Authority::new(), Authority::new());
    let secured = mutual(&old, ClientNames::Any).await;
    let (before, after) = (old.client("a", "a.example"), new.client("a", "a.example"));
    assert_eq!(register(&secured, before.clone()).await, Some(200));
    replace(&ca(&secured.files), &new.pem);
    assert!(secured.server.certificates[0].are_stale());
    assert!(reload(&secured.server.certificates[0]).unwrap());
    // The clone shares the sessions of the first client.
    assert_eq!(register(&secured, before).await, None);
    assert_eq!(register(&secured, after).await, Some(200));
    replace(&ca(&secured.files), "garbage");
    let error = reload(&secured.server.certificates[0]).unwrap_err().to_string();
    assert!(error.starts_with("client-ca ") && error.contains("no certificate in it"), "{error}");
}

/// Starts such a router with the revocation list `list`.
async fn revoking(authority: &Authority, list: &str) -> Secured {
    let make = |files: &Tls| {
        ecdsa(files);
        std::fs::write(ca(files), &authority.pem).unwrap();
        std::fs::write(crl(files), list).unwrap();
    };
    Secured::start_with(make, |config| {
        let tls = config.listeners[1].tls.as_mut().unwrap();
        (tls.client_ca, tls.client_crl) = (Some(ca(tls)), Some(crl(tls)));
        config.access = vec![Rule { client_certificates: Some(ClientNames::Any), ..Rule::default() }];
    })
    .await
}

#[tokio::test]
async fn a_revoked_certificate_is_rejected_and_others_are_accepted() {
    let authority = Authority::new();
    // An expired list still applies.
    for until in [2200, 2021] {
        let secured = revoking(&authority, &authority.revokes(&[7, 9], until)).await;
        let signed = |serial| showing(&authority.signs("any", "any.example", serial));
        for (serial, status) in [(7, None), (8, Some(200)), (9, None)] {
            assert_eq!(register(&secured, signed(serial)).await, status, "{serial}");
        }
        let nameless = trusting(&[&TLS12, &TLS13]).with_no_client_auth();
        assert_eq!(register(&secured, nameless).await, Some(403));
        assert_eq!(secured.server.metrics.tls_failures.value(), 2);
    }
}

#[tokio::test]
async fn a_new_revocation_list_applies_to_the_next_handshake_and_to_resumed_sessions() {
    let authority = Authority::new();
    let secured = revoking(&authority, &authority.revokes(&[], 2200)).await;
    let client = showing(&authority.signs("any", "any.example", 7));
    assert_eq!(register(&secured, client.clone()).await, Some(200));
    replace(&crl(&secured.files), &authority.revokes(&[7], 2200));
    assert!(secured.server.certificates[0].are_stale());
    assert!(reload(&secured.server.certificates[0]).unwrap());
    assert_eq!(register(&secured, client.clone()).await, None);
    replace(&crl(&secured.files), "garbage");
    let error = reload(&secured.server.certificates[0]).unwrap_err().to_string();
    assert!(
        error.starts_with("client-crl ") && error.contains("no list in it; expected PEM with a BEGIN X509 CRL"),
        "{error}"
    );
    assert_eq!(register(&secured, client).await, None, "the list before remains in use");
}

/// Registers on a connection that stays open; returns the status.
async fn registers_on(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> u16 {
    let request = format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_head(stream).await;
    let length: usize = answer.header("content-length").unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    answer.status
}

#[tokio::test]
async fn a_revoked_certificate_admits_no_request_of_a_kept_connection() {
    let authority = Authority::new();
    let secured = revoking(&authority, &authority.revokes(&[], 2200)).await;
    let open = async |serial| {
        let client = showing(&authority.signs("any", "any.example", serial));
        dial(secured.server.https.unwrap(), Arc::new(client)).await.unwrap()
    };
    let (mut revoked, mut other) = (open(7).await, open(8).await);
    assert_eq!(registers_on(&mut revoked).await, 200);
    assert_eq!(registers_on(&mut other).await, 200);
    replace(&crl(&secured.files), &authority.revokes(&[7], 2200));
    assert!(reload(&secured.server.certificates[0]).unwrap());
    assert_eq!(registers_on(&mut revoked).await, 403);
    assert_eq!(registers_on(&mut other).await, 200);
}

#[tokio::test]
async fn an_expired_certificate_admits_no_request_and_no_resumed_session() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Any).await;
    let expiry = SystemTime::now() + Duration::from_secs(5);
    let signed = authority.signs_with("any", "any.example", |parameters| parameters.not_after = expiry.into());
    let client = showing(&signed);
    assert_eq!(register(&secured, client.clone()).await, Some(200));
    let mut kept = dial(secured.server.https.unwrap(), Arc::new(client.clone())).await.unwrap();
    assert_eq!(registers_on(&mut kept).await, 200);
    // A certificate is valid to the end of its last second.
    while SystemTime::now() <= expiry + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The clone shares the sessions of the first client.
    assert_eq!(register(&secured, client).await, None);
    assert_eq!(registers_on(&mut kept).await, 403);
    assert_eq!(secured.server.metrics.tls_failures.value(), 1);
}

#[tokio::test]
async fn a_revocation_list_of_another_authority_admits_no_client() {
    let authority = Authority::new();
    let secured = revoking(&authority, &Authority::new().revokes(&[], 2200)).await;
    assert_eq!(register(&secured, authority.client("any", "any.example")).await, None);
    let both = authority.revokes(&[], 2200) + &Authority::new().revokes(&[], 2200);
    replace(&crl(&secured.files), &both);
    assert!(reload(&secured.server.certificates[0]).unwrap());
    assert_eq!(register(&secured, authority.client("any", "any.example")).await, Some(200));
}

/// Replaces a file as renewals do: with another inode.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// Runs the control program with a client certificate, or none.
async fn control(
    secured: &Secured,
    command: &str,
    shown: Option<&[String; 2]>,
    more: &[&str],
) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("https://localhost:{}", secured.server.https.unwrap().port());
    let mut program = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
    program.args([command, &url, "--insecure"]).args(more).stdin(Stdio::null());
    if let Some([certificate, key]) = shown {
        let files = ["probe.pem", "probe.key"].map(|name| folder.path().join(name));
        std::fs::write(&files[0], certificate).unwrap();
        std::fs::write(&files[1], key).unwrap();
        program.arg("--client-certificate").arg(&files[0]).arg("--client-key").arg(&files[1]);
    }
    let Output { status, stdout, stderr } = spawn_blocking(move || program.output().unwrap()).await.unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_check_with_a_certificate_proves_a_router_that_asks_for_one() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Of(vec!["probe".into()])).await;
    let good = authority.signs("probe", "probe.example", 7);
    let (status, out, _) = control(&secured, "check", Some(&good), &[]).await;
    assert_eq!(status, 0, "{out}");
    let (status, out, _) = control(&secured, "check", None, &[]).await;
    assert!(status == 1 && out.contains("FAILED  register hostclient") && out.contains("403"), "{out}");
    let other = authority.signs("other", "other.example", 8);
    let (status, out, _) = control(&secured, "check", Some(&other), &[]).await;
    assert!(status == 1 && out.contains("403"), "{out}");
    let foreign = Authority::new().signs("probe", "probe.example", 7);
    let (status, out, _) = control(&secured, "check", Some(&foreign), &[]).await;
    assert!(status == 1 && out.contains("fatal alert") && !out.contains("--insecure accepts"), "{out}");
    assert_eq!(secured.server.router.registrations(), 0);
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_reported_with_its_file() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Any).await;
    let [certificate, key] = authority.signs("probe", "probe.example", 7);
    let [_, another_key] = authority.signs("probe", "probe.example", 8);
    let (status, _, error) = control(&secured, "check", Some(&["".into(), key.clone()]), &[]).await;
    assert!(
        status == 70 && error.contains("client certificate ") && error.contains("probe.pem: there is none"),
        "{error}"
    );
    let (status, _, error) = control(&secured, "check", Some(&[certificate.clone(), certificate.clone()]), &[]).await;
    assert!(status == 70 && error.contains("client key ") && error.contains("probe.key: there is none"), "{error}");
    let (status, _, error) = control(&secured, "check", Some(&[certificate.clone(), another_key]), &[]).await;
    assert!(status == 70 && error.contains("use the key of the certificate"), "{error}");
    let (status, line, _) = control(&secured, "check", Some(&["".into(), key.clone()]), &["--monitor"]).await;
    assert!(status == 3 && line.starts_with("WS-ROUTER UNKNOWN - client certificate "), "{line}");
    let plain = format!("http://{}", secured.server.http);
    let mut program = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
    let files = [&secured.files.certificate, &secured.files.key];
    program.args(["check", &plain, "--client-certificate"]).arg(files[0]).arg("--client-key").arg(files[1]);
    let output = spawn_blocking(move || program.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(64), "without TLS it has no effect");
}

#[tokio::test]
async fn a_pipe_sends_its_client_certificate() {
    let authority = Authority::new();
    let secured = mutual(&authority, ClientNames::Any).await;
    let (status, _, error) = control(&secured, "pipe", None, &["--plain"]).await;
    assert!(status == 1 && error.contains("403"), "{error}");
    let good = authority.signs("probe", "probe.example", 7);
    let (status, _, error) = control(&secured, "pipe", Some(&good), &["--plain"]).await;
    assert_eq!(status, 0, "{error}");
}
