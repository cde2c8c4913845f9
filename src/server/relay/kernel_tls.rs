//! A TLS connection in the kernel, which is read and written like a plain one.
//!
//! A record that isn't data makes a read fail. The peer's close_notify is the end of the stream. After any other one, such
//! as a key update, which the kernel can't follow, nothing more can be read; the device is asked to reconnect, since its
//! close frame can still be sent. So it is before a key has protected more than it may.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;

use mio::net::TcpStream;
use ws_router_core::shard::Received;

use super::plain_stream::{PlainStream, would_block_as_zero};
use crate::sys::kernel_tls::{CONTROL_RECORD, ControlRecord, send_close_notify, take_control_record};

/// A TLS connection in the kernel.
#[derive(Debug)]
pub(super) struct KernelTls {
    socket: PlainStream,
    /// Upper bound of what this side's key has protected, in blocks of 16 bytes; `None` if it may protect any amount.
    sealed: Option<u64>,
    input: Input,
    has_notified: bool,
}

/// What may still come from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// The peer has sent its close_notify.
    Ended,
    /// What the peer sends can't be read any more.
    Unreadable,
}

impl KernelTls {
    pub(super) fn new(socket: TcpStream, sealed: Option<u64>) -> Self {
        Self { socket: PlainStream::Tcp(socket), sealed, input: Input::Open, has_notified: false }
    }

    pub(super) fn socket(&self) -> &PlainStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut PlainStream {
        &mut self.socket
    }

    /// Returns what this side's key has protected, for the next process.
    pub(super) fn sealed(&self) -> Option<u64> {
        self.sealed
    }

    /// Receives data. Fails once with [`io::ErrorKind::Unsupported`] if the peer has to reconnect.
    pub(super) fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        match self.input {
            Input::Open if self.sealed.is_some_and(|sealed| sealed >= MAX_SEALED) => return self.give_up(),
            Input::Open => {}
            Input::Ended => return Ok(Received { bytes: 0, more: false }),
            Input::Unreadable => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        match self.socket.read_vectored(buffers) {
            Ok(bytes) => Ok(Received { bytes, more: bytes == room }),
            Err(error) if error.raw_os_error() == Some(CONTROL_RECORD) => self.on_control(),
            Err(error) => Err(error),
        }
    }

    /// Handles a record that isn't data.
    fn on_control(&mut self) -> io::Result<Received> {
        let record = match &self.socket {
            PlainStream::Tcp(socket) => take_control_record(socket.as_fd())?,
            PlainStream::Unix(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        if record == ControlRecord::CloseNotify {
            self.input = Input::Ended;
            return Ok(Received { bytes: 0, more: false });
        }
        tracing::debug!(?record, "TLS record that the kernel can't handle");
        self.give_up()
    }

    fn give_up(&mut self) -> io::Result<Received> {
        self.input = Input::Unreadable;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends as much as the socket takes.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = would_block_as_zero(self.socket.write_vectored(slices))?;
        if let Some(sealed) = &mut self.sealed {
            *sealed += blocks(sent as u64);
        }
        Ok(sent)
    }

    /// Sends close_notify. The direction isn't shut down, which would cut off what the kernel has encrypted but not sent
    /// yet; closing the socket doesn't.
    pub(super) fn finish(&mut self) {
        if let PlainStream::Tcp(socket) = &self.socket
            && !self.has_notified
        {
            // If the socket is full or the connection is gone, the peer sees the end of the stream without it.
            self.has_notified = send_close_notify(socket.as_fd()).is_ok();
        }
    }
}

/// Returns an upper bound of the blocks that a write takes: its data, and for each record the content type, the tag and
/// the rest of a block.
fn blocks(bytes: u64) -> u64 {
    bytes / BLOCK + (bytes / MAX_RECORD + 1) * BLOCKS_PER_RECORD
}

/// Length of a block of AES.
const BLOCK: u64 = 16;
/// Maximum length of the data in a record (RFC 8446 section 5.1).
const MAX_RECORD: u64 = 1 << 14;
/// Blocks of a record that are not its data.
const BLOCKS_PER_RECORD: u64 = 3;
/// Blocks that a key of AES-GCM protects at most, 256 GiB. RFC 8446 section 5.5 allows 2^24.5 records of full size, which
/// are half as many again; the difference is for what is sent until the member is read next.
const MAX_SEALED: u64 = 1 << 34;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;

    fn connection(sealed: Option<u64>) -> (KernelTls, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (KernelTls::new(TcpStream::from_std(near), sealed), peer)
    }

    #[test]
    fn a_key_that_has_protected_all_that_it_may_asks_the_peer_to_reconnect() {
        let (mut tls, _peer) = connection(Some(MAX_SEALED - 5));
        let mut buffer = [0; 10];
        let mut receive = |tls: &mut KernelTls| tls.receive(&mut [IoSliceMut::new(&mut buffer)]).unwrap_err().kind();
        assert_eq!(tls.send(&[IoSlice::new(b"hello")]).unwrap(), 5);
        assert_eq!((receive(&mut tls), tls.sealed()), (io::ErrorKind::WouldBlock, Some(MAX_SEALED - 2)));
        assert_eq!(tls.send(&[IoSlice::new(&[0; 32])]).unwrap(), 32);
        assert_eq!(receive(&mut tls), io::ErrorKind::Unsupported);
        // The close frame can still be sent, and nothing is read any more.
        assert_eq!(receive(&mut tls), io::ErrorKind::WouldBlock);
        assert_eq!(tls.send(&[IoSlice::new(b"bye")]).unwrap(), 3);
    }

    #[test]
    fn chacha_may_protect_any_amount() {
        let (mut tls, _peer) = connection(None);
        tls.send(&[IoSlice::new(b"hello")]).unwrap();
        assert_eq!(tls.sealed(), None);
    }

    #[test]
    fn every_record_counts_with_what_surrounds_its_data() {
        assert_eq!((blocks(1), blocks(16), blocks(MAX_RECORD)), (3, 4, 1024 + 6));
    }
}
