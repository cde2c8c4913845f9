//! The half of a pipe that sends: the input by pieces, and what the receiving half orders between them.

use std::future::pending;
use std::time::Duration;

use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::flow::{Input, Manner, Order, Socket};
use super::mark::{Mark, Sum, Tally};

/// The sending half.
pub(super) struct Sending<'a> {
    sink: &'a mut SplitSink<Socket, Message>,
    manner: Manner,
    /// What was said to be all.
    all: watch::Sender<Option<Sum>>,
    tally: Tally,
    beat: Option<Interval>,
    /// Whether there is anybody to hear it: what nobody hears is lost.
    is_heard: bool,
}

impl<'a> Sending<'a> {
    pub(super) fn new(
        sink: &'a mut SplitSink<Socket, Message>,
        manner: Manner,
        all: watch::Sender<Option<Sum>>,
    ) -> Self {
        Self { sink, manner, all, tally: Tally::default(), beat: None, is_heard: manner.plain }
    }

    /// Sends until nobody orders anything any more, or, without marks, until the input ends; then closes.
    pub(super) async fn run(mut self, input: Option<Input>, mut orders: mpsc::Receiver<Order>) -> Result<Sum, String> {
        let mut input = input;
        // Without marks, nothing would end a pipe that sends nothing.
        let mut ends_itself = input.is_none() && !self.manner.plain;
        if !self.manner.plain {
            self.say(&Mark::Hello { beat_ms: beat_ms(self.manner.patience) }).await?;
        }
        loop {
            if ends_itself && self.is_heard {
                ends_itself = false;
                input = None;
                if self.manner.plain {
                    break;
                }
                let sum = self.tally.sum();
                self.all.send_replace(Some(sum.clone()));
                self.say(&Mark::End(sum)).await?;
            }
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Begin(beat)) => self.begin(beat),
                    Some(Order::Say(mark)) => self.say(&mark).await?,
                    Some(Order::HangUp) => ends_itself = input.is_some(),
                    None if input.is_some() => return Err("the connection ended before the input".into()),
                    None => break,
                },
                () = tick(&mut self.beat) => self.say(&Mark::Beat).await?,
                piece = next(&mut input), if self.is_heard => match piece {
                    Some(Ok(bytes)) => self.pass(bytes).await?,
                    Some(Err(error)) => return Err(format!("standard input: {error}")),
                    None => ends_itself = true,
                },
            }
        }
        // That it was closed by the other side is no failure: all has been said.
        let _ = self.sink.close().await;
        Ok(self.tally.sum())
    }

    fn begin(&mut self, beat: Option<Duration>) {
        self.is_heard = true;
        self.beat = beat.map(|every| {
            let mut beat = interval(every.max(FASTEST));
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
    }

    async fn pass(&mut self, bytes: Bytes) -> Result<(), String> {
        self.tally.add(&bytes);
        self.put(Message::Binary(bytes)).await
    }

    async fn say(&mut self, mark: &Mark) -> Result<(), String> {
        self.put(Message::text(mark.text())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), String> {
        self.sink.send(message).await.map_err(|error| error.to_string())
    }
}

/// How often an end of this patience wants to hear something.
pub(super) fn beat_ms(patience: Duration) -> u64 {
    (patience / 4).as_millis().try_into().unwrap_or(u64::MAX)
}

async fn tick(beat: &mut Option<Interval>) {
    match beat {
        Some(beat) => {
            beat.tick().await;
        }
        None => pending().await,
    }
}

async fn next(input: &mut Option<Input>) -> Option<std::io::Result<Bytes>> {
    match input {
        Some(input) => input.recv().await,
        None => pending().await,
    }
}

/// More signs of life than that nobody needs, whatever the other end asks for.
const FASTEST: Duration = Duration::from_millis(50);
