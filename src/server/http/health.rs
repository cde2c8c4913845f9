//! `/healthz`: whether a load balancer should send devices here.

use http::StatusCode;

use super::Service;
use super::replies::{Refused, Reply, text};

impl Service {
    /// Says `ok`, or that the router is draining.
    pub(super) fn health(&self) -> Result<Reply, Refused> {
        if self.is_draining() { Err(Refused::draining()) } else { Ok(text(StatusCode::OK, "ok")) }
    }
}
