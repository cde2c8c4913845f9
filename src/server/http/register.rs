//! `/register`: a device asks for a registration, perhaps with an id that it had before.

use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;
use ws_router_core::secret::Key;

use super::Service;
use super::admission::Admission;
use super::query::Form;
use super::replies::{Refused, Reply, text};
use crate::config::Config;
use crate::directory::{RegisterError, Request};
use crate::metrics::Refusal;
use crate::peer::Peer;

impl Service {
    /// Answers with the id and nothing else: devices put the body into a URL as it is.
    pub(super) fn register(
        &self,
        form: Form<'_>,
        admission: Admission,
        peer: &Peer,
        config: &Config,
    ) -> Result<Reply, Refused> {
        if self.is_draining() {
            return Err(Refused::draining());
        }
        self.has_room()?;
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
        if let Some(wanted) = &request.wanted {
            self.may_try_key(peer, wanted.as_str(), config)?;
        }
        let id = self.directory.register(&request, Instant::now()).map_err(|error| match error {
            RegisterError::Taken => {
                self.taken(&request, peer, config);
                Refused::new(StatusCode::CONFLICT, Refusal::Taken, "this id is taken; ask for another one in id_req")
            }
            RegisterError::Quota => Refused::unavailable(
                "there are as many registrations as this router's access rules let you have; remove one of yours, or try again later",
            ),
            RegisterError::Full => Refused::unavailable("there is no room for another registration; try again later"),
        })?;
        if request.wanted.as_ref().is_some_and(|wanted| *wanted != id) {
            self.taken(&request, peer, config);
        }
        self.front.registered.up();
        Ok(text(StatusCode::OK, Bytes::copy_from_slice(id.as_str().as_bytes())))
    }

    /// Counts a request whose keys are not those of the id that it asked for: a way to try keys, too.
    fn taken(&self, request: &Request, peer: &Peer, config: &Config) {
        if let Some(wanted) = &request.wanted {
            self.tried_in_vain(peer, wanted.as_str(), config);
        }
    }
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
