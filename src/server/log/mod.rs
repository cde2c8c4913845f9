//! Where log events go, and in which form: the journal's own protocol, text or JSON on standard error, syslog.
//!
//! Set up once, when the configuration is known; the level can be changed afterwards. Started by systemd, events go to
//! the journal with their fields (`WSROUTER_REGISTRATION=`, `WSROUTER_MEMBER=` …), so that `journalctl` can select by
//! them, and with message ids that a catalog explains. Under inetd, standard error is the peer's socket, so events go to
//! the journal or to syslog, or nowhere.
//!
//! No event anywhere holds a key, a payload or a query string; a test greps for them.

mod journal;
mod messages;
mod rate_limited;
mod syslog;

pub use rate_limited::RateLimitedLog;

use std::env;
use std::io::{self, IsTerminal};

use nix::sys::stat::fstat;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{self, LogFormat, LogLevel};

/// Where events may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To standard error, or to the journal that stands behind it.
    StandardError,
    /// To the journal or syslog of this machine, because standard error is somebody else's.
    System,
}

/// Changes what is logged while the daemon runs.
#[derive(Debug, Clone)]
pub struct Control(reload::Handle<LevelFilter, Registry>);

/// Logging was set up already.
#[derive(Debug, thiserror::Error)]
#[error("logging was set up twice")]
pub struct Twice;

/// Sets logging up for the whole process.
pub fn start(settings: &config::Log, place: Place) -> Result<Control, Twice> {
    let (filter, handle) = reload::Layer::new(threshold(settings.level));
    let (output, complaint) = output(settings.format, place);
    let subscriber = tracing_subscriber::registry().with(filter).with(output);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Twice)?;
    if let Some(error) = complaint {
        tracing::warn!(%error, "the journal can't be reached, logging goes elsewhere");
    }
    Ok(Control(handle))
}

impl Control {
    /// Sets the least level that is logged.
    pub fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(threshold(level)) {
            tracing::warn!(%error, "the log level stays as it was");
        }
    }
}

type Output = Box<dyn Layer<Filtered> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<LevelFilter, Registry>, Registry>;

/// Chooses the output, and tells why it isn't the journal if it should have been.
fn output(format: LogFormat, place: Place) -> (Option<Output>, Option<io::Error>) {
    let wants_journal = match (format, place) {
        (LogFormat::Journal, _) | (_, Place::System) => true,
        (LogFormat::Auto, Place::StandardError) => stands_before_journal(),
        (LogFormat::Text | LogFormat::Json, Place::StandardError) => false,
    };
    let complaint = match wants_journal.then(journal) {
        Some(Ok(journal)) => return (Some(journal), None),
        Some(Err(error)) => Some(error).filter(|_| place == Place::StandardError),
        None => None,
    };
    let output = match place {
        Place::System => syslog::Syslog::connect().ok().map(syslog::Syslog::layer),
        Place::StandardError if format == LogFormat::Json => Some(json()),
        Place::StandardError => Some(text()),
    };
    (output, complaint)
}

fn journal() -> io::Result<Output> {
    journal::Journal::connect().map(Layer::boxed)
}

fn text() -> Output {
    tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .log_internal_errors(false)
        .boxed()
}

fn json() -> Output {
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .boxed()
}

/// Tells whether standard error is the stream to the journal that systemd made (`JOURNAL_STREAM`, systemd.exec(5)).
fn stands_before_journal() -> bool {
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
