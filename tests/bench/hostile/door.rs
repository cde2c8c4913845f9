//! Attacks before a websocket is established: on requests, PROXY headers, keys, tokens and the external authorizer.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::line::{Line, UPGRADE};
use crate::stage::{Stage, THREADS};

pub(crate) fn slow_heads(stage: &Stage) -> io::Result<()> {
    let lines = (0..400 / THREADS).map(|_| Line::open(stage.address)).collect::<io::Result<Vec<_>>>()?;
    for line in &lines {
        line.0.set_read_timeout(Some(Duration::from_millis(1)))?;
    }
    let mut lines: Vec<Option<Line>> = lines.into_iter().map(Some).collect();
    while !stage.is_over() && lines.iter().any(Option::is_some) {
        for place in &mut lines {
            let Some(line) = place else { continue };
            if line.0.write_all(b"G").is_err() || line.0.peek(&mut [0]).is_ok() {
                line.0.set_read_timeout(Some(Duration::from_millis(300)))?;
                stage.got(line.answer().map_or("broken".into(), |(status, _)| status.to_string()));
                *place = None;
            }
        }
    }
    Ok(())
}

pub(crate) fn wrong_keys(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    while !stage.is_over() {
        let mut line = Line::open(stage.address)?;
        for _ in 0..20 {
            let headers = format!("{STRANGER}{UPGRADE}");
            let (status, _) = line.ask(&format!("/connect?id={id}&key=guess"), &headers)?;
            stage.got(status);
        }
    }
    Ok(())
}

pub(crate) fn registrations(stage: &Stage) -> io::Result<()> {
    let mut line = Line::open(stage.address)?;
    while !stage.is_over() {
        let (status, _) = line.ask("/register?key=k&host_key=h&reg_type=lobby", STRANGER)?;
        stage.got(status);
    }
    Ok(())
}

pub(crate) fn empty(stage: &Stage) -> io::Result<()> {
    while !stage.is_over() {
        open(stage)?;
        stage.got("no answer");
    }
    Ok(())
}

/// Sends slow requests: half of the connections send a byte at a time, and the others announce more than they send.
pub(crate) fn slow_headers(stage: &Stage) -> io::Result<()> {
    let mut lines = (0..400 / THREADS).map(|_| open(stage).map(Some)).collect::<io::Result<Vec<_>>>()?;
    for line in lines.iter_mut().flatten().step_by(2) {
        line.0.write_all(&version_2(4096, &[0; 12]))?;
    }
    // The daemon ends all of them, if a little after the time.
    let patience = stage.until + PATIENCE;
    let mut at = 0;
    while lines.iter().any(Option::is_some) && Instant::now() < patience {
        for (number, place) in lines.iter_mut().enumerate() {
            let Some(line) = place else { continue };
            let byte = VERSION_1.get(at..=at).filter(|_| number % 2 == 1).unwrap_or_default();
            if line.0.write_all(byte).is_err() || has_ended(line) {
                stage.got("closed");
                *place = None;
            }
        }
        at += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Sends one kind of malformed header after the other, each on a connection of its own.
pub(crate) fn wrong_headers(stage: &Stage) -> io::Result<()> {
    let no_header = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let no_address = b"PROXY TCP4 999.0.113.66 198.51.100.1 40000 443\r\n".to_vec();
    let kinds = [no_header, no_address, version_2(u16::MAX, &[0; 12]), version_2(4, &[0; 4])];
    for kind in kinds.iter().cycle().take_while(|_| !stage.is_over()) {
        let mut line = open(stage)?;
        line.0.write_all(kind)?;
        // The daemon closes by a reset if it has left something unread.
        let read = line.0.read(&mut [0]);
        stage.got(if matches!(read, Ok(1..)) { "an answer" } else { "closed" });
    }
    Ok(())
}

pub(crate) fn tokens(stage: &Stage) -> io::Result<()> {
    let mut guesses = 0;
    while !stage.is_over() {
        let mut line = Line::open(stage.address)?;
        for _ in 0..20 {
            guesses += 1;
            let headers = format!("{}{UPGRADE}Authorization: Bearer {guesses:064x}\r\n", stranger(guesses));
            let (status, _) = line.ask("/connect?id=0123456789abcdef&key=k", &headers)?;
            stage.got(status);
        }
    }
    Ok(())
}

/// Repeats a request as soon as it is answered.
pub(crate) fn questions(stage: &Stage) -> io::Result<()> {
    let mut lines = (0..400 / THREADS).map(|_| Line::open(stage.address)).collect::<io::Result<Vec<_>>>()?;
    let ask = |line: &mut Line, number| line.send("/register?key=k&host_key=h&reg_type=lobby", &stranger(number));
    lines.iter_mut().enumerate().try_for_each(|(number, line)| ask(line, number))?;
    while !stage.is_over() {
        std::thread::sleep(Duration::from_millis(1));
        for (number, line) in lines.iter_mut().enumerate() {
            if !is_answered(line)? {
                continue;
            }
            stage.got(line.answer()?.0);
            ask(line, number)?;
        }
    }
    Ok(())
}

/// Opens a connection that leaves no port in TIME_WAIT when it is closed.
fn open(stage: &Stage) -> io::Result<Line> {
    let line = Line::open(stage.address)?;
    SockRef::from(&line.0).set_linger(Some(Duration::ZERO))?;
    Ok(line)
}

/// Returns a header of version 2 for TCP over IPv4, with the length that it announces and the bytes after it.
fn version_2(length: u16, rest: &[u8]) -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length.to_be_bytes(), rest].concat()
}

fn is_answered(line: &Line) -> io::Result<bool> {
    line.0.set_nonblocking(true)?;
    let peeked = line.0.peek(&mut [0]);
    line.0.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_ended(line: &Line) -> bool {
    is_answered(line).is_err()
}

/// Returns the header of a trusted proxy for one of 200 client networks.
fn stranger(number: usize) -> String {
    format!("X-Forwarded-For: 203.0.113.{}\r\n", number % 200)
}

/// Unfinished PROXY header; sent byte by byte, it takes longer than the daemon waits.
const VERSION_1: &[u8] =
    b"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0001 2001:0db8:0000:0000:0000:0000:0000:0002 4";
/// Header of a trusted proxy for a remote client, since clients on loopback have no rate limit.
const STRANGER: &str = "X-Forwarded-For: 203.0.113.66\r\n";
const PATIENCE: Duration = Duration::from_secs(10);
