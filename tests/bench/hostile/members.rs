//! Attacks of members, which send much or read nothing.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
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
        thread::sleep(Duration::from_millis(5));
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
    let mut received = vec![0; 2000 * 3];
    while !stage.is_over() {
        line.0.write_all(&flood)?;
        reader.0.read_exact(&mut received)?;
    }
    stage.got("no answer");
    Ok(())
}

pub(crate) fn lies(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let mut liars = Vec::new();
    while !stage.is_over() {
        if liars.len() >= 1000 / THREADS {
            thread::sleep(Duration::from_millis(20));
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

pub(crate) fn huge_messages(stage: &Stage) -> io::Result<()> {
    let id = stage.common_lobby()?;
    if let Some(_role) = stage.take_lead() {
        return send_huge_messages(stage, &id);
    }
    let mut stuck = Vec::new();
    while !stage.is_over() {
        if stuck.len() < 4000 / THREADS {
            let line = Line::join(stage.address, &id)?;
            // Thousands of full buffers would take gigabytes of kernel memory.
            SockRef::from(&line.0).set_recv_buffer_size(4096)?;
            stuck.push(line);
        } else {
            // The router has closed them as too slow.
            thread::sleep(Duration::from_millis(500));
            stuck.clear();
        }
    }
    Ok(())
}

/// Sends messages of 16 MiB to a lobby, and reads them again as another member.
fn send_huge_messages(stage: &Stage, id: &str) -> io::Result<()> {
    let (mut sender, mut reader) = (Line::join(stage.address, id)?, Line::join(stage.address, id)?);
    let end = sender.0.try_clone()?;
    let message = frame(0x82, &vec![b'x'; 16 << 20]);
    // The server's frame has no mask.
    let (len, mut buffer) = (message.len() as u64 - 4, vec![0; 1 << 20]);
    thread::scope(|scope| {
        scope.spawn(|| while sender.0.write_all(&message).is_ok() {});
        let mut read = 0;
        let outcome = loop {
            match reader.0.read(&mut buffer) {
                // At least one message, however slow the machine is.
                Ok(bytes) if bytes > 0 && (read < len || !stage.is_over()) => {
                    let before = read / len;
                    read += bytes as u64;
                    (before..read / len).for_each(|_| stage.got("delivered"));
                }
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // Ends the thread that sends.
        end.shutdown(Shutdown::Both)?;
        outcome
    })
}

pub(crate) fn joins_and_leaves(stage: &Stage) -> io::Result<()> {
    let id = stage.common_lobby()?;
    if let Some(_role) = stage.take_lead() {
        let (mut line, message) = (Line::join(stage.address, &id)?, frame(0x82, &[b'x'; 100]));
        while !stage.is_over() {
            line.0.write_all(&message)?;
            thread::sleep(Duration::from_millis(10));
        }
        return Ok(());
    }
    let mut crowd = Vec::new();
    while !stage.is_over() {
        let line = Line::join(stage.address, &id)?;
        stage.got(101);
        if crowd.len() < 5000 / THREADS {
            crowd.push(line);
        } else {
            thread::sleep(Duration::from_millis(10 * (THREADS as u64 - 1)));
        }
    }
    Ok(())
}
