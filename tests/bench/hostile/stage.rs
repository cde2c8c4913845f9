//! The attackers: a process of their own, some threads each, until the time is over.
//!
//! A turn of an attack is the life of one connection, or a part of it; its response (a status, a close code, a broken
//! connection, or none) is counted.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::attacks::{ATTACKS, Attack};
use crate::line::Line;

/// Target and duration of an attack.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) until: Instant,
    answers: Mutex<BTreeMap<String, u64>>,
    common: OnceLock<String>,
    has_lead: AtomicBool,
}

/// Role of the one thread that does what the others don't, until it is dropped.
pub(crate) struct Lead<'a>(&'a AtomicBool);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
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

    pub(crate) fn lobby(&self) -> io::Result<String> {
        Line::register(self.address)
    }

    /// Returns a lobby that all threads share.
    pub(crate) fn common_lobby(&self) -> io::Result<String> {
        match self.common.get() {
            Some(id) => Ok(id.clone()),
            None => self.lobby().map(|id| self.common.get_or_init(|| id).clone()),
        }
    }

    /// Takes the lead, unless another thread has it.
    pub(crate) fn take_lead(&self) -> Option<Lead<'_>> {
        (!self.has_lead.swap(true, Ordering::Relaxed)).then(|| Lead(&self.has_lead))
    }

    /// Counts the end of a member's connection, if it has ended.
    pub(crate) fn ended(&self, line: &mut Line) {
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

/// Process of the attackers, which gets only the idle time of its core.
pub(crate) struct Attackers {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Attackers {
    /// Starts the process, and waits until it runs.
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

    /// Waits for its end; returns the counted responses.
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
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as the attackers' process if the arguments say so.
pub(crate) fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let [mode, name, address, seconds] = arguments else { return None };
    let attack = ATTACKS.iter().find(|attack| mode == "attack" && attack.name == *name)?;
    let address = address.parse().map_err(io::Error::other);
    let time = seconds.parse().map(Duration::from_secs_f64).map_err(io::Error::other);
    Some(address.and_then(|address| {
        let time = time?;
        let until = Instant::now() + time;
        let (answers, common, has_lead) = (Mutex::default(), OnceLock::new(), AtomicBool::default());
        let stage = Stage { address, until, answers, common, has_lead };
        println!("ready");
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    // A turn that fails has lost its connection; the next one opens another.
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

/// Number of threads that run an attack.
pub(crate) const THREADS: usize = 8;
