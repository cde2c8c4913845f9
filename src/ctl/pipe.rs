//! `pipe URL`: connects standard input and output, through a deployment, with those of the same command elsewhere.
//!
//! The first end registers and prints on standard error what to run at the other one; or both name a registration. Data
//! waits in the shell's own pipes until the other end has joined. The exit status is 0 only if both ends have confirmed
//! that everything was written. Keys come from the environment or a file, so that they don't appear in the list of
//! processes; a new one is printed on standard error once.

use std::io::{self, Write};

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;
use ws_router_admin_api::cli;
use ws_router_core::kind::{Kind, Role};

use super::dial::{DialError, Dialer, Socket};
use super::error::Error;
use super::key::{KEY_VARIABLE, Key};
use super::output::Format;
use super::transfer;

/// Runs one end of a pipe until everything has arrived.
pub(super) async fn pipe(arguments: &cli::Pipe, format: Format) -> Result<(), Error> {
    let (key, is_new) = find_key(arguments)?;
    let dialer = Dialer::new(&arguments.deployment)?;
    // Standard input isn't read before this end has joined: bytes that are read but not sent would be lost.
    let (id, socket) = join(&dialer, arguments, &key).await?;
    invite(arguments, &id, is_new.then_some(&key), format);
    transfer::run_on_stdio(socket, !arguments.no_input, arguments.plain, arguments.timeout, format).await
}

/// Returns the key that both ends know, and whether it is new.
fn find_key(arguments: &cli::Pipe) -> Result<(Key, bool), Error> {
    if let Some(key) = &arguments.key {
        return Ok((Key::new(key.reveal().to_owned()), false));
    }
    if arguments.id.is_some() {
        return Ok((Key::require(arguments.key_file.as_deref())?, false));
    }
    match Key::find(arguments.key_file.as_deref())? {
        Some(key) => Ok((key, false)),
        None => Ok((Key::new(Uuid::new_v4().simple().to_string()), true)),
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
        let socket = dialer.join(&id, key.reveal(), Some(role.as_str())).await?;
        Ok((id, socket))
    };
    let late = || Err(DialError::NoConnection(arguments.timeout));
    Ok(timeout(arguments.timeout, joining).await.unwrap_or_else(|_| late())?)
}

/// Creates a registration, or finds the one with the requested id.
async fn register(dialer: &Dialer, requested: Option<&str>, key: &Key) -> Result<String, DialError> {
    let (kind, host_key) = (Kind::HostClient.as_str(), key.host_key());
    let Some(requested) = requested else { return dialer.register(kind, key.reveal(), &host_key, None).await };
    match dialer.claim(kind, key.reveal(), &host_key, requested).await {
        Err(error) if error.is_unreachable() => Err(error),
        // Registering may not be allowed here, or the id belongs to another device; joining shows whether the
        // registration exists.
        _ => Ok(requested.to_owned()),
    }
}

/// Prints on standard error what to run at the other end, if this one has created the registration.
fn invite(arguments: &cli::Pipe, id: &str, new_key: Option<&Key>, format: Format) {
    if arguments.id.is_some() {
        return;
    }
    let url = &arguments.deployment.url;
    let insecure = if arguments.deployment.insecure { " --insecure" } else { "" };
    let plain = if arguments.plain { " --plain" } else { "" };
    let command = format!("ws-routerctl pipe --id {id}{insecure}{plain} {url}");
    if format.is_json() {
        print(format_args!("{}", json!({ "id": id, "key": new_key.map(Key::reveal), "url": url.to_string() })));
    } else if let Some(key) = new_key {
        print(format_args!("at the other end, run:\n    {KEY_VARIABLE}={} {command}", key.reveal()));
    } else {
        print(format_args!("at the other end, with the same key, run:\n    {command}"));
    }
}

fn print(text: std::fmt::Arguments<'_>) {
    // If standard error is closed, the exit status remains.
    let _ = writeln!(io::stderr(), "{text}");
}
