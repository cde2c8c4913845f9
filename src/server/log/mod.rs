//! Output of the log: the journal's native protocol, text or JSON on standard error, or syslog.
//!
//! Started once, when the configuration is known; the level can be changed afterwards. Under systemd, messages go to the
//! journal with their fields (`WSROUTER_REGISTRATION=`, `WSROUTER_MEMBER=` …), so that `journalctl` can select by them, and
//! with the ids in [`messages`], which a catalog explains. Under inetd, standard error is the peer's socket, so messages go
//! to the journal or to syslog, or nowhere. No destination that hangs blocks a thread that logs: messages are lost then,
//! and counted.
//!
//! No message contains a key, a payload or a query string; a test searches for them.

mod journal;
pub mod messages;
mod rate_limited;
mod standard_error;
mod syslog;

pub use rate_limited::RateLimitedLog;

use std::env;
use std::io::{self, IsTerminal};

use nix::sys::stat::fstat;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{self, LogFormat, LogLevel};
use standard_error::StandardError;

/// Destination of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error, or the journal if standard error is connected to it.
    StandardError,
    /// The machine's journal or syslog, for a process whose standard error belongs to a peer.
    System,
}

/// Control of the log level while the daemon runs.
#[derive(Debug, Clone)]
pub struct Control(reload::Handle<LevelFilter, Registry>);

/// Logging was started already.
#[derive(Debug, thiserror::Error)]
#[error("logging was started twice")]
pub struct AlreadyStarted;

/// Starts logging for the whole process.
pub fn start(settings: &config::Log, target: LogTarget) -> Result<Control, AlreadyStarted> {
    let (filter, handle) = reload::Layer::new(threshold(settings.level));
    let (output, fallback_reason) = output(settings.format, target);
    let subscriber = tracing_subscriber::registry().with(filter).with(output);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyStarted)?;
    if let Some(error) = fallback_reason {
        tracing::warn!(%error, "the journal can't be reached; logging elsewhere");
    }
    Ok(Control(handle))
}

/// Waits until the messages so far are written, for half a second at most. Must be called before the process ends or
/// executes another program.
pub fn flush() {
    standard_error::flush();
}

impl Control {
    /// Sets the lowest level that is logged.
    pub fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(threshold(level)) {
            tracing::warn!(%error, "log level can't be changed");
        }
    }
}

type Output = Box<dyn Layer<Filtered> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<LevelFilter, Registry>, Registry>;

/// Chooses the output; the error is the reason why it isn't the journal although it should be.
fn output(format: LogFormat, target: LogTarget) -> (Option<Output>, Option<io::Error>) {
    let wants_journal = match (format, target) {
        (LogFormat::Journal, _) | (_, LogTarget::System) => true,
        (LogFormat::Auto, LogTarget::StandardError) => is_connected_to_journal(),
        (LogFormat::Text | LogFormat::Json, LogTarget::StandardError) => false,
    };
    let fallback_reason = match wants_journal.then(journal) {
        Some(Ok(journal)) => return (Some(journal), None),
        Some(Err(error)) => Some(error).filter(|_| target == LogTarget::StandardError),
        None => None,
    };
    let output = match target {
        LogTarget::System => syslog::Syslog::connect().ok().map(syslog::Syslog::layer),
        LogTarget::StandardError if format == LogFormat::Json => Some(json()),
        LogTarget::StandardError => Some(text()),
    };
    (output, fallback_reason)
}

fn journal() -> io::Result<Output> {
    journal::Journal::connect().map(Layer::boxed)
}

fn text() -> Output {
    tracing_subscriber::fmt::layer()
        .fmt_fields(fields())
        .with_writer(StandardError::start())
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .log_internal_errors(false)
        .boxed()
}

/// Formats fields as ` name=value`. Message ids are for programs, and are left out.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| match field.name() {
        messages::FIELD => Ok(()),
        "message" => write!(writer, "{value:?}"),
        // The message is the first of the fields.
        name => write!(writer, " {name}={value:?}"),
    })
}

fn json() -> Output {
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(StandardError::start())
        .log_internal_errors(false)
        .boxed()
}

/// Returns whether standard error is the stream to the journal that systemd created (`JOURNAL_STREAM`, systemd.exec(5)).
fn is_connected_to_journal() -> bool {
    let Ok(announced) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| announced == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn threshold(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
