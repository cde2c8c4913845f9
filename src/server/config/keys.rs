//! The list of keys: the one place that says which there are, what may stand there, and whether a reload is enough.
//!
//! The reader, its suggestions, [`Config::differences`], [`Config::to_toml`] and the tests of the example file and of
//! the manual page all go by this list; whoever adds a key here and to the shape has told all of them. The keys of
//! `[[listener]]` and `[[access]]` come in tables of their own: `listener` and `access` read those.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;
use ws_router_admin_api::ListenAddress;

use super::Config;
use super::permissions::{GROUP, MODE};
use super::units::{Setting, any, auto_or, between, each, host_name, origin, path_prefix};

/// What it takes to put a changed key into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// A reload.
    Live,
    /// A restart.
    Restart,
}

/// A key with a value of its own.
pub(super) struct Key {
    /// The table in which it stands.
    pub(super) section: &'static str,
    /// Its name there.
    pub(super) name: &'static str,
    /// What it takes to change it.
    pub(super) reload: Reload,
    /// Takes its value over into a configuration, or says what is wrong with it, and the mend.
    pub(super) read: fn(&mut Config, &DeValue<'_>) -> Result<(), String>,
    /// Writes its value as it stands in a file.
    pub(super) show: fn(&Config) -> String,
}

impl Key {
    /// Returns whether the configuration may have the key: permissions of a socket need one that the router binds.
    pub(super) fn applies(&self, config: &Config) -> bool {
        let is_permission = self.section == METRICS && [MODE, GROUP].contains(&self.name);
        !is_permission || matches!(config.metrics.listen, None | Some(ListenAddress::Unix(_)))
    }

    /// Shows the key with its section.
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// Makes the list from sections of `"name" field, reload bounds;`.
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

/// Every key with a value of its own, in the order in which a file has them.
pub(super) const KEYS: &[Key] = keys! {
    [registration]
    "auto-remove" auto_remove, Live any;
    "linger" linger, Live between(Duration::ZERO, YEAR);
    "unclaimed-timeout" unclaimed_timeout, Live between(Duration::from_secs(1), YEAR);
    "reject-taken-ids" reject_taken_ids, Live any;

    [websocket]
    "max-message" max_message, Live between(ByteSize::kib(1), ByteSize::gib(1));
    "ping-interval" ping_interval, Live between(MOMENT, DAY);
    "pong-timeout" pong_timeout, Live between(MOMENT, DAY);
    "outbox" outbox, Live between(ByteSize::kib(16), ByteSize::gib(1));
    "stall-timeout" stall_timeout, Live between(MOMENT, DAY);
    "slow-receiver" slow_receiver, Live any;
    "close-timeout" close_timeout, Live between(MOMENT, DAY);

    [relay]
    "threads" threads, Restart auto_or(between(NonZeroUsize::MIN, MOST_THREADS));
    "busy-poll" busy_poll, Live between(Duration::ZERO, Duration::from_millis(10));

    [http]
    "path-prefix" path_prefix, Live path_prefix;
    "public-stats" public_stats, Live any;
    "console" console, Live any;
    "allow-origin" allow_origin, Live origin;
    "trusted-proxies" trusted_proxies, Live any;
    "forwarded-header" forwarded_header, Live any;
    "require-forwarded" require_forwarded, Live any;
    "hosts" hosts, Live each(host_name);
    "request-timeout" request_timeout, Live between(MOMENT, DAY);
    "idle-timeout" idle_timeout, Live between(MOMENT, DAY);
    // A browser says that much about itself, with a few cookies.
    "max-head" max_head, Live between(ByteSize::kib(8), ByteSize::mib(1));
    "max-body" max_body, Live between(ByteSize::kib(1), ByteSize::mib(1));

    [admin]
    "socket" socket, Restart any;

    [metrics]
    "listen" listen, Restart any;
    "mode" permissions.mode, Restart any;
    "group" permissions.group, Restart any;

    [log]
    "level" level, Live any;
    "format" format, Restart any;

    [limits]
    "connections" connections, Live auto_or(between(1, MANY));
    "connections-per-address" connections_per_address, Live auto_or(between(1, MANY));
    "registrations" registrations, Live between(1, MANY);
    "members" members, Live between(1, MANY);
    "pending" pending, Live between(1, MANY);
    "memory" memory, Live auto_or(between(ByteSize::mib(16), ByteSize::tib(64)));
    "connection-rate" connection_rate, Live any;
    "register-rate" register_rate, Live any;
    "wrong-key-rate" wrong_key_rate, Live any;

    [service]
    "exit-when-idle" exit_when_idle, Live between(Duration::ZERO, YEAR);
};

/// The table of which there may be several.
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
pub(super) const TLS_KEYS: [&str; 4] = ["certificate", "key", "client-ca", "client-crl"];

/// The rules by which devices are let in, of which there may be several.
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

/// Names every key as its section and its name in it; the parts of `tls` have the section `listener.tls`.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let listener = LISTENER_KEYS.into_iter().map(|name| (LISTENER, name));
    let tls = TLS_KEYS.into_iter().map(|name| ("listener.tls", name));
    let access = ACCESS_KEYS.into_iter().map(|name| (ACCESS, name));
    listener.chain(tls).chain(KEYS.iter().map(|key| (key.section, key.name))).chain(access)
}

/// Names every section, in the order in which a file has them.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections = vec![LISTENER];
    sections.extend(KEYS.iter().map(|key| key.section));
    sections.push(ACCESS);
    sections.dedup();
    sections
}

/// Less is no time for anything to happen in.
pub(super) const MOMENT: Duration = Duration::from_millis(10);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A year with its quarter of a day, as it is shown. Longer is written in error, and a point in time far enough ahead
/// doesn't exist.
const YEAR: Duration = Duration::from_secs(31_557_600);
/// More threads than cores only stand in each other's way.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// More than any machine holds, and far from any overflow.
pub(super) const MANY: usize = 1_000_000_000;
