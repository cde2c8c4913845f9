//! Input and output of an end: standard input and output, or the two directions of a TCP connection.

use std::io::{self, IsTerminal};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Bytes;

use super::{TransferError, stdio};

/// Data that an end sends.
#[derive(Debug)]
pub(crate) struct Input {
    /// Name in error messages.
    name: &'static str,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Stdin(mpsc::Receiver<io::Result<Bytes>>),
    Tcp { stream: OwnedReadHalf, chunk: Vec<u8> },
}

impl Input {
    /// Starts reading standard input, and a chunk ahead.
    pub(crate) fn stdin() -> io::Result<Self> {
        Ok(Self { name: "standard input", source: Source::Stdin(stdio::input()?) })
    }

    /// Returns the next bytes, at most a message; `None` at the end. Nothing is lost if it is canceled.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, TransferError>> {
        let read = match &mut self.source {
            Source::Stdin(chunks) => chunks.recv().await?,
            Source::Tcp { stream, chunk } => stream.read(chunk).await.map(|len| Bytes::copy_from_slice(&chunk[..len])),
        };
        match read {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes)),
            Err(error) => Some(Err(TransferError::Input(self.name, error))),
        }
    }
}

/// Destination of what the other end sends.
#[derive(Debug)]
pub(crate) struct Output {
    /// Name in error messages.
    name: &'static str,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(stdio::Output),
    /// `None` once it has ended.
    Tcp(Option<OwnedWriteHalf>),
}

impl Output {
    /// Starts writing standard output.
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self { name: "standard output", sink: Sink::Stdout(stdio::Output::new()?) })
    }

    /// Writes bytes, or queues a few of them, as fast as the output accepts them.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), TransferError> {
        let written = match &mut self.sink {
            Sink::Stdout(output) => output.write(bytes).await,
            Sink::Tcp(Some(stream)) => stream.write_all(&bytes).await,
            Sink::Tcp(None) => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|error| TransferError::Output(self.name, error))
    }

    /// Waits until everything is written, and ends the output, so that its reader notices it. A TCP connection goes on
    /// in the other direction.
    pub(crate) async fn finish(&mut self) -> Result<(), TransferError> {
        let finished = match &mut self.sink {
            Sink::Stdout(output) => output.finish().await,
            Sink::Tcp(stream) => match stream.take() {
                Some(mut stream) => stream.shutdown().await,
                None => Ok(()),
            },
        };
        finished.map_err(|error| TransferError::Output(self.name, error))
    }
}

/// Resets a TCP connection whose data is incomplete; its reader would take an orderly end for the end of the data.
impl Drop for Output {
    fn drop(&mut self) {
        if let Sink::Tcp(stream) = &mut self.sink
            && let Some(stream) = stream.take()
        {
            // If that fails, the connection is gone already.
            let _ = stream.as_ref().set_zero_linger();
            stream.forget();
        }
    }
}

/// Splits a TCP connection, which has a name in error messages.
pub(crate) fn tcp(name: &'static str, stream: TcpStream) -> (Input, Output) {
    let (read, write) = stream.into_split();
    let input = Input { name, source: Source::Tcp { stream: read, chunk: vec![0; CHUNK] } };
    (input, Output { name, sink: Sink::Tcp(Some(write)) })
}

/// Returns whether standard input is a terminal, whose end isn't to be waited for.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Size of a message: large enough to be efficient, small enough not to delay control messages.
pub(super) const CHUNK: usize = 64 * 1024;
