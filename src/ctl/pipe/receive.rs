//! The half of a pipe that receives: data to standard output, and what the other end says about itself.
//!
//! Only while there is nothing to be written out does silence count: then the other end owes a sign of life. One that
//! has never said hello is another program, which knows nothing of that.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::flow::{Manner, Order, Socket};
use super::mark::{Mark, Sum, Tally};
use super::send::beat_ms;
use super::standard::Output;

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receiving {
    output: Output,
    orders: mpsc::Sender<Order>,
    manner: Manner,
    /// What the sending half has said to be all.
    all: watch::Receiver<Option<Sum>>,
    tally: Tally,
    other: Other,
    /// Whether all that the other end sends has arrived here.
    has_ended: bool,
    /// Whether the other end has said that all has arrived there.
    is_confirmed: bool,
}

/// What is known of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// Nothing has been heard.
    Absent,
    /// It is there, and has never said hello.
    Stranger,
    /// It answered our hello.
    Answered,
    /// It said hello.
    Greeted,
}

impl Receiving {
    pub(super) fn new(
        output: Output,
        orders: mpsc::Sender<Order>,
        manner: Manner,
        all: watch::Receiver<Option<Sum>>,
    ) -> Self {
        let (tally, other) = (Tally::default(), Other::Absent);
        Self { output, orders, manner, all, tally, other, has_ended: false, is_confirmed: false }
    }

    /// Receives until all has arrived here and there, or, without marks, until the connection ends.
    pub(super) async fn run(mut self, stream: &mut SplitStream<Socket>) -> Result<Sum, String> {
        while !(self.has_ended && self.is_confirmed) {
            let message = match self.patience() {
                Some(patience) => timeout(patience, stream.next()).await.map_err(|_| self.silence())?,
                None => tokio::select! {
                    message = stream.next() => message,
                    // From now on an answer may be owed.
                    Ok(()) = self.all.changed() => continue,
                },
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => self.data(bytes).await?,
                Some(Ok(Message::Text(text))) => match Mark::read(&text) {
                    Some(mark) if !self.manner.plain => self.mark(mark).await?,
                    _ => self.data(text.into()).await?,
                },
                Some(Ok(Message::Close(frame))) => return self.closed(frame).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return self.closed(None).await,
            }
        }
        Ok(self.tally.sum())
    }

    /// How long the other end may be silent now, if that is known.
    fn patience(&self) -> Option<Duration> {
        let waits_for_answer = self.all.borrow().is_some() && !self.is_confirmed;
        let owes = match self.other {
            Other::Answered | Other::Greeted => true,
            Other::Stranger => waits_for_answer,
            Other::Absent => false,
        };
        (owes && !self.manner.plain).then_some(self.manner.patience)
    }

    fn silence(&self) -> String {
        let for_long = humantime::format_duration(self.manner.patience);
        match self.other {
            Other::Stranger => format!("the other end doesn't say for {for_long} whether all has arrived; try --plain"),
            _ => format!("the other end is gone: nothing heard of it for {for_long}"),
        }
    }

    async fn data(&mut self, bytes: Bytes) -> Result<(), String> {
        if self.other == Other::Absent && !self.manner.plain {
            self.other = Other::Stranger;
            self.order(Order::Begin(None)).await;
        }
        self.tally.add(&bytes);
        self.output.write(bytes).await.map_err(output_failed)
    }

    async fn mark(&mut self, mark: Mark) -> Result<(), String> {
        match mark {
            Mark::Hello { beat_ms: wanted } => {
                if matches!(self.other, Other::Greeted) {
                    return Err("somebody else joined; a pipe has two ends".into());
                }
                self.meet(Other::Greeted, wanted).await;
                self.order(Order::Say(Mark::Ready { beat_ms: beat_ms(self.manner.patience) })).await;
            }
            Mark::Ready { beat_ms } => {
                if self.other != Other::Greeted {
                    self.meet(Other::Answered, beat_ms).await;
                }
            }
            Mark::Beat => {}
            Mark::End(sum) => self.ended(&sum).await?,
            Mark::Received(sum) => {
                if self.all.borrow().as_ref() != Some(&sum) {
                    return Err("the other end received something else than was sent".into());
                }
                self.is_confirmed = true;
            }
            Mark::Broken { why } => return Err(format!("the other end gave up: {}", why.escape_debug())),
        }
        Ok(())
    }

    async fn meet(&mut self, other: Other, beat_ms: u64) {
        self.other = other;
        self.order(Order::Begin(Some(Duration::from_millis(beat_ms)))).await;
    }

    async fn ended(&mut self, sum: &Sum) -> Result<(), String> {
        if *sum != self.tally.sum() {
            let (sent, came) = (sum.bytes, self.tally.sum().bytes);
            return Err(format!("something is missing: the other end sent {sent} bytes, {came} came"));
        }
        self.output.written().await.map_err(output_failed)?;
        self.has_ended = true;
        self.order(Order::Say(Mark::Received(sum.clone()))).await;
        if self.manner.hangs_up {
            self.order(Order::HangUp).await;
        }
        Ok(())
    }

    /// Looks at why the router ended the connection.
    async fn closed(mut self, frame: Option<CloseFrame>) -> Result<Sum, String> {
        let code = frame.as_ref().map_or(NO_CODE, |frame| frame.code.into());
        // Without marks, a connection has no other end than this.
        if self.manner.plain && matches!(code, NORMAL | NO_CODE | REMOVED) {
            self.output.written().await.map_err(output_failed)?;
            return Ok(self.tally.sum());
        }
        Err(match frame {
            Some(frame) => format!("the router closed the connection: {code} {}", frame.reason.escape_debug()),
            None => "the connection ended".into(),
        })
    }

    async fn order(&self, order: Order) {
        // The sending half has ended only if it failed, and then it says why.
        let _ = self.orders.send(order).await;
    }
}

fn output_failed(error: std::io::Error) -> String {
    format!("standard output: {error}")
}

/// Close codes: a goodbye, none at all (RFC 6455 section 7.1.5), a registration that was removed by request.
const NORMAL: u16 = 1000;
const NO_CODE: u16 = 1005;
const REMOVED: u16 = 4000;
