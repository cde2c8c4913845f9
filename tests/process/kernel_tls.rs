//! Connections whose TLS is in the kernel. Most of these tests need its `tls` module, and `tests/system/run kernel-tls` runs
//! them on a kernel that has it.

use ws_router_core::close::CloseReason;

use super::carried::{TlsRouter, each_way, until};
use super::client::{Member, TlsStream, ask, connect, connect_tls, connect_tls_with, register};
use super::harness::{Setup, certificate};

impl TlsRouter {
    /// Starts a router whose TLS is in the kernel; `None` if this kernel can't do that.
    fn in_kernel() -> Option<Self> {
        if !has_module() {
            println!("not tested: the kernel has no tls module");
        }
        has_module().then(|| Self::start("required"))
    }

    fn connect(&self) -> TlsStream {
        connect_tls(self.secure, &self.certificate)
    }
}

fn has_module() -> bool {
    std::fs::exists("/proc/net/tls_stat").unwrap()
}

#[test]
fn a_listener_that_requires_it_starts_only_with_the_module() {
    let setup = Setup::on_loopback();
    certificate(setup.folder.path(), "own");
    let setup = setup.tls_in("own.crt", "own.key", "required");
    if has_module() {
        setup.start().ready();
    } else {
        let end = setup.start().ended();
        assert!(!end.status.success());
        assert!(end.log.iter().any(|line| line.contains("modprobe tls")), "{:#?}", end.log);
    }
}

#[test]
fn members_exchange_messages_through_the_same_connections_over_restarts() {
    each_way(|restart| {
        let Some(mut scene) = TlsRouter::in_kernel() else { return };
        let id = register(scene.connect(), "key");
        let mut one = Member::join(scene.connect(), &id, "key");
        let mut other = Member::join(connect(scene.plain), &id, "key");
        for text in ["first", "second", "third"] {
            one.send_text(text);
            restart(&mut scene.router);
            assert_eq!(other.receive(), text);
            other.send_text("reply");
            assert_eq!(one.receive(), "reply");
        }
        let members = scene.router.admin(&format!("/v1/registrations/{id}"))["members"].clone();
        let in_kernel = members.as_array().unwrap().iter().filter(|member| member["tls_in_kernel"] == true).count();
        let frontend = scene.router.admin("/v1/status")["frontend"].clone();
        assert_eq!((in_kernel, &frontend["tls_sessions"], &frontend["tls_kernel_sessions"]), (1, &1.into(), &1.into()));
    });
}

#[test]
fn every_cipher_suite_carries_small_and_large_messages() {
    let Some(scene) = TlsRouter::in_kernel() else { return };
    let id = register(connect(scene.plain), "key");
    let mut plain = Member::join(connect(scene.plain), &id, "key");
    let suites = rustls::crypto::ring::default_provider().cipher_suites;
    let mut tried = 0;
    // The certificate has an ECDSA key.
    for suite in suites.iter().map(|suite| suite.suite()).filter(|suite| !format!("{suite:?}").contains("RSA")) {
        println!("{suite:?}");
        let stream = connect_tls_with(scene.secure, &scene.certificate, |one| one.suite() == suite);
        let mut secure = Member::join(stream, &id, "key");
        for len in [1, 16_384, 100_000] {
            let text = "x".repeat(len);
            secure.send_text(&text);
            assert_eq!(plain.receive(), text);
            plain.send_text(&text);
            assert_eq!(secure.receive(), text);
        }
        assert_eq!(secure.leave(1000), 1000);
        tried += 1;
    }
    assert_eq!(tried, 6);
    let router = scene.router;
    assert_eq!(router.admin("/v1/status")["frontend"]["tls_kernel_failures"], 0);
}

#[test]
fn new_keys_of_a_member_close_it_with_1012_and_no_other() {
    let Some(scene) = TlsRouter::in_kernel() else { return };
    let id = register(connect(scene.plain), "key");
    let mut one = Member::join(connect(scene.plain), &id, "key");
    let mut other = Member::join(connect(scene.plain), &id, "key");
    let mut renewing = Member::join(scene.connect(), &id, "key");
    renewing.stream().conn.refresh_traffic_keys().unwrap();
    renewing.send_text("not readable");
    assert_eq!(renewing.closed(), (1012, CloseReason::TlsEnded.text().to_owned()));
    one.send_text("hello");
    assert_eq!(other.receive(), "hello");
    until("it is counted", || scene.router.admin("/v1/status")["closes"]["tls-ended"] == 1);
}

#[test]
fn the_end_of_tls_is_the_end_of_the_member() {
    let Some(scene) = TlsRouter::in_kernel() else { return };
    let id = register(connect(scene.plain), "key");
    let mut leaving = Member::join(scene.connect(), &id, "key");
    let TlsStream { conn, sock } = leaving.stream();
    conn.send_close_notify();
    conn.write_tls(sock).unwrap();
    until("it is counted", || scene.router.admin("/v1/status")["closes"]["lost"] == 1);
}

#[test]
fn requests_one_after_the_other_on_one_connection_are_answered() {
    let Some(scene) = TlsRouter::in_kernel() else { return };
    assert_eq!(ask(scene.connect(), "/healthz").0, 200);
    assert_eq!(ask(scene.connect(), "/nothing").0, 404);
}

/// `WS_ROUTER_IDLE` is the number of connections.
#[test]
fn an_idle_connection_takes_no_buffers() {
    if !has_module() {
        return println!("not tested: the kernel has no tls module");
    }
    let count = std::env::var("WS_ROUTER_IDLE").map_or(200, |count| count.parse().unwrap());
    let memory_each = |kernel: &str| {
        let scene = TlsRouter::start(kernel);
        let id = register(connect(scene.plain), "key");
        let mut open: Vec<_> = (0..50).map(|_| Member::join(scene.connect(), &id, "key")).collect();
        let resident = || scene.router.admin("/v1/status")["memory"]["resident_bytes"].as_u64().unwrap();
        let before = resident();
        open.extend((0..count).map(|_| Member::join(connect_tls(scene.secure, &scene.certificate), &id, "key")));
        resident().saturating_sub(before) / count
    };
    let (kernel, process) = (memory_each("required"), memory_each("off"));
    println!("resident memory of an idle connection with TLS: {kernel} bytes in the kernel, {process} in the process");
    assert!(kernel < process / 2);
}
