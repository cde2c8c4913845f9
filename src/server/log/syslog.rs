//! Syslog's local socket (`/dev/log`), for a daemon under inetd on a machine without a journal.
//!
//! Each message is a datagram `<priority>ws-router[pid]: text`. A message that can't be delivered is lost, since there is
//! nowhere else to report that.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::process;

use tracing::{Level, Metadata};
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::MakeWriter;

use super::Output;

/// A connection to syslog.
#[derive(Debug)]
pub(super) struct Syslog(UnixDatagram);

impl Syslog {
    /// Connects to this machine's syslog.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect("/dev/log")?;
        // A syslog daemon that hangs must not block this one.
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Creates the layer that writes to it, without time and level, which syslog adds.
    pub(super) fn layer(self) -> Output {
        tracing_subscriber::fmt::layer()
            .fmt_fields(super::fields())
            .with_writer(self)
            .with_ansi(false)
            .with_target(false)
            .with_level(false)
            .without_time()
            .log_internal_errors(false)
            .boxed()
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { socket: &self.0, priority: INFORMATIONAL }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        let priority = match *event.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => INFORMATIONAL,
            _ => 7,
        };
        Line { socket: &self.0, priority }
    }
}

/// Writer of one message.
#[derive(Debug)]
pub(super) struct Line<'a> {
    socket: &'a UnixDatagram,
    priority: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut line = format!("<{}>ws-router[{}]: ", FACILITY_DAEMON + self.priority, process::id()).into_bytes();
        line.extend_from_slice(text.trim_ascii_end());
        self.socket.send(&line)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const INFORMATIONAL: u8 = 6;
const FACILITY_DAEMON: u8 = 3 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_datagram_with_its_priority() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let subscriber = tracing_subscriber::Layer::with_subscriber(
            tracing_subscriber::fmt::layer()
                .with_writer(Syslog(here))
                .with_ansi(false)
                .with_target(false)
                .without_time(),
            tracing_subscriber::registry(),
        );
        tracing::subscriber::with_default(subscriber, || tracing::warn!(limit = 3, "something was refused"));
        let mut line = [0; 256];
        let length = there.recv(&mut line).unwrap();
        let expected = format!("<28>ws-router[{}]:  WARN something was refused limit=3", process::id());
        assert_eq!(String::from_utf8_lossy(&line[..length]), expected);
    }
}
