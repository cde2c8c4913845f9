//! Standard error as a log: lines go through a bounded queue to a thread that writes them.
//!
//! A reader that hangs, such as a pipe into a program that was stopped, would otherwise block every thread that logs, and
//! with them requests and signals. A line that doesn't fit into the queue is lost, and the next one that is written has
//! the number of lost lines.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// Writer of log lines, each of which is written by one call.
#[derive(Debug, Clone)]
pub(super) struct StandardError {
    /// `None` if the thread can't be started; then lines are written directly.
    queue: Option<Arc<Queue>>,
}

impl StandardError {
    /// Starts the thread that writes.
    pub(super) fn start() -> Self {
        let queue = Arc::new(Queue::default());
        let started = without_signals(|| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("log".into()).spawn(move || queue.write_to(&mut io::stderr()))
        });
        let queue = started.is_ok().then_some(queue);
        if let Some(queue) = &queue {
            // Logging is started once.
            let _ = QUEUE.set(Arc::clone(queue));
        }
        Self { queue }
    }
}

impl MakeWriter<'_> for StandardError {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.queue {
            Some(queue) => queue.push(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until all lines are written, at most for [`FLUSH_TIME`]. Must be called before the process ends.
pub(super) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_TIME);
    }
}

/// Lines on their way to standard error.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// A line was added.
    added: Condvar,
    /// A line was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes in `lines`.
    bytes: usize,
    /// Lines that were lost since the last one that was added.
    lost: u64,
    is_writing: bool,
}

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.bytes + line.len() > CAPACITY {
            state.lost += 1;
            return;
        }
        let line = with_lost(line, std::mem::take(&mut state.lost));
        state.bytes += line.len();
        state.lines.push_back(line);
        self.added.notify_one();
    }

    fn write_to(&self, output: &mut impl Write) -> ! {
        loop {
            let line = self.next();
            // A line that can't be written is lost, as on a full disk.
            let _ = output.write_all(&line);
            self.state.lock().is_writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for a line and takes it.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            self.added.wait(&mut state);
        }
    }

    fn flush(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut state = self.state.lock();
        while state.is_writing || !state.lines.is_empty() {
            if self.written.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

/// Adds the number of lost lines to a line, as a field.
fn with_lost(line: &[u8], lost: u64) -> Vec<u8> {
    if lost == 0 {
        return line.to_vec();
    }
    let (line, field) = match line.strip_suffix(b"}\n") {
        Some(object) => (object, format!(",\"lost\":{lost}}}\n")),
        None => (line.strip_suffix(b"\n").unwrap_or(line), format!(" lost={lost}\n")),
    };
    [line, field.as_bytes()].concat()
}

/// Runs something with all signals blocked: a thread that it starts receives none.
fn without_signals<T>(run: impl FnOnce() -> T) -> T {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = run();
    if let Ok(before) = before {
        // Fails only for an invalid set.
        let _ = before.thread_set_mask();
    }
    result
}

/// The queue of the process, for [`flush`].
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Bytes that wait at most: some thousand lines, as a busy daemon logs in a second at the level `debug`.
const CAPACITY: usize = 1 << 20;

/// Time that a process waits for its last lines. A reader that works takes milliseconds.
const FLUSH_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_counted_in_the_next_one() {
        let queue = Queue::default();
        let line = vec![b'x'; CAPACITY / 2];
        for _ in 0..5 {
            queue.push(&line);
        }
        assert_eq!([queue.next().len(), queue.next().len()], [CAPACITY / 2; 2]);
        queue.push(b"next\n");
        queue.push(b"last\n");
        assert_eq!([queue.next(), queue.next()], [b"next lost=3\n".to_vec(), b"last\n".to_vec()]);
        assert_eq!(queue.state.lock().bytes, 0);
    }

    #[test]
    fn a_line_of_json_stays_json() {
        assert_eq!(with_lost(b"{\"message\":\"x\"}\n", 2), b"{\"message\":\"x\",\"lost\":2}\n");
        assert_eq!(with_lost(b"{\"message\":\"x\"}\n", 0), b"{\"message\":\"x\"}\n");
    }

    #[test]
    fn a_flush_waits_for_lines_and_gives_up_when_nobody_writes_them() {
        let queue = Queue::default();
        queue.flush(Duration::ZERO);
        queue.push(b"never written\n");
        queue.flush(Duration::from_millis(1));
        assert_eq!(queue.state.lock().lines.len(), 1);
    }
}
