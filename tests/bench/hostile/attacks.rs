//! The attacks: what each does on and on, and what it is answered.
//!
//! They run in a process of their own, some threads each. A turn of an attack is one connection's life, or a part of it;
//! what it is answered (a status, a close code, a broken connection, or nothing) is counted.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::daemon::Setting;
use crate::door;
use crate::line::{Line, UPGRADE, frame, header};

/// One kind of hostility.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// An answer that has to be among those that they get.
    pub(crate) expected: &'static str,
    /// What the daemon has that they meet.
    pub(crate) setting: Setting,
    /// Goes on until the time is over; counts what it is answered.
    run: fn(&Stage) -> io::Result<()>,
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "slow heads",
        what: "400 connections send a request's head a byte at a time",
        expected: "408",
        setting: Setting::Plain,
        run: slow_heads,
    },
    Attack {
        name: "slow frames",
        what: "400 members send a message of 1 MiB a byte at a time",
        expected: "no answer",
        setting: Setting::Plain,
        run: slow_frames,
    },
    Attack {
        name: "slow closes",
        what: "members break the protocol and then stay, talking on",
        expected: "1002",
        setting: Setting::Plain,
        run: slow_closes,
    },
    Attack {
        name: "endless fragments",
        what: "members send fragments of 1 KiB that never end",
        expected: "1009",
        setting: Setting::Plain,
        run: fragments,
    },
    Attack {
        name: "pings",
        what: "members send pings and read no pong",
        expected: "no answer",
        setting: Setting::Plain,
        run: pings,
    },
    Attack {
        name: "tiny messages",
        what: "members of a lobby send messages of one byte, and one of them reads none",
        expected: "no answer",
        setting: Setting::Plain,
        run: tiny,
    },
    Attack {
        name: "lies",
        what: "members announce 16 MiB, send some bytes and stay",
        expected: "no answer",
        setting: Setting::Plain,
        run: lies,
    },
    Attack {
        name: "impossible lengths",
        what: "members announce more than is allowed",
        expected: "1009",
        setting: Setting::Plain,
        run: impossible,
    },
    Attack {
        name: "wrong keys",
        what: "connects with wrong keys",
        expected: "429",
        setting: Setting::Plain,
        run: wrong_keys,
    },
    Attack {
        name: "registrations",
        what: "registrations that nobody joins",
        expected: "200",
        setting: Setting::Plain,
        run: registrations,
    },
    Attack {
        name: "resets",
        what: "members that join and reset their connection",
        expected: "101",
        setting: Setting::Plain,
        run: resets,
    },
    Attack {
        name: "empty connections",
        what: "connections that say nothing and go",
        expected: "no answer",
        setting: Setting::Plain,
        run: empty,
    },
    Attack {
        name: "slow PROXY headers",
        what: "400 connections send a PROXY header a byte at a time, or less of it than they announce",
        expected: "closed",
        setting: Setting::Proxies,
        run: door::slow_headers,
    },
    Attack {
        name: "wrong PROXY headers",
        what: "connections send rubbish, wrong addresses and wrong lengths as a PROXY header",
        expected: "closed",
        setting: Setting::Proxies,
        run: door::wrong_headers,
    },
    Attack {
        name: "guessed tokens",
        what: "connects with guessed tokens, from 200 networks",
        expected: "401",
        setting: Setting::Tokens,
        run: door::tokens,
    },
    Attack {
        name: "questions",
        what: "400 connections register from 200 networks, and the program that is asked about them never answers",
        expected: "503",
        setting: Setting::Questions,
        run: door::questions,
    },
];

/// Where and for how long.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) until: Instant,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Stage {
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    pub(crate) fn got(&self, answer: impl ToString) {
        if let Ok(mut answers) = self.answers.lock() {
            *answers.entry(answer.to_string()).or_default() += 1;
        }
    }

    fn lobby(&self) -> io::Result<String> {
        Line::register(self.address)
    }

    /// Notes how a member's connection ended, if it did by now.
    fn ended(&self, line: &mut Line) {
        let _ = line.0.set_read_timeout(Some(Duration::from_millis(300)));
        loop {
            match line.frame() {
                Ok((0x88, payload)) => {
                    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                    return self.got(code);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.got("no answer"),
                Err(_) => return self.got("broken"),
            }
        }
    }
}

/// The attackers' process, which only gets the time that nobody else wants on its core.
pub(crate) struct Attackers {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Attackers {
    /// Starts it; returns when it is under way.
    pub(crate) fn start(attack: &Attack, address: SocketAddr, time: Duration) -> io::Result<Self> {
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["attack", attack.name, &address.to_string(), &time.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("chrt (util-linux): {error}")))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the attackers have no output"))?;
        let mut attackers = Self { child, output: BufReader::new(output) };
        attackers.line().map(|_| attackers)
    }

    /// Waits for their end; tells what they got.
    pub(crate) fn finish(&mut self) -> io::Result<String> {
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the attackers have failed")),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        // They may have ended by themselves; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes the attackers, when the arguments say so.
pub(crate) fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let [mode, name, address, seconds] = arguments else { return None };
    let attack = ATTACKS.iter().find(|attack| mode == "attack" && attack.name == *name)?;
    let address = address.parse().map_err(io::Error::other);
    let time = seconds.parse().map(Duration::from_secs_f64).map_err(io::Error::other);
    Some(address.and_then(|address| {
        let time = time?;
        let stage = Stage { address, until: Instant::now() + time, answers: Mutex::default() };
        println!("ready");
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    // One that fails has lost its connection; the next turn makes another.
                    while !stage.is_over() {
                        if (attack.run)(&stage).is_err() {
                            stage.got("broken");
                        }
                    }
                });
            }
        });
        let answers = stage.answers.into_inner().unwrap_or_default();
        let rate = |count: u64| (count as f64 / time.as_secs_f64()).ceil();
        let shown: Vec<_> = answers.into_iter().map(|(answer, count)| format!("{answer}: {}", rate(count))).collect();
        println!("{}", shown.join(", "));
        Ok(())
    }))
}

fn slow_heads(stage: &Stage) -> io::Result<()> {
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

fn slow_frames(stage: &Stage) -> io::Result<()> {
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

fn slow_closes(stage: &Stage) -> io::Result<()> {
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

fn fragments(stage: &Stage) -> io::Result<()> {
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

fn pings(stage: &Stage) -> io::Result<()> {
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

fn tiny(stage: &Stage) -> io::Result<()> {
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

fn lies(stage: &Stage) -> io::Result<()> {
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

fn impossible(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    while !stage.is_over() {
        let mut line = Line::join(stage.address, &id)?;
        line.0.write_all(&header(0x82, 1 << 50))?;
        stage.ended(&mut line);
    }
    Ok(())
}

fn wrong_keys(stage: &Stage) -> io::Result<()> {
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

fn registrations(stage: &Stage) -> io::Result<()> {
    let mut line = Line::open(stage.address)?;
    while !stage.is_over() {
        let (status, _) = line.ask("/register?key=k&host_key=h&reg_type=lobby", STRANGER)?;
        stage.got(status);
    }
    Ok(())
}

fn resets(stage: &Stage) -> io::Result<()> {
    let id = stage.lobby()?;
    let _stays = Line::join(stage.address, &id)?;
    while !stage.is_over() {
        let line = Line::join(stage.address, &id)?;
        stage.got(101);
        socket2::SockRef::from(&line.0).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

fn empty(stage: &Stage) -> io::Result<()> {
    while !stage.is_over() {
        let line = Line::open(stage.address)?;
        // Otherwise the ports of this machine run out.
        socket2::SockRef::from(&line.0).set_linger(Some(Duration::ZERO))?;
        stage.got("no answer");
    }
    Ok(())
}

/// How many run an attack at once.
pub(crate) const THREADS: usize = 8;
/// Whoever comes from this machine itself has no rate.
const STRANGER: &str = "X-Forwarded-For: 203.0.113.66\r\n";
