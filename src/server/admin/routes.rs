//! The paths of the admin interface, with their methods and handlers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use ws_router_core::ids::{MemberId, RegistrationId};

use super::reply::{self, Reply};
use super::session::{AdminAccess, Administrator, Session};
use super::stream::Lines;
use super::{BODY_TIMEOUT, Command, adopt, drain, exposition, status, wire};
use crate::log::messages;
use crate::peer::Peer;
use crate::registry::Summary;

/// Resource that a path names.
#[derive(Debug, PartialEq, Eq)]
enum Resource<'a> {
    Metrics,
    Status,
    Findings,
    Registrations,
    Registration(&'a str),
    History(&'a str),
    Connection(&'a str),
    Events,
    Drain,
    Reload,
    Upgrade,
    Adopt,
}

impl<'a> Resource<'a> {
    /// Parses a path. Double and trailing slashes are ignored, as on the public routes.
    fn of(path: &'a str) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let named: [_; 5] = std::array::from_fn(|_| segments.next());
        match named {
            [Some("metrics"), None, None, None, None] => Some(Self::Metrics),
            [Some("v1"), Some("status"), None, None, None] => Some(Self::Status),
            [Some("v1"), Some("findings"), None, None, None] => Some(Self::Findings),
            [Some("v1"), Some("registrations"), None, None, None] => Some(Self::Registrations),
            [Some("v1"), Some("registrations"), Some(id), None, None] => Some(Self::Registration(id)),
            [Some("v1"), Some("registrations"), Some(id), Some("history"), None] => Some(Self::History(id)),
            [Some("v1"), Some("connections"), Some(number), None, None] => Some(Self::Connection(number)),
            [Some("v1"), Some("events"), None, None, None] => Some(Self::Events),
            [Some("v1"), Some("drain"), None, None, None] => Some(Self::Drain),
            [Some("v1"), Some("reload"), None, None, None] => Some(Self::Reload),
            [Some("v1"), Some("upgrade"), None, None, None] => Some(Self::Upgrade),
            [Some("v1"), Some("adopt"), None, None, None] => Some(Self::Adopt),
            _ => None,
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Metrics | Self::Status | Self::Findings | Self::Registrations | Self::History(_) | Self::Events => {
                "GET"
            }
            Self::Registration(_) | Self::Connection(_) => "GET, DELETE",
            Self::Drain => "GET, POST, DELETE",
            Self::Reload | Self::Upgrade | Self::Adopt => "POST",
        }
    }
}

/// Answers a request.
pub(super) async fn answer(session: Arc<Session>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (mut head, body) = request.into_parts();
    if let Err(reply) = reject_body(body).await {
        return Ok(*reply);
    }
    let uri = std::mem::take(&mut head.uri);
    let Some(resource) = Resource::of(uri.path()) else {
        return Ok(reply::error(StatusCode::NOT_FOUND, "no such path; ws-routerctl(1) lists all paths"));
    };
    let session = &*session;
    if session.access == AdminAccess::ReadOnly && head.method != Method::GET {
        return Ok(read_only(&resource, &head.method));
    }
    let reply = match (&resource, &head.method) {
        (Resource::Metrics, &Method::GET) => reply::metrics(exposition::text(&session.context).await),
        (Resource::Status, &Method::GET) => reply::document(&status::status(&session.context).await),
        (Resource::Findings, &Method::GET) => findings(session).await,
        (Resource::Registrations, &Method::GET) => list(session).await,
        (Resource::Registration(id), &Method::GET) => show(session, id).await,
        (Resource::Registration(id), &Method::DELETE) => remove(session, id).await,
        (Resource::History(id), &Method::GET) => history(session, id),
        (Resource::Connection(number), &Method::GET) => connection(session, number).await,
        (Resource::Connection(number), &Method::DELETE) => disconnect(session, number).await,
        (Resource::Events, &Method::GET) => {
            reply::lines(Lines::of_events(session.context.server.events().subscribe(), session.stop.clone()))
        }
        (Resource::Drain, &Method::GET) => {
            reply::lines(Lines::of_drain(session.context.drain.clone(), session.stop.clone()))
        }
        (Resource::Drain, &Method::POST) => drain::start(session, uri.query().unwrap_or_default()).await,
        (Resource::Drain, &Method::DELETE) => drain::undo(session).await,
        (Resource::Reload, &Method::POST) => reload(session).await,
        (Resource::Upgrade, &Method::POST) => upgrade(session).await,
        (Resource::Adopt, &Method::POST) => adopt::switch_protocols(session, head),
        (resource, _) => wrong_method(resource),
    };
    Ok(reply)
}

/// Reports the findings of the diagnostics, the most severe first.
async fn findings(session: &Session) -> Reply {
    let context = session.context.clone();
    // The diagnostics read files, which must not block the event loop.
    match tokio::task::spawn_blocking(move || context.findings()).await {
        Ok(findings) => reply::document(&findings),
        Err(_) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the router is stopping"),
    }
}

/// Lists all registrations.
async fn list(session: &Session) -> Reply {
    let traffic = session.context.server.traffic().await;
    let now = Instant::now();
    let show = |one: &Summary| {
        let traffic = traffic.get(&one.registration.serial).copied().unwrap_or_default();
        status::registration(one, traffic, now)
    };
    reply::document(&session.context.server.list().iter().map(show).collect::<Vec<_>>())
}

/// Shows a registration with its members.
async fn show(session: &Session, id: &str) -> Reply {
    if let Err(malformed) = RegistrationId::parse(id) {
        return reply::error(StatusCode::BAD_REQUEST, malformed.to_string());
    }
    let Some(summary) = session.context.server.find(id) else { return unknown_registration() };
    let views = session.context.server.members(&summary.registration).await;
    let mut members: Vec<_> = views.iter().map(status::member).collect();
    members.sort_by_key(|member| member.id);
    let traffic = session.context.server.traffic_of(&summary.registration).await;
    let registration = status::registration(&summary, traffic, Instant::now());
    reply::document(&wire::RegistrationDetail { registration, members })
}

/// Shows the history of a registration, which may have ended.
fn history(session: &Session, id: &str) -> Reply {
    let id = match RegistrationId::parse(id) {
        Ok(id) => id,
        Err(malformed) => return reply::error(StatusCode::BAD_REQUEST, malformed.to_string()),
    };
    let known = session.context.server.events().history().of(&id);
    match known {
        Some((forgotten, events)) => reply::document(&wire::History { id: id.to_string(), forgotten, events }),
        None => reply::error(StatusCode::NOT_FOUND, "no history of this registration, or it is forgotten by now"),
    }
}

/// Ends a registration, with or without members.
async fn remove(session: &Session, id: &str) -> Reply {
    let id = match RegistrationId::parse(id) {
        Ok(id) => id,
        Err(malformed) => return reply::error(StatusCode::BAD_REQUEST, malformed.to_string()),
    };
    let Administrator { uid, pid } = session.administrator;
    if !session.context.server.force_remove(&id, Peer::Unix { uid, pid }).await {
        return unknown_registration();
    }
    tracing::info!(message_id = messages::REMOVED_BY_ADMINISTRATOR, registration = %id, uid, pid, "registration removed by an administrator");
    reply::document(&wire::Removed { removed: id.to_string() })
}

/// Shows a member.
async fn connection(session: &Session, number: &str) -> Reply {
    let Some(id) = member_id(number) else { return malformed_number() };
    match session.context.server.member(id).await {
        Some(view) => reply::document(&status::member(&view)),
        None => unknown_connection(),
    }
}

/// Closes a member's connection.
async fn disconnect(session: &Session, number: &str) -> Reply {
    let Some(id) = member_id(number) else { return malformed_number() };
    let Administrator { uid, pid } = session.administrator;
    if !session.context.server.disconnect(id, Peer::Unix { uid, pid }).await {
        return unknown_connection();
    }
    tracing::info!(message_id = messages::DISCONNECTED_BY_ADMINISTRATOR, member = %id, uid, pid, "connection closed by an administrator");
    reply::document(&wire::Disconnected { disconnected: id.0 })
}

/// Restarts the daemon with the program that is on disk now, and keeps all connections.
async fn upgrade(session: &Session) -> Reply {
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(message_id = messages::UPGRADE_REQUESTED, uid, pid, "upgrade requested by an administrator");
    let (answer, answered) = oneshot::channel();
    // If the command or its answer is lost, the life cycle has ended.
    let _ = session.context.lifecycle.send(Command::Upgrade(answer)).await;
    match answered.await {
        Ok(Ok(())) => reply::document(&wire::Upgraded { upgrading: true }),
        Ok(Err(error)) => reply::upgrade_refused(&error),
        Err(_) => reply::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}

/// Reloads the configuration.
async fn reload(session: &Session) -> Reply {
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(message_id = messages::RELOAD_REQUESTED, uid, pid, "reload requested by an administrator");
    let (answer, answered) = oneshot::channel();
    // If the command or its answer is lost, the life cycle has ended.
    let _ = session.context.lifecycle.send(Command::Reload(answer)).await;
    match answered.await {
        Ok(Ok(report)) => reply::document(&report),
        Ok(Err(problems)) => reply::problems(&problems),
        Err(_) => reply::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}

/// Waits for the end of a request, and rejects one with a body: no path takes a body.
async fn reject_body(body: Incoming) -> Result<(), Box<Reply>> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, 0).collect()).await;
    let (status, error) = match collected {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, "requests take no body here; leave it out"),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body of the request did not arrive; leave it out"),
    };
    let mut reply = reply::error(status, error);
    // Otherwise, the rest of the body would be parsed as the next request.
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Err(Box::new(reply))
}

fn member_id(number: &str) -> Option<MemberId> {
    number.parse().ok().map(MemberId)
}

/// Rejects every method but `GET`.
fn read_only(resource: &Resource<'_>, method: &Method) -> Reply {
    if resource.methods().split(", ").any(|known| known == method.as_str()) {
        let error = "this admin socket is read-only; administrators use another one (admin.socket)";
        return reply::error(StatusCode::FORBIDDEN, error);
    }
    wrong_method(resource)
}

fn wrong_method(resource: &Resource<'_>) -> Reply {
    let methods = resource.methods();
    let mut reply =
        reply::error(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed; this path takes {methods}"));
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    reply
}

fn unknown_registration() -> Reply {
    reply::error(StatusCode::NOT_FOUND, "no such registration; GET /v1/registrations lists them")
}

fn unknown_connection() -> Reply {
    reply::error(StatusCode::NOT_FOUND, "no such connection; GET /v1/registrations/{id} lists a registration's")
}

fn malformed_number() -> Reply {
    reply::error(
        StatusCode::BAD_REQUEST,
        "not the number of a connection; GET /v1/registrations/{id} shows the numbers",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_resource_or_none() {
        assert_eq!(Resource::of("/v1/registrations/my-device"), Some(Resource::Registration("my-device")));
        assert_eq!(Resource::of("//v1//status/"), Some(Resource::Status));
        for unknown in ["/", "", "/v2/status", "/v1", "/v1/status/x", "/v1/connections", "/v1/registrations/a/b/c"] {
            assert_eq!(Resource::of(unknown), None, "{unknown}");
        }
    }
}
