//! The body of a POST: a form, small and soon there.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::replies::Refused;
use crate::config;
use crate::metrics::Refusal;

/// Reads a form within `http.max-body` and `http.request-timeout`.
pub(super) async fn read(request: &mut Request<Incoming>, rules: &config::Http) -> Result<Bytes, Refused> {
    if !request.headers().get(header::CONTENT_TYPE).is_none_or(is_form) {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Malformed,
            "the body must be a form; send it as application/x-www-form-urlencoded",
        ));
    }
    let limit = usize::try_from(rules.max_body.as_u64()).unwrap_or(usize::MAX);
    // A body that is announced as too large isn't even begun.
    if request.body().size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    collect(Limited::new(request.body_mut(), limit), rules.request_timeout).await
}

async fn collect(body: Limited<&mut Incoming>, patience: Duration) -> Result<Bytes, Refused> {
    match tokio::time::timeout(patience, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refused::malformed("the body is broken; send it again")),
        Err(_) => {
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, Refusal::Timeout, "the body took too long; send it at once"))
        }
    }
}

fn too_large() -> Refused {
    Refused::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TooLarge,
        "the body is too large; send the parameters and nothing else",
    )
}

/// Looks at the media type, whatever its parameters.
fn is_form(value: &HeaderValue) -> bool {
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
