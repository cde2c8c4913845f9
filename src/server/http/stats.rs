//! `/stats`: the registrations and the machine's memory, if `http.public-stats` is set.
//!
//! Existing tools read these field names. A registration that ends disappears from the registry at once, so `destroy` is
//! always false.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;

use super::responses::{HttpError, Response, json};
use crate::metrics::Refusal;
use crate::registry::Summary;
use crate::server::Server;
use crate::sys;

#[derive(Serialize)]
struct Stats {
    registrations: Vec<Line>,
    system: Memory,
}

#[derive(Serialize)]
struct Line {
    id: RegistrationId,
    /// Seats, including those of members about to join.
    connections: usize,
    reg_type: &'static str,
    destroy: bool,
}

/// Memory in bytes; zero where the kernel doesn't report it.
#[derive(Serialize)]
struct Memory {
    total_mem: u64,
    used_mem: u64,
    proc_mem: u64,
}

/// Returns the statistics. The caller has checked that they are public. All responses share one document, so that many
/// slow readers hold only one in memory.
pub(super) async fn stats(server: &Server) -> Result<Response, HttpError> {
    server.stats().get_or_try_make(|| document(server)).await.map(json).map_err(|_| {
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, Refusal::Malformed, "the statistics can't be written as JSON")
    })
}

fn document(server: &Server) -> Result<Bytes, serde_json::Error> {
    let line = |summary: Summary| Line {
        id: summary.registration.id.clone(),
        connections: summary.seats,
        reg_type: match summary.registration.kind {
            Kind::HostClient => "HostClient",
            Kind::Lobby => "Lobby",
            Kind::Paired => "Paired",
        },
        destroy: false,
    };
    let stats = Stats { registrations: server.list().into_iter().map(line).collect(), system: memory() };
    serde_json::to_vec(&stats).map(Bytes::from)
}

fn memory() -> Memory {
    let system = sys::system_memory();
    Memory { total_mem: system.total, used_mem: system.used, proc_mem: sys::process_memory().resident }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn all_readers_of_a_second_share_one_document() {
        let server = Server::start(Config::default(), None).unwrap();
        let read = async || stats(&server).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let first = read().await;
        // In the second after which the first document is made anew, at least these two are the same.
        let (second, third) = (read().await, read().await);
        assert!(first.as_ptr() == second.as_ptr() || second.as_ptr() == third.as_ptr());
    }
}
