//! A connection in memory, as a shard sees it and as its peer does.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;

use ws_router_core::close::CloseReason;
use ws_router_core::shard::{Departure, Link, Received};

/// What is on its way in both directions.
#[derive(Default)]
pub struct Pipe {
    pub inbound: Vec<u8>,
    pub has_ended: bool,
    pub outbound: Vec<u8>,
    /// Bytes that the peer takes.
    pub room: usize,
    pub left: Option<CloseReason>,
    pub is_finished: bool,
    pub is_broken: bool,
}

/// The shard's end; the peer's is the pipe itself.
pub struct End(pub Rc<RefCell<Pipe>>);

impl Pipe {
    pub fn with_room(room: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { room, ..Self::default() }))
    }
}

impl Link for End {
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let mut pipe = self.0.borrow_mut();
        let mut bytes = 0;
        for buffer in buffers {
            let part = pipe.inbound.len().min(buffer.len());
            buffer[..part].copy_from_slice(&pipe.inbound[..part]);
            pipe.inbound.drain(..part);
            bytes += part;
        }
        match bytes {
            0 if pipe.is_broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 if !pipe.has_ended => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(Received { bytes, more: !pipe.inbound.is_empty() }),
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        if pipe.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!pipe.is_finished, "something is sent behind the end");
        let mut sent = 0;
        for slice in slices {
            let part = slice.len().min(pipe.room);
            pipe.outbound.extend_from_slice(&slice[..part]);
            pipe.room -= part;
            sent += part;
        }
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn finish(&mut self) {
        self.0.borrow_mut().is_finished = true;
    }

    fn on_close(&mut self, departure: &Departure) {
        assert_eq!(self.0.borrow_mut().left.replace(departure.reason), None, "left twice");
    }
}
