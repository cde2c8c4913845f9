//! The accept loop: as many connections as the limits allow, each with its TLS handshake done.
//!
//! It ends on `stop` and on nothing else. When the process or the system is out of descriptors or memory it waits a
//! little, longer each time, and goes on by itself as soon as there is room; the kernel keeps the callers meanwhile.
//! Above a limit of ours a caller is closed at once: it then knows, and can try again.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::door::Closed;
use super::greeting::Greeting;
use super::{Connection, Door, Listener, turns};
use crate::metrics::Rejection;

/// Accepts until `stop`, and runs `serve` for each connection in a task of `tasks`.
pub async fn accept<S, F>(
    listener: Listener,
    door: Door,
    tasks: tokio_util::task::TaskTracker,
    stop: CancellationToken,
    serve: S,
) where
    S: Fn(Connection) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut trouble = Trouble::new(listener.address());
    let front = Arc::clone(&door.front);
    let greeting = Greeting::of(&listener, &door, &stop);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                front.accept_errors.up();
                if let Some(pause) = trouble.failed(&error) {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                continue;
            }
        };
        front.accepted.up();
        trouble.is_over();
        turns::take(turns::CONNECTION);
        let connection = match door.admit(stream, !listener.proxy_protocol()) {
            Ok(connection) => connection,
            Err(Closed::Full) => {
                front.rejected(Rejection::Limit);
                trouble.turned_away();
                continue;
            }
            Err(Closed::Network | Closed::Gone) => continue,
        };
        let Some(greeting) = greeting.clone() else {
            tasks.spawn(serve(connection));
            continue;
        };
        let serve = serve.clone();
        tasks.spawn(async move {
            if let Some(connection) = greeting.exchange(connection).await {
                serve(connection).await;
            }
        });
    }
}

/// What a listener does about accepts that fail: how long it waits, and how often it says so.
#[derive(Debug)]
struct Trouble {
    listener: String,
    pause: Duration,
    warned: Option<Instant>,
}

impl Trouble {
    fn new(listener: String) -> Self {
        Self { listener, pause: FIRST_PAUSE, warned: None }
    }

    /// Takes note of a failed accept; tells how long to wait, unless only that one caller was at fault.
    fn failed(&mut self, error: &io::Error) -> Option<Duration> {
        if is_callers_fault(error) {
            return None;
        }
        if self.may_warn() {
            tracing::warn!(
                listener = self.listener,
                %error,
                "can't accept connections; raise LimitNOFILE= if descriptors have run out"
            );
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    fn is_over(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    fn turned_away(&mut self) {
        if self.may_warn() {
            tracing::warn!(listener = self.listener, "connection turned away; see [limits] in the configuration");
        }
    }

    fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if may {
            self.warned = Some(Instant::now());
        }
        may
    }
}

/// Tells errors that belong to one caller's connection, which accept(2) passes on, from those of the machine.
fn is_callers_fault(error: &io::Error) -> bool {
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
        // A firewall's rule.
        PermissionDenied,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(nix::libc::EPROTO)
}

/// The first wait after an error of the machine; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Long enough to burn no processor time, short enough that nobody notices when there is room again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Callers can cause the warnings at will, so there are few.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_errors_are_waited_out_ever_longer_and_a_success_ends_it() {
        let mut trouble = Trouble::new("here".into());
        let full = io::Error::from_raw_os_error(nix::libc::EMFILE);
        assert_eq!(trouble.failed(&full), Some(FIRST_PAUSE));
        assert_eq!(trouble.failed(&full), Some(FIRST_PAUSE * 2));
        for _ in 0..10 {
            trouble.failed(&full);
        }
        assert_eq!(trouble.failed(&full), Some(LONGEST_PAUSE));
        trouble.is_over();
        assert_eq!(trouble.failed(&full), Some(FIRST_PAUSE));
    }

    #[test]
    fn one_callers_error_holds_nobody_up() {
        let mut trouble = Trouble::new("here".into());
        for code in [nix::libc::ECONNABORTED, nix::libc::EPROTO, nix::libc::EINTR, nix::libc::EPERM] {
            assert_eq!(trouble.failed(&io::Error::from_raw_os_error(code)), None);
        }
    }

    #[test]
    fn warnings_are_rare() {
        let mut trouble = Trouble::new("here".into());
        assert!(trouble.may_warn());
        assert!(!trouble.may_warn());
    }
}
