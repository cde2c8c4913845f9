//! A pipe that stands: both directions at once, until both have ended and each end knows that all has arrived.
//!
//! What comes is read only as fast as it is written out, and what goes is read only as fast as the connection takes it,
//! so nothing is held here but a few pieces, and back-pressure reaches from one shell's pipe to the other's. Both
//! halves run in one task; the receiving one orders what the other end is to be told, the sending one says it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::mark::{Mark, Sum};
use super::receive::Receiving;
use super::send::Sending;
use super::standard::Output;
use crate::dial::Stream;

/// How an end takes part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Neither sends marks nor understands any.
    pub(super) plain: bool,
    /// Ends its own data with the other's, because a person types them.
    pub(super) hangs_up: bool,
    /// How long the other end may be silent.
    pub(super) patience: Duration,
}

/// What was passed when all went well.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) sent: Sum,
    pub(super) received: Sum,
}

/// What the receiving half asks of the sending half.
#[derive(Debug)]
pub(super) enum Order {
    /// The other end is there; if it knows of signs of life, it wants one this often.
    Begin(Option<Duration>),
    Say(Mark),
    /// No more data are to be sent.
    HangUp,
}

pub(super) type Socket = WebSocketStream<Stream>;
pub(super) type Input = mpsc::Receiver<std::io::Result<Bytes>>;

/// Passes data both ways until all has arrived; otherwise says why it hasn't.
pub(super) async fn run(
    socket: Socket,
    input: Option<Input>,
    output: Output,
    manner: Manner,
) -> Result<Passed, String> {
    let (mut sink, mut stream) = socket.split();
    let (orders, taken) = mpsc::channel(ORDERS);
    // What the sending half has said to be all, for the receiving half to compare the answer with.
    let (all, said) = watch::channel(None);
    let ended = {
        let send = Sending::new(&mut sink, manner, all).run(input, taken);
        let receive = Receiving::new(output, orders, manner, said).run(&mut stream);
        tokio::pin!(send, receive);
        tokio::select! {
            biased;
            received = &mut receive => match received {
                Ok(received) => send.await.map(|sent| Passed { sent, received }),
                Err(why) => Err(why),
            },
            sent = &mut send => match sent {
                Ok(sent) => receive.await.map(|received| Passed { sent, received }),
                // Why a connection ended is what the router said last.
                Err(why) => Err(timeout(FAREWELL, receive).await.ok().and_then(Result::err).unwrap_or(why)),
            },
        }
    };
    let farewell = async {
        if let (Err(why), false) = (&ended, manner.plain) {
            // The other end would find out by itself, but later.
            let _ = sink.send(Message::text(Mark::Broken { why: why.clone() }.text())).await;
        }
        // A connection that is closed already needs no more; one that is cut would lose what it hasn't sent yet.
        let _ = sink.close().await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(FAREWELL, farewell).await;
    ended
}

/// More than the marks that the other end's marks ask for before one of them is said.
const ORDERS: usize = 8;

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(2);
