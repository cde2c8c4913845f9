//! The body of a POST, a form or a message, bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::responses::HttpError;
use crate::config;
use crate::metrics::Refusal;

/// Reads a form within `http.max-body` and `http.request-timeout`.
pub(super) async fn read(request: &mut Request<Incoming>, rules: &config::Http) -> Result<Bytes, HttpError> {
    if !request.headers().get(header::CONTENT_TYPE).is_none_or(is_form) {
        return Err(HttpError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Malformed,
            "the body must be a form; send it as application/x-www-form-urlencoded",
        ));
    }
    let limit = usize::try_from(rules.max_body.as_u64()).unwrap_or(usize::MAX);
    // A body that is announced as too large isn't read at all.
    if request.body().size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    collect(Limited::new(request.body_mut(), limit), rules.request_timeout, too_large).await
}

/// Reads a message.
pub(super) async fn read_message(
    request: &mut Request<Incoming>,
    limit: usize,
    time_limit: Duration,
) -> Result<Bytes, HttpError> {
    collect(Limited::new(request.body_mut(), limit), time_limit, message_too_large).await
}

/// A message larger than `http.max-send` or `websocket.max-message`.
pub(super) fn message_too_large() -> HttpError {
    let text = "the message is too large; join the registration to send it";
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, Refusal::TooLarge, text)
}

async fn collect(
    body: Limited<&mut Incoming>,
    time_limit: Duration,
    too_large: fn() -> HttpError,
) -> Result<Bytes, HttpError> {
    match tokio::time::timeout(time_limit, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(HttpError::malformed("the body is incomplete or malformed; send it again")),
        Err(_) => Err(HttpError::new(
            StatusCode::REQUEST_TIMEOUT,
            Refusal::Timeout,
            "the body took too long; send it at once",
        )),
    }
}

fn too_large() -> HttpError {
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, Refusal::TooLarge, "the body is too large; send only the parameters")
}

/// Returns whether a Content-Type is a form's, whatever its parameters.
fn is_form(value: &HeaderValue) -> bool {
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
