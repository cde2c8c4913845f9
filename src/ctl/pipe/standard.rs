//! Standard input and standard output, read and written by a thread each, a piece ahead.
//!
//! They are whatever the shell made them (a terminal, a pipe, a file), so only a thread that may block can use them
//! all; and it isn't waited for, since a terminal's read ends with the next line and not before. A file of their own
//! is made of the descriptors: the library's standard output is locked by who called, and line-buffered.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Bytes;

/// Reads standard input by pieces; the end is the channel's.
pub(super) fn input() -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (pieces, out) = mpsc::channel(AHEAD);
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            let read = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(len) => Ok(Bytes::copy_from_slice(&piece[..len])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if pieces.blocking_send(read).is_err() {
                return;
            }
        }
    })?;
    Ok(out)
}

/// Tells whether somebody types what standard input reads, so that its end isn't to be waited for.
pub(super) fn is_typed() -> bool {
    io::stdin().is_terminal()
}

/// Writes standard output.
#[derive(Debug)]
pub(super) struct Output {
    pieces: mpsc::Sender<Piece>,
    failed: oneshot::Receiver<io::Error>,
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    /// All before it is to be written, and that is to be told.
    Mark(oneshot::Sender<()>),
}

impl Output {
    /// Begins with nothing.
    pub(super) fn new() -> io::Result<Self> {
        let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (pieces, mut take) = mpsc::channel(AHEAD);
        let (fail, failed) = oneshot::channel();
        thread::Builder::new().name("stdout".into()).spawn(move || {
            while let Some(piece) = take.blocking_recv() {
                let written = match piece {
                    Piece::Data(bytes) => file.write_all(&bytes),
                    Piece::Mark(asked) => {
                        // Who asked may have given up meanwhile.
                        let _ = asked.send(());
                        Ok(())
                    }
                };
                if let Err(error) = written {
                    let _ = fail.send(error);
                    return;
                }
            }
        })?;
        Ok(Self { pieces, failed })
    }

    /// Takes bytes as soon as those before them are on their way.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self.pieces.send(Piece::Data(bytes)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Waits until everything is written.
    pub(super) async fn written(&mut self) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let asked = self.pieces.send(Piece::Mark(tell)).await.is_ok();
        if asked && told.await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }

    async fn failure(&mut self) -> io::Error {
        (&mut self.failed).await.unwrap_or_else(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A message's size: large enough that its cost doesn't count, small enough that nobody waits behind it.
const PIECE: usize = 64 * 1024;

/// Pieces between a thread and the connection; one is on its way while the next is read.
const AHEAD: usize = 2;
