//! Attacks of those who are members: what they send, and what they don't read.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::line::{Line, frame, header};
use crate::stage::{Stage, THREADS};

pub(crate) fn slow_frames(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let mut lines = (0..400 / THREADS).map(|_| Line::join(stage.address, &id)).collect::<io::Result<Vec<_>>>()?;
    lines.iter_mut().try_for_each(|line| line.0.write_all(&header(0x82, 1 << 20)))?;
    while !stage.is_over() {
        lines.iter_mut().try_for_each(|line| line.0.write_all(b"x"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    lines.truncate(5);
    lines.iter_mut().for_each(|line| stage.ended(line));
    Ok(())
}

pub(crate) fn slow_closes(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    let mut rude = Vec::new();
    while !stage.is_over() && rude.len() < 200 {
        let mut line = Line::join(stage.address, &id)?;
        line.0.write_all(b"\xff")?;
        stage.ended(&mut line);
        let _ = line.0.write_all(&[b'x'; 1000]);
        rude.push(line);
    }
    Ok(())
}

pub(crate) fn fragments(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let mut line = Line::join(stage.address, &id)?;
    line.0.write_all(&frame(0x02, b"x"))?;
    let more = frame(0x00, &[b'x'; 1024]).repeat(64);
    while line.0.write_all(&more).is_ok() {
        if stage.is_over() {
            return Ok(());
        }
    }
    stage.ended(&mut line);
    Ok(())
}

pub(crate) fn pings(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let mut line = Line::join(stage.address, &id)?;
    let flood = frame(0x89, &[b'?'; 125]).repeat(100);
    while !stage.is_over() {
        line.0.write_all(&flood)?;
    }
    line.0.shutdown(Shutdown::Both)?;
    stage.got("no answer");
    Ok(())
}

pub(crate) fn tiny(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stuck = Line::join(stage.address, &id)?;
    let (mut line, mut reader) = (Line::join(stage.address, &id)?, Line::join(stage.address, &id)?);
    let flood = frame(0x82, b"x").repeat(2000);
    let mut heard = vec![0; 2000 * 3];
    while !stage.is_over() {
        line.0.write_all(&flood)?;
        reader.0.read_exact(&mut heard)?;
    }
    stage.got("no answer");
    Ok(())
}

pub(crate) fn lies(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let mut liars = Vec::new();
    while !stage.is_over() {
        if liars.len() >= 1000 / THREADS {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let mut line = Line::join(stage.address, &id)?;
        line.0.write_all(&[&header(0x82, 16 << 20)[..], b"some bytes"].concat())?;
        stage.got("no answer");
        liars.push(line);
    }
    Ok(())
}

pub(crate) fn impossible(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    while !stage.is_over() {
        let mut line = Line::join(stage.address, &id)?;
        line.0.write_all(&header(0x82, 1 << 50))?;
        stage.ended(&mut line);
    }
    Ok(())
}

pub(crate) fn resets(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    while !stage.is_over() {
        let line = Line::join(stage.address, &id)?;
        stage.got(101);
        SockRef::from(&line.0).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
