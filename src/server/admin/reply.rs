//! Answers of the admin interface: a JSON document, an error with the fix, or a stream of lines.

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use serde::Serialize;
use ws_router_admin_api as wire;

use super::stream::Lines;
use crate::config::Problems;
use crate::handover::exec::TrialError;
use crate::log::messages;
use crate::metrics::Exposition;

/// The body of any answer.
pub(super) type Body = Either<Full<Bytes>, Lines>;

/// An answer.
pub(super) type Reply = Response<Body>;

/// Answers 200 with a document.
pub(super) fn document(document: &impl Serialize) -> Reply {
    json(StatusCode::OK, document)
}

/// Answers 200 with the metrics.
pub(super) fn metrics(text: String) -> Reply {
    with_type(StatusCode::OK, Exposition::CONTENT_TYPE, Body::Left(Full::from(text)))
}

/// Answers an error, with the problem and its fix.
pub(super) fn error(status: StatusCode, error: impl Into<String>) -> Reply {
    json(status, &wire::Refused { error: error.into(), problems: Vec::new() })
}

/// Answers 422 to a reload that was refused, with all problems.
pub(super) fn problems(problems: &Problems) -> Reply {
    let error = "the configuration can't be used; the running one remains in use".into();
    json(StatusCode::UNPROCESSABLE_ENTITY, &wire::Refused { error, problems: problems.0.clone() })
}

/// Answers 422 to an upgrade that was refused.
pub(super) fn upgrade_refused(reason: &TrialError) -> Reply {
    let problems = reason.to_string().lines().map(str::to_owned).collect();
    let error = "the new program can't take over; the running one goes on".into();
    json(StatusCode::UNPROCESSABLE_ENTITY, &wire::Refused { error, problems })
}

/// Answers 200 with a stream of lines.
pub(super) fn lines(lines: Lines) -> Reply {
    with_type(StatusCode::OK, "application/x-ndjson", Body::Right(lines))
}

/// Answers 101; the connection continues with `protocol`.
pub(super) fn switching(protocol: &'static str) -> Reply {
    let mut reply = Response::new(Body::Left(Full::default()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    reply
}

fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    match serde_json::to_vec(document) {
        Ok(mut text) => {
            text.push(b'\n');
            with_type(status, "application/json", Body::Left(Full::from(text)))
        }
        Err(error) => {
            tracing::error!(message_id = messages::ANSWER_NOT_ENCODED, %error, "answer of the admin interface can't be encoded as JSON");
            with_type(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Body::Left(Full::from("{}\n")))
        }
    }
}

fn with_type(status: StatusCode, media_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
