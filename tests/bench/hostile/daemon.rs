//! The attacked daemon: this build with its defaults and the configuration that the attack needs, on a core of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::pin;

/// Configuration of the daemon in addition to its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Only the defaults.
    Plain,
    /// A listener that expects PROXY headers.
    Proxies,
    /// A rule that requires a token from remote clients, with a thousand valid tokens.
    Tokens,
    /// A rule with an external authorizer that never answers.
    Questions,
}

/// Running daemon, which is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Address for the pair.
    pub(crate) address: SocketAddr,
    /// Address for the attackers.
    pub(crate) attacked: SocketAddr,
    _home: TempDir,
    /// Listener of the external authorizer, which never accepts: its clients never get a response.
    _silent: TcpListener,
}

impl Daemon {
    /// Starts a daemon, and waits until it listens.
    pub(crate) fn start(setting: Setting, core: Option<usize>, own_core: usize) -> io::Result<Self> {
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let (address, second) = free_addresses()?;
        let attacked = if setting == Setting::Proxies { second } else { address };
        let home = tempfile::tempdir()?;
        let file = home.path().join("ws-router.toml");
        let text = configuration(home.path(), address) + &more(setting, home.path(), second, silent.local_addr()?)?;
        std::fs::write(&file, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ws-router"));
        command.arg("--config").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A child inherits the cores of its parent.
        core.map_or(Ok(()), |core| pin(&[core]))?;
        let child = command.spawn();
        core.map_or(Ok(()), |_| pin(&[own_core]))?;
        let mut daemon = Self { child: child?, address, attacked, _home: home, _silent: silent };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if daemon.child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
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
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns two ports that are free now.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}

/// Configuration of every daemon: the defaults, with shorter timeouts and smaller limits, so that an attack reaches them
/// within a measurement. Loopback has no rate limits, so attacks on those come through a trusted proxy.
fn configuration(home: &Path, address: SocketAddr) -> String {
    format!(
        "[admin]\nsocket = {:?}\n[log]\nlevel = \"warn\"\n[http]\ntrusted-proxies = [\"127.0.0.1\"]\n\
         request-timeout = \"400ms\"\n[service]\ndebuggable = true\n[websocket]\nclose-timeout = \"1s\"\nmax-message = \"16MiB\"\n\
         [[listener]]\naddress = \"{address}\"\n",
        home.join("admin.sock").display().to_string()
    )
}

/// Returns the configuration that an attack adds. Its rules are for remote clients: the pair connects from this machine, and
/// is admitted.
fn more(setting: Setting, home: &Path, second: SocketAddr, silent: SocketAddr) -> io::Result<String> {
    let near = "[[access]]\nnetworks = [\"127.0.0.1\"]\n[[access]]\n";
    Ok(match setting {
        Setting::Plain => String::new(),
        Setting::Proxies => format!("[[listener]]\naddress = \"{second}\"\nproxy-protocol = true\n"),
        Setting::Tokens => {
            let file = home.join("tokens");
            std::fs::write(
                &file,
                (1..=1000).map(|number| format!("device-{number}:{number:064x}\n")).collect::<String>(),
            )?;
            format!("{near}tokens = {:?}\n", file.display().to_string())
        }
        Setting::Questions => format!("{near}ask = \"http://{silent}/\"\nask-timeout = \"400ms\"\n"),
    })
}

const PATIENCE: Duration = Duration::from_secs(20);
