//! The accept loop: admits connections within the limits, runs their handshake, and passes them on.
//!
//! The loop ends only when it is canceled. When the process or the system is out of descriptors or memory, it retries
//! after a pause that grows with each failure; the kernel queues the connections meanwhile. A connection above a
//! configured limit is closed at once, so that its peer can retry.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::handshake::Handshaker;
use super::{Connection, ConnectionGate, Listener, yield_budget};
use crate::log::{RateLimitedLog, messages};

/// Accepts connections until `stop` is canceled, and runs `serve` for each of them in a task of `tasks`.
pub async fn accept<S, F>(
    listener: Listener,
    gate: ConnectionGate,
    tasks: tokio_util::task::TaskTracker,
    stop: CancellationToken,
    serve: S,
) where
    S: Fn(Connection) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut backoff = AcceptBackoff::default();
    let metrics = Arc::clone(&gate.metrics);
    let handshaker = Handshaker::new(&listener, &gate, &stop);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                metrics.accept_errors.increment();
                if let Some(pause) = backoff.on_error(&error) {
                    log_failure(&listener, &error);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                continue;
            }
        };
        metrics.accepted.increment();
        backoff.reset();
        yield_budget::spend(yield_budget::CONNECTION);
        let Ok(connection) = gate.admit(stream, !listener.proxy_protocol()) else { continue };
        let Some(handshaker) = handshaker.clone() else {
            tasks.spawn(serve(connection));
            continue;
        };
        let serve = serve.clone();
        tasks.spawn(async move {
            if let Some(connection) = handshaker.run(connection).await {
                serve(connection).await;
            }
        });
    }
}

/// Pause of a listener after failed accepts, doubled with each failure up to [`LONGEST_PAUSE`].
#[derive(Debug)]
struct AcceptBackoff(Duration);

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl AcceptBackoff {
    /// Returns the pause after a failed accept; `None` if the error concerns a single connection.
    fn on_error(&mut self, error: &io::Error) -> Option<Duration> {
        if is_connection_error(error) {
            return None;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    fn reset(&mut self) {
        self.0 = FIRST_PAUSE;
    }
}

fn log_failure(listener: &Listener, error: &io::Error) {
    if let Some(suppressed) = ACCEPT_FAILED.should_log(Instant::now()) {
        tracing::warn!(
            message_id = messages::ACCEPT_FAILED,
            listener = listener.address(),
            %error,
            suppressed,
            "accept failed; raise LimitNOFILE= if descriptors have run out"
        );
    }
}

/// Returns whether an error of accept(2) concerns the new connection only, and not this machine.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        PermissionDenied,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        // A firewall rule forbids the connection.
        PermissionDenied,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(nix::libc::EPROTO)
}

/// Pause after the first failed accept.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Longest pause between failed accepts: long enough to cost no processor time, and short enough to go unnoticed once
/// accepting succeeds again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Rate limit for a warning that peers can trigger.
static ACCEPT_FAILED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_after_errors_of_the_machine_and_a_success_resets_them() {
        let mut backoff = AcceptBackoff::default();
        let full = io::Error::from_raw_os_error(nix::libc::EMFILE);
        assert_eq!(backoff.on_error(&full), Some(FIRST_PAUSE));
        assert_eq!(backoff.on_error(&full), Some(FIRST_PAUSE * 2));
        for _ in 0..10 {
            backoff.on_error(&full);
        }
        assert_eq!(backoff.on_error(&full), Some(LONGEST_PAUSE));
        backoff.reset();
        assert_eq!(backoff.on_error(&full), Some(FIRST_PAUSE));
    }

    #[test]
    fn the_error_of_one_connection_causes_no_pause() {
        let mut backoff = AcceptBackoff::default();
        for code in [nix::libc::ECONNABORTED, nix::libc::EPROTO, nix::libc::EINTR, nix::libc::EPERM] {
            assert_eq!(backoff.on_error(&io::Error::from_raw_os_error(code)), None);
        }
    }
}
