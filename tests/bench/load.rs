//! Load beside a ping-pong: a process that registers, joins or fans out as fast as the server responds.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::crowd::{Registrars, join_all};
use crate::frames::wrong;
use crate::generator::Generator;
use crate::link::Target;
use crate::scenario::{Load, fan};

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
        _ => return None,
    };
    let target =
        address.parse().map(|address| Target { address, tls: None, is_paired: false }).map_err(io::Error::other);
    let time = seconds.parse().map(Duration::from_secs_f64).map_err(io::Error::other);
    Some(target.and_then(|target| Ok((target, time?))).and_then(|(target, time)| {
        let start = Instant::now();
        let count = run(&target, time)?;
        println!("{}", count as f64 / start.elapsed().as_secs_f64());
        Ok(())
    }))
}

fn load_registrations(target: &Target, time: Duration) -> io::Result<u64> {
    let mut registrars = Registrars::open(target.address)?;
    println!("ready");
    registrars.run_for(time)
}

fn load_joins(target: &Target, time: Duration) -> io::Result<u64> {
    const PAIRS: usize = 500;
    println!("ready");
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        // A registration ends with its last member, so each turn needs its own.
        let ids = target.register(PAIRS)?;
        count += join_all(target.address, ids.iter().flat_map(|id| [id.as_str(); 2]))?.len() as u64;
    }
    Ok(count)
}

fn load_fan(target: &Target, time: Duration) -> io::Result<u64> {
    let mut generator = Generator::open(target, fan(1000, 128, 1))?;
    println!("ready");
    generator.run_for(time)
}
