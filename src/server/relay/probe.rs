//! A message sent through a relay thread and out again, to know that it still does its work.
//!
//! Two members over socket pairs join a registration of their own on that thread, one sends, the other hears: the
//! inbox, the event loop, the decoder and the delivery all take part. Nothing of it is counted.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use ws_router_core::ids::MemberId;

use super::inbox::{Command, Inbox};
use super::thread::probe_serial;

/// Passes a message through the thread behind `inbox`; waits until it has come out.
pub(super) async fn pass_through(inbox: &Inbox, ids: [MemberId; 2], number: u64) -> io::Result<()> {
    let (sender, sender_end) = std::os::unix::net::UnixStream::pair()?;
    let (hearer, hearer_end) = std::os::unix::net::UnixStream::pair()?;
    for stream in [&sender, &sender_end, &hearer, &hearer_end] {
        stream.set_nonblocking(true)?;
    }
    let command = Command::Probe { ids, serial: probe_serial(number), ends: Box::new([sender_end, hearer_end]) };
    inbox.offer(command).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
    let (mut sender, mut hearer) = (UnixStream::from_std(sender)?, UnixStream::from_std(hearer)?);
    sender.write_all(&SENT).await?;
    let mut heard = [0; HEARD.len()];
    hearer.read_exact(&mut heard).await?;
    if heard == HEARD { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A client's binary message "probe", masked with zeroes.
const SENT: [u8; 11] = [0x82, 0x85, 0, 0, 0, 0, b'p', b'r', b'o', b'b', b'e'];
/// What a server makes of it.
const HEARD: [u8; 7] = [0x82, 0x05, b'p', b'r', b'o', b'b', b'e'];
