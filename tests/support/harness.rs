//! Plays the service manager for one daemon: a folder of its own, a notify socket, passed descriptors, the descriptor
//! store, jobs, its log.
//!
//! The daemon asks `systemctl` for its job when it receives TERM; here it runs a substitute that reports what the test
//! set with [`Router::job`], or a stop. Each wait fails after [`PATIENCE`] with what was seen instead. A daemon that
//! still runs at the end of its test is killed by its id.
#![allow(dead_code, clippy::unwrap_used)] // Not every test needs everything.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use ws_router_server::log::messages;

use super::store::Notifications;

/// Long enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Configuration, arguments and descriptors with which a daemon is started.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    log: String,
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Vec<(OwnedFd, String)>,
    has_names: bool,
    has_manager: bool,
    program: PathBuf,
    prelude: String,
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
            has_manager: true,
            program: env!("CARGO_BIN_EXE_ws-router").into(),
            prelude: String::new(),
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

    /// Adds a listener with TLS; the certificate and the key are files beside the configuration.
    pub(crate) fn tls(self, certificate: &str, key: &str) -> Self {
        self.tls_in(certificate, key, "auto")
    }

    /// Adds a listener with TLS, and says whether the kernel encrypts and decrypts.
    pub(crate) fn tls_in(self, certificate: &str, key: &str, kernel: &str) -> Self {
        self.config(&format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\
             tls = {{ certificate = \"{certificate}\", key = \"{key}\", kernel = \"{kernel}\" }}\n"
        ))
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

    /// Passes none of the descriptors to the next process.
    pub(crate) fn keep_back(&mut self) {
        self.descriptors.clear();
    }

    /// Passes descriptors without names.
    pub(crate) fn without_names(mut self) -> Self {
        self.has_names = false;
        self
    }

    /// Starts it as a shell does, that is without a service manager.
    pub(crate) fn without_manager(mut self) -> Self {
        self.has_manager = false;
        self
    }

    /// Has the shell that becomes the daemon do something before, such as `ulimit -n 40;`.
    pub(crate) fn prelude(mut self, commands: &str) -> Self {
        self.prelude = commands.into();
        self
    }

    /// Starts a copy of the program in the folder, which a test may replace: see [`Setup::program`].
    pub(crate) fn with_own_program(mut self) -> Self {
        self.program = self.folder.path().join("ws-router");
        self.restore_program();
        self
    }

    /// The program that is started.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Puts the real program back in its place.
    pub(crate) fn restore_program(&self) {
        let new = self.folder.path().join("ws-router.new");
        let real = env!("CARGO_BIN_EXE_ws-router");
        // No link can be made into another file system.
        if fs::hard_link(real, &new).is_err() {
            write_program(&new, &fs::read(real).unwrap());
        }
        fs::rename(&new, &self.program).unwrap();
    }

    /// Puts something else in the place of a program of its own, as a package upgrade does.
    pub(crate) fn replace_program(&self, content: &[u8]) {
        assert!(self.program.starts_with(self.folder.path()), "the program is everybody's");
        let new = self.folder.path().join("ws-router.new");
        write_program(&new, content);
        fs::rename(&new, &self.program).unwrap();
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ws-router.toml")
    }

    /// Path of the admin socket.
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
        self.write_systemctl();
        let messages = Notifications::bind(&self.folder.path().join("notify"));
        let mut child = self.command(&[]).stdin(input).spawn().unwrap();
        let (lines, listening) = (lines(child.stderr.take().unwrap()), SocketAddr::from(([0; 4], 0)));
        Router { child, messages, patience: PATIENCE, lines, seen: Vec::new(), setup: self, listening }
    }

    /// Writes the `systemctl` that the daemon runs. The unit is the one that the daemon takes itself for.
    fn write_systemctl(&self) {
        let (folder, job) = (self.folder.path().join("bin"), self.folder.path().join("job"));
        fs::create_dir(&folder).unwrap();
        fs::write(&job, "stop").unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *list-jobs*) ;; *) exit 64 ;; esac\njob=$(cat {job:?}) || exit 1\n\
             unit=$(sed -n 's/.*\\/\\([^/]*\\.service\\).*/\\1/p' /proc/$PPID/cgroup | head -1)\n\
             echo '11 another.service restart running'\n\
             [ -z \"$job\" ] || echo \"12 ${{unit:-ws-router.service}} $job running\"\n"
        );
        let file = folder.join("systemctl");
        write_program(&file, script.as_bytes());
    }

    /// Returns the daemon's command line, with the passed descriptors and those that the old process stored.
    fn command(&self, stored: &[(OwnedFd, String)]) -> Command {
        // The process that LISTEN_PID names has to be the daemon: the shell knows its own id and becomes the daemon.
        let mut command = Command::new("/bin/sh");
        let passed: Vec<_> = self.descriptors.iter().chain(stored).collect();
        let pid = if passed.is_empty() { "" } else { "LISTEN_PID=$$ " };
        command.args(["-c", &format!("{} {pid}exec \"$0\" \"$@\"", self.prelude)]).arg(&self.program);
        command.args(&self.arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in FOREIGN {
            command.env_remove(name);
        }
        if self.has_manager {
            command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()));
        if !passed.is_empty() {
            let names: Vec<_> = passed.iter().map(|(_, name)| name.as_str()).collect();
            command.env("LISTEN_FDS", names.len().to_string());
            if self.has_names {
                command.env("LISTEN_FDNAMES", names.join(":"));
            }
            let mappings = passed
                .iter()
                .zip(3..)
                .map(|((descriptor, _), child_fd)| FdMapping { parent_fd: descriptor.try_clone().unwrap(), child_fd });
            command.fd_mappings(mappings.collect()).unwrap();
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What a service manager sets, and the one above this test may have set.
const FOREIGN: [&str; 7] =
    ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"];

/// Writes a program by another process. One that is open for writing anywhere can't be executed (ETXTBSY), and what is
/// open in this process is so, until the exec, in every child that another test starts meanwhile.
fn write_program(path: &Path, content: &[u8]) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Collects the lines of a log, until the process ends.
fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// Running daemon.
pub(crate) struct Router {
    child: Child,
    messages: Notifications,
    patience: Duration,
    lines: Receiver<String>,
    seen: Vec<String>,
    pub(crate) setup: Setup,
    /// Address that was requested last.
    pub(crate) listening: SocketAddr,
}

/// Exit status and log of a daemon that has ended.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) log: Vec<String>,
}

impl End {
    /// Asserts the exit status, and that one line contains all of these.
    pub(crate) fn assert_exit(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{:#?}", self.log);
        let all = |line: &&String| texts.iter().all(|text| line.contains(text));
        assert!(self.log.iter().any(|line| all(&line)), "no line says {texts:?}: {:#?}", self.log);
    }
}

impl Router {
    /// Waits for READY=1.
    pub(crate) fn ready(mut self) -> Self {
        self.notified("READY=1");
        self
    }

    /// Waits for a message to the service manager that contains `part`, and returns it.
    pub(crate) fn notified(&mut self, part: &str) -> String {
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

    /// Returns the next message to the service manager.
    pub(crate) fn next_message(&mut self) -> Option<String> {
        self.messages.next(self.patience)
    }

    /// Bounds the wait for a message.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Waits for a log line that contains all of these, after those that were returned before.
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

    /// Waits for the next address that it listens on.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.logged(&[messages::LISTENING]);
        let address = line["listener"].as_str().unwrap();
        self.listening = address.parse().unwrap_or_else(|_| panic!("not an address: {address}"));
        self.listening
    }

    /// Returns the address of its first TCP listener.
    pub(crate) fn tcp_address(&mut self) -> SocketAddr {
        loop {
            let line = self.logged(&[messages::LISTENING]);
            if let Some(address) = line["listener"].as_str().and_then(|address| address.parse().ok()) {
                return address;
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Sets the job that the service manager has for it: `stop`, `restart`, or none with an empty word.
    pub(crate) fn job(&self, job: &str) {
        fs::write(self.setup.folder.path().join("job"), job).unwrap();
    }

    /// Makes the service manager fail to report the job.
    pub(crate) fn without_jobs(&self) {
        fs::remove_file(self.setup.folder.path().join("job")).unwrap();
    }

    /// Has the program replace itself in the same process, and waits until the new one is ready.
    pub(crate) fn replace(&mut self) {
        self.signal(Signal::SIGUSR2);
        self.notified("READY=1");
    }

    /// Restarts it as a service manager does, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.job("restart");
        self.leave();
        self.start_again();
        self.notified("READY=1");
        self.job("stop");
    }

    /// Ends it with TERM, with status 0, and keeps what it stores.
    pub(crate) fn leave(&mut self) {
        self.signal(Signal::SIGTERM);
        self.left();
    }

    /// Waits for its end, with status 0, and keeps what it stored.
    pub(crate) fn left(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}: {:#?}", self.seen);
        self.catch_up();
    }

    /// Waits until all its messages so far have been read.
    pub(crate) fn catch_up(&mut self) {
        self.messages.catch_up();
    }

    /// Starts the next process, with what the last one stored.
    pub(crate) fn start_again(&mut self) {
        let stored = self.messages.stored();
        self.child = self.setup.command(&stored).stdin(Stdio::null()).spawn().unwrap();
        self.lines = lines(self.child.stderr.take().unwrap());
    }

    /// The contents of the descriptor store.
    pub(crate) fn store(&mut self) -> &mut Vec<(OwnedFd, String)> {
        self.messages.store()
    }

    /// Kills it, and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Requests a document from the admin interface; fails the test if there is none.
    pub(crate) fn admin(&self, path: &str) -> Value {
        let mut stream = UnixStream::connect(self.setup.admin()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Waits for the process's end.
    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        // The log is closed when the process ends.
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < end, "it doesn't end: {:#?}", self.seen);
        self.child.wait().unwrap()
    }

    /// Waits until it ends.
    pub(crate) fn ended(mut self) -> End {
        let status = self.wait();
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

/// Creates a certificate and its key in a folder, under a name.
pub(crate) fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}
