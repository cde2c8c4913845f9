//! Transfer between the two ends of a pipe or tunnel: both directions at once, until both have ended and each end has confirmed
//! that everything has arrived.
//!
//! Input is read only as fast as the connection accepts it, and the connection only as fast as the output is written,
//! so only a few chunks are buffered here and backpressure reaches from one end's input to the other's output. Both halves run
//! in one task; the receiving half passes its answers to the sending half.
//!
//! Silence of the other end counts only while nothing waits to be written. An end that has never sent a hello is
//! another program, of which no heartbeat is expected.

mod message;
mod stdio;
mod streams;

use std::future::pending;
use std::io::{self, Write};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use thiserror::Error as ThisError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use crate::dial::Socket;
use crate::error::{Error, with_causes};
use crate::output::{Format, size};
use message::{ControlMessage, Digest, Digester};
use streams::is_interactive;
pub(super) use streams::{Input, Output, tcp};

/// Behavior of this end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Whether the other end is a program that knows no control messages.
    pub(super) plain: bool,
    /// Whether this end's data ends when the other's does, because a person types it.
    pub(super) ends_with_peer: bool,
    /// How long the other end may be silent.
    pub(super) timeout: Duration,
}

/// Amounts of a complete transfer.
#[derive(Debug)]
pub(super) struct Transfer {
    sent: Digest,
    received: Digest,
}

impl Transfer {
    /// Describes the transfer for people.
    pub(super) fn text(&self, confirmed: bool) -> String {
        let outcome = if confirmed { "everything arrived" } else { "not confirmed by the other end" };
        format!("sent {}, received {}, {outcome}", size(self.sent.bytes), size(self.received.bytes))
    }

    /// Describes the transfer for programs.
    pub(super) fn json(&self, confirmed: bool) -> Value {
        json!({ "sent": self.sent, "received": self.received, "confirmed": confirmed })
    }
}

/// Reason for which a transfer is incomplete.
#[derive(Debug, ThisError)]
pub(super) enum TransferError {
    #[error("the other end is gone: nothing received for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error(
        "the other end hasn't confirmed for {} that everything arrived; try --plain",
        humantime::format_duration(*.0)
    )]
    Unconfirmed(Duration),
    #[error("another member joined; a pipe has two ends")]
    ThirdMember,
    #[error("the other end received something else than was sent")]
    Altered,
    #[error("data is missing: the other end sent {sent} bytes, {received} arrived")]
    Missing { sent: u64, received: u64 },
    #[error("the other end failed: {}", .0.escape_debug())]
    PeerFailed(String),
    #[error("the router closed the connection: {code} {}", .reason.escape_debug())]
    Closed { code: u16, reason: String },
    #[error("the connection ended")]
    Ended,
    #[error("the connection ended before the input")]
    EndedBeforeInput,
    #[error("{0}")]
    Connection(#[from] tungstenite::Error),
    #[error("{0}")]
    Input(&'static str, #[source] io::Error),
    #[error("{0}")]
    Output(&'static str, #[source] io::Error),
}

/// Instruction from the receiving half to the sending half.
#[derive(Debug)]
enum Instruction {
    /// Start sending data; the other end wants heartbeats at this interval, if it knows them.
    Start(Option<Duration>),
    Send(ControlMessage),
    /// End the data.
    End,
}

/// Transfers data both ways until everything has arrived.
pub(super) async fn run(
    socket: Socket,
    input: Option<Input>,
    output: Output,
    options: Options,
) -> Result<Transfer, TransferError> {
    let (mut sink, mut stream) = socket.split();
    let (instructions, received_instructions) = mpsc::channel(MAX_INSTRUCTIONS);
    // The digest that the sending half has announced, with which the receiving half compares the answer.
    let (announce, announced) = watch::channel(None);
    let ended = {
        let send = Sender::new(&mut sink, options, announce).run(input, received_instructions);
        let receive = Receiver::new(output, instructions, options, announced).run(&mut stream);
        tokio::pin!(send, receive);
        tokio::select! {
            biased;
            received = &mut receive => match received {
                Ok(received) => send.await.map(|sent| Transfer { sent, received }),
                Err(error) => Err(error),
            },
            sent = &mut send => match sent {
                Ok(sent) => receive.await.map(|received| Transfer { sent, received }),
                // The router's last message says why a connection ended.
                Err(error) => Err(timeout(CLOSE_TIMEOUT, receive).await.ok().and_then(Result::err).unwrap_or(error)),
            },
        }
    };
    let close = async {
        if let (Err(error), false) = (&ended, options.plain) {
            // The other end would notice by itself, but later. It may be gone.
            let broken = ControlMessage::Broken { why: with_causes(error) };
            let _ = sink.send(Message::text(broken.to_text())).await;
        }
        // Unless the connection is closed already, flush it, so that buffered messages aren't lost.
        let _ = sink.close().await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(CLOSE_TIMEOUT, close).await;
    ended
}

/// Transfers between the other end and standard input and output, and prints on standard error how it ended.
pub(super) async fn run_on_stdio(
    socket: Socket,
    has_input: bool,
    plain: bool,
    timeout: Duration,
    format: Format,
) -> Result<(), Error> {
    let system = |error| Error::System("standard input and output", error);
    let input = if has_input { Some(Input::stdin().map_err(system)?) } else { None };
    let output = Output::stdout().map_err(system)?;
    let options = Options { plain, ends_with_peer: is_interactive(), timeout };
    let (text, status) = match run(socket, input, output, options).await {
        Ok(transfer) if format.is_json() => (transfer.json(!plain).to_string(), Ok(())),
        Ok(transfer) => (transfer.text(!plain), Ok(())),
        Err(error) => (format!("ws-routerctl: {}", with_causes(&error)), Err(Error::Reported)),
    };
    // If standard error is closed, the exit status remains.
    let _ = writeln!(io::stderr(), "{text}");
    status
}

/// Sending half: sends the input in chunks, and carries out the instructions of the receiving half between them.
struct Sender<'a> {
    sink: &'a mut SplitSink<Socket, Message>,
    options: Options,
    /// Digest of all data, once it is announced to the other end.
    announce: watch::Sender<Option<Digest>>,
    digester: Digester,
    heartbeat: Option<Interval>,
    /// Whether the other end is there; data without a receiver is lost.
    has_receiver: bool,
}

impl<'a> Sender<'a> {
    fn new(
        sink: &'a mut SplitSink<Socket, Message>,
        options: Options,
        announce: watch::Sender<Option<Digest>>,
    ) -> Self {
        Self { sink, options, announce, digester: Digester::default(), heartbeat: None, has_receiver: options.plain }
    }

    /// Sends until the receiving half has ended, or, if plain, until the input ends; then closes.
    async fn run(
        mut self,
        input: Option<Input>,
        mut instructions: mpsc::Receiver<Instruction>,
    ) -> Result<Digest, TransferError> {
        let mut input = input;
        // If plain, nothing would end a pipe that sends nothing.
        let mut has_ended = input.is_none() && !self.options.plain;
        if !self.options.plain {
            self.send(&ControlMessage::Hello { beat_ms: heartbeat_ms(self.options.timeout) }).await?;
        }
        loop {
            if has_ended && self.has_receiver {
                has_ended = false;
                input = None;
                if self.options.plain {
                    break;
                }
                let digest = self.digester.digest();
                self.announce.send_replace(Some(digest.clone()));
                self.send(&ControlMessage::End(digest)).await?;
            }
            tokio::select! {
                biased;
                instruction = instructions.recv() => match instruction {
                    Some(Instruction::Start(interval)) => self.start(interval),
                    Some(Instruction::Send(message)) => self.send(&message).await?,
                    Some(Instruction::End) => has_ended = input.is_some(),
                    None if input.is_some() => return Err(TransferError::EndedBeforeInput),
                    None => break,
                },
                () = tick(&mut self.heartbeat) => self.send(&ControlMessage::Beat).await?,
                chunk = next(&mut input), if self.has_receiver => match chunk {
                    Some(Ok(bytes)) => self.send_data(bytes).await?,
                    Some(Err(error)) => return Err(error),
                    None => has_ended = true,
                },
            }
        }
        // Everything has been sent, whichever end closed it.
        let _ = self.sink.close().await;
        Ok(self.digester.digest())
    }

    fn start(&mut self, heartbeat: Option<Duration>) {
        self.has_receiver = true;
        self.heartbeat = heartbeat.map(|every| {
            let mut heartbeat = interval(every.max(MIN_HEARTBEAT));
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            heartbeat
        });
    }

    async fn send_data(&mut self, bytes: Bytes) -> Result<(), TransferError> {
        self.digester.update(&bytes);
        Ok(self.sink.send(Message::Binary(bytes)).await?)
    }

    async fn send(&mut self, message: &ControlMessage) -> Result<(), TransferError> {
        Ok(self.sink.send(Message::text(message.to_text())).await?)
    }
}

/// Receiving half: data for standard output, and control messages.
#[derive(Debug)]
struct Receiver {
    output: Output,
    instructions: mpsc::Sender<Instruction>,
    options: Options,
    /// Digest of all data, once the sending half has announced it.
    announced: watch::Receiver<Option<Digest>>,
    digester: Digester,
    peer: Peer,
    /// Whether everything that the other end sends has arrived here.
    has_ended: bool,
    /// Whether the other end has confirmed that everything has arrived there.
    is_confirmed: bool,
}

/// State of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Nothing has been received.
    Absent,
    /// It has sent data, and no hello.
    Unknown,
    /// It has answered our hello.
    Answered,
    /// It has sent a hello.
    Greeted,
}

impl Receiver {
    fn new(
        output: Output,
        instructions: mpsc::Sender<Instruction>,
        options: Options,
        announced: watch::Receiver<Option<Digest>>,
    ) -> Self {
        let (digester, peer) = (Digester::default(), Peer::Absent);
        Self { output, instructions, options, announced, digester, peer, has_ended: false, is_confirmed: false }
    }

    /// Receives until everything has arrived here and there, or, if plain, until the connection ends.
    async fn run(mut self, stream: &mut SplitStream<Socket>) -> Result<Digest, TransferError> {
        while !(self.has_ended && self.is_confirmed) {
            let message = match self.timeout() {
                Some(limit) => timeout(limit, stream.next()).await.map_err(|_| self.silence(limit))?,
                None => tokio::select! {
                    message = stream.next() => message,
                    // From now on an answer may be expected.
                    Ok(()) = self.announced.changed() => continue,
                },
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => self.data(bytes).await?,
                Some(Ok(Message::Text(text))) => match ControlMessage::parse(&text) {
                    Some(message) if !self.options.plain => self.control(message).await?,
                    _ => self.data(text.into()).await?,
                },
                Some(Ok(Message::Close(frame))) => return self.closed(frame).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return self.closed(None).await,
            }
        }
        Ok(self.digester.digest())
    }

    /// Returns how long the other end may be silent now, if heartbeats or an answer are expected of it.
    fn timeout(&self) -> Option<Duration> {
        let awaits_answer = self.announced.borrow().is_some() && !self.is_confirmed;
        let is_expected = match self.peer {
            Peer::Answered | Peer::Greeted => true,
            Peer::Unknown => awaits_answer,
            Peer::Absent => false,
        };
        (is_expected && !self.options.plain).then_some(self.options.timeout)
    }

    fn silence(&self, limit: Duration) -> TransferError {
        match self.peer {
            Peer::Unknown => TransferError::Unconfirmed(limit),
            _ => TransferError::Silent(limit),
        }
    }

    async fn data(&mut self, bytes: Bytes) -> Result<(), TransferError> {
        if self.peer == Peer::Absent && !self.options.plain {
            self.peer = Peer::Unknown;
            self.instruct(Instruction::Start(None)).await;
        }
        self.digester.update(&bytes);
        self.output.write(bytes).await
    }

    async fn control(&mut self, message: ControlMessage) -> Result<(), TransferError> {
        match message {
            ControlMessage::Hello { beat_ms } => {
                if self.peer == Peer::Greeted {
                    return Err(TransferError::ThirdMember);
                }
                self.meet(Peer::Greeted, beat_ms).await;
                let ready = ControlMessage::Ready { beat_ms: heartbeat_ms(self.options.timeout) };
                self.instruct(Instruction::Send(ready)).await;
            }
            ControlMessage::Ready { beat_ms } => {
                if self.peer != Peer::Greeted {
                    self.meet(Peer::Answered, beat_ms).await;
                }
            }
            ControlMessage::Beat => {}
            ControlMessage::End(digest) => self.ended(&digest).await?,
            ControlMessage::Received(digest) => {
                if self.announced.borrow().as_ref() != Some(&digest) {
                    return Err(TransferError::Altered);
                }
                self.is_confirmed = true;
            }
            ControlMessage::Broken { why } => return Err(TransferError::PeerFailed(why)),
        }
        Ok(())
    }

    async fn meet(&mut self, peer: Peer, beat_ms: u64) {
        self.peer = peer;
        self.instruct(Instruction::Start(Some(Duration::from_millis(beat_ms)))).await;
    }

    async fn ended(&mut self, digest: &Digest) -> Result<(), TransferError> {
        let received = self.digester.digest();
        if *digest != received {
            return Err(TransferError::Missing { sent: digest.bytes, received: received.bytes });
        }
        self.output.finish().await?;
        self.has_ended = true;
        self.instruct(Instruction::Send(ControlMessage::Received(received))).await;
        if self.options.ends_with_peer {
            self.instruct(Instruction::End).await;
        }
        Ok(())
    }

    /// Decides whether a connection that the router closed was complete.
    async fn closed(mut self, frame: Option<CloseFrame>) -> Result<Digest, TransferError> {
        let code = frame.as_ref().map_or(NO_CODE, |frame| frame.code.into());
        // If plain, nothing but the end of the connection ends the data.
        if self.options.plain && matches!(code, NORMAL | NO_CODE | REMOVED) {
            self.output.finish().await?;
            return Ok(self.digester.digest());
        }
        Err(match frame {
            Some(frame) => TransferError::Closed { code, reason: frame.reason.to_string() },
            None => TransferError::Ended,
        })
    }

    async fn instruct(&self, instruction: Instruction) {
        // The sending half has ended only if it failed, and then its error is returned.
        let _ = self.instructions.send(instruction).await;
    }
}

/// Returns the interval of the heartbeats that an end with this timeout expects.
fn heartbeat_ms(timeout: Duration) -> u64 {
    (timeout / 4).as_millis().try_into().unwrap_or(u64::MAX)
}

async fn tick(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(heartbeat) => {
            heartbeat.tick().await;
        }
        None => pending().await,
    }
}

/// Returns the next bytes of an input, and waits forever without one.
pub(super) async fn next(input: &mut Option<Input>) -> Option<Result<Bytes, TransferError>> {
    match input {
        Some(input) => input.next().await,
        None => pending().await,
    }
}

/// Capacity of the channel of instructions: more than one received message causes.
const MAX_INSTRUCTIONS: usize = 8;
/// Time for closing the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Lower bound of the interval that the other end may ask for.
const MIN_HEARTBEAT: Duration = Duration::from_millis(50);
/// Close codes: normal closure, none at all (RFC 6455, section 7.1.5), and a registration removed by request.
const NORMAL: u16 = 1000;
const NO_CODE: u16 = 1005;
const REMOVED: u16 = 4000;
