//! `/session`: tells a device that has lost its connection how much of what it sent has arrived.
//!
//! The old connection isn't read from any more and is closed before the answer, so that the counts are final.

use http::header::HeaderMap;
use serde::Serialize;
use ws_router_core::kind::Role;
use ws_router_core::shard::SessionCounts;

use super::authorize::{self, ClientInfo};
use super::connect::{accept_number, key, session_secret};
use super::query::{Form, ParamError};
use super::responses::{HttpError, Response, json};
use crate::access::Action;
use crate::server::{JoinedBy, Server, SessionQuery};

/// Answers with the numbers of messages that were received from the device and sent to it.
pub(super) async fn session(
    server: &Server,
    client: ClientInfo<'_>,
    headers: &HeaderMap,
    form: Form<'_>,
) -> Result<Response, HttpError> {
    authorize::authorize(server, Action::Connect, client, headers, form).await?;
    let id = form.required("id")?;
    let secret = session_secret(form)?.ok_or(ParamError::Missing("session"))?;
    let accepted = accept_number(form)?;
    let key = if accepted.is_none() { Some(key(form)?) } else { None };
    let joined_by = match (&accepted, &key) {
        (Some(number), _) => JoinedBy::Accept(*number),
        (None, Some((key, credential))) => {
            let role = form.optional("sock_type")?.and_then(|text| Role::from_param(&text));
            JoinedBy::Key(credential(key), role)
        }
        (None, None) => return Err(ParamError::Missing("key").into()),
    };
    let query = SessionQuery { id: &id, joined_by, secret: &secret, client: client.peer };
    let SessionCounts { received, sent } = server.suspend_session(&query).await?;
    let document = serde_json::to_string(&Counts { received, sent });
    document.map(json).map_err(|_| HttpError::unavailable("the counts can't be written; try again"))
}

/// The document of the answer.
#[derive(Debug, Serialize)]
struct Counts {
    received: u64,
    sent: u64,
}
