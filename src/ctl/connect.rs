//! `connect`: standard input and output, or local TCP connections, as clients of a paired registration.
//!
//! The other end is `expose`, or any host that speaks the same messages ([`super::transfer`]). Each connection is a
//! client of its own, and its hello is the name of the service.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use ws_router_admin_api::cli;
use ws_router_core::kind::Role;

use super::dial::{DialError, Dialer, Socket};
use super::error::{Error, with_causes};
use super::key::Key;
use super::output::Format;
use super::transfer;
use super::tunnel::{self, EVENTS, Event, Failure, measured};

/// Connects until the connection has ended, or listens until the program is stopped.
pub(super) async fn connect(arguments: &cli::Connect, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let client = Client {
        dialer: Dialer::new(&arguments.deployment)?,
        key: Key::require(arguments.key_file.as_deref())?,
        id: arguments.id.as_str().to_owned(),
        service: arguments.name.clone(),
        timeout: arguments.timeout,
    };
    match arguments.listen {
        None => transfer::run_on_stdio(client.dial().await?, true, false, arguments.timeout, format).await,
        Some(address) => listen(client, address, format, out).await,
    }
}

/// What it takes to reach a service.
struct Client {
    dialer: Dialer,
    key: Key,
    id: String,
    service: Option<String>,
    timeout: Duration,
}

impl Client {
    /// Joins as a client, which then waits until the host accepts it.
    async fn dial(&self) -> Result<Socket, DialError> {
        let mut parameters =
            vec![("id", self.id.as_str()), ("key", self.key.reveal()), ("sock_type", Role::Client.as_str())];
        parameters.extend(self.service.as_deref().map(|name| ("hello", name)));
        let late = |_| Err(DialError::NoConnection(self.timeout));
        timeout(self.timeout, self.dialer.connect(&parameters)).await.unwrap_or_else(late)
    }

    /// Connects a TCP connection with the service.
    async fn serve(&self, stream: TcpStream) -> Result<transfer::Transfer, Failure> {
        stream.set_nodelay(true)?;
        Ok(tunnel::run(self.dial().await?, "the local connection", stream, self.timeout).await?)
    }
}

/// Accepts TCP connections, and connects each with the service.
async fn listen(client: Client, address: SocketAddr, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| Error::Unavailable(format!("listen on {address}: {error}")))?;
    let bound = listener.local_addr().unwrap_or(address).to_string();
    Event::Listening { as_id: None, address: Some(bound) }.print(format, out)?;
    let (events, mut ended) = mpsc::channel(EVENTS);
    let accept = accept(Arc::new(client), listener, events);
    tokio::pin!(accept);
    loop {
        tokio::select! {
            Some(event) = ended.recv() => event.print(format, out)?,
            error = &mut accept => return Err(error),
        }
    }
}

async fn accept(client: Arc<Client>, listener: TcpListener, events: mpsc::Sender<Event>) -> Error {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut number = 0;
    loop {
        let permit = match permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            Err(error) => return Error::Unavailable(error.to_string()),
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the client has gone already.
                let error = format!("accept: {}", with_causes(&error));
                let _ = events.send(Event::Lost { error, pause: ACCEPT_PAUSE }).await;
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        number += 1;
        let (client, events) = (client.clone(), events.clone());
        tokio::spawn(async move {
            let event = measured(number, client.service.clone(), client.serve(stream)).await;
            drop(permit);
            // The program is about to exit if nobody prints it.
            let _ = events.send(event).await;
        });
    }
}

/// Connections at once; others wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 100;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
