//! A self-test of a relay thread, for the watchdog: a message is sent through the thread and must be received.
//!
//! Two members over socket pairs join a registration for the test; one sends, and the other receives. The inbox, the event
//! loop, the decoder and the delivery take part in the test. The metrics don't count it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use ws_router_core::ids::MemberId;

use super::inbox::{Command, Inbox};
use super::thread::self_test_serial;

/// Sends a message through the thread behind `inbox`, and waits until it has come out.
pub(super) async fn pass_through(inbox: &Inbox, ids: [MemberId; 2], number: u64) -> io::Result<()> {
    let (sender, sender_end) = std::os::unix::net::UnixStream::pair()?;
    let (receiver, receiver_end) = std::os::unix::net::UnixStream::pair()?;
    for stream in [&sender, &sender_end, &receiver, &receiver_end] {
        stream.set_nonblocking(true)?;
    }
    let command =
        Command::SelfTest { ids, serial: self_test_serial(number), ends: Box::new([sender_end, receiver_end]) };
    inbox.try_push(command).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
    let (mut sender, mut receiver) = (UnixStream::from_std(sender)?, UnixStream::from_std(receiver)?);
    sender.write_all(&SENT).await?;
    let mut received = [0; RECEIVED.len()];
    receiver.read_exact(&mut received).await?;
    if received == RECEIVED { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The binary message "probe" as a client sends it, masked with zeroes.
const SENT: [u8; 11] = [0x82, 0x85, 0, 0, 0, 0, b'p', b'r', b'o', b'b', b'e'];
/// The same message as the server sends it.
const RECEIVED: [u8; 7] = [0x82, 0x05, b'p', b'r', b'o', b'b', b'e'];
