//! The list of all keys, with their types, limits, and whether a reload applies them.
//!
//! The reader, its suggestions, [`Config::differences`], [`Config::to_toml`] and the tests of the example file and the
//! manual page all use this list, so a new key is added here, to the struct and to its defaults, and nowhere else. The keys of
//! `[[listener]]` and `[[access]]` are read in `listener` and `access`.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use ws_router_admin_api::ListenAddress;

use super::Config;
use super::permissions::{GROUP, MODE};
use super::reader::Found;
use super::value::{
    Setting, ValueError, any, auto_or, between, each, host_name, nearest, origin, path_prefix, type_error,
};

/// Way in which a changed key is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A reload, while connections stay open.
    Live,
    /// A restart.
    Restart,
}

/// A key of a section.
pub(super) struct Key {
    /// Its section.
    pub(super) section: &'static str,
    /// Its name in the section.
    pub(super) name: &'static str,
    /// What applies a change.
    pub(super) reload: Reload,
    /// Reads its value into a configuration.
    pub(super) read: fn(&mut Config, &DeValue<'_>) -> Result<(), ValueError>,
    /// Returns its value as it is written in a file.
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// Returns whether the configuration may have the key. Permissions require a Unix socket that the router binds.
    pub(super) fn applies(&self, config: &Config) -> bool {
        let is_permission = self.section == METRICS && [MODE, GROUP].contains(&self.name);
        !is_permission || matches!(config.metrics.listen, None | Some(ListenAddress::Unix(_)))
    }

    /// Returns the name with its section.
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Creates the list from sections of `"name" field, reload bounds;`.
macro_rules! keys {
    ($([$section:ident] $($name:literal $($field:ident).+, $reload:ident $fits:expr;)+)+) => {
        &[$($(Key {
            section: stringify!($section),
            name: $name,
            reload: Reload::$reload,
            read: |config, value| {
                let value = Setting::read(value)?;
                let fits = $fits;
                fits(&value)?;
                config.$section.$($field).+ = value;
                Ok(())
            },
            show: |config| config.$section.$($field).+.show(),
        },)+)+]
    };
}

/// All keys of sections, in the order of the example file.
pub(super) const KEYS: &[Key] = keys! {
    [registration]
    "auto-remove" auto_remove, Live any;
    "linger" linger, Live between(Duration::ZERO, YEAR);
    "unclaimed-timeout" unclaimed_timeout, Live between(Duration::from_secs(1), YEAR);
    "reject-taken-ids" reject_taken_ids, Live any;
    "max-wait" max_wait, Live between(Duration::ZERO, DAY);
    "accept-timeout" accept_timeout, Live between(MIN_TIMEOUT, DAY);

    [websocket]
    "max-message" max_message, Live between(ByteSize::kib(1), ByteSize::gib(1));
    "ping-interval" ping_interval, Live between(MIN_TIMEOUT, DAY);
    "pong-timeout" pong_timeout, Live between(MIN_TIMEOUT, DAY);
    "outbox" outbox, Live between(ByteSize::kib(16), ByteSize::gib(1));
    "stall-timeout" stall_timeout, Live between(MIN_TIMEOUT, DAY);
    "slow-receiver" slow_receiver, Live any;
    "close-timeout" close_timeout, Live between(MIN_TIMEOUT, DAY);
    "session-timeout" session_timeout, Live between(Duration::ZERO, DAY);
    "session-buffer" session_buffer, Live between(ByteSize::kib(16), ByteSize::mib(64));

    [relay]
    "threads" threads, Restart auto_or(between(NonZeroUsize::MIN, MAX_THREADS));
    "busy-poll" busy_poll, Live between(Duration::ZERO, Duration::from_millis(10));

    [http]
    "path-prefix" path_prefix, Live |prefix: &String| path_prefix(prefix);
    "public-stats" public_stats, Live any;
    "console" console, Live any;
    "allow-origin" allow_origin, Live |text: &String| origin(text);
    "trusted-proxies" trusted_proxies, Live any;
    "forwarded-header" forwarded_header, Live any;
    "require-forwarded" require_forwarded, Live any;
    "hosts" hosts, Live each(|name: &String| host_name(name));
    "request-timeout" request_timeout, Live between(MIN_TIMEOUT, DAY);
    "idle-timeout" idle_timeout, Live between(MIN_TIMEOUT, DAY);
    // A browser says that much about itself, with a few cookies.
    "max-head" max_head, Live between(ByteSize::kib(8), ByteSize::mib(1));
    "max-body" max_body, Live between(ByteSize::kib(1), ByteSize::mib(1));
    "max-send" max_send, Live between(ByteSize::kib(1), ByteSize::mib(64));

    [admin]
    "socket" socket, Restart any;
    "read-only-socket" read_only_socket, Restart any;
    "read-only-mode" read_only_permissions.mode, Restart any;
    "read-only-group" read_only_permissions.group, Restart any;

    [metrics]
    "listen" listen, Restart any;
    "mode" permissions.mode, Restart any;
    "group" permissions.group, Restart any;

    [log]
    "level" level, Live any;
    "format" format, Restart any;

    [limits]
    "connections" connections, Live auto_or(between(1, MAX_COUNT));
    "connections-per-address" connections_per_address, Live auto_or(between(1, MAX_COUNT));
    "registrations" registrations, Live between(1, MAX_COUNT);
    "members" members, Live between(1, MAX_COUNT);
    "pending" pending, Live between(1, MAX_COUNT);
    "watchers" watchers, Live between(1, MAX_COUNT);
    "waiting" waiting, Live between(1, MAX_COUNT);
    "away" away, Live between(1, MAX_COUNT);
    "memory" memory, Live auto_or(between(ByteSize::mib(16), ByteSize::tib(64)));
    "connection-rate" connection_rate, Live any;
    "register-rate" register_rate, Live any;
    "send-rate" send_rate, Live any;
    "wrong-key-rate" wrong_key_rate, Live any;

    [service]
    "exit-when-idle" exit_when_idle, Live between(Duration::ZERO, YEAR);
    "debuggable" debuggable, Live any;
};

/// The table of a listener, of which there may be several.
pub(super) const LISTENER: &str = "listener";

/// The keys of a `[[listener]]`.
pub(super) const LISTENER_KEYS: [&str; 5] = ["address", TLS, PROXY_PROTOCOL, MODE, GROUP];

/// The key of a listener whose connections begin with a header of the PROXY protocol.
pub(super) const PROXY_PROTOCOL: &str = "proxy-protocol";

/// The section of the metrics' listener.
pub(super) const METRICS: &str = "metrics";

/// The key of a listener that is a table itself.
pub(super) const TLS: &str = "tls";

/// The keys of a listener's `tls`.
pub(super) const TLS_KEYS: [&str; 5] = ["certificate", "key", "client-ca", "client-crl", KERNEL];

/// The key of a listener's `tls` that says whether the kernel encrypts and decrypts.
pub(super) const KERNEL: &str = "kernel";

/// The table of an access rule, of which there may be several.
pub(super) const ACCESS: &str = "access";

/// The keys of an `[[access]]`.
pub(super) const ACCESS_KEYS: [&str; 13] = [
    "name",
    "allow",
    "networks",
    "users",
    "tokens",
    "client-certificates",
    "origins",
    "registrations",
    "members",
    "messages",
    "bytes",
    "ask",
    "ask-timeout",
];

/// Returns the section and name of every key. The keys in `tls` have the section `listener.tls`.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let listener = LISTENER_KEYS.into_iter().map(|name| (LISTENER, name));
    let tls = TLS_KEYS.into_iter().map(|name| ("listener.tls", name));
    let access = ACCESS_KEYS.into_iter().map(|name| (ACCESS, name));
    listener.chain(tls).chain(KEYS.iter().map(|key| (key.section, key.name))).chain(access)
}

/// Returns all sections, in the order of the example file.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections = vec![LISTENER];
    sections.extend(KEYS.iter().map(|key| key.section));
    sections.push(ACCESS);
    sections.dedup();
    sections
}

/// Returns the problem of an unknown key in a section, or in none at the top of the file, with the key that was probably
/// meant.
pub(super) fn unknown_key(section: &str, name: &str) -> String {
    let problem = match section {
        "" => format!("unknown key {name:?} outside of any section"),
        _ => format!("unknown key {name:?} in {}", heading(section)),
    };
    let here = || names().filter(|(place, _)| *place == section).map(|(_, known)| known);
    let elsewhere = |wanted: &str| names().find(|(_, known)| *known == wanted).map(|(place, _)| heading(place));
    if let Some(place) = elsewhere(name) {
        return format!("{problem}; it belongs in {place}");
    }
    if let Some(meant) = nearest(name, here()) {
        return format!("{problem}; did you mean {meant:?}?");
    }
    if let Some(meant) = nearest(name, names().map(|(_, known)| known)) {
        return format!("{problem}; did you mean {meant:?} in {}?", elsewhere(meant).unwrap_or_default());
    }
    let known: Vec<&str> = here().collect();
    match known.as_slice() {
        [] => format!("{problem}; ws-router.toml(5) lists the keys"),
        known => format!("{problem}; its keys are {}", known.join(", ")),
    }
}

/// Returns the problem of an unknown section, with the section that was probably meant.
pub(super) fn unknown_section(name: &str) -> String {
    let fix = match nearest(name, sections()) {
        Some(meant) => format!("did you mean {}?", heading(meant)),
        None => format!("the sections are {}", sections().into_iter().map(heading).collect::<Vec<_>>().join(", ")),
    };
    format!("unknown section [{name}]; {fix}")
}

/// Returns a section as it is written in a file.
fn heading(section: &str) -> String {
    match section {
        LISTENER | ACCESS => format!("[[{section}]]"),
        "listener.tls" => "a listener's tls".into(),
        _ => format!("[{section}]"),
    }
}

/// Calls `read` for each table of an array such as `[[listener]]`, with the offset of its header. Reports a value that
/// isn't such an array.
pub(super) fn each_table(
    section: &str,
    value: &Spanned<DeValue<'_>>,
    found: &mut Found,
    mut read: impl FnMut(usize, &DeTable<'_>, &mut Found),
) {
    let DeValue::Array(tables) = value.get_ref() else {
        let fix = format!("write [[{section}]] with two brackets on each side, since there may be several");
        found.semantic_error(value.span().start, format!("{section}: {}", type_error(value.get_ref(), "a list", fix)));
        return;
    };
    for table in tables {
        if found.is_full() {
            return;
        }
        match table.get_ref() {
            DeValue::Table(keys) => read(table.span().start, keys, found),
            other => {
                let fix = format!("write [[{section}]] above its keys");
                found.semantic_error(table.span().start, format!("{section}: {}", type_error(other, "a table", fix)));
            }
        }
    }
}

/// Reports the unknown keys of a table that isn't a section of [`KEYS`].
pub(super) fn unknown_keys(section: &str, known: &[&'static str], keys: &DeTable<'_>, found: &mut Found) {
    for (name, _) in keys.iter().filter(|(name, _)| !known.contains(&name.get_ref().as_ref())) {
        if found.is_full() {
            return;
        }
        found.semantic_error(name.span().start, unknown_key(section, name.get_ref()));
    }
}

/// Minimum of timeouts: within a shorter time, no peer can respond.
pub(super) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A year of 365.25 days, as in humantime. A longer time is a typing error, and might exceed the clock's range.
const YEAR: Duration = Duration::from_secs(31_557_600);
/// Maximum number of relay threads. More threads than cores only compete with each other.
const MAX_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// Maximum of counts: more than any machine can hold, and far below an overflow.
pub(super) const MAX_COUNT: usize = 1_000_000_000;
