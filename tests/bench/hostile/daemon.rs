//! The daemon that is attacked: this build with its defaults, on a core of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::pin;

/// A running daemon; it is ended when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    _home: TempDir,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(core: Option<usize>, own_core: usize) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let home = tempfile::tempdir()?;
        let file = home.path().join("ws-router.toml");
        std::fs::write(&file, configuration(home.path()))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ws-router"));
        command.arg("--config").arg(&file).args(["--listen", &address.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A child inherits its parent's cores.
        core.map_or(Ok(()), |core| pin(&[core]))?;
        let child = command.spawn();
        core.map_or(Ok(()), |_| pin(&[own_core]))?;
        let mut daemon = Self { child: child?, address, _home: home };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if daemon.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                return Err(io::Error::other("the daemon doesn't listen"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The defaults; but this machine has no rates, so that those who are to meet them come through a proxy, and what takes
/// seconds or many bytes takes less, so that it is seen within a measurement.
fn configuration(home: &std::path::Path) -> String {
    format!(
        "[admin]\nsocket = {:?}\n[log]\nlevel = \"warn\"\n[http]\ntrusted-proxies = [\"127.0.0.1\"]\n\
         request-timeout = \"400ms\"\n[websocket]\nclose-timeout = \"1s\"\nmax-message = \"16MiB\"\n",
        home.join("admin.sock").display().to_string()
    )
}

const PATIENCE: Duration = Duration::from_secs(20);
