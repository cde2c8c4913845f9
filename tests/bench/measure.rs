//! One scenario with one server: start it, warm it up, measure, end it.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::crowd::{Requesters, connect_all, join_all};
use crate::frames::wrong;
use crate::generator::Generator;
use crate::link::{Target, registration, waiting_client};
use crate::load::{LoadProcess, Sends};
use crate::plan::{Plan, Talkers};
use crate::process::{Calls, Counting, cpu_time, memory, peak_memory};
use crate::scenario::{Load, PING_PONG, Scenario, Work};
use crate::servers::{Contender, Running};

/// Number of bytes after which the server has to buffer something for a member that doesn't read.
const MORE_THAN_THE_KERNEL_KEEPS: u64 = 6 * 1024 * 1024;

/// Settings of a run.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    /// Duration of each measurement.
    pub(crate) time: Duration,
    /// Core of the server.
    pub(crate) server_core: usize,
    /// Core of the generator.
    pub(crate) generator_core: usize,
    /// Whether system calls are counted.
    pub(crate) counts_calls: bool,
}

/// Results of one measurement.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct Sample {
    /// Main figure of the scenario.
    pub(crate) value: f64,
    /// Latency in microseconds.
    pub(crate) p50: Option<f64>,
    /// Latency in microseconds.
    pub(crate) p99: Option<f64>,
    /// Processor time of the server in microseconds per counted operation.
    pub(crate) cpu_each: Option<f64>,
    /// Number of cores that the server used.
    pub(crate) server_load: Option<f64>,
    /// Number of cores that the generator used; near one, it may have been the limit instead of the server.
    pub(crate) generator_load: Option<f64>,
    /// Resident memory of the server at the end, in bytes.
    pub(crate) rss: u64,
    /// Proportional memory of the server, in bytes.
    pub(crate) pss: u64,
    /// Highest resident memory of the server, in bytes.
    pub(crate) peak: u64,
    /// Figures that only this scenario has.
    pub(crate) extra: BTreeMap<String, f64>,
    /// System calls per counted operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) calls: Calls,
}

/// Runs a scenario with a server once.
pub(crate) fn measure(scenario: &Scenario, contender: &Contender, how: &Conditions) -> io::Result<Sample> {
    let both = [how.server_core, how.generator_core];
    let cores = if scenario.setup.threads > 1 { &both[..] } else { &both[..1] };
    let server = contender.start(scenario.setup, cores, &[how.generator_core])?;
    let target = Target::of(&server)?;
    let mut sample = match scenario.work {
        Work::Traffic(plan) => traffic(&server, &target, plan, how)?,
        Work::Idle { connections, in_a_lobby } => idle(&server, &target, connections, in_a_lobby)?,
        Work::Joins { connections } => joins(&server, &target, connections)?,
        Work::Registrations => registrations(&server, how)?,
        Work::Sends => sends(&server, &target, how)?,
        Work::Waiting { clients } => waiting(&server, &target, clients)?,
        Work::BesideStalled(plan) => beside_stalled(&server, &target, plan, how)?,
        Work::Beside(load) => beside(&server, &target, load, how)?,
    };
    let now = memory(server.pid())?;
    (sample.rss, sample.pss, sample.peak) = (now.rss, now.pss, peak_memory(server.pid())?);
    Ok(sample)
}

/// Sends a fixed number of messages through a server, and fails unless all arrive as they should.
pub(crate) fn check(scenario: &Scenario, contender: &Contender, how: &Conditions) -> io::Result<()> {
    let Work::Traffic(plan) = scenario.work else { return Ok(()) };
    let both = [how.server_core, how.generator_core];
    let server = contender.start(scenario.setup, &both, &both)?;
    let mut generator = Generator::open(&Target::of(&server)?, plan)?;
    // Each scenario transfers a few megabytes, and takes a moment.
    let messages = 16 * 1024 * 1024 / plan.shape.size / plan.lobbies / plan.members;
    generator.run_messages((messages as u32).clamp(8, 5_000))
}

/// Processor time at the start of a measurement.
struct Meter {
    start: Instant,
    server: Duration,
    own: Duration,
    pid: u32,
}

impl Meter {
    fn start(pid: u32) -> io::Result<Self> {
        Ok(Self { server: cpu_time(pid)?, own: cpu_time(std::process::id())?, start: Instant::now(), pid })
    }

    /// Returns a sample of the time since then.
    fn finish(&self, count: u64) -> io::Result<Sample> {
        if count == 0 {
            return Err(wrong("nothing came through"));
        }
        let elapsed = self.start.elapsed().as_secs_f64();
        let server = cpu_time(self.pid)?.saturating_sub(self.server).as_secs_f64();
        let own = cpu_time(std::process::id())?.saturating_sub(self.own).as_secs_f64();
        Ok(Sample {
            value: count as f64 / elapsed,
            cpu_each: Some(server * 1e6 / count as f64),
            server_load: Some(server / elapsed),
            generator_load: Some(own / elapsed),
            ..Sample::default()
        })
    }
}

fn traffic(server: &Running, target: &Target, plan: Plan, how: &Conditions) -> io::Result<Sample> {
    let mut generator = Generator::open(target, plan)?;
    generator.run_for(how.time / 4)?;
    while plan.stalled > 0 && generator.bytes_each() < MORE_THAN_THE_KERNEL_KEEPS {
        generator.run_for(how.time / 16)?;
    }
    generator.latency.clear();
    let counting = how.counts_calls.then(|| Counting::start(server.pid(), how.time / 2)).transpose()?;
    let meter = Meter::start(server.pid())?;
    let count = generator.run_for(how.time)?;
    let mut sample = meter.finish(count)?;
    if let Some(counting) = counting {
        sample.calls = counting.finish()?.into_iter().map(|(name, rate)| (name, rate / sample.value)).collect();
    }
    sample.p50 = generator.latency.quantile(0.5);
    sample.p99 = generator.latency.quantile(0.99);
    if plan.talkers == Talkers::Turns {
        sample.value = sample.p50.ok_or_else(|| wrong("no round trip was completed"))?;
    }
    Ok(sample)
}

fn idle(server: &Running, target: &Target, connections: usize, in_a_lobby: usize) -> io::Result<Sample> {
    let ids = target.register(connections / in_a_lobby + 1)?;
    let ids = ids.iter().flat_map(|id| std::iter::repeat_n(id.as_str(), in_a_lobby));
    // The first two make the server allocate what it allocates only once.
    let _first: Vec<_> = ids.clone().take(2).map(|id| target.join(id)).collect::<io::Result<_>>()?;
    let before = memory(server.pid())?;
    let start = Instant::now();
    let ids = ids.skip(2).take(connections);
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    match target.tls {
        None => plain = join_all(target.address, ids)?,
        Some(_) => sealed = ids.map(|id| target.join(id)).collect::<io::Result<_>>()?,
    }
    let elapsed = start.elapsed();
    // The last connections may not have joined yet after their handshakes, and the memory of the rush is released when it is
    // over.
    std::thread::sleep(Duration::from_secs(1));
    let after = memory(server.pid())?;
    let count = (plain.len() + sealed.len()) as f64;
    let mut sample = Sample { value: after.rss.saturating_sub(before.rss) as f64 / count, ..Sample::default() };
    sample.extra.insert("joins/s".into(), count / elapsed.as_secs_f64());
    sample.extra.insert("pss/connection".into(), after.pss.saturating_sub(before.pss) as f64 / count);
    Ok(sample)
}

fn joins(server: &Running, target: &Target, connections: usize) -> io::Result<Sample> {
    let ids = target.register(connections / 2)?;
    let meter = Meter::start(server.pid())?;
    let joined = join_all(target.address, ids.iter().flat_map(|id| [id.as_str(); 2]))?;
    meter.finish(joined.len() as u64)
}

fn registrations(server: &Running, how: &Conditions) -> io::Result<Sample> {
    let mut registrars = Requesters::open(server.address, registration(server.address, "lobby"))?;
    registrars.run_for(how.time / 4)?;
    let meter = Meter::start(server.pid())?;
    let count = registrars.run_for(how.time)?;
    meter.finish(count)
}

fn sends(server: &Running, target: &Target, how: &Conditions) -> io::Result<Sample> {
    let mut sends = Sends::open(target)?;
    sends.run_for(how.time / 4)?;
    let meter = Meter::start(server.pid())?;
    let count = sends.run_for(how.time)?;
    meter.finish(count)
}

/// Measures the memory of clients that wait for a host and have sent nothing.
fn waiting(server: &Running, target: &Target, clients: usize) -> io::Result<Sample> {
    let id = target.register(1)?.pop().ok_or_else(|| wrong("there is no registration"))?;
    let query = || std::iter::repeat_with(|| waiting_client(&id));
    let _first = connect_all(target.address, query().take(1))?;
    let before = memory(server.pid())?;
    let start = Instant::now();
    let joined = connect_all(target.address, query().take(clients))?;
    let elapsed = start.elapsed();
    // As with idle connections.
    std::thread::sleep(Duration::from_secs(1));
    let after = memory(server.pid())?;
    let count = joined.len() as f64;
    let mut sample = Sample { value: after.rss.saturating_sub(before.rss) as f64 / count, ..Sample::default() };
    sample.extra.insert("joins/s".into(), count / elapsed.as_secs_f64());
    sample.extra.insert("pss/connection".into(), after.pss.saturating_sub(before.pss) as f64 / count);
    Ok(sample)
}

/// Measures pairs alone and then beside one whose receiver reads nothing.
fn beside_stalled(server: &Running, target: &Target, plan: Plan, how: &Conditions) -> io::Result<Sample> {
    let mut generator = Generator::open(target, plan)?;
    generator.run_for(how.time / 4)?;
    let meter = Meter::start(server.pid())?;
    let alone = meter.finish(generator.run_for(how.time)?)?;
    generator.stall_a_pair(target)?;
    generator.run_for(how.time / 4)?;
    generator.latency.clear();
    let meter = Meter::start(server.pid())?;
    let mut sample = meter.finish(generator.run_for(how.time)?)?;
    sample.p50 = generator.latency.quantile(0.5);
    sample.p99 = generator.latency.quantile(0.99);
    sample.extra.insert("alone/s".into(), alone.value);
    sample.extra.insert("% of alone".into(), sample.value / alone.value * 100.0);
    Ok(sample)
}

/// Measures a ping-pong alone and then beside a load. A process of its own makes the load in the idle time of the
/// generator's core, so that it doesn't delay the ping-pong's own end.
fn beside(server: &Running, target: &Target, load: Load, how: &Conditions) -> io::Result<Sample> {
    let mut generator = Generator::open(target, PING_PONG)?;
    generator.run_for(how.time / 4)?;
    generator.latency.clear();
    generator.run_for(how.time)?;
    let alone = generator.latency.quantile(0.99).ok_or_else(|| wrong("no round trip was completed"))?;
    let alone_p50 = generator.latency.quantile(0.5);
    let mut process = LoadProcess::start(load, server.address, how.time * 2)?;
    let meter;
    let count = if load == Load::Watchers {
        // It takes as long as it takes.
        generator.latency.clear();
        meter = Meter::start(server.pid())?;
        let before = generator.deliveries;
        while !process.has_ended()? {
            generator.run_for(Duration::from_millis(20))?;
        }
        generator.deliveries - before
    } else {
        generator.run_for(how.time / 8)?;
        generator.latency.clear();
        meter = Meter::start(server.pid())?;
        generator.run_for(how.time)?
    };
    let mut sample = meter.finish(count)?;
    let made = process.finish()?;
    sample.cpu_each = None;
    sample.p50 = generator.latency.quantile(0.5);
    sample.p99 = generator.latency.quantile(0.99);
    sample.value = sample.p99.ok_or_else(|| wrong("no round trip was completed"))?;
    sample.extra.extend(alone_p50.map(|p50| ("alone p50 us".into(), p50)));
    sample.extra.insert("alone p99 us".into(), alone);
    sample.extra.insert("times alone".into(), sample.value / alone);
    sample.extra.insert("load/s".into(), made);
    Ok(sample)
}
