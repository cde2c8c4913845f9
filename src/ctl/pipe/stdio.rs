//! Standard input and output, read and written by a thread each, a chunk ahead.
//!
//! The shell connects them with a terminal, a pipe or a file, and only a blocking thread can use all of these. The
//! threads aren't joined, since a terminal's read returns with the next line and not before. They use files made from
//! the descriptors: the library's standard output is locked by the caller, and line-buffered.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Bytes;

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

/// Returns whether standard input is a terminal, whose end isn't to be waited for.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal()
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
    /// Report when everything before is written.
    Flush(oneshot::Sender<()>),
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
                    Chunk::Flush(done) => {
                        // The caller may have been canceled meanwhile.
                        let _ = done.send(());
                        Ok(())
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

    /// Waits until everything is written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        let queued = self.chunks.send(Chunk::Flush(done)).await.is_ok();
        if queued && written.await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }

    async fn failure(&mut self) -> io::Error {
        (&mut self.failed).await.unwrap_or_else(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Size of a message: large enough to be efficient, small enough not to delay control messages.
const CHUNK: usize = 64 * 1024;

/// Chunks between a thread and the connection; one is sent while the next is read.
const AHEAD: usize = 2;
