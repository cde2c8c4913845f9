//! TLS over a non-blocking socket: rustls's state machine, driven by the relay thread.
//!
//! Records are read into a buffer of the thread, never more at once than fits into the target after decryption. So no
//! plaintext remains in the session, which would be read late since the socket doesn't become readable for it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use rustls::ServerConnection;
use ws_router_core::shard::Received;

use super::plain_stream::{PlainStream, would_block_as_zero};

/// A TLS connection after its handshake.
#[derive(Debug)]
pub(super) struct Tls {
    socket: PlainStream,
    session: ServerConnection,
    /// Whether the sending direction is shut down once everything has been sent.
    finishing: bool,
    /// Whether the peer broke the protocol; plaintext received before is still delivered.
    is_broken: bool,
}

impl Tls {
    /// Takes over a session whose handshake is complete.
    pub(super) fn new(socket: PlainStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(CIPHERTEXT_BUFFER));
        Self { socket, session, finishing: false, is_broken: false }
    }

    pub(super) fn socket(&self) -> &PlainStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut PlainStream {
        &mut self.socket
    }

    /// Receives and decrypts as much as fits into the buffers.
    pub(super) fn receive(&mut self, buffers: &mut [IoSliceMut<'_>], ciphertext: &mut [u8]) -> io::Result<Received> {
        let mut target = Target { buffers, current: 0, offset: 0, filled: 0 };
        let end = self.decrypt_into(&mut target, ciphertext);
        match (target.filled, end) {
            (0, Err(error)) => Err(error),
            (bytes, Ok(End::Full | End::OfStream)) => Ok(Received { bytes, more: true }),
            (bytes, Err(error)) => Ok(Received { bytes, more: error.kind() != ErrorKind::WouldBlock }),
        }
    }

    /// Decrypts records until the target is full or the socket has no more.
    fn decrypt_into(&mut self, target: &mut Target<'_, '_>, ciphertext: &mut [u8]) -> io::Result<End> {
        loop {
            match target.fill_from(&mut self.session) {
                Ok(()) => return Ok(End::Full),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(End::OfStream),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if self.is_broken => return Err(ErrorKind::InvalidData.into()),
                Err(_) => {}
            }
            let room = target.room().min(ciphertext.len());
            let bytes = self.socket.read(&mut ciphertext[..room])?;
            if bytes == 0 {
                return Ok(End::OfStream);
            }
            self.decrypt(&ciphertext[..bytes], target)?;
            if self.session.wants_write() {
                self.flush()?;
            }
        }
    }

    /// Decrypts received bytes, up to the end of the session.
    fn decrypt(&mut self, mut ciphertext: &[u8], target: &mut Target<'_, '_>) -> io::Result<()> {
        while !ciphertext.is_empty() {
            // After the peer's close_notify the session takes no more, and further bytes are ignored
            // (RFC 8446 section 6.1).
            if self.session.read_tls(&mut ciphertext)? == 0 {
                return Ok(());
            }
            self.is_broken = self.session.process_new_packets().is_err();
            match target.fill_from(&mut self.session) {
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof) => {
                    return Err(error);
                }
                _ if self.is_broken => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Encrypts and sends as much as the socket takes, and buffers up to [`CIPHERTEXT_BUFFER`] more.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let taken = self.session.writer().write(rest)?;
                (sent, rest) = (sent + taken, &rest[taken..]);
                if !rest.is_empty() && !self.flush()? {
                    return Ok(sent);
                }
            }
        }
        self.flush()?;
        Ok(sent)
    }

    /// Sends buffered records; returns whether none is left.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            if would_block_as_zero(self.session.write_tls(&mut self.socket))? == 0 {
                return Ok(false);
            }
        }
        if self.finishing {
            self.socket.shutdown();
        }
        Ok(true)
    }

    /// Sends close_notify, and then shuts the sending direction down.
    pub(super) fn finish(&mut self) {
        self.session.send_close_notify();
        self.finishing = true;
        // Fails only if the connection is gone. If the socket is full, the rest follows when it is writable.
        let _ = self.flush();
    }
}

/// Reason why decrypting stopped.
enum End {
    Full,
    OfStream,
}

/// Buffers that are filled in order.
struct Target<'a, 'b> {
    buffers: &'a mut [IoSliceMut<'b>],
    /// The buffer that is being filled, and how far.
    current: usize,
    offset: usize,
    filled: usize,
}

impl Target<'_, '_> {
    fn room(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.len()).sum::<usize>() - self.filled
    }

    /// Reads available plaintext; fails as the session's reader does when there is no more.
    fn fill_from(&mut self, session: &mut ServerConnection) -> io::Result<()> {
        while let Some(buffer) = self.buffers.get_mut(self.current) {
            if self.offset == buffer.len() {
                (self.current, self.offset) = (self.current + 1, 0);
                continue;
            }
            let bytes = session.reader().read(&mut buffer[self.offset..])?;
            if bytes == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.offset += bytes;
            self.filled += bytes;
        }
        Ok(())
    }
}

/// Maximum size of ciphertext that waits for the socket. Further data remains in the outbox, where it is counted.
const CIPHERTEXT_BUFFER: usize = 64 << 10;
