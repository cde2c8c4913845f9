//! The real program on a port of its own, killed at the end of the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::device::Device;

/// Running router.
pub struct Router {
    process: Child,
    pub address: SocketAddr,
    admin: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Router {
    /// Starts a router with this configuration.
    pub fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, admin) = (folder.path().join("ws-router.toml"), folder.path().join("admin.sock"));
        let text = format!("[admin]\nsocket = {admin:?}\n[log]\nformat = \"text\"\n{configuration}");
        std::fs::write(&file, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ws-router"))
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .find_map(|line| {
                line.unwrap().split_once("listening listener=\"127.0.0.1:").map(|(_, rest)| rest.to_owned())
            })
            .and_then(|rest| rest.split('"').next()?.parse().ok())
            .map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)))
            .expect("the router did not log its address");
        // The log has to be read, or a full pipe would block the router.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address, admin, _folder: folder }
    }

    /// Makes a registration of a kind, with further parameters behind it; the key is "k" and the host key "h".
    pub fn register(&self, kind: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let path = format!("/register?key=k&host_key=h&reg_type={kind}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.rsplit("\r\n").next().unwrap().to_owned()
    }

    /// Joins a registration.
    pub fn join(&self, id: &str, role: &str) -> Device {
        self.connect(&format!("id={id}&key=k&sock_type={role}"))
    }

    /// Opens a websocket with these parameters.
    pub fn connect(&self, query: &str) -> Device {
        Device::connect(self.address, &format!("/connect?{query}"))
    }

    /// Reads a number of the process's status in bytes: VmRSS, VmHWM (proc(5)).
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Returns a number of the status by the name of its field.
    pub fn figure(&self, field: &str) -> u64 {
        let status = self.ask("/v1/status");
        let found = status.split_once(&format!("\"{field}\":")).and_then(|(_, rest)| rest.split([',', '}']).next());
        found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {field}: {status}"))
    }

    /// Requests a path from the admin interface; returns the response with its head.
    pub fn ask(&self, path: &str) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
