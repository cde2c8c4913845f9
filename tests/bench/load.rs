//! Load beside a ping-pong: a process that registers, joins, sends or fans out as fast as the server responds.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::crowd::{Requesters, join_all};
use crate::frames::wrong;
use crate::generator::Generator;
use crate::link::{Link, Target, registration, send, watch};
use crate::scenario::{Load, fan};
use crate::servers::Groups;

/// Payload of a message by `POST /send`.
const BODY: &str = "A message of 64 bytes, as a webhook or a command line sends it.\n";
/// Streams of `GET /members`, members that join and leave, and how many of them at a time.
const WATCHERS: usize = 1000;
const VISITORS: usize = 10_000;
const VISITORS_AT_ONCE: usize = 500;

/// Load in a process of its own, which gets only the idle time of the generator's core.
pub(crate) struct LoadProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl LoadProcess {
    /// Starts the process, and waits until it runs.
    pub(crate) fn start(load: Load, server: SocketAddr, time: Duration) -> io::Result<Self> {
        let name = match load {
            Load::Registrations => "load-registrations",
            Load::Joins => "load-joins",
            Load::Fan => "load-fan",
            Load::Sends => "load-sends",
            Load::Watchers => "load-watchers",
        };
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args([name, &server.to_string(), &time.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("chrt (util-linux): {error}")))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the load has no output"))?;
        let mut process = Self { child, output: BufReader::new(output) };
        if process.line()? != "ready" {
            return Err(wrong("the load couldn't begin"));
        }
        Ok(process)
    }

    /// Returns whether it has ended.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end; returns its operations per second.
    pub(crate) fn finish(&mut self) -> io::Result<f64> {
        let line = self.line()?;
        line.parse().map_err(|_| wrong("the load failed"))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as a load process if the arguments say so.
pub(crate) fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let [kind, address, seconds] = arguments else { return None };
    let run = match kind.as_str() {
        "load-registrations" => load_registrations,
        "load-joins" => load_joins,
        "load-fan" => load_fan,
        "load-sends" => load_sends,
        "load-watchers" => load_watchers,
        _ => return None,
    };
    let target = address
        .parse()
        .map(|address| Target { address, tls: None, groups: Groups::Lobbies, sessions: false })
        .map_err(io::Error::other);
    let time = seconds.parse().map(Duration::from_secs_f64).map_err(io::Error::other);
    Some(target.and_then(|target| Ok((target, time?))).and_then(|(target, time)| {
        let (count, took) = run(&target, time)?;
        println!("{}", count as f64 / took.as_secs_f64());
        Ok(())
    }))
}

/// Number of operations, and the time that they took.
type Made = io::Result<(u64, Duration)>;

/// Reports that the load begins, and runs it.
fn timed(run: impl FnOnce() -> io::Result<u64>) -> Made {
    println!("ready");
    let start = Instant::now();
    Ok((run()?, start.elapsed()))
}

fn load_registrations(target: &Target, time: Duration) -> Made {
    let mut registrars = Requesters::open(target.address, registration(target.address, "lobby"))?;
    timed(|| registrars.run_for(time))
}

fn load_joins(target: &Target, time: Duration) -> Made {
    const PAIRS: usize = 500;
    timed(|| {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            // A registration ends with its last member, so each turn needs its own.
            let ids = target.register(PAIRS)?;
            count += join_all(target.address, ids.iter().flat_map(|id| [id.as_str(); 2]))?.len() as u64;
        }
        Ok(count)
    })
}

fn load_fan(target: &Target, time: Duration) -> Made {
    let mut generator = Generator::open(target, fan(1000, 128, 1))?;
    timed(|| generator.run_for(time))
}

fn load_sends(target: &Target, time: Duration) -> Made {
    let mut sends = Sends::open(target)?;
    timed(|| sends.run_for(time))
}

/// Messages by `POST /send` to a lobby of one member.
pub(crate) struct Sends {
    requesters: Requesters,
    receiver: Receiver,
    answers: u64,
}

impl Sends {
    /// Registers, joins the receiver, and opens the connections.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let id = target.register(1)?.pop().ok_or_else(|| wrong("there is no registration"))?;
        let receiver = Receiver::start(vec![target.join(&id)?])?;
        let requesters = Requesters::open(target.address, send(target.address, &id, BODY))?;
        Ok(Self { requesters, receiver, answers: 0 })
    }

    /// Sends for a time; returns the number of messages that were answered, all of which have arrived.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<u64> {
        let count = self.requesters.run_for(time)?;
        self.answers += count;
        // A frame with a short payload has two bytes of header.
        let frame = BODY.len() as u64 + 2;
        let start = Instant::now();
        while self.receiver.bytes() / frame < self.answers {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(wrong(format_args!("{} bytes of {} messages came", self.receiver.bytes(), self.answers)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(count)
    }
}

/// Lets members join and leave, whatever the time that it takes, with a thousand who watch that.
fn load_watchers(target: &Target, _: Duration) -> Made {
    let id = target.register(1)?.pop().ok_or_else(|| wrong("there is no registration"))?;
    // It keeps the registration.
    let _member = target.join(&id)?;
    let streams = (0..WATCHERS).map(|_| open_stream(target, &id)).collect::<io::Result<_>>()?;
    let receiver = Receiver::start(streams)?;
    let before = receiver.bytes();
    let made = timed(|| {
        for _ in 0..VISITORS / VISITORS_AT_ONCE {
            join_all(target.address, std::iter::repeat_n(id.as_str(), VISITORS_AT_ONCE))?;
        }
        Ok(VISITORS as u64)
    })?;
    if receiver.bytes() == before {
        return Err(wrong("the watchers were told nothing"));
    }
    Ok(made)
}

/// Opens a stream of events, and waits for its head.
fn open_stream(target: &Target, id: &str) -> io::Result<Link> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.write_all(watch(id).as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    if head.strip_prefix(b"HTTP/1.").is_none_or(|rest| &rest[1..] != b" 200") {
        return Err(wrong(format_args!("/members was answered with {}", String::from_utf8_lossy(&head))));
    }
    Link::plain(stream)
}

/// Thread that reads connections to their end, and counts the bytes.
struct Receiver {
    bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(mut links: Vec<Link>) -> io::Result<Self> {
        let (bytes, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (mut poll, counted, stop) = (Poll::new()?, Arc::clone(&bytes), Arc::clone(&is_over));
        for (token, link) in links.iter_mut().enumerate() {
            poll.registry().register(&mut link.stream, Token(token), Interest::READABLE)?;
        }
        let thread = std::thread::spawn(move || {
            let (mut events, mut buffer) = (Events::with_capacity(256), vec![0; 64 * 1024]);
            while !stop.load(Ordering::Relaxed) {
                // An interrupted or failed wait is tried again.
                let _ = poll.poll(&mut events, Some(Duration::from_millis(50)));
                for event in &events {
                    while let Ok(count @ 1..) = links[event.token().0].read(&mut buffer) {
                        counted.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
            }
        });
        Ok(Self { bytes, is_over, thread: Some(thread) })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}
