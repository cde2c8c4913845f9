//! `/remove`: a device that has both keys ends its registration.

use http::StatusCode;
use ws_router_core::close::CloseReason;
use ws_router_core::secret::Key;

use super::Service;
use super::query::Form;
use super::replies::{Refused, Reply, text};
use crate::config::Config;
use crate::directory::RemoveError;
use crate::peer::Peer;

impl Service {
    /// Frees the id at once, and has every member closed.
    pub(super) fn remove(&self, form: Form<'_>, peer: &Peer, config: &Config) -> Result<Reply, Refused> {
        let id = form.required("id")?;
        let key = Key::new(form.required("key")?.into_owned());
        let host_key = Key::new(form.required("host_key")?.into_owned());
        self.may_try_key(peer, &id, config)?;
        let ended = self.directory.remove(&id, &key, &host_key).map_err(|error| match error {
            RemoveError::Unknown => Refused::unknown("there is no such registration; it may have ended already"),
            RemoveError::WrongKey => {
                self.tried_in_vain(peer, &id, config);
                Refused::wrong_key("key or host_key is wrong; give those of the registration")
            }
        })?;
        self.relay.end(&ended, CloseReason::Removed);
        Ok(text(StatusCode::OK, ""))
    }
}
