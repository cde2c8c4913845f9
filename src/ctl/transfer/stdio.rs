//! Standard input and output, read and written by a thread each, a chunk ahead.
//!
//! The shell connects them with a terminal, a pipe or a file, and only a blocking thread can use all of these. The
//! threads aren't joined, since a terminal's read returns with the next line and not before. They use files made from
//! the descriptors: the library's standard output is locked by the caller, and line-buffered.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::dup2_stdout;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Bytes;

use super::streams::CHUNK;

/// Starts reading standard input in chunks; the channel is closed at its end.
pub(super) fn input() -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (chunks, out) = mpsc::channel(AHEAD);
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match file.read(&mut chunk) {
                Ok(0) => return,
                Ok(len) => Ok(Bytes::copy_from_slice(&chunk[..len])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if chunks.blocking_send(read).is_err() {
                return;
            }
        }
    })?;
    Ok(out)
}

/// Closes standard output. Its descriptor isn't left free for another file, which would receive what is printed.
fn close_stdout() {
    let stdout = io::stdout();
    // Fails unless it is a socket, of which standard input may be the other direction.
    let _ = shutdown(stdout.as_raw_fd(), Shutdown::Write);
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // If it stays open, its reader notices the end when the program exits.
        let _ = dup2_stdout(null);
    }
}

/// Writer of standard output.
#[derive(Debug)]
pub(super) struct Output {
    chunks: mpsc::Sender<Chunk>,
    failed: oneshot::Receiver<io::Error>,
}

#[derive(Debug)]
enum Chunk {
    Data(Bytes),
    /// Close standard output, and report that everything before is written.
    End(oneshot::Sender<()>),
}

impl Output {
    /// Starts the thread.
    pub(super) fn new() -> io::Result<Self> {
        let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (chunks, mut queued) = mpsc::channel(AHEAD);
        let (report, failed) = oneshot::channel();
        thread::Builder::new().name("stdout".into()).spawn(move || {
            while let Some(chunk) = queued.blocking_recv() {
                let written = match chunk {
                    Chunk::Data(bytes) => file.write_all(&bytes),
                    Chunk::End(done) => {
                        drop(file);
                        close_stdout();
                        // The caller may have been canceled meanwhile.
                        let _ = done.send(());
                        return;
                    }
                };
                if let Err(error) = written {
                    let _ = report.send(error);
                    return;
                }
            }
        })?;
        Ok(Self { chunks, failed })
    }

    /// Queues bytes, and waits while the queue is full.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self.chunks.send(Chunk::Data(bytes)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Waits until everything is written, and closes standard output, so that its reader notices the end.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        let queued = self.chunks.send(Chunk::End(done)).await.is_ok();
        if queued && written.await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }

    async fn failure(&mut self) -> io::Error {
        (&mut self.failed).await.unwrap_or_else(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Chunks between a thread and the connection; one is sent while the next is read.
const AHEAD: usize = 2;
