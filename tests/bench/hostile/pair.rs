//! The innocent pair: a numbered message and its answer once a millisecond, with the sum of their latencies.
//!
//! The latency of a message is the time from the write to the moment at which the receiver's kernel has it (SO_TIMESTAMPNS,
//! socket(7)). It doesn't include the time in which the pair itself waits for the core that it shares with the attackers.

use std::io::{self, IoSliceMut, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::histogram::Histogram;
use crate::line::{Line, frame};

pub(crate) struct Pair {
    one: Member,
    other: Member,
    number: u64,
}

impl Pair {
    pub(crate) fn join(address: SocketAddr) -> io::Result<Self> {
        let id = Line::register(address)?;
        Ok(Self { one: Member::join(address, &id)?, other: Member::join(address, &id)?, number: 0 })
    }

    /// Exchanges messages for a time; fails if one is lost, duplicated or foreign.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<Histogram> {
        let (start, mut histogram) = (Instant::now(), Histogram::new());
        while start.elapsed() < time {
            let asked = Instant::now();
            let there = pass(&mut self.one, &mut self.other, self.number)?;
            let back = pass(&mut self.other, &mut self.one, self.number)?;
            histogram.record(there + back);
            self.number += 1;
            std::thread::sleep(PAUSE.saturating_sub(asked.elapsed()));
        }
        Ok(histogram)
    }
}

/// Sends a message, and returns its latency.
fn pass(from: &mut Member, to: &mut Member, number: u64) -> io::Result<Duration> {
    let mut payload = [0; 64];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    let message = frame(0x82, &payload);
    let sent = SystemTime::now();
    from.line.0.write_all(&message)?;
    loop {
        match to.frame()? {
            (0x82, received, at) if received == payload => return Ok(at.duration_since(sent).unwrap_or_default()),
            (0x89, ..) => to.line.0.write_all(&frame(0x8a, b""))?,
            (first, received, _) => {
                return Err(io::Error::other(format!("instead of {number}: {first:#x}, {} bytes", received.len())));
            }
        }
    }
}

/// Member that gets the kernel's time of each message.
struct Member {
    line: Line,
    /// Bytes that were read after the last complete frame.
    unread: Vec<u8>,
    came: SystemTime,
}

impl Member {
    fn join(address: SocketAddr, id: &str) -> io::Result<Self> {
        let line = Line::join(address, id)?;
        setsockopt(&line.0, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { line, unread: Vec::new(), came: SystemTime::UNIX_EPOCH })
    }

    /// Waits for a frame of less than 126 bytes; returns its first byte, its payload, and its time of arrival.
    fn frame(&mut self) -> io::Result<(u8, Vec<u8>, SystemTime)> {
        loop {
            if let [first, len @ 0..126, rest @ ..] = &self.unread[..]
                && let Some(payload) = rest.get(..usize::from(*len))
            {
                let frame = (*first, payload.to_vec(), self.came);
                self.unread.drain(..2 + frame.1.len());
                return Ok(frame);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let (mut buffer, mut control) = ([0; 4096], nix::cmsg_space!(TimeSpec));
        let mut space = [IoSliceMut::new(&mut buffer)];
        let read = recvmsg::<()>(self.line.0.as_raw_fd(), &mut space, Some(&mut control), MsgFlags::empty())?;
        for message in read.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(time) = message {
                self.came = SystemTime::UNIX_EPOCH + Duration::from(time);
            }
        }
        let bytes = read.bytes;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend(&buffer[..bytes]);
        Ok(())
    }
}

const PAUSE: Duration = Duration::from_millis(1);
