//! The control program: one command, one or a few requests on the admin socket, a table or JSON on standard output.
//!
//! It knows the daemon only by the admin interface's wire types, so it works as well from another version; three
//! commands ask none: `check` and `pipe` go by the public routes, and `token` makes what the daemon reads from a file.
//! Exit statuses follow sysexits.h (`Fault`); what goes to standard output is the answer and nothing else, and a reader
//! that has seen enough (`| head`) ends it quietly.

mod check;
mod client;
mod commands;
mod dial;
mod drain;
mod events;
mod fault;
mod human;
mod pipe;
mod table;
mod token;
mod top;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;

use ws_router_admin_api::admin_socket::SocketLocator;
use ws_router_admin_api::cli::{Command, Control};

use client::Client;
use fault::Fault;

/// Runs a command, and tells how it went: in words on standard error, and as an exit status.
pub fn run(arguments: Control) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(command(&arguments, &mut out)),
        Err(error) => Err(Fault::Software(format!("no event loop: {error}"))),
    };
    match ended.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // What was found out before the fault is worth showing.
            let _ = out.flush();
            if let Some(text) = fault.text() {
                // With standard error closed, the exit status has to do.
                let _ = writeln!(io::stderr(), "ws-routerctl: {text}");
            }
            fault.status().into()
        }
    }
}

async fn command(arguments: &Control, out: &mut impl Write) -> Result<(), Fault> {
    let client = || client(arguments);
    let json = arguments.json;
    match &arguments.command {
        Command::List => commands::list(&client()?, json, out).await,
        Command::Show { id } => commands::show(&client()?, id, json, out).await,
        Command::Remove { ids } => commands::remove(&client()?, ids, json, out).await,
        Command::Disconnect { members } => commands::disconnect(&client()?, members, json, out).await,
        Command::Status => commands::status(&client()?, json, out).await,
        Command::Top { interval } => top::top(client()?, *interval, json).await,
        Command::Why { id } => why::why(&client()?, id, json, out).await,
        Command::Events { follow } => events::events(&client()?, json || *follow, out).await,
        Command::Reload => commands::reload(&client()?, json, out).await,
        Command::Drain { undo: true, .. } => drain::undo(&client()?, json, out).await,
        Command::Drain { over, undo: false } => drain::drain(&client()?, *over, json, out).await,
        Command::Upgrade => commands::upgrade(&client()?, json, out).await,
        Command::Token { name } => token::token(name, json, out),
        Command::Version => commands::version(&client()?, json, out).await,
        Command::Check(what) => check::check(what, json, out).await,
        Command::Pipe(what) => pipe::pipe(what, json).await,
    }
}

/// Returns a client of the daemon at the named socket, or else at the one where this user's would be.
fn client(arguments: &Control) -> Result<Client, Fault> {
    let socket = arguments.socket.clone().map_or_else(|| SocketLocator::from_process().to_connect(), Ok);
    let socket = socket.map_err(|error| {
        Fault::Unavailable(format!("directory of the admin socket {error}, or name the socket with --socket"))
    })?;
    Ok(Client::new(socket))
}
