//! The innocent pair: a question and its answer once a millisecond, numbered, and how long both together took.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::line::{Line, frame};

pub(crate) struct Pair {
    one: Line,
    other: Line,
    number: u64,
}

impl Pair {
    pub(crate) fn join(address: SocketAddr) -> io::Result<Self> {
        let id = Line::register(address)?;
        Ok(Self { one: Line::join(address, &id)?, other: Line::join(address, &id)?, number: 0 })
    }

    /// Talks for so long; fails when a message is missing, doubled or another's.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<Histogram> {
        let (begun, mut histogram) = (Instant::now(), Histogram::new());
        while begun.elapsed() < time {
            let asked = Instant::now();
            pass(&mut self.one, &mut self.other, self.number)?;
            pass(&mut self.other, &mut self.one, self.number)?;
            histogram.record(asked.elapsed());
            self.number += 1;
            std::thread::sleep(PAUSE.saturating_sub(asked.elapsed()));
        }
        Ok(histogram)
    }
}

fn pass(from: &mut Line, to: &mut Line, number: u64) -> io::Result<()> {
    let mut payload = [0; 64];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    from.0.write_all(&frame(0x82, &payload))?;
    loop {
        match to.frame()? {
            (0x82, heard) if heard == payload => return Ok(()),
            (0x89, _) => to.0.write_all(&frame(0x8a, b""))?,
            (first, heard) => {
                return Err(io::Error::other(format!("instead of {number}: {first:#x}, {} bytes", heard.len())));
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(1);
