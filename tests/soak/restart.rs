//! The ways to replace the program.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::device::Place;
use super::harness::{Router, Setup};

/// A router that can be restarted while it is used.
pub(crate) trait Restart {
    /// Where it listens.
    fn places(&self) -> Vec<Place>;

    /// Restarts it, for the how manieth time, and waits until it is ready.
    fn restart(&mut self, number: u64);
}

/// A router of our own, with a TCP and a Unix listener.
pub(crate) struct Managed {
    router: Router,
    places: Vec<Place>,
    replaces_itself: bool,
}

impl Managed {
    /// It listens by itself, and is replaced by itself.
    pub(crate) fn by_itself() -> Self {
        let setup = Setup::new();
        let path = setup.folder.path().join("http.sock");
        let unix = format!("[[listener]]\naddress = \"unix:{}\"\n", path.display());
        let mut router = setup.config(&unix).config("[[listener]]\naddress = \"127.0.0.1:0\"\n").start().ready();
        let address = router.tcp_address();
        Self { router, places: vec![Place::Inet(address), Place::Unix(path)], replaces_itself: true }
    }

    /// Its sockets are the service manager's, which restarts it.
    pub(crate) fn by_the_manager() -> Self {
        let setup = Setup::new();
        let path = setup.folder.path().join("http.sock");
        let (unix, inet) = (UnixListener::bind(&path).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let places = vec![Place::Inet(inet.local_addr().unwrap()), Place::Unix(path)];
        let router = setup.pass("http", inet).pass("http", unix).start().ready();
        Self { router, places, replaces_itself: false }
    }

    /// The router, to ask and to signal.
    pub(crate) fn router(&mut self) -> &mut Router {
        &mut self.router
    }
}

impl Restart for Managed {
    fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    fn restart(&mut self, _: u64) {
        if self.replaces_itself { self.router.replace() } else { self.router.restart() }
    }
}

/// A router that something else manages.
pub(crate) struct Elsewhere {
    address: SocketAddr,
    command: String,
}

impl Elsewhere {
    /// As the environment says, if it does.
    pub(crate) fn from_environment() -> Option<Self> {
        let address = std::env::var("WS_ROUTER_SOAK_ADDRESS").ok()?.parse().unwrap();
        let command = std::env::var("WS_ROUTER_SOAK_RESTART").unwrap();
        Some(Self { address, command })
    }
}

impl Restart for Elsewhere {
    fn places(&self) -> Vec<Place> {
        vec![Place::Inet(self.address)]
    }

    fn restart(&mut self, number: u64) {
        let command = self.command.replace("{}", &number.to_string());
        let output = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}
