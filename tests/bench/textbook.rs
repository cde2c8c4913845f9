//! The textbook relay T: tokio-tungstenite, two tasks and a channel for each connection, a lock around the lobbies.
//!
//! It shows the performance of the usual design, with the usual care: messages that wait in a channel are written together.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, error::Error};

use crate::handshake::{Request, registered, request};

type Lobby = HashMap<u64, mpsc::UnboundedSender<Message>>;

#[derive(Default)]
struct Lobbies {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Lobby>>,
}

impl Lobbies {
    fn with<T>(&self, id: u64, act: impl FnOnce(&mut Lobby) -> T) -> T {
        act(self.open.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr, tls: Option<(&Path, &Path)>) -> io::Result<()> {
    let acceptor = tls.map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
    let lobbies = Arc::new(Lobbies::default());
    tokio::runtime::Runtime::new()?.block_on(async {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from_std(socket.into())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (lobbies, acceptor) = (lobbies.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => converse(acceptor.accept(stream).await?, &lobbies).await,
                    None => converse(stream, &lobbies).await,
                }
            });
        }
    })
}

fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
}

/// Answers registrations until a request upgrades the connection to a websocket.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut stream: S, all: &Lobbies) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if let Some((request, len)) = request(&bytes)? {
            bytes.drain(..len);
            match request {
                Request::Register => {
                    let reply = registered(all.next.fetch_add(1, Ordering::Relaxed));
                    stream.write_all(reply.as_bytes()).await?;
                }
                Request::Connect { id, reply } => {
                    stream.write_all(reply.as_bytes()).await?;
                    stream.flush().await?;
                    let socket = WebSocketStream::from_partially_read(stream, bytes, Role::Server, None).await;
                    return relay(socket, id, all).await.map_err(io::Error::other);
                }
            }
        } else if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        stream.flush().await?;
    }
}

async fn relay<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    socket: WebSocketStream<S>,
    id: u64,
    all: &Lobbies,
) -> Result<(), Error> {
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut waiting) = mpsc::unbounded_channel();
    let member = all.next.fetch_add(1, Ordering::Relaxed);
    all.with(id, |lobby| lobby.insert(member, outbox));
    let writer = tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            sink.feed(message).await?;
            while let Ok(message) = waiting.try_recv() {
                sink.feed(message).await?;
            }
            sink.flush().await?;
        }
        Ok::<_, Error>(())
    });
    while let Some(Ok(message)) = stream.next().await {
        if message.is_text() || message.is_binary() {
            all.with(id, |lobby| {
                for (_, outbox) in lobby.iter().filter(|(other, _)| **other != member) {
                    // A receiver that has just left doesn't get the message.
                    let _ = outbox.send(message.clone());
                }
            });
        }
    }
    all.with(id, |lobby| lobby.remove(&member));
    writer.abort();
    Ok(())
}
