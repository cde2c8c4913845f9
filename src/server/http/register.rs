//! `/register`, `/remove` and `/healthz`: a registration's beginning and end, and whether new ones are accepted.

use bytes::Bytes;
use http::StatusCode;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;
use ws_router_core::secret::Key;

use super::admission::Admission;
use super::query::Form;
use super::replies::{Refused, Reply, text};
use crate::config::Config;
use crate::peer::Peer;
use crate::registry::Request;
use crate::server::{Server, Unavailable};

/// Answers with the id and nothing else: devices put the body into a URL as it is.
pub(super) async fn register(
    server: &Server,
    form: Form<'_>,
    admission: Admission,
    peer: &Peer,
    config: &Config,
) -> Result<Reply, Refused> {
    server.check_available()?;
    let reject_taken = config.registration.reject_taken_ids;
    let request = Request {
        key: Key::new(form.required("key")?.into_owned()),
        host_key: Key::new(form.required("host_key")?.into_owned()),
        kind: Kind::from_param(&form.required("reg_type")?)
            .ok_or_else(|| Refused::malformed("reg_type must be hostclient or lobby"))?,
        wanted: wanted_id(form, reject_taken)?,
        reject_taken,
        rule: admission.rule,
    };
    let id = server.register(&request, peer).await?;
    Ok(text(StatusCode::OK, Bytes::copy_from_slice(id.as_str().as_bytes())))
}

/// Ends a registration for a device that has both of its keys.
pub(super) async fn remove(server: &Server, form: Form<'_>, peer: &Peer) -> Result<Reply, Refused> {
    let id = form.required("id")?;
    let key = Key::new(form.required("key")?.into_owned());
    let host_key = Key::new(form.required("host_key")?.into_owned());
    server.remove(&id, &key, &host_key, peer).await?;
    Ok(text(StatusCode::OK, ""))
}

/// Answers a load balancer: `ok`, or that the router is draining.
pub(super) fn health(server: &Server) -> Result<Reply, Refused> {
    if server.is_draining() { Err(Unavailable::Draining.into()) } else { Ok(text(StatusCode::OK, "ok")) }
}

/// Reads `id_req`. One that can't be an id is as good as none, unless the operator wants it refused.
fn wanted_id(form: Form<'_>, reject: bool) -> Result<Option<RegistrationId>, Refused> {
    let wanted = match form.optional("id_req") {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => RegistrationId::parse(&text).map_err(|error| Refused::malformed(format!("id_req: {error}"))),
        Err(unfit) => Err(unfit.into()),
    };
    match wanted {
        Err(refused) if reject => Err(refused),
        wanted => Ok(wanted.ok()),
    }
}
