//! `expose`: the host of a paired registration, which connects each client with a TCP service.
//!
//! The client's hello is the name of the service. Only the services of the command line are ever connected to. The
//! connection on which the host listens is made again whenever it is lost; accepted connections go on meanwhile.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error as ThisError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use ws_router_admin_api::cli;
use ws_router_core::kind::{Kind, Role};

use super::backoff::Backoff;
use super::dial::{self, DialError, Dialer, Socket, unexpected};
use super::error::{Error, with_causes};
use super::key::Key;
use super::liveness;
use super::output::Format;
use super::transfer::{Transfer, TransferError};
use super::tunnel::{self, EVENTS, Event, measured};

/// Makes the services reachable until the program is stopped.
pub(super) async fn expose(arguments: &cli::Expose, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let services = arguments.services.clone();
    for (at, service) in services.iter().enumerate() {
        if services[..at].iter().any(|earlier| earlier.name == service.name) {
            return Err(Error::Usage(format!(
                "two services are named {}; write NAME= before one of them",
                service.name
            )));
        }
    }
    let host = Host {
        dialer: Dialer::new(&arguments.deployment)?,
        key: Key::require(arguments.key_file.as_deref())?,
        services,
        permits: Arc::new(Semaphore::new(arguments.connections.get())),
        connections: AtomicU64::new(0),
        timeout: arguments.timeout,
    };
    let (events, mut received) = mpsc::channel(EVENTS);
    let run = run(Arc::new(host), arguments.id.as_ref().map(|id| id.as_str().to_owned()), events);
    tokio::pin!(run);
    loop {
        tokio::select! {
            biased;
            Some(event) = received.recv() => event.print(format, out)?,
            error = &mut run => return Err(error.into()),
        }
    }
}

/// Listens again and again. Returns only an error that no later attempt would fix, found before the first success.
async fn run(host: Arc<Host>, mut id: Option<String>, events: mpsc::Sender<Event>) -> DialError {
    let mut backoff = Backoff::default();
    let mut has_listened = false;
    loop {
        let start = Instant::now();
        let error = match host.join(&mut id).await {
            Ok((id, socket)) => {
                has_listened = true;
                let _ = events.send(Event::Listening { as_id: Some(id.clone()), address: None }).await;
                listen(&host, &id, socket, &events).await
            }
            Err(error) if !has_listened && is_permanent(&error) => return error,
            Err(error) => error,
        };
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let pause = backoff.pause(start.elapsed(), random);
        let _ = events.send(Event::Lost { error: with_causes(&error), pause }).await;
        sleep(pause).await;
    }
}

/// Returns whether only another command line, or another router, would help.
fn is_permanent(error: &DialError) -> bool {
    match error {
        DialError::Refused { status, .. } => {
            status.is_client_error() && !matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        }
        DialError::Tls(_) | DialError::Unexpected(_) | DialError::Request(_) => true,
        _ => false,
    }
}

/// The host of the registration.
struct Host {
    dialer: Dialer,
    key: Key,
    services: Vec<cli::Service>,
    permits: Arc<Semaphore>,
    /// Connections so far.
    connections: AtomicU64,
    timeout: Duration,
}

impl Host {
    /// Registers, with the id of before if there was one, and joins as the host that listens.
    async fn join(&self, id: &mut Option<String>) -> Result<(String, Socket), DialError> {
        let joining = async {
            let (kind, host_key) = (Kind::Paired.as_str(), self.key.host_key());
            let id = match id {
                None => id.insert(self.dialer.register(kind, self.key.reveal(), &host_key, None).await?),
                Some(id) => match self.dialer.claim(kind, self.key.reveal(), &host_key, id).await {
                    Ok(true) => id,
                    Ok(false) => return Err(unexpected(format!("the id {id} belongs to another registration"))),
                    // Registering may not be allowed here; joining shows whether the registration exists.
                    Err(DialError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => id,
                    Err(error) => return Err(error),
                },
            };
            let socket = self.dialer.join(id, self.key.reveal(), Some(Role::Host.as_str())).await?;
            Ok((id.clone(), socket))
        };
        timeout(self.timeout, joining).await.unwrap_or(Err(DialError::NoConnection(self.timeout)))
    }

    /// Returns the service that a client asks for; the first one if it names none.
    fn service(&self, hello: &str) -> Option<&cli::Service> {
        if hello.is_empty() {
            return self.services.first();
        }
        self.services.iter().find(|service| service.name == hello)
    }

    /// Connects a client with its service, or rejects it.
    async fn serve(
        &self,
        id: &str,
        client: &Incoming,
        rejections: &mpsc::Sender<String>,
    ) -> Result<Transfer, ServeError> {
        let reject = async |reason: &str| {
            let rejection = json!({ "reject": client.incoming, "reason": reason });
            // If the host doesn't listen any more, the client is announced again.
            let _ = rejections.send(rejection.to_string()).await;
        };
        let Some(service) = self.service(&client.hello) else {
            reject("no such service").await;
            return Err(ServeError::UnknownService);
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            reject("too many connections").await;
            return Err(ServeError::TooMany);
        };
        let connecting = dial::tcp(&service.host, service.port);
        let stream = match timeout(self.timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            failed => {
                reject("the service is out of reach").await;
                let (host, port) = (service.host.clone(), service.port);
                return Err(match failed {
                    Ok(Err(source)) => DialError::Connect { host, port, source }.into(),
                    _ => DialError::NoConnection(self.timeout).into(),
                });
            }
        };
        let parameters = [("id", id), ("accept", client.incoming.as_str())];
        let socket = match timeout(self.timeout, self.dialer.connect(&parameters)).await {
            Ok(Err(DialError::Refused { status: StatusCode::NOT_FOUND, .. })) => return Err(ServeError::Gone),
            Ok(accepted) => accepted?,
            Err(_) => return Err(DialError::NoConnection(self.timeout).into()),
        };
        Ok(tunnel::run(socket, "the service", stream, self.timeout).await?)
    }
}

/// Reason for which a client wasn't served to the end.
#[derive(Debug, ThisError)]
enum ServeError {
    #[error("rejected: no such service")]
    UnknownService,
    #[error("rejected: too many connections; see --connections")]
    TooMany,
    #[error("the client is gone")]
    Gone,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// The router's announcement of a client.
#[derive(Debug, Deserialize)]
struct Incoming {
    incoming: String,
    hello: String,
}

/// Serves the clients that the router announces, until the connection is lost.
async fn listen(host: &Arc<Host>, id: &str, socket: Socket, events: &mpsc::Sender<Event>) -> DialError {
    let (mut sink, mut stream) = socket.split();
    let (rejections, queued) = mpsc::channel(EVENTS);
    let send = send(&mut sink, queued);
    let receive = async {
        loop {
            match liveness::receive(&mut stream).await {
                Ok(Some(Message::Text(text))) => {
                    // Others say that a client is gone, which is found out when it is accepted.
                    if let Ok(client) = serde_json::from_str::<Incoming>(&text) {
                        serve(host.clone(), id.to_owned(), client, rejections.clone(), events.clone());
                    }
                }
                Ok(Some(Message::Close(Some(frame)))) => {
                    return DialError::Closed { code: frame.code.into(), reason: frame.reason.to_string() };
                }
                Ok(Some(_)) => {}
                Ok(None) => return DialError::Ended,
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = send => error,
        error = receive => error,
    }
}

/// Sends rejections, and pings.
async fn send(sink: &mut SplitSink<Socket, Message>, mut rejections: mpsc::Receiver<String>) -> DialError {
    let mut pings = liveness::pings();
    loop {
        let message = tokio::select! {
            Some(rejection) = rejections.recv() => Message::text(rejection),
            _ = pings.tick() => Message::Ping(Default::default()),
        };
        if let Err(error) = sink.send(message).await {
            return error.into();
        }
    }
}

/// Serves a client in the background.
fn serve(host: Arc<Host>, id: String, client: Incoming, rejections: mpsc::Sender<String>, events: mpsc::Sender<Event>) {
    let number = host.connections.fetch_add(1, Ordering::Relaxed) + 1;
    tokio::spawn(async move {
        let name = host.service(&client.hello).map_or(&client.hello, |service| &service.name).clone();
        let work = async { Ok(host.serve(&id, &client, &rejections).await?) };
        let event = measured(number, Some(name), work).await;
        // The program is about to exit if nobody prints it.
        let _ = events.send(event).await;
    });
}
