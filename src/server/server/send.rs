//! Sending a message to the members of a registration without being one.

use std::sync::Arc;
use std::time::Duration;

use ws_router_admin_api::event::Admission;
use ws_router_core::kind::Role;
use ws_router_core::shard::OutsideMessage;

use super::Server;
use crate::metrics::SendResult;
use crate::net::{ClientLimits, SendBuffer};
use crate::peer::Peer;
use crate::registry::{Credential, Sender, SenderError};
use crate::relay::{self, SendOutcome};

/// A request to send a message.
#[derive(Debug)]
pub struct SendRequest<'a> {
    /// The registration's id.
    pub id: &'a str,
    /// The key that the client presents.
    pub credential: Credential<'a>,
    /// The role as which the client sends; ignored in a lobby.
    pub role: Option<Role>,
    /// The client's address.
    pub client: Peer,
}

/// Success of sending a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It was written to, or queued for, so many members.
    To(usize),
    /// It waits for the next member that may receive it.
    Waiting,
}

/// Reason why a message isn't sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The memory for messages is used up.
    #[error("the memory for messages is used up")]
    OutOfMemory,
    /// The client's network has tried too many wrong keys for this registration.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// The registry rejects the sender.
    #[error(transparent)]
    Rejected(#[from] SenderError),
    /// Nobody is there to receive it.
    #[error("nobody is there to receive it")]
    NoReceiver,
    /// All receivers were behind for the whole time that it could wait.
    #[error("all receivers are too slow")]
    TooSlow,
    /// The relay thread's inbox is full, or the thread is about to stop.
    #[error("the relay thread is busy")]
    Busy,
}

impl Server {
    /// Checks that a client may send to a registration. It doesn't become a member, and the registration doesn't live
    /// longer for it.
    pub fn sender(&self, request: &SendRequest<'_>) -> Result<Sender, SendError> {
        let SendRequest { id, credential, role, client } = request;
        self.check_key_attempts(client, id).map_err(SendError::TooManyWrongKeys)?;
        let admitted = self.registry.sender(id, *credential, *role).inspect_err(|error| {
            if *error == SenderError::WrongKey {
                self.record_failed_key(client, id);
            }
        });
        Ok(admitted?)
    }

    /// Counts the memory of a message that a client is about to send, until the returned guard is dropped.
    pub fn reserve_send_memory(&self, client: &Peer, bytes: usize) -> Result<SendBuffer, SendError> {
        let memory = self.relay.memory();
        let network = ClientLimits::network_of(client, &self.config.borrow().http);
        let reserved =
            if memory.is_tight() { None } else { self.send_buffers.reserve(network, bytes, memory.limit()).ok() };
        reserved.ok_or_else(|| {
            self.metrics.out_of_memory.increment();
            SendError::OutOfMemory
        })
    }

    /// Sends a message to all who receive from the sender's role. Waits up to `patience` while all of them are behind.
    /// A message that is sent is counted for its registration and `admission`.
    pub async fn send(
        &self,
        sender: Sender,
        admission: Option<Arc<Admission>>,
        message: OutsideMessage,
        patience: Duration,
    ) -> Result<Sent, SendError> {
        let (registration, bytes) = (Arc::clone(&sender.registration), message.len());
        let sent = self.relay.send(sender, message, patience).await;
        let (result, answer) = match sent {
            Ok(SendOutcome::Sent(receivers)) => (SendResult::Sent, Ok(Sent::To(receivers))),
            Ok(SendOutcome::Waiting) => (SendResult::Waiting, Ok(Sent::Waiting)),
            Ok(SendOutcome::NoReceiver) if registration.end().is_some() => {
                (SendResult::NoReceiver, Err(SenderError::Unknown.into()))
            }
            Ok(SendOutcome::NoReceiver) => (SendResult::NoReceiver, Err(SendError::NoReceiver)),
            Ok(SendOutcome::TooSlow) => (SendResult::TooSlow, Err(SendError::TooSlow)),
            Err(relay::Busy) => (SendResult::Busy, Err(SendError::Busy)),
        };
        self.metrics.sent(result);
        if answer.is_ok() {
            self.events.count_send(&registration.id, admission, bytes);
        }
        answer
    }
}
