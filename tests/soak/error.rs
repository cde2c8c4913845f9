//! Reasons why a run fails.

use std::io;

use super::message::Message;

/// Reason why a run fails. Its text contains the chain of causes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A member failed.
    #[error("member {index} of {group}: {source}")]
    Member { index: usize, group: String, source: Box<Error> },
    /// A short-lived visitor failed.
    #[error("a visitor: {0}")]
    Visitor(#[source] Box<Error>),
    /// A system call failed during this step.
    #[error("{step}: {error}")]
    Io {
        step: &'static str,
        #[source]
        error: io::Error,
    },
    /// An HTTP request was not answered as expected.
    #[error("{request}: {response:?}")]
    Response { request: &'static str, response: String },
    /// The router closed a connection without a close frame.
    #[error("the router closed the connection without a close frame")]
    Disconnected,
    /// The router closed a connection with a close frame.
    #[error("closed with {code} {reason:?}")]
    Closed { code: u16, reason: String },
    /// A frame started with this byte.
    #[error("unexpected first byte of a frame: {0:#x}")]
    FirstByte(u8),
    /// A pong has no number.
    #[error("a damaged pong")]
    DamagedPong,
    /// A pong has the wrong number.
    #[error("pong {number} after {last:?}")]
    Pong { number: u64, last: Option<u64> },
    /// A message has no payload.
    #[error("an empty message")]
    EmptyMessage,
    /// A message names a sender whose messages the receiver doesn't get.
    #[error("a message of {len} bytes from member {sender}")]
    Sender { len: usize, sender: usize },
    /// A message isn't the expected one.
    #[error("{kind}: expected {expected:?} of {} bytes, received {number:?} of {len}", expected.len())]
    Message { kind: &'static str, expected: Message, number: Option<u64>, len: usize },
    /// A message arrived although all its receivers had received it.
    #[error("a message that all had received")]
    DeliveredTwice,
    /// A message arrived that no member had sent.
    #[error("a message that was never sent")]
    NeverSent,
    /// A visitor received other bytes than were sent.
    #[error("received {0:?}")]
    Received([u8; 7]),
    /// Nothing was sent or received for too long; contains the state of each group.
    #[error("no progress: {0:#?}")]
    NoProgress(Vec<String>),
}

impl Error {
    /// Returns a conversion that adds the failed step to an I/O error.
    pub(crate) fn io(step: &'static str) -> impl Fn(io::Error) -> Self + Copy {
        move |error| Self::Io { step, error }
    }
}
