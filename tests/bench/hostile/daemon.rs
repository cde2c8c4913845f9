//! The daemon that is attacked: this build with its defaults, and with what the attack is on, on a core of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::pin;

/// What a daemon has beside its defaults, where an attack is on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Nothing.
    Plain,
    /// A listener for proxies that speak the PROXY protocol.
    Proxies,
    /// A rule that asks strangers for a token, and a thousand that are good.
    Tokens,
    /// A rule that has another program decide about strangers, which never answers.
    Questions,
}

/// A running daemon; it is ended when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Where the pair comes in.
    pub(crate) address: SocketAddr,
    /// Where the attackers come in.
    pub(crate) attacked: SocketAddr,
    _home: TempDir,
    /// Nobody accepts here: those who connect wait for an answer that never comes.
    _silent: TcpListener,
}

impl Daemon {
    /// Starts it, and waits until it listens.
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
        // A child inherits its parent's cores.
        core.map_or(Ok(()), |core| pin(&[core]))?;
        let child = command.spawn();
        core.map_or(Ok(()), |_| pin(&[own_core]))?;
        let mut daemon = Self { child: child?, address, attacked, _home: home, _silent: silent };
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

/// Two that are free now.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}

/// The defaults; but this machine has no rates, so that those who are to meet them come through a proxy, and what takes
/// seconds or many bytes takes less, so that it is seen within a measurement.
fn configuration(home: &Path, address: SocketAddr) -> String {
    format!(
        "[admin]\nsocket = {:?}\n[log]\nlevel = \"warn\"\n[http]\ntrusted-proxies = [\"127.0.0.1\"]\n\
         request-timeout = \"400ms\"\n[service]\ndebuggable = true\n[websocket]\nclose-timeout = \"1s\"\nmax-message = \"16MiB\"\n\
         [[listener]]\naddress = \"{address}\"\n",
        home.join("admin.sock").display().to_string()
    )
}

/// What the setting adds to it. The rules are for strangers: whoever comes from this machine, as the pair, is let in.
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
