mod access;
mod documents;
mod files;
mod mistakes;
mod roundtrip;

use std::ffi::OsString;
use std::path::Path;

use super::load::{environment, load_default, parse_in};
use super::*;
use crate::files::Accept;

/// Reads a string as /etc/r.toml, with credentials in /run/credentials.
fn read(text: &str) -> Result<Config, Problems> {
    let variable = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| OsString::from("/run/credentials/"));
    parse_in(text, Path::new("/etc/r.toml"), &variable)
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = read("").unwrap();
    assert_eq!(config, Config::default());
    assert!(config.listeners.is_empty());
    assert_eq!(config.effective_listeners()[0].address.to_string(), "[::]:8741");
}

#[test]
fn listeners_of_all_kinds_are_read() {
    let text = r#"
        [[listener]]
        address = "127.0.0.1:0"
        [[listener]]
        address = "unix:/run/ws-router/http.sock"
        [[listener]]
        address = "systemd:https"
        tls = { certificate = "${CREDENTIALS_DIRECTORY}/cert.pem", key = "tls/key.pem" }
        [[listener]]
        address = "[::1%2]:443"
        [listener.tls]
        certificate = "/c.pem"
        key = "/k.pem"
    "#;
    let listeners = read(text).unwrap().listeners;
    let shown: Vec<String> = listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(shown, ["127.0.0.1:0", "unix:/run/ws-router/http.sock", "systemd:https", "[::1%2]:443"]);
    let tls = |certificate: &str, key: &str| Some(Tls::new(certificate, key));
    assert_eq!(listeners[1].tls, None);
    assert_eq!(listeners[2].tls, tls("/run/credentials/cert.pem", "/etc/tls/key.pem"));
    assert_eq!(listeners[3].tls, tls("/c.pem", "/k.pem"));
}

#[test]
fn values_have_units() {
    let text = r#"
        [registration]
        linger = "1m 30s"
        [websocket]
        max-message = 1_000_000
        outbox = "1.5 MiB"
        [relay]
        threads = 4
        busy-poll = "50us"
        [limits]
        connections = 0x1000
        connection-rate = "unlimited"
        register-rate = "20/m burst 100"
    "#;
    let config = read(text).unwrap();
    assert_eq!(config.registration.linger, Duration::from_secs(90));
    assert_eq!(config.websocket.max_message, ByteSize::b(1_000_000));
    assert_eq!(config.websocket.outbox, ByteSize::kib(1536));
    assert_eq!(config.relay.threads.unwrap().get(), 4);
    assert_eq!(config.relay.busy_poll, Duration::from_micros(50));
    assert_eq!(config.limits.connections, Some(4096));
    assert_eq!(config.limits.connection_rate, RateLimit(None));
    assert_eq!(config.limits.register_rate, RateLimit(Some(Rate::new(20, Duration::from_secs(60), 100))));
}

#[test]
fn a_file_may_be_written_with_dots_and_with_windows_line_ends() {
    let config = read("\u{feff}relay.threads = 2\r\n[http]\r\npath-prefix = \"/a/b\"\r\n").unwrap();
    assert_eq!(config.relay.threads.unwrap().get(), 2);
    assert_eq!(config.http.path_prefix, "/a/b");
}

#[test]
fn a_missing_default_file_means_the_defaults_but_an_invalid_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ws-router.toml");
    assert_eq!(load_default(&path, Accept::Any, &environment).finish(), Ok(Config::default()));
    std::fs::write(&path, "[relay]\nthreads = 3\n").unwrap();
    assert_eq!(load_default(&path, Accept::Any, &environment).finish().unwrap().relay.threads.unwrap().get(), 3);
    std::fs::write(&path, "[relay]\nthreads = 0\n").unwrap();
    assert!(load_default(&path, Accept::Any, &environment).finish().is_err());
    let dangling = folder.path().join("link.toml");
    std::os::unix::fs::symlink("/nonexistent", &dangling).unwrap();
    assert!(load_default(&dangling, Accept::Any, &environment).finish().is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    for named in [load(&missing), Source::new(Some(missing.clone())).read(Accept::Any)] {
        let text = named.unwrap_err().to_string();
        assert_eq!(text, format!("{}: no such file; create it, or name another with --config", missing.display()));
    }
    let text = load(folder.path()).unwrap_err().to_string();
    assert_eq!(text, format!("{}: a directory; name the file in it", folder.path().display()));
    let foreign = folder.path().join("latin.toml");
    std::fs::write(&foreign, b"# fine\n# \xe4\n").unwrap();
    let text = load(&foreign).unwrap_err().to_string();
    assert_eq!(text, format!("{}:2:3: not UTF-8; save the file in that encoding", foreign.display()));
}

#[test]
fn differences_that_a_reload_applies_are_live() {
    let old = read("").unwrap();
    assert!(old.differences(&old).is_empty());
    let new =
        read("[registration]\nlinger = \"1m\"\n[relay]\nthreads = 2\nbusy-poll = \"50us\"\n[log]\nformat = \"json\"");
    let differences = old.differences(&new.unwrap());
    assert_eq!(differences.live, ["registration.linger", "relay.busy-poll"]);
    assert_eq!(differences.need_restart, ["relay.threads", "log.format"]);
}

#[test]
fn keys_that_need_a_restart_are_marked_so() {
    let slow = keys::KEYS.iter().filter(|key| key.reload == Reload::Restart);
    let slow: Vec<String> = slow.map(keys::Key::full_name).collect();
    assert_eq!(
        slow,
        [
            "relay.threads",
            "admin.socket",
            "admin.read-only-socket",
            "admin.read-only-mode",
            "admin.read-only-group",
            "metrics.listen",
            "metrics.mode",
            "metrics.group",
            "log.format"
        ]
    );
}

#[test]
fn any_change_of_a_listener_needs_a_restart_but_their_order_does_not_matter() {
    let with = |text: &str| read(text).unwrap();
    let plain = "[[listener]]\naddress = \"[::]:1\"\n";
    let secure = "[[listener]]\naddress = \"[::]:2\"\ntls = { certificate = \"/c\", key = \"/k\" }\n";
    let both = with(&format!("{plain}{secure}"));

    assert!(both.differences(&with(&format!("{secure}{plain}"))).is_empty());

    let renewed = with(&format!("{plain}{}", secure.replace("/c", "/d")));
    assert_eq!(both.differences(&renewed).need_restart, ["listener.tls.certificate"]);
    assert!(both.differences(&renewed).live.is_empty());

    assert_eq!(both.differences(&with(plain)).need_restart, ["listener.address"]);
    assert_eq!(
        both.differences(&with(&format!("{plain}{}", secure.replace(":2", ":3")))).need_restart,
        ["listener.address"]
    );
    let unprotected = with(&format!("{plain}{}", plain.replace(":1", ":2")));
    assert_eq!(both.differences(&unprotected).need_restart, ["listener.tls"]);

    let trusting = |listener: &str| with(&format!("{listener}\n[http]\ntrusted-proxies = [\"127.0.0.1\"]\n"));
    let (before, after) = (trusting(plain), trusting(&format!("{plain}proxy-protocol = true")));
    assert_eq!(before.differences(&after).need_restart, ["listener.proxy-protocol"]);

    let unix = with("[[listener]]\naddress = \"unix:/s\"\n");
    let opened = with("[[listener]]\naddress = \"unix:/s\"\nmode = \"0666\"\ngroup = \"root\"\n");
    assert_eq!(unix.differences(&opened).need_restart, ["listener.mode", "listener.group"]);

    let explicit = with("[[listener]]\naddress = \"[::]:8741\"\n");
    assert!(explicit.differences(&with("")).is_empty());
}
