//! Plays the service manager for one daemon: a folder of its own, a notify socket, passed descriptors, its log.
//!
//! Each wait ends after [`PATIENCE`] with what was seen instead, and a daemon that is still there at the end of its
//! test is killed by its id.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a daemon is started with.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    log: String,
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Vec<(OwnedFd, String)>,
    has_names: bool,
}

impl Setup {
    /// A configuration that logs JSON, with its admin socket in a folder of its own.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            log: "format = \"json\"\n".into(),
            config: String::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            has_names: true,
        }
    }

    /// Like `new`, and listens on a port that the kernel chooses.
    pub(crate) fn on_loopback() -> Self {
        Self::new().config("[[listener]]\naddress = \"127.0.0.1:0\"\n")
    }

    /// Adds lines to the configuration.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// Sets the lines of the configuration's `[log]`.
    pub(crate) fn log(mut self, lines: &str) -> Self {
        self.log = lines.into();
        self
    }

    /// Adds an argument.
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable, whatever a service manager would have set it to.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Passes a descriptor under a name.
    pub(crate) fn pass(mut self, name: &str, descriptor: impl Into<OwnedFd>) -> Self {
        self.descriptors.push((descriptor.into(), name.into()));
        self
    }

    /// Passes descriptors without names.
    pub(crate) fn without_names(mut self) -> Self {
        self.has_names = false;
        self
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ws-router.toml")
    }

    /// The admin socket's place.
    pub(crate) fn admin(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// Writes the configuration file, as `start` does.
    pub(crate) fn write_config(&self) {
        let tables = format!("[log]\n{}[admin]\nsocket = \"{}\"\n", self.log, self.admin().display());
        fs::write(self.file(), format!("{tables}{}", self.config)).unwrap();
    }

    /// Starts the daemon.
    pub(crate) fn start(self) -> Router {
        let file = self.file().display().to_string();
        self.argument("--config").argument(file).start_on(Stdio::null())
    }

    /// Starts the daemon with `input` as its descriptor 0.
    pub(crate) fn start_on(self, input: Stdio) -> Router {
        self.write_config();
        let notify = UnixDatagram::bind(self.folder.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = self.command();
        let mut child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Router { child, notify, lines, seen: Vec::new(), setup: self }
    }

    fn command(&self) -> Command {
        // The process that LISTEN_PID names has to be the daemon: the shell knows its own id and becomes the daemon.
        let mut command = Command::new("/bin/sh");
        let pid = if self.descriptors.is_empty() { "" } else { "LISTEN_PID=$$ " };
        command.args(["-c", &format!("{pid}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_ws-router")]);
        command.args(&self.arguments);
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            command.env_remove(name);
        }
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        if !self.descriptors.is_empty() {
            let names: Vec<_> = self.descriptors.iter().map(|(_, name)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string());
            if self.has_names {
                command.env("LISTEN_FDNAMES", names.join(":"));
            }
            let mappings = self
                .descriptors
                .iter()
                .zip(3..)
                .map(|((descriptor, _), child_fd)| FdMapping { parent_fd: descriptor.try_clone().unwrap(), child_fd });
            command.fd_mappings(mappings.collect()).unwrap();
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A daemon that runs.
pub(crate) struct Router {
    child: Child,
    notify: UnixDatagram,
    lines: Receiver<String>,
    seen: Vec<String>,
    pub(crate) setup: Setup,
}

/// How a daemon ended.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) log: Vec<String>,
}

impl End {
    /// Asserts the exit status, and that a line says all of these.
    pub(crate) fn says(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{:#?}", self.log);
        let all = |line: &&String| texts.iter().all(|text| line.contains(text));
        assert!(self.log.iter().any(|line| all(&line)), "no line says {texts:?}: {:#?}", self.log);
    }
}

impl Router {
    /// Waits until it says that it is ready.
    pub(crate) fn ready(mut self) -> Self {
        self.told("READY=1");
        self
    }

    /// Waits for a message to the service manager that contains `part`, and gives it.
    pub(crate) fn told(&mut self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut messages = Vec::new();
        while Instant::now() < end {
            match self.next_message() {
                Some(message) if message.contains(part) => return message,
                Some(message) => messages.push(message),
                None => break,
            }
        }
        self.seen.extend(self.lines.try_iter());
        panic!("no message with {part:?}: {messages:?}; log: {:#?}", self.seen)
    }

    /// Gives the next message to the service manager.
    pub(crate) fn next_message(&mut self) -> Option<String> {
        let mut message = [0; 4096];
        let length = self.notify.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Bounds the wait for a message.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.notify.set_read_timeout(Some(patience)).unwrap();
    }

    /// Waits for a log line that contains all of these, among those that were not yet asked for.
    pub(crate) fn logged(&mut self, parts: &[&str]) -> Value {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return serde_json::from_str(&line).unwrap_or(Value::String(line));
            }
        }
        panic!("no line with {parts:?}: {:#?}", self.seen)
    }

    /// Where it listens first.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.logged(&["\"listening\""]);
        let address = line["listener"].as_str().unwrap();
        address.parse().unwrap_or_else(|_| panic!("not an address: {address}"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits until it ends.
    pub(crate) fn ended(mut self) -> End {
        let end = Instant::now() + PATIENCE;
        // The log is closed when the process ends.
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < end, "it doesn't end: {:#?}", self.seen);
        let status = self.child.wait().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        End { status, stdout, log: std::mem::take(&mut self.seen) }
    }

    /// Stops it with TERM and waits until it ends.
    pub(crate) fn stopped(self) -> End {
        self.signal(Signal::SIGTERM);
        self.ended()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // One that has ended is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a certificate and its key in a folder, under a name.
pub(crate) fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}
