//! Control program: one command, one or a few requests on the admin socket, a table or JSON on standard output.
//!
//! It uses the daemon only through the admin interface's documents, so it also works with another version of it. Some
//! commands need no daemon on this machine: `check`, `join`, `pipe`, `connect` and `expose` use the public routes of a
//! deployment, and `token` creates what the daemon reads from a file. Standard output has the answer and nothing else, and a reader that closes
//! it early (`| head`) ends the program quietly.

mod backoff;
mod check;
mod client;
mod commands;
mod connect;
mod dial;
mod doctor;
mod drain;
mod error;
mod events;
mod expose;
mod join;
mod key;
mod liveness;
mod output;
mod pipe;
mod tls;
mod top;
mod transfer;
mod tunnel;

use std::io::{self, Write};
use std::process::ExitCode;

use ws_router_admin_api::admin_socket::SocketLocator;
use ws_router_admin_api::cli::{Command, Control};

use client::Client;
use error::Error;
use output::Format;
#[doc(hidden)] // Public for the tests of TLS listeners.
pub use tls::AnyCertificate;

/// Runs a command, prints on standard error why it failed, and returns the exit status.
pub fn run(arguments: Control) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command(&arguments, &mut out)),
        Err(error) => Err(Error::System("event loop", error)),
    };
    match ended.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What was found before the error is worth showing.
            let _ = out.flush();
            if let Some(message) = error.message() {
                // If standard error is closed, the exit status remains.
                let _ = writeln!(io::stderr(), "ws-routerctl: {message}");
            }
            error.exit_status().into()
        }
    }
}

async fn command(arguments: &Control, out: &mut impl Write) -> Result<(), Error> {
    let client = || client(arguments);
    let format = Format::new(arguments.json);
    match &arguments.command {
        Command::List(options) => commands::list(&client()?, options, format, out).await,
        Command::Show { id } => commands::show(&client()?, id, format, out).await,
        Command::Remove { ids } => commands::remove(&client()?, ids, format, out).await,
        Command::Disconnect { members } => commands::disconnect(&client()?, members, format, out).await,
        Command::Status => commands::status(&client()?, format, out).await,
        Command::Doctor => doctor::doctor(client(), format, out).await,
        Command::Top { interval } => top::top(client()?, *interval, format).await,
        Command::Why { id } => events::why(&client()?, id, format, out).await,
        // Events are always followed; the option is accepted for familiarity.
        Command::Events { follow: _ } => events::events(&client()?, format, out).await,
        Command::Reload { or_signal: None } => commands::reload(&client()?, format, out).await,
        Command::Reload { or_signal: Some(process) } => {
            commands::reload_or_signal(&client()?, *process, format, out).await
        }
        Command::Drain { undo: true, .. } => drain::undo(&client()?, format, out).await,
        Command::Drain { over, undo: false } => drain::drain(&client()?, *over, format, out).await,
        Command::Upgrade => commands::upgrade(&client()?, format, out).await,
        Command::Token { name } => commands::token(name, format, out),
        Command::Version => commands::version(&client()?, format, out).await,
        Command::Check(arguments) => check::check(arguments, format, out).await,
        Command::Join(arguments) => join::join(arguments, format, out).await,
        Command::Connect(arguments) => connect::connect(arguments, format, out).await,
        Command::Expose(arguments) => expose::expose(arguments, format, out).await,
        Command::Pipe(arguments) => pipe::pipe(arguments, format).await,
    }
}

/// Returns a client of the daemon at the named socket, or else at the one where this user's would be.
fn client(arguments: &Control) -> Result<Client, Error> {
    let socket = arguments.socket.clone().map_or_else(|| SocketLocator::from_process().to_connect(), Ok);
    let socket = socket.map_err(|error| {
        Error::Unavailable(format!("directory of the admin socket {error}, or name the socket with --socket"))
    })?;
    Ok(Client::new(socket))
}
