//! Sessions of devices: joining with one, resuming it, and asking for its counts.

use std::sync::Arc;
use std::time::Duration;

use ws_router_admin_api::event::Admission;
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::Key;
use ws_router_core::shard::{Rates, SessionClaim, SessionCounts, SessionError, SessionOwner};

use super::{AcceptClient, Join, JoinError, Reservation, Server};
use crate::peer::Peer;
use crate::registry::{Credential, Hold, Registration, Seat, SeatError};
use crate::relay;

/// A device's request to begin or to resume a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionRequest<'a> {
    /// The secret that the device has drawn.
    pub secret: &'a Key,
    /// Number of the messages that it has received, to resume; `None` to begin.
    pub received: Option<u64>,
}

/// A device's request for the counts of its session.
#[derive(Debug)]
pub struct SessionQuery<'a> {
    /// The registration's id.
    pub id: &'a str,
    /// By what the device has joined.
    pub joined_by: JoinedBy<'a>,
    /// The secret of the session.
    pub secret: &'a Key,
    /// The device's address.
    pub client: Peer,
}

/// By what a device has joined.
#[derive(Debug, Clone, Copy)]
pub enum JoinedBy<'a> {
    /// A key, and the role if the device says it.
    Key(Credential<'a>, Option<Role>),
    /// The number of the client that it has accepted.
    Accept(u128),
}

/// Reason why a device doesn't get the counts of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionQueryError {
    /// The client's network has tried too many wrong keys for this registration.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// The registry rejects the key.
    #[error(transparent)]
    Rejected(#[from] SeatError),
    /// There is no such session, or it belongs to another key or role, or too many members are away.
    #[error("the session can't be suspended: {0:?}")]
    Session(SessionError),
    /// The relay thread's inbox is full.
    #[error("the relay thread is busy")]
    Busy,
}

impl Server {
    /// Closes the connection of a session's member, from which nothing more is read, and returns how many messages were
    /// received and sent.
    pub async fn suspend_session(&self, query: &SessionQuery<'_>) -> Result<SessionCounts, SessionQueryError> {
        let SessionQuery { id, joined_by, secret, client } = query;
        let (registration, owner, role) = match *joined_by {
            JoinedBy::Key(credential, role) => {
                self.check_key_attempts(client, id).map_err(SessionQueryError::TooManyWrongKeys)?;
                let (registration, role) = self.admit(id, credential, role, client)?;
                (registration, owner(credential), role)
            }
            JoinedBy::Accept(number) => {
                let seat = self.registry.accept(id).ok_or(SeatError::Unknown)?;
                (Arc::clone(&seat.registration), SessionOwner::accept(number), None)
            }
        };
        let claim = self.claim(&registration, secret, owner, role);
        let suspended = self.relay.suspend(claim).await.map_err(|relay::Busy| SessionQueryError::Busy)?;
        suspended.map_err(SessionQueryError::Session)
    }

    /// Checks a device's key and role; counts a wrong key.
    fn admit(
        &self,
        id: &str,
        credential: Credential<'_>,
        role: Option<Role>,
        client: &Peer,
    ) -> Result<(Arc<Registration>, Option<Role>), SeatError> {
        self.registry.admit(id, credential, role).inspect_err(|error| {
            if *error == SeatError::WrongKey {
                self.record_failed_key(client, id);
            }
        })
    }

    /// Returns what a device presents for its session.
    pub(super) fn claim(
        &self,
        registration: &Registration,
        secret: &Key,
        owner: SessionOwner,
        role: Option<Role>,
    ) -> SessionClaim {
        SessionClaim { serial: registration.serial, secret: self.registry.hash_session(secret), owner, role }
    }

    /// Prepares the session with which a device joins: resumes it, or ends an older one with the same secret.
    pub(super) async fn prepare_session(
        &self,
        request: &Join<'_>,
        session: SessionRequest<'_>,
    ) -> Result<Prepared, JoinError> {
        let (registration, role) = self.admit(request.id, request.credential, request.role, &request.client)?;
        let role = role.ok_or(SeatError::RoleRequired)?;
        if registration.kind == Kind::Paired && role == Role::Host {
            return Err(JoinError::NoSession);
        }
        let claim = self.claim(&registration, session.secret, owner(request.credential), Some(role));
        let Join { client, admission, rates, .. } = request;
        self.prepare(registration, claim, session.received, (*client, admission.clone(), rates.clone())).await
    }

    /// The same for a host that accepts a client.
    pub(super) async fn prepare_accepted_session(
        &self,
        request: &AcceptClient<'_>,
        session: SessionRequest<'_>,
        seat: &Seat,
    ) -> Result<Prepared, JoinError> {
        let registration = Arc::clone(&seat.registration);
        let claim = self.claim(&registration, session.secret, SessionOwner::accept(request.number), None);
        let AcceptClient { client, admission, rates, .. } = request;
        self.prepare(registration, claim, session.received, (*client, admission.clone(), rates.clone())).await
    }

    async fn prepare(
        &self,
        registration: Arc<Registration>,
        claim: SessionClaim,
        received: Option<u64>,
        (client, admission, rates): (Peer, Option<Arc<Admission>>, Option<Box<Rates>>),
    ) -> Result<Prepared, JoinError> {
        if let Some(received) = received {
            let resumed = self.relay.resume(claim, received, client, admission, rates).await;
            let member = resumed.map_err(|relay::Busy| JoinError::Busy)?.map_err(JoinError::Session)?;
            return Ok(Prepared::Resumed(Reservation { registration, member, slot: None }));
        }
        // The registration must not end because the only member is about to be replaced.
        let hold = self.registry.hold(&registration);
        let ended = self.relay.end_session(claim.clone()).await.map_err(|relay::Busy| JoinError::Busy)?;
        ended.map_err(JoinError::Session)?;
        Ok(Prepared::New(Box::new(claim), hold))
    }
}

/// A session that is ready for its connection.
pub(super) enum Prepared {
    /// It goes on, with the member that it had.
    Resumed(Reservation),
    /// It begins with the next member. The registration doesn't end before that.
    New(Box<SessionClaim>, Option<Hold>),
}

/// Returns the kind of key that a session belongs to.
fn owner(credential: Credential<'_>) -> SessionOwner {
    match credential {
        Credential::Key(_) => SessionOwner::Key,
        Credential::ClientKey(_) => SessionOwner::ClientKey,
        Credential::ReceiveKey(_) => SessionOwner::ReceiveKey,
    }
}
