//! `pipe URL`: connects standard input and output, through a deployment, with those of the same command elsewhere.
//!
//! The first end registers and prints on standard error what to run at the other one; or both name a registration. Data
//! waits in the shell's own pipes until the other end has joined. The exit status is 0 only if both ends have confirmed
//! that everything was written. Keys come from the environment or a file, so that they don't appear in the list of
//! processes; a new one is printed on standard error once.

mod message;
mod stdio;
mod transfer;

use std::io::{self, Write};

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;
use ws_router_admin_api::cli;
use ws_router_core::kind::{Kind, Role};

use super::dial::{DialError, Dialer, read_secret};
use super::error::{Error, with_causes};
use super::output::{Format, size};
use transfer::{Options, Socket, Transfer};

/// Runs one end of a pipe until everything has arrived.
pub(super) async fn pipe(arguments: &cli::Pipe, format: Format) -> Result<(), Error> {
    let key = Key::find(arguments)?;
    let dialer = Dialer::new(&arguments.deployment)?;
    // Standard input isn't read before this end has joined: bytes that are read but not sent would be lost.
    let (id, socket) = join(&dialer, arguments, &key).await?;
    invite(arguments, &id, &key, format);
    let system = |error| Error::System("standard input and output", error);
    let input = if arguments.no_input { None } else { Some(stdio::input().map_err(system)?) };
    let output = stdio::Output::new().map_err(system)?;
    let options =
        Options { plain: arguments.plain, ends_with_peer: stdio::is_interactive(), timeout: arguments.timeout };
    match transfer::run(socket, input, output, options).await {
        Ok(transfer) => {
            report(&transfer, arguments.plain, format);
            Ok(())
        }
        Err(error) => {
            print(format_args!("ws-routerctl: {}", with_causes(&error)));
            Err(Error::Reported)
        }
    }
}

/// The key that both ends know.
struct Key {
    text: String,
    is_new: bool,
}

impl Key {
    fn find(arguments: &cli::Pipe) -> Result<Self, Error> {
        let given = match (&arguments.key, &arguments.key_file) {
            (Some(key), _) => Some(key.reveal().to_owned()),
            (None, Some(file)) => Some(read_secret("key", file, |_| true)?),
            (None, None) => std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        match given {
            Some(text) => Ok(Self { text, is_new: false }),
            None if arguments.id.is_some() => {
                Err(Error::Usage(format!("no key; set {KEY_VARIABLE}, or use --key-file")))
            }
            None => Ok(Self { text: Uuid::new_v4().simple().to_string(), is_new: true }),
        }
    }

    /// Derives the host key of the registration, so that both ends have the same one.
    fn host_key(&self) -> String {
        blake3::Hash::from_bytes(blake3::derive_key(HOST_KEY_CONTEXT, self.text.as_bytes())).to_hex().to_string()
    }
}

/// Joins the registration, which a host creates first.
async fn join(dialer: &Dialer, arguments: &cli::Pipe, key: &Key) -> Result<(String, Socket), Error> {
    let is_host = arguments.host || (!arguments.client && arguments.id.is_none());
    let role = if is_host { Role::Host } else { Role::Client };
    let joining = async {
        let requested = arguments.id.as_ref().map(|id| id.as_str());
        let id = match requested {
            Some(id) if !is_host => id.to_owned(),
            _ => register(dialer, requested, key).await?,
        };
        let socket = dialer.join(&id, &key.text, Some(role.as_str())).await?;
        Ok((id, socket))
    };
    let late = || Err(DialError::NoConnection(arguments.timeout));
    Ok(timeout(arguments.timeout, joining).await.unwrap_or_else(|_| late())?)
}

/// Creates a registration, or finds the one with the requested id.
async fn register(dialer: &Dialer, requested: Option<&str>, key: &Key) -> Result<String, DialError> {
    let kind = Kind::HostClient.as_str();
    let created = dialer.register(kind, &key.text, &key.host_key(), requested).await;
    let Some(requested) = requested else { return created };
    match created {
        Ok(id) if id == requested => {}
        // The requested id belongs to another device, so this registration is of no use.
        Ok(id) => dialer.remove(&id, &key.text, &key.host_key()).await?,
        Err(error) if error.is_unreachable() => return Err(error),
        // Registering may not be allowed here; joining shows whether the registration exists.
        Err(_) => {}
    }
    Ok(requested.to_owned())
}

/// Prints on standard error what to run at the other end, if this one has created the registration.
fn invite(arguments: &cli::Pipe, id: &str, key: &Key, format: Format) {
    if arguments.id.is_some() {
        return;
    }
    let url = &arguments.deployment.url;
    let insecure = if arguments.deployment.insecure { " --insecure" } else { "" };
    let plain = if arguments.plain { " --plain" } else { "" };
    let command = format!("ws-routerctl pipe --id {id}{insecure}{plain} {url}");
    if format.is_json() {
        let new = key.is_new.then_some(&key.text);
        print(format_args!("{}", json!({ "id": id, "key": new, "url": url.to_string() })));
    } else if key.is_new {
        print(format_args!("at the other end, run:\n    {KEY_VARIABLE}={} {command}", key.text));
    } else {
        print(format_args!("at the other end, with the same key, run:\n    {command}"));
    }
}

/// Prints on standard error how much was transferred.
fn report(transfer: &Transfer, is_plain: bool, format: Format) {
    let Transfer { sent, received } = transfer;
    if format.is_json() {
        let document = json!({ "sent": sent, "received": received, "confirmed": !is_plain });
        return print(format_args!("{document}"));
    }
    let outcome = if is_plain { "not confirmed by the other end" } else { "everything arrived" };
    print(format_args!("sent {}, received {}, {outcome}", size(sent.bytes), size(received.bytes)));
}

fn print(text: std::fmt::Arguments<'_>) {
    // If standard error is closed, the exit status remains.
    let _ = writeln!(io::stderr(), "{text}");
}

const KEY_VARIABLE: &str = "WS_ROUTER_KEY";

/// Separates this use of a key from all others (BLAKE3's context).
const HOST_KEY_CONTEXT: &str = "ws-routerctl 2026-11 pipe host key";
