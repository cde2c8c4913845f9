//! The kinds of restarts.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::device::Endpoint;
use super::harness::{Router, Setup};

/// Router that can be restarted while it is used.
pub(crate) trait Restart {
    /// Returns the addresses of its listeners.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// Restarts it and waits until it is ready; `number` counts the restarts from 1.
    fn restart(&mut self, number: u64);
}

/// Router that the test starts, with a TCP and a Unix listener.
pub(crate) struct Managed {
    router: Router,
    endpoints: Vec<Endpoint>,
    replaces_itself: bool,
}

impl Managed {
    /// Starts a router that binds its listeners and replaces itself.
    pub(crate) fn by_itself() -> Self {
        let setup = Setup::new();
        let path = setup.folder.path().join("http.sock");
        let unix = format!("[[listener]]\naddress = \"unix:{}\"\n", path.display());
        let mut router = setup.config(&unix).config("[[listener]]\naddress = \"127.0.0.1:0\"\n").start().ready();
        let address = router.tcp_address();
        Self { router, endpoints: vec![Endpoint::Inet(address), Endpoint::Unix(path)], replaces_itself: true }
    }

    /// Starts a router that inherits its listeners and is restarted by the service manager.
    pub(crate) fn by_the_manager() -> Self {
        let setup = Setup::new();
        let path = setup.folder.path().join("http.sock");
        let (unix, inet) = (UnixListener::bind(&path).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let endpoints = vec![Endpoint::Inet(inet.local_addr().unwrap()), Endpoint::Unix(path)];
        let router = setup.pass("http", inet).pass("http", unix).start().ready();
        Self { router, endpoints, replaces_itself: false }
    }

    /// Returns the router.
    pub(crate) fn router(&mut self) -> &mut Router {
        &mut self.router
    }
}

impl Restart for Managed {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.clone()
    }

    fn restart(&mut self, _: u64) {
        if self.replaces_itself { self.router.replace() } else { self.router.restart() }
    }
}

/// Router that something else manages.
pub(crate) struct Elsewhere {
    address: SocketAddr,
    command: String,
}

impl Elsewhere {
    /// Reads the address and the command from the environment; returns `None` if they aren't set.
    pub(crate) fn from_environment() -> Option<Self> {
        let address = std::env::var("WS_ROUTER_SOAK_ADDRESS").ok()?.parse().unwrap();
        let command = std::env::var("WS_ROUTER_SOAK_RESTART").unwrap();
        Some(Self { address, command })
    }
}

impl Restart for Elsewhere {
    fn endpoints(&self) -> Vec<Endpoint> {
        vec![Endpoint::Inet(self.address)]
    }

    fn restart(&mut self, number: u64) {
        let command = self.command.replace("{}", &number.to_string());
        let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}
