//! A conversation with a server in this process: everything is sent at once, and what is answered until the end is
//! given.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// A server that lasts as long as the process, and the event loop that it lives on.
pub struct Host<S> {
    runtime: Runtime,
    pub server: S,
}

impl<S> Host<S> {
    pub fn start<F: Future<Output = S>>(start: impl FnOnce() -> F) -> &'static Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(start());
        // A runtime can't be dropped at the end of a thread.
        Box::leak(Box::new(Self { runtime, server }))
    }

    pub fn run<T>(&self, conversation: impl Future<Output = T>) -> T {
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, conversation).await });
        ended.expect("the conversation doesn't end")
    }
}

/// Sends these bytes, and gives the whole answer; of a stream of events, its head.
pub async fn converse(stream: UnixStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        // One who refuses early may close before all is written.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let reading = async {
        while reader.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {
            if answer.windows(STREAM.len()).any(|window| window == STREAM) {
                break;
            }
        }
    };
    tokio::join!(sending, reading);
    answer
}

/// The status of an answer; 0 if there is none.
pub fn status(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).unwrap_or(0)
}

/// The type of an answer that has no end.
const STREAM: &[u8] = b"x-ndjson";
/// Longer than any timeout that a server has for a peer that is there no more.
const PATIENCE: Duration = Duration::from_secs(20);
