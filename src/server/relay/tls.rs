//! A TLS session above a socket, without an event loop of its own: rustls's state machine, fed and emptied by hand.
//!
//! What is received is read into the thread's one buffer for sealed bytes, never more at once than there is room for
//! when it is opened, so that nothing decrypted is left behind that no readiness would announce.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};

use rustls::ServerConnection;
use ws_router_core::shard::Received;

use super::wire::{Bare, would_block_is_nothing};

/// A connection with TLS.
#[derive(Debug)]
pub(super) struct Tls {
    bare: Bare,
    session: ServerConnection,
    /// Whether the peer is to be told that nothing more comes, once all is out.
    finishing: bool,
    /// Whether the peer broke the session; what it sent before is still heard.
    is_broken: bool,
}

impl Tls {
    /// Takes over a session whose handshake is done.
    pub(super) fn new(bare: Bare, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(SEALED_AHEAD));
        Self { bare, session, finishing: false, is_broken: false }
    }

    pub(super) fn bare(&self) -> &Bare {
        &self.bare
    }

    pub(super) fn bare_mut(&mut self) -> &mut Bare {
        &mut self.bare
    }

    /// Receives and opens what fits into the buffers.
    pub(super) fn receive(&mut self, buffers: &mut [IoSliceMut<'_>], sealed: &mut [u8]) -> io::Result<Received> {
        let mut target = Target { buffers, current: 0, offset: 0, filled: 0 };
        let end = self.open(&mut target, sealed);
        match (target.filled, end) {
            (0, Err(error)) => Err(error),
            (bytes, Ok(End::Full | End::OfStream)) => Ok(Received { bytes, more: true }),
            (bytes, Err(error)) => Ok(Received { bytes, more: error.kind() != ErrorKind::WouldBlock }),
        }
    }

    /// Opens records until the target is full or the socket has no more.
    fn open(&mut self, target: &mut Target<'_, '_>, sealed: &mut [u8]) -> io::Result<End> {
        loop {
            match target.fill_from(&mut self.session) {
                Ok(()) => return Ok(End::Full),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(End::OfStream),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if self.is_broken => return Err(ErrorKind::InvalidData.into()),
                Err(_) => {}
            }
            let room = target.room().min(sealed.len());
            let bytes = self.bare.read(&mut sealed[..room])?;
            if bytes == 0 {
                return Ok(End::OfStream);
            }
            self.unseal(&sealed[..bytes], target)?;
            if self.session.wants_write() {
                self.push_out()?;
            }
        }
    }

    /// Opens what has come, as far as it means anything.
    fn unseal(&mut self, mut sealed: &[u8], target: &mut Target<'_, '_>) -> io::Result<()> {
        while !sealed.is_empty() {
            // Behind the peer's close_notify the session takes no more, and what comes there is to be ignored
            // (RFC 8446 section 6.1).
            if self.session.read_tls(&mut sealed)? == 0 {
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

    /// Seals and sends as much as the socket takes, and some more that waits here for it.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let taken = self.session.writer().write(rest)?;
                (sent, rest) = (sent + taken, &rest[taken..]);
                if !rest.is_empty() && !self.push_out()? {
                    return Ok(sent);
                }
            }
        }
        self.push_out()?;
        Ok(sent)
    }

    /// Sends sealed records; tells whether all are out.
    pub(super) fn push_out(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            if would_block_is_nothing(self.session.write_tls(&mut self.bare))? == 0 {
                return Ok(false);
            }
        }
        if self.finishing {
            self.bare.shutdown();
        }
        Ok(true)
    }

    /// Says goodbye on this layer, too.
    pub(super) fn finish(&mut self) {
        self.session.send_close_notify();
        self.finishing = true;
        // A peer that is gone already needn't be told; one that takes nothing now is told when it does.
        let _ = self.push_out();
    }
}

/// Where opening stopped.
enum End {
    Full,
    OfStream,
}

/// Buffers that are filled one after the other.
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

    /// Takes what is open already; fails as the session's reader does when there is no more.
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

/// Sealed bytes that may wait for the socket; what comes above stays in the outbox, where it is counted.
const SEALED_AHEAD: usize = 64 << 10;
