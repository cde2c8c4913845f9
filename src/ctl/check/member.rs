//! A websocket in a registration of the check's own.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::random;
use crate::dial::{Dialer, Flaw, Outcome, Stream, wrong};

/// A member.
pub(super) struct Member(WebSocketStream<Stream>);

impl Member {
    /// Joins, and has a ping answered: from then on the router delivers to it.
    pub(super) async fn join(dialer: &Dialer, id: &str, key: &str, role: Option<&str>) -> Outcome<Self> {
        let mut member = Self(dialer.join(id, key, role).await?);
        let mark = Bytes::from(random());
        member.0.send(Message::Ping(mark.clone())).await.map_err(wrong)?;
        match member.next().await? {
            Message::Pong(answer) if answer == mark => Ok((member, String::new())),
            other => Err(wrong(format!("a ping was answered with {}", describe(&other)))),
        }
    }

    /// Waits for the close that a removal brings.
    pub(super) async fn closed(mut self) -> Outcome<()> {
        match self.next().await? {
            Message::Close(Some(frame)) if u16::from(frame.code) == REMOVED => {
                Ok(((), format!("{REMOVED} {}", frame.reason.escape_debug())))
            }
            other => Err(wrong(format!("instead of close code {REMOVED} came {}", describe(&other)))),
        }
    }

    /// Reads on to what the router says next, beside its pings.
    async fn next(&mut self) -> Result<Message, Flaw> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(message)) => return Ok(message),
                Some(Err(error)) => return Err(wrong(error)),
                None => return Err(wrong("the connection ended")),
            }
        }
    }
}

/// Passes a random text of some kilobytes.
pub(super) async fn pass_text(from: &mut Member, to: &mut Member) -> Outcome<()> {
    let text: String = (0..128).map(|_| random()).collect();
    pass(from, to, Message::text(text)).await
}

/// Passes as many random bytes.
pub(super) async fn pass_bytes(from: &mut Member, to: &mut Member) -> Outcome<()> {
    let mut bytes = vec![0; 4096];
    getrandom::fill(&mut bytes).map_err(wrong)?;
    pass(from, to, Message::binary(bytes)).await
}

async fn pass(from: &mut Member, to: &mut Member, message: Message) -> Outcome<()> {
    from.0.send(message.clone()).await.map_err(wrong)?;
    let arrived = to.next().await?;
    if arrived == message {
        Ok(((), describe(&message)))
    } else {
        Err(wrong(format!("sent {}, but what arrived is another: {}", describe(&message), describe(&arrived))))
    }
}

/// Says what a message is, without what it says.
fn describe(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("{} bytes of text", text.len()),
        Message::Binary(bytes) => format!("{} bytes", bytes.len()),
        Message::Ping(_) => "a ping".into(),
        Message::Pong(_) => "a pong".into(),
        Message::Close(Some(frame)) => format!("a close with {}", frame.code),
        Message::Close(None) => "a close without a code".into(),
        Message::Frame(_) => "a frame".into(),
    }
}

/// The close code of a registration that was removed by request.
const REMOVED: u16 = 4000;
