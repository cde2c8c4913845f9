//! `/register`, `/remove` and `/healthz`: making and ending a registration, and whether new ones are accepted.

use bytes::Bytes;
use http::StatusCode;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;
use ws_router_core::secret::Key;

use super::authorize::Grant;
use super::query::Form;
use super::responses::{HttpError, Response, text};
use crate::config::Config;
use crate::peer::Peer;
use crate::registry::Request;
use crate::server::{Server, Unavailable};

/// Makes a registration. The body is exactly its id, since devices put the body into a URL as it is.
pub(super) async fn register(
    server: &Server,
    form: Form<'_>,
    grant: Grant,
    peer: &Peer,
    config: &Config,
) -> Result<Response, HttpError> {
    server.check_available()?;
    let reject_taken = config.registration.reject_taken_ids;
    let request = Request {
        key: Key::new(form.required("key")?.into_owned()),
        host_key: Key::new(form.required("host_key")?.into_owned()),
        kind: Kind::from_param(&form.required("reg_type")?)
            .ok_or_else(|| HttpError::malformed("reg_type must be hostclient or lobby"))?,
        wanted: wanted_id(form, reject_taken)?,
        reject_taken,
        rule: grant.rule,
    };
    let id = server.register(&request, peer).await?;
    Ok(text(StatusCode::OK, Bytes::copy_from_slice(id.as_str().as_bytes())))
}

/// Ends a registration for a device that has both of its keys.
pub(super) async fn remove(server: &Server, form: Form<'_>, peer: &Peer) -> Result<Response, HttpError> {
    let id = form.required("id")?;
    let key = Key::new(form.required("key")?.into_owned());
    let host_key = Key::new(form.required("host_key")?.into_owned());
    server.remove(&id, &key, &host_key, peer).await?;
    Ok(text(StatusCode::OK, ""))
}

/// Reports to a load balancer: 200 `ok`, or 503 while draining.
pub(super) fn health(server: &Server) -> Result<Response, HttpError> {
    if server.is_draining() { Err(Unavailable::Draining.into()) } else { Ok(text(StatusCode::OK, "ok")) }
}

/// Parses `id_req`. A malformed one is ignored, unless `registration.reject-taken-ids` is set.
fn wanted_id(form: Form<'_>, reject: bool) -> Result<Option<RegistrationId>, HttpError> {
    let wanted = match form.optional("id_req") {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => {
            RegistrationId::parse(&text).map_err(|error| HttpError::malformed(format!("id_req: {error}")))
        }
        Err(error) => Err(error.into()),
    };
    match wanted {
        Err(error) if reject => Err(error),
        wanted => Ok(wanted.ok()),
    }
}
