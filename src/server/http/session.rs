//! `/session`: reports to a device that has lost its connection how much of what it sent has arrived.
//!
//! The old connection isn't read from any more and is closed before the answer, so that the counts are final.

use http::header::HeaderMap;
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
    let presented;
    let joined_by = match accept_number(form)? {
        Some(number) => JoinedBy::Accept(number),
        None => {
            let (key, credential) = key(form)?;
            presented = key;
            let role = form.optional("sock_type")?.and_then(|text| Role::from_param(&text));
            JoinedBy::Key(credential(&presented), role)
        }
    };
    let query = SessionQuery { id: &id, joined_by, secret: &secret, client: client.peer };
    let SessionCounts { received, sent } = server.suspend_session(&query).await?;
    Ok(json(format!("{{\"received\":{received},\"sent\":{sent}}}")))
}
