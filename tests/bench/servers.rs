//! The compared servers: each is a process of its own on the server's core, started anew for every run.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::limit::{self, Batching};
use crate::process::pin;
use crate::scenario::Scenario;
use crate::textbook;

/// Longest wait until a server listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kind of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The limit, with one write per receiver and read.
    LimitRead,
    /// The limit, with one write per receiver and iteration.
    LimitRound,
    /// The textbook relay.
    Textbook,
    /// ws-router, with the path of its program.
    Router(PathBuf),
}

/// Server with its name.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// Name in the table.
    pub(crate) name: String,
    /// Kind of the server.
    pub(crate) kind: Kind,
}

impl FromStr for Contender {
    type Err = String;

    /// Reads `NAME=PATH`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').ok_or("give NAME=PATH, the path of a ws-router program")?;
        if !Path::new(path).is_file() {
            return Err(format!("{path} is no file"));
        }
        Ok(Self { name: name.to_owned(), kind: Kind::Router(path.into()) })
    }
}

/// Returns the reference servers and this build.
pub(crate) fn standard() -> Vec<Contender> {
    let of = |name: &str, kind| Contender { name: name.to_owned(), kind };
    vec![
        of("limit-read", Kind::LimitRead),
        of("limit-round", Kind::LimitRound),
        of("textbook", Kind::Textbook),
        of("ws-router", Kind::Router(env!("CARGO_BIN_EXE_ws-router").into())),
    ]
}

/// Mode in which a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// With TLS, which the limit doesn't support.
    pub(crate) tls: bool,
    /// With `relay.busy-poll` of ws-router.
    pub(crate) busy_poll: bool,
    /// With this number of relay threads, and of cores for the server.
    pub(crate) threads: usize,
    /// Registrations that the members join.
    pub(crate) groups: Groups,
    /// Whether members have sessions, which only ws-router has. A build that doesn't know sessions ignores them.
    pub(crate) sessions: bool,
}

/// Registrations that members join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    /// A lobby for each group.
    Lobbies,
    /// A paired registration for each pair, which only ws-router has.
    Paired,
    /// One paired registration for all pairs.
    OnePaired,
}

impl Contender {
    /// Returns whether the server supports a scenario.
    pub(crate) fn can(&self, scenario: &Scenario) -> bool {
        match self.kind {
            Kind::LimitRead | Kind::LimitRound => !scenario.setup.tls && !scenario.needs_router(),
            Kind::Textbook => !scenario.needs_router(),
            Kind::Router(_) => true,
        }
    }

    /// Starts the server on these cores, and waits until it listens.
    pub(crate) fn start(&self, setup: Setup, server_cores: &[usize], own_cores: &[usize]) -> io::Result<Running> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let home = tempfile::tempdir()?;
        let certificate = if setup.tls { Some(make_certificate(home.path())?) } else { None };
        let mut command = self.command(setup, address, home.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // A child inherits the cores of its parent.
        pin(server_cores)?;
        let child = command.spawn();
        pin(own_cores)?;
        let mut running = Running { child: child?, address, certificate, setup, _home: home };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                return Err(io::Error::other(format!("{} ended with {status} before it listened", self.name)));
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{} doesn't listen at {address}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(running)
    }

    fn command(&self, setup: Setup, address: SocketAddr, home: &Path) -> io::Result<Command> {
        if let Kind::Router(program) = &self.kind {
            let mut command = Command::new(program);
            command.arg("--config").arg(write_configuration(program, setup, address, home)?);
            if !setup.tls {
                command.args(["--listen", &address.to_string()]);
            }
            return Ok(command);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(match self.kind {
            Kind::LimitRead => "serve-limit-read",
            Kind::LimitRound => "serve-limit-round",
            Kind::Textbook | Kind::Router(_) => "serve-textbook",
        });
        command.arg(address.to_string());
        if setup.tls {
            command.arg(home.join("certificate.pem")).arg(home.join("key.pem"));
        }
        Ok(command)
    }
}

/// Runs as a reference server if the arguments say so.
pub(crate) fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let address = |text: &String| text.parse::<SocketAddr>().map_err(io::Error::other);
    match arguments {
        [kind, at] if kind == "serve-limit-read" => Some(address(at).and_then(|at| limit::serve(at, Batching::Read))),
        [kind, at] if kind == "serve-limit-round" => Some(address(at).and_then(|at| limit::serve(at, Batching::Round))),
        [kind, at] if kind == "serve-textbook" => Some(address(at).and_then(|at| textbook::serve(at, None))),
        [kind, at, certificate, key] if kind == "serve-textbook" => {
            Some(address(at).and_then(|at| textbook::serve(at, Some((certificate.as_ref(), key.as_ref())))))
        }
        _ => None,
    }
}

/// Server process, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Address of its listener.
    pub(crate) address: SocketAddr,
    /// Its certificate, if it uses TLS.
    pub(crate) certificate: Option<PathBuf>,
    /// Mode in which it was started.
    pub(crate) setup: Setup,
    _home: TempDir,
}

impl Running {
    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_configuration(program: &Path, setup: Setup, address: SocketAddr, home: &Path) -> io::Result<PathBuf> {
    let at = |name: &str| home.join(name).display().to_string();
    let mut text = String::new();
    let tls = format!("{{ certificate = {:?}, key = {:?} }}", at("certificate.pem"), at("key.pem"));
    if setup.tls {
        let _ = writeln!(text, "[[listener]]\naddress = \"{address}\"\ntls = {tls}");
    }
    let _ = writeln!(text, "[relay]\nthreads = {}", setup.threads);
    if setup.busy_poll {
        let _ = writeln!(text, "busy-poll = \"50us\"");
    }
    let _ = writeln!(text, "[admin]\nsocket = {:?}\n[log]\nlevel = \"warn\"", at("admin.sock"));
    let _ = writeln!(text, "[limits]\nregistrations = 1000000");
    if setup.groups != Groups::Lobbies {
        let _ = writeln!(text, "waiting = 1000000");
    }
    let path = home.join("ws-router.toml");
    // Its memory is read from /proc, which also an ordinary user may do then. Older programs don't know the key.
    std::fs::write(&path, format!("{text}[service]\ndebuggable = true\n"))?;
    if !Command::new(program).arg("--config").arg(&path).arg("--check").output()?.status.success() {
        std::fs::write(&path, text)?;
    }
    Ok(path)
}

fn make_certificate(home: &Path) -> io::Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let path = home.join("certificate.pem");
    std::fs::write(&path, made.cert.pem())?;
    std::fs::write(home.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(path)
}
