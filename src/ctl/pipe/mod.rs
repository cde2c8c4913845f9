//! `pipe URL`: standard input and output as a member, connected with those of another end somewhere else.
//!
//! The first end registers and tells on standard error what to run at the other one; or both name a registration. Data
//! wait in the shell's own pipes until the other end has come. The exit status is 0 only if each end has told the other
//! that everything was written out there. Keys come from the environment or a file, so that nobody sees them in the
//! list of processes; a fresh one goes to standard error once.

mod flow;
mod mark;
mod receive;
mod send;
mod standard;

use std::io::{self, Write};

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;
use ws_router_admin_api::cli;
use ws_router_core::kind::{Kind, Role};

use super::dial::{Dialer, Flaw, read_secret};
use super::fault::Fault;
use super::human::size;
use flow::{Manner, Passed, Socket};

/// Is one end of a pipe until all has arrived.
pub(super) async fn pipe(what: &cli::Pipe, json: bool) -> Result<(), Fault> {
    let key = Key::find(what)?;
    let dialer = Dialer::to(&what.deployment)?;
    let system = |error: io::Error| Fault::Software(format!("standard input and output: {error}"));
    // Before any thread reads: what was read would be lost if nobody can be reached.
    let (id, socket) = join(&dialer, what, &key).await?;
    invite(what, &id, &key, json);
    let input = if what.no_input { None } else { Some(standard::input().map_err(system)?) };
    let output = standard::Output::new().map_err(system)?;
    let manner = Manner { plain: what.plain, hangs_up: standard::is_typed(), patience: what.timeout };
    match flow::run(socket, input, output, manner).await {
        Ok(passed) => {
            tell(&passed, what.plain, json);
            Ok(())
        }
        Err(why) => {
            say(format_args!("ws-routerctl: {why}"));
            Err(Fault::Failed)
        }
    }
}

/// The key that both ends know.
struct Key {
    text: String,
    is_fresh: bool,
}

impl Key {
    fn find(what: &cli::Pipe) -> Result<Self, Fault> {
        let given = match (&what.key, &what.key_file) {
            (Some(key), _) => Some(key.reveal().to_owned()),
            (None, Some(file)) => Some(read_secret("key", file, |_| true)?),
            (None, None) => std::env::var(VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        match given {
            Some(text) => Ok(Self { text, is_fresh: false }),
            None if what.id.is_some() => Err(Fault::Usage(format!("no key; set {VARIABLE}, or use --key-file"))),
            None => Ok(Self { text: random(), is_fresh: true }),
        }
    }

    /// Makes the host key of a registration of ours: both ends that may register it come to the same one.
    fn host_key(&self) -> String {
        blake3::Hash::from_bytes(blake3::derive_key(HOST_KEY, self.text.as_bytes())).to_hex().to_string()
    }
}

/// Joins the registration, which is made first where that is this end's part.
async fn join(dialer: &Dialer, what: &cli::Pipe, key: &Key) -> Result<(String, Socket), Fault> {
    let is_host = what.host || (!what.client && what.id.is_none());
    let role = if is_host { Role::Host } else { Role::Client };
    let joining = async {
        let wish = what.id.as_ref().map(|id| id.as_str());
        let id = match wish {
            Some(id) if !is_host => id.to_owned(),
            _ => register(dialer, wish, key).await?,
        };
        let socket = dialer.join(&id, &key.text, Some(role.as_str())).await?;
        Ok((id, socket))
    };
    let late = || Flaw::Unreachable(format!("no answer within {}", humantime::format_duration(what.timeout)));
    timeout(what.timeout, joining).await.unwrap_or_else(|_| Err(late())).map_err(|flaw| match flaw {
        Flaw::Unreachable(why) => Fault::Unavailable(why),
        Flaw::Wrong(why) => {
            say(format_args!("ws-routerctl: {why}"));
            Fault::Failed
        }
    })
}

/// Makes a registration, or finds the one that is wished for.
async fn register(dialer: &Dialer, wish: Option<&str>, key: &Key) -> Result<String, Flaw> {
    let kind = Kind::HostClient.as_str();
    let made = dialer.register(kind, &key.text, &key.host_key(), wish).await;
    match (made, wish) {
        (Ok((id, _)), None) => Ok(id),
        (Err(flaw), None) => Err(flaw),
        (Ok((id, _)), Some(wish)) => {
            if id != wish {
                // Somebody else has made it, and another one isn't what was wished for.
                dialer.remove(&id, &key.text, &key.host_key()).await?;
            }
            Ok(wish.to_owned())
        }
        // Taken, or registering isn't allowed here; whether it can be joined all the same shows next.
        (Err(Flaw::Wrong(_)), Some(wish)) => Ok(wish.to_owned()),
        (Err(flaw), Some(_)) => Err(flaw),
    }
}

/// Says on standard error how the other end comes in, where this one has made the registration.
fn invite(what: &cli::Pipe, id: &str, key: &Key, json: bool) {
    if what.id.is_some() {
        return;
    }
    let url = &what.deployment.url;
    let insecure = if what.deployment.insecure { " --insecure" } else { "" };
    let plain = if what.plain { " --plain" } else { "" };
    let command = format!("ws-routerctl pipe --id {id}{insecure}{plain} {url}");
    if json {
        let fresh = key.is_fresh.then_some(&key.text);
        say(format_args!("{}", json!({ "id": id, "key": fresh, "url": url.to_string() })));
    } else if key.is_fresh {
        say(format_args!("at the other end, run:\n    {VARIABLE}={} {command}", key.text));
    } else {
        say(format_args!("at the other end, with the same key, run:\n    {command}"));
    }
}

/// Says on standard error what was passed.
fn tell(passed: &Passed, is_plain: bool, json: bool) {
    let Passed { sent, received } = passed;
    if json {
        let document = json!({ "sent": sent, "received": received, "confirmed": !is_plain });
        return say(format_args!("{document}"));
    }
    let whether = if is_plain { "not confirmed by the other end" } else { "all arrived" };
    say(format_args!("sent {}, received {}, {whether}", size(sent.bytes), size(received.bytes)));
}

fn say(text: std::fmt::Arguments<'_>) {
    // With standard error closed, the exit status has to do.
    let _ = writeln!(io::stderr(), "{text}");
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

const VARIABLE: &str = "WS_ROUTER_KEY";

/// Tells this use of a key from all others (BLAKE3's context).
const HOST_KEY: &str = "ws-routerctl 2026-11 pipe host key";
